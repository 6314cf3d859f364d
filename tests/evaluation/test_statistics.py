from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from simenv.errors import ConfigError, DataError
from simenv.evaluation.interval import Interval
from simenv.evaluation.statistics import (
    bootstrap_mean,
    bootstrap_p,
    check_level,
    decompose,
    holm,
    kendall_tau,
    paired_bootstrap,
    paired_differences,
    resampled_means,
    sign_flip_p,
)

DRAW = np.random.default_rng(7)


def test_all_resamples_of_three_users_come_with_their_probabilities() -> None:
    value = np.array([0.0, 1.0, 10.0])
    exact = sorted(np.mean(pick) for pick in product(value, repeat=3))
    sample = resampled_means(value, resamples=40_000, seed=3)
    for point in np.unique(exact):
        want = np.mean(np.isclose(exact, point))
        assert np.mean(np.isclose(sample, point)) == pytest.approx(want, abs=0.01)


def test_interval_agrees_with_scipy() -> None:
    value = DRAW.exponential(size=80)
    ours = bootstrap_mean(value, resamples=9000)
    scipys = bootstrap((value,), np.mean, n_resamples=9000, method="percentile", rng=np.random.default_rng(0))
    assert (ours.low, ours.high) == pytest.approx(tuple(scipys.confidence_interval), abs=0.02)
    assert ours.mean == pytest.approx(value.mean())


def test_interval_covers_as_often_as_it_says() -> None:
    found = [bootstrap_mean(DRAW.normal(size=60), resamples=300, level=0.8) for _ in range(300)]
    hits = [i.low <= 0 <= i.high for i in found]
    assert 0.72 <= np.mean(hits) <= 0.9


def test_columns_meet_the_same_users() -> None:
    value = DRAW.normal(size=30)
    sample = resampled_means(np.column_stack([value, value + 2]), resamples=50)
    assert np.allclose(sample[:, 1] - sample[:, 0], 2)


def test_chunks_of_resamples_do_not_change_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simenv.evaluation.statistics._CHUNK", 70)
    assert resampled_means(np.arange(10.0), resamples=23).shape == (23,)


def test_same_seed_same_numbers_other_seed_others() -> None:
    value = DRAW.normal(size=30)
    assert np.array_equal(resampled_means(value, seed=1), resampled_means(value, seed=1))
    assert not np.array_equal(resampled_means(value, seed=1), resampled_means(value, seed=2))


def test_pairing_finds_what_separate_intervals_hide() -> None:
    base = DRAW.normal(scale=5, size=50)
    pair = paired_bootstrap(base + 0.2 + DRAW.normal(scale=0.1, size=50), base)
    assert pair.significant()
    assert pair.difference.clear
    assert pair.difference.mean == pytest.approx(0.2, abs=0.06)


def test_equal_columns_are_no_difference() -> None:
    value = DRAW.normal(size=20)
    pair = paired_bootstrap(value, value)
    assert (pair.p, pair.p_holm) == (1.0, 1.0)
    assert pair.difference == Interval(0.0, 0.0, 0.0)


def test_many_pairs_can_still_be_significant() -> None:
    value = DRAW.normal(scale=0.01, size=(30, 20)) + np.arange(20)
    pairs = paired_differences(value, resamples=100)
    assert len(pairs) == 190
    assert all(p.significant() for p in pairs)


def test_bootstrap_p_is_twice_the_smaller_tail() -> None:
    assert bootstrap_p(np.array([1.0] * 98 + [-1.0])) == pytest.approx(2 * 2 / 100)
    assert bootstrap_p(np.zeros(50)) == 1.0


def test_sign_flip_p_agrees_with_all_flips() -> None:
    gap = np.array([0.5, 1.0, -0.2, 0.9, 0.4, 0.3, 0.8])
    flips = np.array(list(product([-1, 1], repeat=len(gap)))) @ gap
    exact = np.mean(np.abs(flips) >= abs(gap.sum()) - 1e-12)
    assert sign_flip_p(gap, resamples=20_000) == pytest.approx(exact, abs=0.01)


