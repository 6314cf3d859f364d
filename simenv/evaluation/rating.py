"""Rating-level measures: how close predicted ratings and distributions come to the ratings users really gave.

Knows arrays and a scale; nothing of who predicted. Every measure is a function of totals per user, so one matrix
product resamples all of them over users, paired between predictors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv.errors import DataError
from simenv.randomness import generator
from simenv.scale import RatingScale

Float = NDArray[np.float64]
BINS = 15
"""Bins of equal width in every calibration error."""
FLOOR = 1e-9
"""The smallest probability a logarithm is taken of, so that one impossible rating cannot hide all others."""


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


Value = Callable[[Float], Float]


@final
@dataclass(frozen=True, eq=False)
class Statistic:
    """A measure as a function of sums over users: `value` takes sums or means [..., Q] alike (it is scale-free)."""

    total: Float
    """float64[M, Q]: what each of M users contributes."""
    value: Value
    """[..., Q] -> [...]"""


@final
class _Users:
    """Sums over each user's pairs."""

    def __init__(self, user: NDArray[np.int64]) -> None:
        self.ids, row = np.unique(user, return_inverse=True)
        shape = (len(self.ids), len(user))
        self._sum = csr_matrix((np.ones(len(user)), (row.ravel(), np.arange(len(user)))), shape=shape)
        self.count = np.asarray(self._sum.sum(axis=1), np.float64).ravel()

    def sum(self, value: NDArray[np.generic]) -> Float:
        """Return sums [M] or [M, Q] of value [N] or [N, Q]."""
        return np.asarray(self._sum @ np.asarray(value, np.float64), np.float64)

    def mean_and_variance(self, value: NDArray[np.floating]) -> tuple[Float, Float]:
        """Return each user's mean [M] and sample variance [M] (denominator n - 1; 0 for a single pair)."""
        mean = self.sum(value) / self.count
        spread = self.sum(np.square(value)) - self.count * mean**2
        return mean, np.maximum(spread, 0.0) / np.maximum(self.count - 1, 1)


def statistics(truth: Truth, prediction: Prediction) -> dict[str, Statistic]:
    """Return every measure this prediction allows, by name. R scale values, F cumulative distribution.

    Of the number: `rmse`, `mae`, `rmse_rounded` (nearest value on the scale), `mean_error`, `user_mean_correlation`
    (Pearson, user means predicted against real), `point_within_variance_ratio` (the number taken as an answer).
    Of the distribution: `mae_median`, `mae_mode`, `rmse_mode`, `accuracy` (mode), `nll`, `rps`, `brier`, `ece_top`,
    `ece_like`, and what independent draws from it would show in expectation: `rmse_sampled`, `within_variance_ratio`,
    `between_sd_ratio`, `w1`. Of draws: the same three with the prefix `sampled_`. `off_scale` where it is known.

    Raises:
        DataError: shapes differ, a distribution does not sum to 1, or a rating is off the scale.

    """
    _check(truth, prediction)
    users, y = _Users(truth.user), np.asarray(truth.rating, np.float64)
    out = _of_point(users, y, np.asarray(prediction.point, np.float64), truth.scale)
    if prediction.p is not None:
        out |= _of_distribution(users, y, np.asarray(prediction.p, np.float64), truth)
    if prediction.draws is not None:
        out |= _of_draws(users, y, np.asarray(prediction.draws, np.float64), truth.scale)
    if prediction.off_scale is not None:
        out["off_scale"] = _mean(users, prediction.off_scale)
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


def _ratio(total: Float) -> Float:
    return np.asarray(total[..., 0] / total[..., 1])


def _root_ratio(total: Float) -> Float:
    return np.sqrt(_ratio(total))


def _mean(users: _Users, loss: NDArray[np.generic], value: Value = _ratio) -> Statistic:
    return Statistic(np.column_stack([users.sum(loss), users.count]), value)


def _of_point(users: _Users, y: Float, point: Float, scale: RatingScale) -> dict[str, Statistic]:
    error = point - y
    mean, variance = users.mean_and_variance(point)
    real_mean, real_variance = users.mean_and_variance(y)
    one = np.ones_like(mean)
    moments = np.column_stack([one, mean, real_mean, mean**2, real_mean**2, mean * real_mean])
    return {
        "rmse": _mean(users, error**2, _root_ratio),
        "mae": _mean(users, np.abs(error)),
        "rmse_rounded": _mean(users, (scale.round(point) - y) ** 2, _root_ratio),
        "mean_error": _mean(users, error),
        "user_mean_correlation": Statistic(moments, _correlation),
        "point_within_variance_ratio": Statistic(np.column_stack([variance, real_variance]), _ratio),
    }


