"""The correction by a sample: unbiased whatever the cheap model, honest intervals, the better the more precise."""

from __future__ import annotations

import numpy as np
import pytest

from simenv.errors import ConfigError, DataError
from simenv.evaluation.control_variate import ControlVariate, control_variate, sample_pairs

M, K = 120, 6
USER = np.repeat(np.arange(M), K)


def truth(rng: np.random.Generator) -> np.ndarray:
    """Exact values of the pairs of M users: users differ."""
    return np.asarray(3 + np.repeat(rng.normal(0, 1, M), K) + rng.normal(0, 0.5, M * K))


def cheap_of(exact: np.ndarray, r2: float, rng: np.random.Generator) -> np.ndarray:
    """A cheap model that is wrong in level and slope, and tells R2 of the users' differences."""
    noise = np.repeat(rng.normal(0, 1, M), K) * np.sqrt(1 / r2 - 1)
    return np.asarray(1.5 + 0.6 * (exact + noise))


Runs = tuple[np.ndarray, np.ndarray, list[ControlVariate]]


def repeated(r2: float, runs: int, coefficient: float | None, fresh: bool) -> Runs:
    """Estimates over many samples (fresh: of many sets of users), and what each should be."""
    rng, found, wanted = np.random.default_rng(1), [], []
    exact = truth(rng)
    cheap = cheap_of(exact, r2, rng)
    for seed in range(runs):
        if fresh:
            exact = truth(rng)
            cheap = cheap_of(exact, r2, rng)
        rows = sample_pairs(USER, users=30, pairs=3, seed=seed)
        found.append(control_variate(USER, cheap, rows, exact[rows], coefficient=coefficient, seed=seed))
        wanted.append(3.0 if fresh else exact.mean())
    return np.array([f.value.mean for f in found]), np.array(wanted), found


@pytest.mark.parametrize("coefficient", [None, 1.0, 0.0, -2.0])
def test_unbiased_for_the_exact_value_whatever_the_cheap_one(coefficient: float | None) -> None:
    got, wanted, found = repeated(0.5, 500, coefficient, fresh=False)
    error = got.std() / np.sqrt(len(got))
    assert abs(got.mean() - wanted[0]) < 3.5 * error
    assert abs(found[0].cheap - wanted[0]) > 0.1  # the cheap value alone is biased, so the test can fail


@pytest.mark.parametrize("coefficient", [None, 1.0])
@pytest.mark.parametrize("r2", [0.2, 0.95])
def test_intervals_cover_as_often_as_they_say(coefficient: float | None, r2: float) -> None:
    _, wanted, found = repeated(r2, 400, coefficient, fresh=True)
    inside = np.mean([f.value.low <= w <= f.value.high for f, w in zip(found, wanted, strict=True)])
    assert 0.91 < inside < 0.985


def test_variance_falls_with_what_the_cheap_model_tells() -> None:
    spread = [repeated(r2, 250, None, fresh=False)[0].var() for r2 in (0.05, 0.5, 0.9)]
    assert spread[0] > 1.3 * spread[1] > 1.3 * 1.3 * spread[2]
    gain = [np.median([f.gain for f in repeated(r2, 50, None, fresh=True)[2]]) for r2 in (0.05, 0.9)]
    assert gain[0] < 1.3 < gain[1]


def test_by_hand() -> None:
    user = np.array([0, 0, 1, 1, 2, 2])
    cheap = np.array([1.0, 3.0, 2.0, 2.0, 4.0, 4.0])
    got = control_variate(user, cheap, np.array([0, 2, 3]), np.array([2.0, 2.5, 1.5]), coefficient=1.0)
    # users' cheap means 2, 2, 4; sampled differences 2 - 1 and 2 - 2
    assert got.value.mean == pytest.approx(8 / 3 + 0.5)
    assert got.plain.mean == 2.0
    assert (got.users, got.sampled_users, got.asked) == (3, 2, 3)
    assert got.cheap == pytest.approx(8 / 3)


def test_a_perfect_cheap_model_leaves_only_the_users() -> None:
    exact = truth(np.random.default_rng(0))
    rows = sample_pairs(USER, users=30, seed=0)
    got = control_variate(USER, exact, rows, exact[rows], coefficient=1.0)
    mean = exact.reshape(M, K).mean(axis=1)
    assert got.value.mean == pytest.approx(mean.mean())
    assert got.value.high - got.value.mean == pytest.approx(2.045 * mean.std(ddof=1) / np.sqrt(M), rel=0.15)


def test_order_of_rows_and_names_of_users_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    exact = truth(rng)
    cheap = cheap_of(exact, 0.5, rng)
    rows = sample_pairs(USER, users=30, pairs=2, seed=0)
    turn = rng.permutation(len(USER))
    where = np.argsort(turn)
    one = control_variate(USER, cheap, rows, exact[rows])
    other = control_variate(USER[turn] + 7, cheap[turn], where[rows], exact[rows])
    assert one.value.mean == pytest.approx(other.value.mean)
    assert one.value.low == pytest.approx(other.value.low)


def test_samples_are_of_whole_users_then_of_their_pairs() -> None:
    user = np.concatenate([USER, [500]])
    rows = sample_pairs(user, users=40, pairs=2, seed=5)
    _, count = np.unique(user[rows], return_counts=True)
    assert len(count) == 40
    assert set(count) <= {1, 2}
    assert (np.diff(rows) > 0).all()
    assert len(sample_pairs(USER, users=40, seed=5)) == 40 * K
    assert not np.array_equal(rows, sample_pairs(user, users=40, pairs=2, seed=6))
    seen = np.bincount(
        np.concatenate([sample_pairs(USER, users=30, pairs=3, seed=s) for s in range(800)]), minlength=M * K
    )
    assert abs(seen / 800 - 0.125).max() < 0.06  # every pair has the same chance


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match=r"sample 2\.\.120 users"):
        sample_pairs(USER, users=121)
    cheap, rows = np.zeros(M * K), np.arange(12)
    with pytest.raises(DataError, match="not finite"):
        control_variate(USER, cheap, rows, np.full(12, np.nan))
    with pytest.raises(DataError, match="twice"):
        control_variate(USER, cheap, np.zeros(12, int), np.zeros(12))
    with pytest.raises(DataError, match="expected users and cheap values"):
        control_variate(USER, cheap, rows, np.zeros(11))
    with pytest.raises(DataError, match="at least 15 sampled users; got 2"):
        control_variate(USER, cheap, rows, np.zeros(12))
    with pytest.raises(DataError, match="at least 2 sampled users; got 1"):
        control_variate(USER, cheap, rows[:6], np.zeros(6), coefficient=1.0)
    with pytest.raises(ConfigError, match="2 or more are needed"):
        control_variate(USER, cheap, rows, np.zeros(12), folds=1)
