from dataclasses import replace

import numpy as np
import pytest

from simenv.agents.return_time import DAY, Loyalty, ReturnTime
from simenv.datasets.synthetic import generate
from simenv.errors import ConfigError, DataError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.scale import RatingScale
from simenv.training.exit_model import person_periods
from simenv.training.return_model import Gaps, exposure, fit_gaps, fit_return, gaps, loyalty

TRUE = ReturnTime(
    edge=(0.02, 1.0, 7.0, 60.0),
    log_rate=(-1.5, -2.0, -3.0),
    slope_satisfaction=0.8,
    slope_activity=-0.4,
    slope_visits=-0.3,
    frailty=0.8,
)


def log_of(time: list[int], rating: list[float] | None = None, user: list[int] | None = None) -> InteractionLog:
    n = len(time)
    user = user or [0] * n
    users, items = Index(tuple(range(max(user) + 1)), "user"), Index(tuple(range(n)), "item")
    return InteractionLog.of(users, items, user, range(n), rating or [3.0] * n, time, RatingScale())


def invented(n_users: int, seed: int, model: ReturnTime = TRUE, last: float = 90.0) -> tuple[Gaps, np.ndarray]:
    """Return gaps of users whose lives follow the model for `last` days, and their loyalties."""
    rng = np.random.default_rng(seed)
    shape = 1 / max(model.frailty, 1e-9)
    loyal = rng.gamma(shape, 1 / shape, n_users) if model.frailty else np.ones(n_users)
    rows: list[tuple[float, ...]] = []
    for user in range(n_users):
        day, visit, active = 0.0, 0, rng.normal()
        while True:
            felt = rng.normal(0, 0.5)
            ratio = model.ratio(*np.array([[felt], [active], [visit]])) * loyal[user]
            days = float(model.draw(np.array([rng.random()]), ratio)[0])
            back = day + days <= last
            rows.append((user, visit, days if back else last - day, back, felt, active, day * DAY))
            if not back:
                break
            day, visit = day + days, visit + 1
    columns = [np.array(c) for c in zip(*rows, strict=True)]
    kinds = (np.int64, np.int64, np.float64, bool, np.float64, np.float64, np.int64)
    return Gaps(*(c.astype(k) for c, k in zip(columns, kinds, strict=True))), loyal


def test_the_gaps_by_hand() -> None:
    day = [0.0, 0.001, 2.0, 2.001, 5.0, 3.0, 3.5]
    log = log_of([int(d * DAY) for d in day], [5, 3, 1, 1, 4, 2, 2], [0, 0, 0, 0, 0, 1, 1])
    found = gaps(log, end=10 * DAY, least=1, decay=0.5, carried=ReturnTime(carry=0.5, half_life=2.0))
    assert found.user.tolist() == [0, 0, 0, 1, 1]
    assert found.visit.tolist() == [0, 1, 2, 0, 1]
    assert found.returned.tolist() == [True, True, False, True, False]
    np.testing.assert_allclose(found.days, [1.999, 2.999, 5.0, 0.5, 6.5], atol=1e-4)
    table = person_periods(log, decay=0.5)
    first, second = table.utility[0], table.utility[1]
    carried = 0.5 * 0.5 * 0.5 ** (1.999 / 2) * first
    np.testing.assert_allclose(found.utility[:2], [first, second + carried], atol=1e-4)
    at = np.log1p([5, 2])
    np.testing.assert_allclose(found.activity[:3], (np.log1p([2, 4, 5]) - at.mean()) / at.std())
    assert gaps(log, least=4).visit.tolist() == [1]
    assert len(gaps(log)) == 3  # the shortest history has 2 ratings


def test_gaps_as_they_stood_at_a_moment() -> None:
    log = log_of([0, 2 * DAY, 9 * DAY])
    then = gaps(log, least=1, end=20 * DAY).until(5 * DAY)
    assert then.days.tolist() == [2.0, 3.0]
    assert then.returned.tolist() == [True, False]
    assert len(gaps(log, least=1).until(0)) == 0


def test_exposure_by_hand() -> None:
    some = replace_days([0.5, 3.0, 200.0], [True, False, True])
    at_risk, event = exposure(some, (0.0, 1.0, 4.0))
    np.testing.assert_allclose(at_risk, np.array([[0.5, 0], [1, 2], [1, 3]]))
    assert event.tolist() == [[1, 0], [0, 0], [0, 0]]


def replace_days(days: list[float], returned: list[bool]) -> Gaps:
    n, zero = len(days), np.zeros(len(days))
    return Gaps(np.arange(n), np.zeros(n, np.int64), np.array(days), np.array(returned), zero, zero, np.zeros(n, int))


