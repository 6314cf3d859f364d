from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LinearRegression

from simenv.errors import ConfigError, DataError
from simenv.evaluation.fidelity.signal import incremental_r2
from simenv.evaluation.rating import Truth
from simenv.evaluation.user_total import deal
from simenv.scale import RatingScale

Float = NDArray[np.float64]


def world(seed: int = 0, n: int = 3000, users: int = 60) -> tuple[Truth, Float, Float]:
    """Ratings that are 0.6 base + 0.8 more + noise of sd 0.5, on no scale in particular; base and more."""
    rng = np.random.default_rng(seed)
    base, more = rng.normal(size=(2, n))
    y = 3 + 0.6 * base + 0.8 * more + 0.5 * rng.normal(size=n)
    return Truth(rng.integers(users, size=n), y, RatingScale()), base, more


def test_a_planted_signal_is_found() -> None:
    truth, base, more = world()
    found = incremental_r2(truth, {"base": base}, more, resamples=500)
    assert found.low < 0.64 / 1.25 < found.high
    assert found.mean == pytest.approx(0.64 / 1.25, abs=0.02)
    assert found.high - found.low < 0.08


def test_it_is_the_gain_of_cross_fitted_least_squares() -> None:
    truth, base, more = world(1, n=300, users=12)
    y, fold = truth.rating, deal(truth.user, 4, seed=5)
    sse = []
    for x in (np.column_stack([base]), np.column_stack([base, more])):
        error = 0.0
        for f in range(4):
            fit = LinearRegression().fit(x[fold != f], y[fold != f])
            error += float(((y[fold == f] - fit.predict(x[fold == f])) ** 2).sum())
        sse.append(error)
    found = incremental_r2(truth, {"base": base}, more, folds=4, seed=5, resamples=50)
    assert found.mean == pytest.approx((sse[0] - sse[1]) / ((y - y.mean()) ** 2).sum())


@pytest.mark.parametrize("seed", range(4))
def test_noise_gains_nothing(seed: int) -> None:
    truth, base, _ = world(seed, n=1500)
    noise = np.random.default_rng(seed + 100).normal(size=(8, 1500))
    gain = [incremental_r2(truth, {"base": base}, column, resamples=200).mean for column in noise]
    assert max(gain) < 0.004
    assert np.mean(gain) < 0


def test_noise_that_is_the_same_for_all_pairs_of_a_user_gains_nothing() -> None:
    """In-sample R2 would rise: users differ, and with few users noise per user follows them."""
    rng = np.random.default_rng(3)
    user = np.repeat(np.arange(12), 100)
    y = rng.normal(size=12)[user] + rng.normal(size=1200)
    truth = Truth(user, y, RatingScale())
    gain = [incremental_r2(truth, {}, rng.normal(size=12)[user], resamples=50).mean for _ in range(20)]
    assert np.mean(gain) < 0


def test_a_copy_or_a_blend_of_the_base_gains_nothing() -> None:
    truth, base, more = world(2, n=500)
    assert incremental_r2(truth, {"base": base}, base, resamples=50).mean == pytest.approx(0, abs=1e-9)
    blend = incremental_r2(truth, {"base": base, "more": more}, 2 * base - more + 1, resamples=50)
    assert (blend.mean, blend.low, blend.high) == pytest.approx((0, 0, 0), abs=1e-9)


def test_the_interval_counts_users() -> None:
    """Where half of the users follow the column and half do not, users are what the gain is uncertain by."""
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(20), 100)
    column = rng.normal(size=2000)
    y = column * 2 * (user % 2) + rng.normal(size=2000)
    many = incremental_r2(Truth(user, y, RatingScale()), {}, column, resamples=500)
    iid = incremental_r2(Truth(np.arange(2000), y, RatingScale()), {}, column, resamples=500)
    assert many.high - many.low > 1.5 * (iid.high - iid.low)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 50), st.floats(-9, 9))
def test_units_and_order_of_pairs_do_not_matter(seed: int, factor: float, shift: float) -> None:
    truth, base, more = world(seed, n=80, users=9)
    order = np.random.default_rng(seed).permutation(80)
    first = incremental_r2(truth, {"base": base}, more, resamples=20)
    again = Truth(truth.user[order], truth.rating[order], truth.scale)
    second = incremental_r2(again, {"base": base[order] * factor + shift}, shift - factor * more[order], resamples=20)
    assert (first.mean, first.low, first.high) == pytest.approx((second.mean, second.low, second.high), abs=1e-9)


def test_equal_ratings_have_no_r2() -> None:
    truth, base, more = world(5, n=50)
    flat = Truth(truth.user, np.full(50, 4.0), truth.scale)
    assert np.isnan(incremental_r2(flat, {"base": base}, more, resamples=20).mean)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"added": np.zeros(3)}, DataError, "column 'added' must hold one number for each of 50 pairs; got shape"),
        ({"base": {"bias": np.full(50, np.nan)}}, DataError, "column 'bias' holds 50 numbers that are not finite"),
        ({"folds": 1}, ConfigError, "folds must be 2 or more"),
        ({"level": 95}, ConfigError, "level must lie between"),
        ({"truth": Truth(np.zeros(50, np.int64), np.ones(50), RatingScale())}, DataError, "at least 2 users; got 1"),
    ],
)
def test_bad_input_is_refused(change: dict[str, Any], error: type[Exception], words: str) -> None:
    truth, base, more = world(6, n=50)
    given_: dict[str, Any] = {"truth": truth, "base": {"base": base}, "added": more} | change
    with pytest.raises(error, match=words):
        incremental_r2(**given_)
