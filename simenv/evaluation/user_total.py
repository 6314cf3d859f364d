"""UserTotals: what each user contributes to a measure, so that one matrix product resamples all measures over users.

Knows arrays; nothing of ratings, scales or predictors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv.errors import ConfigError, DataError
from simenv.evaluation.interval import Interval
from simenv.evaluation.statistics import RESAMPLES, check_level, resampled_means
from simenv.randomness import generator

Float = NDArray[np.float64]
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
class UserTotals:
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


def ratio(total: Float) -> Float:
    """Return the first total over the second; NaN where the second is 0 (nothing was counted)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total[..., 1] != 0, total[..., 0] / total[..., 1], np.nan)


def root_ratio(total: Float) -> Float:
    """Return the root of `ratio`."""
    return np.sqrt(ratio(total))


def average(users: UserTotals, loss: NDArray[np.generic], value: Value = ratio) -> Statistic:
    """Return the statistic of a loss [N] per pair: its mean over pairs, or another `value` of (sum, pairs)."""
    return Statistic(np.column_stack([users.sum(loss), users.count]), value)


def correlation(total: Float) -> Float:
    """Return Pearson's r from totals (1, a, b, a^2, b^2, a b)."""
    n, a, b, aa, bb, ab = np.moveaxis(total, -1, 0)
    variance, real = aa / n - (a / n) ** 2, bb / n - (b / n) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (ab / n - a * b / n**2) / np.sqrt(variance * real)
    # A constant has no correlation; what rounding leaves of its variance is not one either.
    return np.where((variance > 1e-12) & (real > 1e-12), value, np.nan)


def over_draws(totals: list[Float], value: Value) -> Statistic:
    """Return the measure averaged over draws: each draw keeps its own totals."""
    size = totals[0].shape[1]

    def averaged(total: Float) -> Float:
        return np.asarray(value(total.reshape(*total.shape[:-1], -1, size)).mean(axis=-1))

    return Statistic(np.hstack(totals), averaged)


def bootstrap(statistic: Statistic, *, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95) -> Interval:
    """Return the statistic with its percentile interval over users (Efron 1979).

    Resamples in which it is not defined (no user of a rare group was drawn) are left out; NaN if none is left.

    Raises:
        ConfigError: level is no coverage.
        DataError: fewer than two users.

    """
    check_level(level)
    drawn = statistic.value(resampled_means(statistic.total, resamples=resamples, seed=seed))
    drawn = drawn[np.isfinite(drawn)]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2]) if len(drawn) else (np.nan, np.nan)
    return Interval(float(statistic.value(statistic.total.sum(axis=0))), float(low), float(high), level)


def deal(user: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Return the fold int64[N] of each pair's user: users are dealt at random, all pairs of one user to one fold.

    Folds differ by one user at most; with fewer users than folds, each user is a fold.

    Raises:
        ConfigError: fewer than two folds.
        DataError: fewer than two users, so that nothing could be held out.

    """
    ids, row = np.unique(user, return_inverse=True)
    if folds < 2:
        raise ConfigError(f"folds must be 2 or more; got {folds}.")
    if len(ids) < 2:
        raise DataError(f"holding users out needs at least 2 users; got {len(ids)}.")
    place = generator(seed, "folds").permutation(len(ids))
    return np.asarray((place % folds)[row.ravel()], np.int64)