def test_holm_on_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(max_examples=60, deadline=None)
def test_holm_keeps_order_and_lies_between_raw_and_bonferroni(p: list[float]) -> None:
    raw, fixed = np.array(p), holm(p)
    assert (fixed >= raw).all()
    assert (fixed <= np.minimum(1, raw * len(raw)) + 1e-12).all()
    order = np.argsort(raw, kind="stable")
    assert (np.diff(fixed[order]) >= 0).all()


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=9))
@settings(max_examples=60, deadline=None)
def test_kendall_tau_agrees_with_counting_pairs(points: list[tuple[int, int]]) -> None:
    x, y = np.array(points).T
    sign = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in combinations(range(len(x)), 2)]
    both = sum(a * b for a, b in sign)
    size = np.sqrt(sum(a != 0 for a, _ in sign) * sum(b != 0 for _, b in sign))
    if size == 0:
        assert np.isnan(kendall_tau(x, y))
    else:
        assert kendall_tau(x, y) == pytest.approx(both / size)


def _world(rng: np.random.Generator, refit: float, draw: float, user: float, noise: float) -> np.ndarray:
    f, d, m = 5, 4, 40
    return np.asarray(
        rng.normal(scale=refit, size=(f, 1, 1))
        + rng.normal(scale=draw, size=(1, d, 1))
        + rng.normal(scale=user, size=(1, 1, m))
        + rng.normal(scale=noise, size=(f, d, m))
    )


def test_sources_of_uncertainty_are_found_again() -> None:
    found = [decompose(_world(DRAW, 0.3, 0.2, 1.0, 0.5)) for _ in range(200)]
    assert np.mean([u.users**2 for u in found]) == pytest.approx(1.0 / 40, rel=0.15)
    assert np.mean([(u.refits or 0) ** 2 for u in found]) == pytest.approx(0.09 / 5, rel=0.25)
    draws = 0.04 / 4 + 0.25 / (5 * 4 * 40)
    assert np.mean([(u.draws or 0) ** 2 for u in found]) == pytest.approx(draws, rel=0.3)
    covered = np.mean([u.total.low <= 0 <= u.total.high for u in found])
    assert 0.9 <= covered <= 1.0


def test_one_way_case_is_the_textbook_standard_error() -> None:
    value = DRAW.normal(size=25)
    found = decompose(value[None, None])
    assert found.users == pytest.approx(value.std(ddof=1) / 5)
    assert (found.refits, found.draws) == (None, None)
    half = 2.0638985616 * value.std(ddof=1) / 5
    assert found.total.high - found.total.mean == pytest.approx(half)


def test_two_way_mean_squares_by_hand() -> None:
    value = np.array([[[1.0, 2.0, 6.0]], [[3.0, 2.0, 10.0]]])
    grand = value.mean()
    user, refit = value.mean(axis=(0, 1)), value.mean(axis=(1, 2))
    rest = value[:, 0] - user - refit[:, None] + grand
    ms_rest = (rest**2).sum() / 2
    ms_user = 2 * ((user - grand) ** 2).sum() / 2
    ms_refit = 3 * ((refit - grand) ** 2).sum() / 1
    found = decompose(value)
    assert found.users**2 == pytest.approx(max(0, (ms_user - ms_rest) / 2) / 3)
    assert (found.refits or 0) ** 2 == pytest.approx(max(0, (ms_refit - ms_rest) / 3) / 2 + ms_rest / 6)


@pytest.mark.parametrize(
    ("value", "words"),
    [([1.0], "at least 2 users"), ([1.0, float("nan")], "drop users without one"), ([[[1.0]]], "at least 2 users")],
)
def test_bad_values_are_refused(value: list[object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        bootstrap_mean(value)  # type: ignore[arg-type]


def test_bad_shapes_and_levels_are_refused() -> None:
    with pytest.raises(DataError, match="refits, draws, users"):
        decompose(np.zeros((2, 3)))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        check_level(95)
