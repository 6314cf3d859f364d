from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from simenv.agents.exit import ExitHazard
from simenv.agents.synthetic import true_population
from simenv.datasets.synthetic import World, generate
from simenv.errors import ConfigError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.pages import survival
from simenv.scale import RatingScale
from simenv.session import Slate
from simenv.training.exit_model import _random_intercept, fit_exit, person_periods


@pytest.fixture(scope="module")
def world() -> World:
    return generate(0, n_users=2000, n_items=150)


def log_of(time: list[int], rating: list[float] | None = None, user: list[int] | None = None) -> InteractionLog:
    n = len(time)
    user = user or [0] * n
    users, items = Index(tuple(range(max(user) + 1)), "user"), Index(tuple(range(n)), "item")
    return InteractionLog.of(users, items, user, range(n), rating or [3.0] * n, time, RatingScale())


def test_the_table_of_pages_by_hand() -> None:
    log = log_of([0, 1, 2, 5000, 5001, 90_000], [5, 3, 1, 4, 4, 2])
    table = person_periods(log, page_size=2, mean=np.array([3.0]), decay=0.5, gap=1800)
    assert table.page.tolist() == [1, 2, 1, 1]
    assert table.visit.tolist() == [0, 0, 1, 2]
    np.testing.assert_allclose(table.utility, [0.5, 0.5 * 0.5 - 1.0, 0.5, -0.5])
    np.testing.assert_allclose(table.best, [2, -2, 1, -1])
    assert table.left.tolist() == [False, True, True, False]
    assert table.censored.tolist() == [False, False, False, True]
    assert [a.tolist() for a in table.length] == [[2, 1, 0], [False, False, True]]
    assert table.known().page.tolist() == [1, 2, 1]


def test_the_past_mean_never_looks_ahead() -> None:
    time = list(range(30))
    one = log_of(time, [4.0] * 30)
    two = log_of(time, [4.0] * 10 + [1.0] * 20)
    first, second = person_periods(one), person_periods(two)
    shift = float(one.rating.mean() - two.rating.mean())
    assert second.utility[0] - first.utility[0] == pytest.approx(0.3 * shift, abs=1e-6)
    table = person_periods(log_of(time, [5.0] * 10 + [2.0] * 20), decay=0.0)
    assert table.utility[1] == pytest.approx(2 - (50 + 5 * 3) / 15, abs=1e-5)


def test_the_table_agrees_with_what_the_population_feels(world: World) -> None:
    truth, log = world.truth, world.log
    user = int(np.argmax(log.count))
    one = log.of_users([user])
    table = person_periods(one, value=truth.expected[one.user, one.item].astype(float), mean=truth.mean, gap=10**9)
    population = true_population(world)
    state = population.begin(np.array([user]), np.zeros(1, np.uint64))
    for row in range(5):
        _, state = population.respond(state, Slate.certain(one.item[None, 10 * row : 10 * row + 10]))
        assert state.utility[0] == pytest.approx(table.utility[row], abs=1e-4)
        assert state.best[0] == pytest.approx(table.best[row], abs=1e-4)
        assert state.page[0] == table.page[row]


def test_the_true_hazard_is_found_again(world: World) -> None:
    truth, log = world.truth, world.log
    value = truth.expected[log.user, log.item].astype(np.float64)
    found = fit_exit(log, truth.activity, slope="fit", value=value, mean=truth.mean)
    true = truth.behaviour
    np.testing.assert_allclose(found.page_logit[:6], true.page_logit[:6], atol=0.2)
    assert found.slope_utility == pytest.approx(true.slope_utility, abs=0.8)
    assert found.slope_best == pytest.approx(true.slope_best, abs=0.3)
    assert found.slope_activity == pytest.approx(true.slope_activity, abs=0.1)
    assert found.frailty_sd == pytest.approx(true.frailty_sd, abs=0.2)
    assert {k for k, v in found.tag.items() if v == "fitted"} == {
        "page_logit",
        "frailty_sd",
        "slope_activity",
        "slope_utility",
        "slope_best",
    }


def test_ratings_alone_flatten_the_slope_but_keep_its_sign(world: World) -> None:
    found = fit_exit(world.log, world.truth.activity, slope="fit")
    assert world.truth.behaviour.slope_utility < found.slope_utility < -0.3


