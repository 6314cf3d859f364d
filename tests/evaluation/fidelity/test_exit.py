"""Leaving: visits by hand, curves against another Kaplan-Meier, Brier scores by loops, a world of known hazard."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.agents.exit import ExitHazard
from simenv.agents.population import SimulatedPopulation
from simenv.agents.synthetic import checkerboard, true_population
from simenv.datasets.synthetic import Behaviour, World, generate
from simenv.errors import ConfigError, DataError, UnknownIdError
from simenv.evaluation.fidelity import survival
from simenv.evaluation.fidelity.exit import VisitSurvival, response_test, visit_survival
from simenv.evaluation.fidelity.visit import HeldVisits, held_visits, page_hazard
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.pages import survival as kaplan_meier
from simenv.scale import RatingScale

DAY = 86_400


def log_of(rows: list[tuple[int, int, int]], n_users: int = 4) -> InteractionLog:
    """Rows of (user, item, time)."""
    user, item, time = (list(c) for c in zip(*rows, strict=True)) if rows else ([], [], [])
    users, items = Index(tuple(range(n_users)), "user"), Index(tuple(range(40)), "item")
    return InteractionLog.of(users, items, user, item, [3.0] * len(user), time, RatingScale())


def by_hand() -> tuple[InteractionLog, InteractionLog]:
    """User 0: a visit of 3 known and 4 held ratings, later one of 1. User 1: one known visit, one held. User 2: cut."""
    past = [(0, i, 100 + i) for i in range(3)] + [(1, 9, 100)] + [(3, 30, 5), (3, 31, 5 + DAY)]
    held = [(0, 3 + i, 103 + i) for i in range(4)] + [(0, 20, DAY)]
    held += [(1, 10 + i, DAY + i) for i in range(3)] + [(2, 5, 9 * DAY - 2), (2, 6, 9 * DAY - 1), (2, 7, 9 * DAY)]
    return log_of(past), log_of(held)


def test_visits_by_hand() -> None:
    """Pages of two: the first visit has 4 pages, of which the first is over at the cut; the last one is cut off."""
    seen, why = held_visits(*by_hand(), pages=3, page_size=2, gap=1800)
    assert seen is not None
    assert why == ""
    assert seen.user.tolist() == [0, 0, 1, 2]
    assert seen.number.tolist() == [0, 1, 0, 0]
    assert seen.entry.tolist() == [1, 0, 0, 0]
    assert seen.length.tolist() == [4, 1, 2, 1]
    assert seen.left.tolist() == [True, True, True, False]
    assert seen.late.tolist() == [True, False, False, False]
    assert seen.shown.tolist() == [4, 1, 2, 1]
    assert seen.item.tolist() == [
        [0, 1, 2, 3, 4, 5], [20, -1, -1, -1, -1, -1], [10, 11, 12, -1, -1, -1], [5, 6, 7, -1, -1, -1],
    ]  # fmt: skip
    assert seen.at_risk(3).tolist() == [[False, True, True], [True, False, False], [True, True, False],
                                        [True, False, False]]  # fmt: skip
    assert seen.ended(3).tolist() == [[False] * 3, [True, False, False], [False, True, False], [False] * 3]


def test_the_page_only_model_by_hand() -> None:
    """Users 0 and 3 are seen to leave after page one, user 1 after page two; user 2 may go on, and so says nothing."""
    rows = [(0, 0, 0), (1, 0, 0), (1, 1, 1), (1, 2, 2), (2, 0, 0), (3, 0, 0), (3, 1, 9 * DAY), (3, 2, 9 * DAY)]
    unseen = np.array([False, False, True, False])
    hazard = page_hazard(log_of(rows), unseen, pages=12, page_size=2, gap=1800)
    assert hazard is not None
    np.testing.assert_allclose(hazard[:3], [2.5 / 4, 1.5 / 2, 0.5])
    assert hazard[11] == hazard[9]
    assert page_hazard(log_of(rows[4:5]), unseen, pages=2, page_size=2, gap=1800) is None


def some_visits(rng: np.random.Generator, n: int, *, late: bool) -> HeldVisits:
    length = rng.integers(1, 7, n)
    entry = np.minimum(rng.integers(0, 4, n), length - 1) if late else np.zeros(n, np.int64)
    left = rng.random(n) < 0.7
    user = np.sort(rng.integers(0, n // 2, n))
    return HeldVisits(
        user, np.arange(n), entry, length - ~left, left, entry > 0, length + 2, np.zeros((n, 0), np.int64)
    )


@given(seed=st.integers(0, 40))
@settings(deadline=None)
def test_the_curve_is_kaplan_and_meiers(seed: int) -> None:
    """Without late entries: scipy's; with them: the product over pages of those who stayed among those there."""
    rng = np.random.default_rng(seed)
    seen = some_visits(rng, 25, late=False)
    nothing = np.ones((25, 8))
    wanted = kaplan_meier(seen.length, ~seen.left)
    real = survival.real_curve(survival.totals(seen, nothing, nothing).sum(axis=0))
    np.testing.assert_allclose(real[: min(len(wanted), 8)], wanted[:8])
    seen, share = some_visits(rng, 25, late=True), 1.0
    real = survival.real_curve(survival.totals(seen, nothing, nothing).sum(axis=0))
    for page in range(1, 8):
        there = [v for v in range(25) if seen.entry[v] < page <= seen.length[v]]
        gone = [v for v in there if seen.left[v] and seen.length[v] == page]
        share *= 1 - len(gone) / len(there) if there else 1
        assert real[page] == pytest.approx(share)


