"""Rating-level measures: how close predicted ratings and distributions come to the ratings users really gave.

Knows arrays and a scale; nothing of who predicted. Every measure is a function of totals per user, so one matrix
product resamples all of them over users, paired between predictors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.evaluation.rating_distribution import of_distribution, of_draws
from simenv.evaluation.user_total import Statistic, UserTotals, average, correlation, ratio, root_ratio
from simenv.randomness import generator
from simenv.scale import RatingScale

__all__ = ["Prediction", "Statistic", "Truth", "measures", "sample", "statistics"]

Float = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Truth:
    """N ratings that were really given."""

    user: NDArray[np.int64]
    """int64[N]; users are the unit of resampling."""
    rating: NDArray[np.floating]
    """[N], values of `scale`."""
    scale: RatingScale
    like_from: float = 4.0
    """Ratings from here on count as a like, in the calibration of "will they like it"."""


@final
@dataclass(frozen=True, eq=False)
class Prediction:
    """What one predictor says about the same N pairs."""

    point: NDArray[np.floating]
    """[N]: the number that is scored by squared error; the mean rating of a distribution."""
    p: NDArray[np.floating] | None = None
    """[N, R]: distributions over the scale; None: the predictor has none, and measures that need one are left out."""
    draws: NDArray[np.floating] | None = None
    """[D, N]: D sampled ratings per pair; None: measures of sampled ratings are left out."""
    off_scale: NDArray[np.floating] | None = None
    """[N]: probability the model gave to answers off the scale before they were ruled out; None: not known."""

    @classmethod
    def of(
        cls,
        p: NDArray[np.floating],
        scale: RatingScale,
        *,
        off_scale: NDArray[np.floating] | None = None,
        draws: int = 0,
        seed: int = 0,
    ) -> Prediction:
        """Return the prediction whose number is the mean of p [N, R]; `draws` > 0 samples ratings from p as well."""
        sampled = sample(p, scale, draws=draws, seed=seed) if draws else None
        return cls(scale.expectation(p), p, sampled, off_scale)


def sample(p: NDArray[np.floating], scale: RatingScale, *, draws: int, seed: int) -> Float:
    """Return float64[D, N] ratings drawn from distributions p [N, R], independent between pairs."""
    u = generator(seed, "sampled ratings").random((draws, len(p)))
    return np.stack([scale.sample(p, row) for row in u])


def statistics(truth: Truth, prediction: Prediction) -> dict[str, Statistic]:
    """Return every measure this prediction allows, by name. R scale values, F cumulative distribution.

    Of the number: `rmse`, `mae`, `rmse_rounded` (nearest value on the scale), `mean_error`, `user_mean_correlation`
    (Pearson, user means predicted against real), `point_within_variance_ratio` (the number taken as an answer).
    Of the distribution: `mae_median`, `mae_mode`, `rmse_mode`, `accuracy` and
    `macro_f1` (mode), `nll`, `rps`, `brier`, `ece_top`,
    `ece_like`, and what independent draws from it would show in expectation: `rmse_sampled`, `within_variance_ratio`,
    `between_sd_ratio`, `w1`. Of draws: the same three with the prefix `sampled_`. `off_scale` where it is known.

    Raises:
        DataError: shapes differ, a distribution does not sum to 1, or a rating is off the scale.

    """
    _check(truth, prediction)
    users, y = UserTotals(truth.user), np.asarray(truth.rating, np.float64)
    out = _of_point(users, y, np.asarray(prediction.point, np.float64), truth.scale)
    if prediction.p is not None:
        out |= of_distribution(users, y, np.asarray(prediction.p, np.float64), truth.scale, truth.like_from)
    if prediction.draws is not None:
        out |= of_draws(users, y, np.asarray(prediction.draws, np.float64), truth.scale)
    if prediction.off_scale is not None:
        out["off_scale"] = average(users, prediction.off_scale)
    return out


def measures(truth: Truth, prediction: Prediction) -> dict[str, float]:
    """Return the value of every measure, without intervals; names as in `statistics`."""
    return {name: float(s.value(s.total.sum(axis=0))) for name, s in statistics(truth, prediction).items()}


def _check(truth: Truth, prediction: Prediction) -> None:
    n, r = len(truth.rating), len(truth.scale)
    shapes = {"user": (n,), "point": (n,), "p": (n, r), "off_scale": (n,)}
    for name, shape in shapes.items():
        array = truth.user if name == "user" else getattr(prediction, name)
        if array is not None and np.shape(array) != shape:
            raise DataError(f"{name} must have shape {shape} (pairs, scale values); got {np.shape(array)}.")
    if prediction.draws is not None and (prediction.draws.ndim != 2 or prediction.draws.shape[1] != n):
        raise DataError(f"draws must be [D, {n}] sampled ratings; got {prediction.draws.shape}.")
    if not np.isfinite(prediction.point).all():
        raise DataError(f"point holds {int((~np.isfinite(prediction.point)).sum())} numbers that are not finite.")
    if prediction.p is not None:
        worst = np.abs(np.asarray(prediction.p, np.float64).sum(axis=1) - 1).max(initial=0)
        if not worst < 1e-3 or np.min(prediction.p) < 0:
            raise DataError(f"each row of p must be a distribution; a sum is off by {worst:.3g}. Normalise p first.")


def _of_point(users: UserTotals, y: Float, point: Float, scale: RatingScale) -> dict[str, Statistic]:
    error = point - y
    mean, variance = users.mean_and_variance(point)
    real_mean, real_variance = users.mean_and_variance(y)
    one = np.ones_like(mean)
    moments = np.column_stack([one, mean, real_mean, mean**2, real_mean**2, mean * real_mean])
    return {
        "rmse": average(users, error**2, root_ratio),
        "mae": average(users, np.abs(error)),
        "rmse_rounded": average(users, (scale.round(point) - y) ** 2, root_ratio),
        "mean_error": average(users, error),
        "user_mean_correlation": Statistic(moments, correlation),
        "point_within_variance_ratio": Statistic(np.column_stack([variance, real_variance]), ratio),
    }