def test_by_default_satisfaction_is_assumed(world: World) -> None:
    mine = ExitHazard(slope_utility=-1.5, slope_best=-0.1, slope_repeat=0.7)
    found = fit_exit(world.log, world.truth.activity, assumed=mine)
    assert (found.slope_utility, found.slope_best, found.slope_repeat) == (-1.5, -0.1, 0.7)
    assert set(found.tag) == {"page_logit", "frailty_sd", "slope_activity"}
    said = found.assumption
    assert said["exit.slope_utility"].startswith("assumed")
    assert said["exit.page_logit"].startswith("fitted")
    assert "1458 users, 1458 cut off; returning visits only" in found.note


def test_a_world_blind_to_quality_gives_a_slope_near_zero() -> None:
    from simenv.datasets.synthetic import Behaviour

    w = generate(1, n_users=1500, n_items=120, behaviour=Behaviour(slope_utility=0.0, slope_best=0.0))
    value = w.truth.expected[w.log.user, w.log.item].astype(np.float64)
    found = fit_exit(w.log, w.truth.activity, slope="fit", value=value, mean=w.truth.mean)
    assert abs(found.slope_utility) < 0.8
    assert abs(found.slope_best) < 0.3


def test_without_times_everything_is_assumed(world: World) -> None:
    timeless = replace(world.log, time=None, time_note="none")
    found = fit_exit(timeless, world.truth.activity)
    assert found.tag == {}
    assert "no times" in found.note
    assert replace(found, note="") == ExitHazard()
    with pytest.raises(ConfigError, match="visits need times"):
        person_periods(timeless)


def test_without_an_end_everything_is_assumed() -> None:
    found = fit_exit(log_of([0, 1, 2]), np.zeros(1))
    assert found.tag == {}
    assert "seen to end" in found.note


def test_few_returning_users_leave_frailty_assumed() -> None:
    w = generate(0, n_users=20, n_items=60)
    found = fit_exit(w.log, w.truth.activity)
    assert "frailty_sd" not in found.tag
    assert found.frailty_sd == ExitHazard().frailty_sd
    assert "frailty is assumed" in found.note


def test_approximate_times_are_said(world: World) -> None:
    log = replace(world.log.of_users(np.arange(50)), time_note="approximate")
    assert fit_exit(log, world.truth.activity).note.endswith("approximate time")


def test_without_frailty_it_is_penalised_logistic_regression() -> None:
    draw = np.random.default_rng(0)
    x = np.column_stack([np.ones(800), draw.normal(size=(800, 3))])
    left = draw.random(800) < 1 / (1 + np.exp(-x @ [-0.5, 1.0, -2.0, 0.0]))
    beta, sd = _random_intercept(x, np.zeros(800), left, np.arange(0, 800, 4), sd=0.0, ridge=2.0)
    plain = LogisticRegression(C=0.5, tol=1e-8, max_iter=1000).fit(x[:, 1:], left)
    np.testing.assert_allclose(beta, np.r_[plain.intercept_, plain.coef_[0]], atol=1e-3)
    assert sd == 0


def test_survival_of_the_world_is_that_of_its_first_hazard(world: World) -> None:
    curve = survival(*person_periods(world.log).length)
    population = true_population(world)
    assert (np.diff(curve) <= 0).all()
    assert 1 - curve[1] == pytest.approx(0.27, abs=0.04)
    assert population.exit.assumption["exit.page_logit"].startswith("assumed -1.00")


def regulars(users: int) -> InteractionLog:
    """Each signs up over four pages, and comes back three times for one page."""
    time = [v * 100_000 + n for v, pages in enumerate((4, 1, 1, 1)) for n in range(2 * pages)]
    return log_of(time * users, user=[u for u in range(users) for _ in time])


def test_simulated_users_return() -> None:
    log = regulars(100)
    hazard = fit_exit(log, np.zeros(100), page_size=2)
    assert "300 visits of 100 users" in hazard.note
    assert hazard.note.endswith("returning visits only")
    assert expit(hazard.page_logit[0]) > 0.9  # all returning visits end after a page
    assert person_periods(log, page_size=2).returning().page.max() == 1


def test_too_few_returns_to_tell_them_apart() -> None:
    hazard = fit_exit(regulars(60), np.zeros(60), page_size=2)  # 180 of 200
    assert "240 visits of 60 users" in hazard.note
    assert "returning" not in hazard.note
    assert expit(hazard.page_logit[0]) < 0.85