def test_expected_numbers_give_the_curve_they_come_from() -> None:
    """If all visits follow one curve, so does the estimate, wherever they enter and are cut off."""
    curve = np.cumprod([1, 0.8, 0.7, 0.9, 0.5, 0.6, 0.7, 0.7])
    seen = some_visits(np.random.default_rng(0), 40, late=True)
    stay = survival.since_entry(np.tile(curve, (40, 1)), seen.entry)
    np.testing.assert_allclose(survival.simulated_curve(survival.totals(seen, stay, stay).sum(axis=0)), curve)


def test_survival_since_entry() -> None:
    stay = np.array([[1, 0.5, 0.25, 0.1], [1, 0.5, 0.25, 0.1], [1, 0, 0, 0]])
    wanted = np.array([[1, 0.5, 0.25, 0.1], [1, 1, 1, 0.4], [1, 1, 0, 0]])
    np.testing.assert_allclose(survival.since_entry(stay, np.array([0, 2, 1])), wanted)


def test_brier_scores_by_loops() -> None:
    """Without censoring the mean squared gap; with it, each known visit weighs one over its chance to be known."""
    rng = np.random.default_rng(1)
    seen = some_visits(rng, 30, late=True)
    seen = replace(seen, left=np.ones(30, bool), length=np.maximum(seen.length, 1))
    stay = np.column_stack([np.ones(30), np.cumprod(rng.random((30, 7)), axis=1)])
    total = survival.totals(seen, stay, np.ones_like(stay)).sum(axis=0)
    score = other = 0.0
    for page in range(1, 8):
        inside = [v for v in range(30) if seen.entry[v] < page]
        score += sum((float(seen.length[v] > page) - stay[v, page]) ** 2 for v in inside) / len(inside) / 7
        other += sum((float(seen.length[v] > page) - 1) ** 2 for v in inside) / len(inside) / 7
    assert survival.brier(total) == pytest.approx(score)
    assert survival.brier_other(total) == pytest.approx(other)
    assert survival.brier_difference(total) == pytest.approx(score - other)


def test_censoring_is_weighted_out() -> None:
    """Visits cut off at random pages score what they would have, had they been seen to the end."""
    rng = np.random.default_rng(0)
    n, hazard = 60_000, np.array([0.3, 0.5, 0.2, 0.4, 0.6, 0.5])
    alive = np.cumprod(np.column_stack([np.ones(n), rng.random((n, 6)) > hazard]), axis=1)
    length = alive.sum(axis=1).astype(np.int64)
    stop = rng.integers(1, 9, n)
    cut = stop <= length
    some = some_visits(rng, n, late=False)
    whole = replace(some, length=length, left=np.ones(n, bool))
    part = replace(some, length=np.where(cut, stop - 1, length), left=~cut)
    stay = np.tile(np.cumprod(np.r_[1.0, 1 - hazard * 0.7]), (n, 1)).astype(np.float64)
    full, seen = (survival.totals(v, stay, stay).sum(axis=0) for v in (whole, part))
    assert cut.mean() > 0.2
    assert survival.brier(seen) == pytest.approx(float(survival.brier(full)), abs=0.003)
    np.testing.assert_allclose(survival.real_curve(seen), survival.real_curve(full), atol=0.01)