def _of_distribution(users: _Users, y: Float, p: Float, truth: Truth) -> dict[str, Statistic]:
    """Proper scores: RPS after Epstein 1969, Brier 1950; see Gneiting and Raftery 2007."""
    scale, place, row = truth.scale, truth.scale.encode(y), np.arange(len(y))
    mode, given = p.argmax(axis=1), _histogram(place, len(truth.scale))
    rps = ((p.cumsum(axis=1) - given.cumsum(axis=1))[:, :-1] ** 2).sum(axis=1) / (len(scale) - 1)
    likes = scale.array >= truth.like_from - 1e-9
    mean = scale.expectation(p)
    variance = np.maximum(p @ scale.array**2 - mean**2, 0.0)
    return {
        "mae_median": _mean(users, np.abs(scale.median(p) - y)),
        "mae_mode": _mean(users, np.abs(scale.array[mode] - y)),
        "rmse_mode": _mean(users, (scale.array[mode] - y) ** 2, _root_ratio),
        "accuracy": _mean(users, mode == place),
        "nll": _mean(users, -np.log(np.maximum(p[row, place], FLOOR))),
        "rps": _mean(users, rps),
        "brier": _mean(users, ((p - given) ** 2).sum(axis=1)),
        "ece_top": _calibration(users, p.max(axis=1), mode == place),
        "ece_like": _calibration(users, p[:, likes].sum(axis=1), likes[place]),
        "rmse_sampled": _mean(users, (mean - y) ** 2 + variance, _root_ratio),
        "w1": _w1(users, p[None], given, scale),
        **_spread(users, y, mean[None], variance[None]),
    }


def _of_draws(users: _Users, y: Float, draws: Float, scale: RatingScale) -> dict[str, Statistic]:
    given = _histogram(scale.encode(y), len(scale))
    drawn = np.stack([_histogram(scale.encode(d), len(scale)) for d in draws])
    found = {"w1": _w1(users, drawn, given, scale), **_spread(users, y, draws, np.zeros((1, len(y))))}
    return {f"sampled_{name}": statistic for name, statistic in found.items()}


def _histogram(place: NDArray[np.int64], n_values: int) -> Float:
    return np.asarray(place[:, None] == np.arange(n_values), np.float64)


def _spread(users: _Users, y: Float, answer: Float, noise: Float) -> dict[str, Statistic]:
    """Return both ratios of spread for answers [D, N] that each carry a further independent variance [D or 1, N].

    within: mean over users of the variance of a user's answers (denominator n - 1, which independent noise enters in
    full) against the same of real ratings. between: standard deviation over users of the user mean, which noise
    enters divided by n (and less 1/M of it, M users: their common mean is noisy too).
    """
    real_mean, real_variance = users.mean_and_variance(y)
    several = users.count > 1
    within, between = [], []
    for value, extra in zip(answer, np.broadcast_to(noise, answer.shape), strict=True):
        mean, variance = users.mean_and_variance(value)
        more = users.sum(extra) / users.count
        within.append(np.column_stack([np.where(several, variance + more, 0.0), real_variance]))
        square = [mean**2 + more / users.count * (1 - 1 / len(mean)), real_mean**2]
        between.append(np.column_stack([np.ones_like(mean), mean, real_mean, *square]))
    return {
        "within_variance_ratio": _over_draws(within, _ratio),
        "between_sd_ratio": _over_draws(between, _sd_ratio),
    }


def _over_draws(totals: list[Float], value: Value) -> Statistic:
    """Return the measure averaged over draws: each draw keeps its own totals."""
    size = totals[0].shape[1]

    def averaged(total: Float) -> Float:
        return np.asarray(value(total.reshape(*total.shape[:-1], -1, size)).mean(axis=-1))

    return Statistic(np.hstack(totals), averaged)


def _sd_ratio(total: Float) -> Float:
    n, mean, real, square, real_square = np.moveaxis(total, -1, 0)
    real_variance = real_square / n - (real / n) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.maximum(square / n - (mean / n) ** 2, 0.0) / real_variance
    return np.sqrt(np.where(real_variance > 1e-12, ratio, np.nan))


def _correlation(total: Float) -> Float:
    n, a, b, aa, bb, ab = np.moveaxis(total, -1, 0)
    variance, real = aa / n - (a / n) ** 2, bb / n - (b / n) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (ab / n - a * b / n**2) / np.sqrt(variance * real)
    # A constant has no correlation; what rounding leaves of its variance is not one either.
    return np.where((variance > 1e-12) & (real > 1e-12), value, np.nan)


def _w1(users: _Users, p: Float, given: Float, scale: RatingScale) -> Statistic:
    """Wasserstein-1 between the pooled answers p [D, N, R] and real ratings, in rating points, mean over draws."""
    gap = np.diff(scale.array)
    totals = [np.hstack([users.sum(d - given), users.count[:, None]]) for d in p]

    def distance(total: Float) -> Float:
        cumulative = np.abs(total[..., :-1].cumsum(axis=-1)[..., :-1])
        return np.asarray((cumulative * gap).sum(axis=-1) / total[..., -1])

    return _over_draws(totals, distance)


def _calibration(users: _Users, confidence: Float, hit: NDArray[np.bool_]) -> Statistic:
    """Return the expected calibration error with equal-width bins (Naeini et al. 2015; Guo et al. 2017).

    Its bootstrap leans upward, as |noise| does: read the interval's upper end.
    """
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gap = users.sum(_histogram(place, BINS) * (confidence - hit)[:, None])

    def error(total: Float) -> Float:
        return np.asarray(np.abs(total[..., :-1]).sum(axis=-1) / total[..., -1])

    return Statistic(np.column_stack([gap, users.count]), error)