def test_the_true_numbers_are_found_again() -> None:
    known, loyal = invented(1500, 0)
    found = fit_gaps(known, slope="fit", assumed=ReturnTime(edge=TRUE.edge, log_rate=(0.0, 0.0, 0.0)))
    np.testing.assert_allclose(found.log_rate, TRUE.log_rate, atol=0.12)
    assert found.slope_satisfaction == pytest.approx(0.8, abs=0.1)
    assert found.slope_activity == pytest.approx(-0.4, abs=0.1)
    assert found.slope_visits == pytest.approx(-0.3, abs=0.12)
    assert found.frailty == pytest.approx(0.8, abs=0.15)
    assert found.tag == dict.fromkeys(
        ("log_rate", "slope_satisfaction", "slope_activity", "slope_visits", "frailty"), "fitted"
    )
    said = loyalty(known, found, 1500)
    shape, rate = said.posterior(np.arange(1500), found.frailty)
    assert np.corrcoef(shape / rate, loyal)[0, 1] > 0.8
    assert (shape / rate).mean() == pytest.approx(1.0, abs=0.05)


def test_users_who_are_all_alike_show_no_frailty_and_no_slope() -> None:
    known, _ = invented(
        800, 1, replace(TRUE, frailty=0.0, slope_satisfaction=0.0, slope_activity=0.0, slope_visits=0.0)
    )
    found = fit_gaps(known, slope="fit", assumed=TRUE)
    assert found.frailty < 0.1
    assert abs(found.slope_satisfaction) < 0.1
    assert abs(found.slope_activity) < 0.1


def test_one_constant_rate_is_events_over_time() -> None:
    flat = ReturnTime(edge=(0.0, 100.0), log_rate=(0.0,), slope_satisfaction=0.0)
    known = replace_days([2.0, 8.0, 30.0, 60.0], [True, True, False, False])
    found = fit_gaps(known, assumed=flat, tiring=False, frailty=False)
    assert found.log_rate[0] == pytest.approx(np.log(2 / 100), abs=1e-4)
    assert found.frailty == 0
    assert loyalty(known, found, 4).expected == pytest.approx(np.array([2, 8, 30, 60]) * 0.02, rel=1e-3)


def test_an_assumed_slope_is_kept_and_explains_nothing() -> None:
    known, _ = invented(300, 2)
    blind, touchy = (fit_gaps(known, assumed=replace(TRUE, slope_satisfaction=s)) for s in (0.0, 3.0))
    assert touchy.slope_satisfaction == 3.0
    assert "slope_satisfaction" not in touchy.tag
    assert touchy.log_rate == blind.log_rate
    one, two = (loyalty(known, m, 300) for m in (blind, touchy))
    np.testing.assert_array_equal(one.expected, two.expected)


def test_order_of_users_does_not_matter() -> None:
    known, _ = invented(200, 3)
    other = known.take(np.argsort(-known.user, kind="stable"))
    one = fit_gaps(known, assumed=TRUE)
    two = fit_gaps(replace(other, user=199 - other.user), assumed=TRUE)
    np.testing.assert_allclose(one.log_rate, two.log_rate, atol=1e-3)
    assert one.frailty == pytest.approx(two.frailty, rel=1e-2)


def test_the_invented_world_comes_back_after_a_day_and_nine() -> None:
    world = generate(0, n_users=400, n_items=120)
    found, said = fit_return(world.log)
    days = np.array([0.9, 2.0, 10.0, 30.0])
    true = np.where(days > 1, 1 - np.exp(-(days - 1) / 9), 0)
    np.testing.assert_allclose(found.p_return(days, np.ones(4)), true, atol=0.04)
    assert found.frailty < 0.05
    assert said.returns.sum() > 200
    assert found.tag["log_rate"] == "fitted"


def test_what_cannot_be_fitted_stays_assumed_and_says_so() -> None:
    timeless = replace(log_of([0, DAY]), time=None, time_note="none")
    found, said = fit_return(timeless)
    assert (found.tag, "no times" in found.note) == ({}, True)
    assert said.returns.tolist() == [0]
    nobody, _ = fit_return(log_of([0, 1, 2]))
    assert (nobody.tag, "nobody was seen to come back" in nobody.note) == ({}, True)
    few, _ = fit_return(log_of([0, DAY, 3 * DAY]), least=1)
    assert "frailty" not in few.tag
    assert "frailty is assumed" in few.note
    approximate, _ = fit_return(replace(log_of([0, DAY, 3 * DAY]), time_note="approximate"), least=1)
    assert "approximate time" in approximate.note
    with pytest.raises(ConfigError, match="return times need times"):
        gaps(timeless)


def test_simulated_visits_are_refused() -> None:
    with pytest.raises(DataError, match="came from a simulator"):
        fit_return(replace(log_of([0, DAY]), simulated=True))


def test_loyalty_counts_own_gaps_alone() -> None:
    known = replace_days([1.0, 2.0, 300.0], [True, False, True])
    flat = ReturnTime(edge=(0.0, 100.0), log_rate=(0.0,))
    said = loyalty(known, flat, 5)
    assert isinstance(said, Loyalty)
    assert said.returns.tolist() == [1, 0, 0, 0, 0]
    assert said.visits.tolist() == [1, 1, 1, 0, 0]
    np.testing.assert_allclose(said.expected, [1, 2, 100, 0, 0])