@cache
def world(n_users: int = 500) -> World:
    """Without frailty: that of the world's users stays through all their visits, a simulated one is drawn anew."""
    return generate(1, n_users=n_users, n_items=150, median_history=60, behaviour=Behaviour(frailty_sd=0.0))


def measured(population: SimulatedPopulation, **how: Any) -> VisitSurvival:
    split = world().log.split("user_time", 0.3)
    found, why = visit_survival(population, split.past, split.future, cut=split.cut, **{"resamples": 200, **how})
    assert found is not None, why
    return found


def hastier(population: SimulatedPopulation, logits: float) -> SimulatedPopulation:
    hazard = population.exit
    assert isinstance(hazard, ExitHazard)
    return population.with_(exit=replace(hazard, page_logit=tuple(x + logits for x in hazard.page_logit)))


def test_the_true_users_stay_as_long_as_the_real_ones() -> None:
    found = measured(true_population(world()))
    assert found.distance.mean < 1.5 * found.noise < 0.1
    assert found.brier_difference.high < 0  # they know moods, the page-only model does not
    assert (found.real.low <= found.real.mean + 1e-9).all()
    assert (found.real.mean <= found.real.high + 1e-9).all()
    inside = (found.real.low <= found.simulated.mean) & (found.simulated.mean <= found.real.high)
    assert inside.mean() > 0.8
    assert (np.diff(found.simulated.mean) <= 0).all()
    assert found.late > 100
    assert found.visits > found.users > 400


@pytest.mark.parametrize("logits", [-1.5, 1.5])
def test_users_who_leave_too_soon_or_late_are_seen(logits: float) -> None:
    true = true_population(world())
    wrong, right = measured(hastier(true, logits)), measured(true)
    assert wrong.distance.low > 2 * right.noise
    assert np.sign(right.simulated.mean[2] - wrong.simulated.mean[2]) == np.sign(logits)
    assert wrong.brier.mean > right.brier.mean
    assert wrong.brier_difference.low > 0
    np.testing.assert_array_equal(wrong.real.mean, right.real.mean)
    np.testing.assert_array_equal(wrong.page_only, right.page_only)


def test_a_user_who_knows_pages_alone_is_the_page_only_model() -> None:
    """The page-only hazard put into the population gives the curve of the model, and no better score."""
    first = measured(true_population(world()))
    hazard = 1 - first.page_only[1:] / first.page_only[:-1]
    only = ExitHazard(
        tuple(np.log(hazard / (1 - hazard)).tolist()), frailty_sd=0, slope_utility=0, slope_best=0, slope_repeat=0
    )
    found = measured(true_population(world()).with_(exit=only), lives=1)
    np.testing.assert_allclose(found.simulated.mean, found.page_only, atol=1e-9)
    assert found.brier_difference.mean == pytest.approx(0, abs=1e-12)


def test_half_the_users_are_measured_where_half_are_simulated() -> None:
    half = measured(true_population(world(), np.arange(0, 500, 2)), resamples=20)
    assert half.users <= 250
    assert half.visits < measured(true_population(world()), resamples=20).visits


def test_the_same_again_and_other_names() -> None:
    split = world().log.split("user_time", 0.3)
    population = true_population(world())

    def found(seed: int, ids: int = 0) -> VisitSurvival:
        users = Index(tuple(u + ids for u in range(1, 501)), "user")
        past, held = (replace(x, users=users) for x in (split.past, split.future))
        out, _ = visit_survival(population.with_(users=users), past, held, cut=split.cut, resamples=50, seed=seed)
        assert out is not None
        return out

    one, two = found(3), found(3, ids=10_000)
    assert one.distance == two.distance
    assert one.brier_difference == two.brier_difference
    assert found(4).distance.low != one.distance.low


def test_what_cannot_be_told_is_said() -> None:
    split, population = world().log.split("user_time", 0.3), true_population(world())
    timeless = replace(split.past, time=None, time_note="none")
    assert visit_survival(population, timeless, split.future) == (None, "this log has no times, so it has no visits")
    few = split.future.of_users(np.arange(3))
    found, why = visit_survival(population, split.past, few)
    assert found is None
    assert "held-out visits of 3 simulated users; at least 30 visits of 10 users are needed" in why
    mixed = world().log.split("random", 0.5)
    found, why = visit_survival(population, mixed.past, mixed.future)
    assert found is None
    assert "alternate in time (a random split)" in why
    nothing, why = visit_survival(population, split.past.take(np.zeros(0, np.int64)), split.future)
    assert nothing is None
    assert "no past visit was seen to end" in why
    with pytest.raises(ConfigError, match="level must lie between"):
        visit_survival(population, split.past, split.future, level=2)


