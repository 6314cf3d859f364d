import numpy as np
import pytest

from simenv.errors import DataError
from simenv.evaluation.return_time import Concordance, SeenGaps, brier, calibration, integrated_brier
from simenv.evaluation.user_total import bootstrap

MOMENT = np.array([1.0, 5.0])


def seen(days: list[float], returned: list[bool], user: list[int] | None = None) -> SeenGaps:
    return SeenGaps(np.array(user or range(len(days))), np.array(days), np.array(returned))


def test_concordance_by_hand() -> None:
    held = seen([1.0, 2.0, 3.0, 1.5], [True, True, True, False])
    # Comparable pairs, earlier one first: (0,1) (0,2) (0,3) (1,2); the one cut off at 1.5 tells nothing of later ones.
    found = Concordance.of(held, np.array([3.0, 1.0, 2.0, 3.0]))
    assert found.pairs.sum() == 4
    assert found.value == pytest.approx((1 + 1 + 0.5 + 0) / 4)


def test_concordance_of_a_perfect_a_reversed_and_a_silent_risk() -> None:
    rng = np.random.default_rng(0)
    held = SeenGaps(rng.integers(0, 40, 300), rng.exponential(size=300), rng.random(300) < 0.8)
    assert Concordance.of(held, -held.days).value == 1
    assert Concordance.of(held, held.days).value == 0
    silent = Concordance.of(held, np.zeros(300))
    assert silent.value == 0.5
    assert (silent.interval().low, silent.interval().high) == (0.5, 0.5)
    noisy = Concordance.of(held, -held.days + rng.normal(0, 1, 300)).interval(resamples=100)
    assert 0.5 < noisy.low < noisy.mean < noisy.high < 1


def test_where_everything_was_seen_the_brier_score_is_plain() -> None:
    held = seen([0.5, 3.0, 9.0], [True, True, True])
    p = np.array([[0.5, 0.5], [0.0, 1.0], [0.2, 0.4]])
    np.testing.assert_allclose(brier(held, p, MOMENT), np.array([[0.25, 0.25], [0, 0], [0.04, 0.16]]))
    score = integrated_brier(held, p, MOMENT)
    assert bootstrap(score).mean == pytest.approx(np.mean([0.25, 0.25, 0, 0, 0.04, 0.16]))


def test_what_was_cut_off_is_made_up_for_by_what_was_not() -> None:
    rng = np.random.default_rng(1)
    n = 40_000
    days, end = rng.exponential(3.0, n), rng.exponential(6.0, n)
    user = np.arange(n) % 500
    whole = SeenGaps(user, days, np.ones(n, bool))
    part = SeenGaps(user, np.minimum(days, end), days <= end)
    p = np.tile([0.2, 0.7], (n, 1))
    for a, b in zip(brier(whole, p, MOMENT).mean(axis=0), brier(part, p, MOMENT).mean(axis=0), strict=True):
        assert a == pytest.approx(b, rel=0.02)
    told, off = calibration(part, p, MOMENT)
    true = 1 - np.exp(-MOMENT / 3)
    for t in range(2):
        assert told[t].value(told[t].total.sum(axis=0)) == pytest.approx(p[0, t])
        found = bootstrap(off[t])
        assert found.mean == pytest.approx(p[0, t] - true[t], abs=0.01)
        assert found.low < p[0, t] - true[t] < found.high


def test_nobody_looks_beyond_the_horizon() -> None:
    held = seen([0.5, 30.0, 90.0], [True, True, False]).cut(20.0)
    assert held.days.tolist() == [0.5, 20, 20]
    assert held.returned.tolist() == [True, False, False]


def test_gaps_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="of one length"):
        seen([1.0], [True], [1, 2])
    with pytest.raises(DataError, match="at least one"):
        seen([], [])