def test_the_picture_shows_the_curves() -> None:
    found = measured(true_population(world()), resamples=20)
    svg = found.figure.svg
    assert all(name in svg for name in ("real", "simulated", "page-only model", "pages seen"))
    from simenv.evaluation.fidelity.exit import _as_lengths

    for curve in (found.real.mean, found.page_only):
        length = _as_lengths(curve)
        alive = (length[:, None] > np.arange(len(curve))).mean(axis=0)
        np.testing.assert_allclose(alive, curve, atol=1e-3)


def test_users_stay_longer_before_what_they_like() -> None:
    """Even users like even items nearly surely, and leave after a page they dislike."""
    population = checkerboard(8, 40)
    found = response_test(population, pages=4, slate_size=5, lives=2, resamples=200)
    assert found.right
    assert found.pages["best"].mean == pytest.approx(4, abs=0.01)
    assert found.pages["worst"].mean == pytest.approx(1, abs=0.01)
    assert found.difference["best - worst"].difference.mean == pytest.approx(3, abs=0.02)
    assert (found.users, found.shown, found.candidates) == (8, 4, 40)
    assert (found.length["best"] == 5).all()
    assert (found.length["worst"] == 1).all()
    assert "random" in found.figure.svg


def test_blind_and_perverse_users_fail_the_test() -> None:
    how: dict[str, Any] = {"pages": 5, "slate_size": 6, "users": np.arange(60), "resamples": 300}
    population = true_population(world())
    true, blind, perverse = (response_test(population.with_exit_slope(f), **how) for f in (1, 0, -1))
    assert true.right
    assert not blind.right
    assert not perverse.right
    for gap in blind.difference.values():
        assert gap.difference.mean == 0
    assert perverse.difference["best - worst"].difference.high < 0
    for name in ("best", "worst"):
        drawn = np.minimum(true.length[name], 5).mean()
        assert true.pages[name].mean == pytest.approx(drawn, abs=0.25)


def test_slates_hold_what_the_users_themselves_expect() -> None:
    """The best slate's expectation is the highest there is among the candidates; slates never share between kinds."""
    shown: dict[str, NDArray[np.int64]] = {}
    population = true_population(world())

    class Spy:
        users, items, member, scale = population.users, population.items, population.member, population.scale
        begin, assumption = population.begin, population.assumption
        calls: tuple[NDArray[np.int64], ...] = ()

        def respond(self, state: Any, slate: Any) -> Any:
            self.calls = (*self.calls, slate.item)
            return population.respond(state, slate)

    spy = Spy()
    response_test(spy, pages=2, slate_size=5, users=np.arange(20), candidates=30, lives=1, resamples=50)
    asked, pages = spy.calls[0], [np.concatenate(spy.calls[1 + 2 * k : 3 + 2 * k], axis=1) for k in range(3)]
    shown = dict(zip(("best", "random", "worst"), pages, strict=True))
    assert asked.shape == (20, 30)
    expected = world().truth.expected
    for u in range(20):
        rank = np.sort(expected[u, asked[u]])
        np.testing.assert_allclose(np.sort(expected[u, shown["best"][u]]), rank[-10:], atol=1e-5)
        np.testing.assert_allclose(np.sort(expected[u, shown["worst"][u]]), rank[:10], atol=1e-5)
        assert set(shown["random"][u]) <= set(asked[u])
        assert len(set(asked[u])) == 30


def test_response_tests_that_cannot_be_made() -> None:
    population = checkerboard(4, 20)
    with pytest.raises(ConfigError, match="3 pages of 10 want 30 items of 20 candidates; the catalogue has 20"):
        response_test(population, pages=3, slate_size=10)
    with pytest.raises(ConfigError, match="want 8 items of 4 candidates"):
        response_test(population, pages=2, slate_size=4, candidates=4)
    with pytest.raises(UnknownIdError):
        response_test(population, pages=1, slate_size=2, users=np.array([9]))
    with pytest.raises(DataError, match="at least 2 users"):
        response_test(population, pages=1, slate_size=2, users=np.array([1]))
