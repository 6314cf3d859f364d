"""Values on a cheap model's answers, corrected on a sample by the exact model's: unbiased for the exact value.

Knows arrays only: cheap and exact numbers for pairs of users and shown items, from whatever models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t

from simenv.errors import ConfigError, DataError
from simenv.evaluation.interval import Interval
from simenv.evaluation.statistics import check_level
from simenv.randomness import generator

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@final
@dataclass(frozen=True)
class ControlVariate:
    """The value of a policy with respect to an exact model: mean over users of each user's mean over shown pairs."""

    value: Interval
    """Unbiased; interval over users drawn anew (Student)."""
    plain: Interval
    """What the sampled exact answers alone say: unbiased too."""
    cheap: float
    """What the cheap model alone says, of all pairs: biased by whatever it gets wrong."""
    coefficient: float
    """Weight of the cheap model; mean over the folds where it was fitted."""
    users: int
    sampled_users: int
    asked: int
    """Pairs the exact model was asked."""

    @property
    def gain(self) -> float:
        """Variance of `plain` over that of `value`: how many times more exact answers the plain mean would need."""
        ours, other = self.value.high - self.value.low, self.plain.high - self.plain.low
        return (other / ours) ** 2 if ours > 0 else float("inf")


def sample_pairs(user: NDArray[np.int64], *, users: int, pairs: int | None = None, seed: int = 0) -> Int:
    """Return rows int64[n], ascending, of pairs with users [N]: `users` drawn at random, then `pairs` of each one's.

    pairs: None: all of a drawn user's pairs; users with fewer are asked all of theirs.

    Raises:
        ConfigError: fewer than two users wanted, more than there are, or no pair of each.

    """
    user = np.asarray(user, np.int64)
    ids = np.unique(user)
    if not 2 <= users <= len(ids) or (pairs is not None and pairs < 1):
        raise ConfigError(f"sample 2..{len(ids)} users and at least one pair of each; got {users} and {pairs}.")
    rng = generator(seed, "control variate")
    chosen = np.flatnonzero(np.isin(user, rng.choice(ids, users, replace=False)))
    if pairs is None:
        return chosen
    order = chosen[np.lexsort((rng.random(len(chosen)), user[chosen]))]
    first = np.searchsorted(user[order], user[order])
    return np.sort(order[np.arange(len(order)) - first < pairs])


def control_variate(
    user: NDArray[np.int64],
    cheap: NDArray[np.floating],
    sample: NDArray[np.int64],
    exact: NDArray[np.floating],
    *,
    coefficient: float | None = None,
    folds: int = 5,
    seed: int = 0,
    level: float = 0.95,
) -> ControlVariate:
    """Return b * mean(cheap, all users) + mean(exact - b * cheap, sampled users), each user's pairs averaged first.

    user, cheap: [N] of all shown pairs. sample: rows [n] of these, by `sample_pairs`. exact: [n], in their order.
    coefficient: b; 1: the plain difference estimator. None: the b of least variance, Cov(exact, cheap) / Var(cheap)
        (Glynn and Szechtman 2002), fitted for each fold of the sampled users on the others, so that it stays unbiased
        (as Angelopoulos, Duchi and Zrnic 2023, "PPI++", with cross-fitting). b - 1 multiplies each fold's distance from
        all users but those b was fitted on, from whom the fold was drawn: 0 in expectation, exactly.

    Raises:
        ConfigError: folds or level are out of range.
        DataError: shapes differ, a number is not finite, or fewer than two users are sampled (fitted: 3 per fold).

    """
    check_level(level)
    user = np.asarray(user, np.int64)
    value, said = np.asarray(cheap, np.float64), np.asarray(exact, np.float64)
    _check(user, value, sample, said)
    ids, own = np.unique(user, return_inverse=True)
    own = own.ravel()
    every = _means(own, value, len(ids))
    drawn, place = np.unique(own[sample], return_inverse=True)
    e, c = (_means(place.ravel(), x, len(drawn)) for x in (said, value[sample]))
    if len(drawn) < 2:
        raise DataError(f"an interval over users needs at least 2 sampled users; got {len(drawn)}.")
    if coefficient is None:
        part = _deal(len(drawn), folds, seed)
        b = np.array([_fitted(e[part != f], c[part != f]) for f in range(folds)])[part]
        mean = _crossed(e, c, every, drawn, part, b)
    else:
        b = np.full(len(drawn), float(coefficient))
        mean = float(b[0] * every.mean() + (e - b * c).mean())
    error = _error(e - b * c, b.mean() * every, drawn)
    plain = np.sqrt(e.var(ddof=1) / len(e))
    return ControlVariate(
        _student(mean, error, len(drawn), level), _student(float(e.mean()), float(plain), len(drawn), level),
        float(every.mean()), float(b.mean()), len(ids), len(drawn), len(sample),
    )  # fmt: skip


def _check(user: Int, cheap: Float, sample: NDArray[np.int64], exact: Float) -> None:
    if user.ndim != 1 or cheap.shape != user.shape or exact.shape != np.shape(sample):
        raise DataError(
            f"expected users and cheap values [N], rows and exact values [n]; "
            f"got {user.shape}, {cheap.shape}, {np.shape(sample)} and {exact.shape}."
        )
    if not np.isfinite(cheap).all() or not np.isfinite(exact).all():
        raise DataError("a value is not finite; leave out pairs that were not shown.")
    if len(np.unique(sample)) != len(sample):
        raise DataError("a pair stands in the sample twice; draw it with sample_pairs.")


def _means(own: NDArray[np.intp], value: Float, size: int) -> Float:
    return np.asarray(np.bincount(own, value, size) / np.bincount(own, minlength=size), np.float64)


def _deal(size: int, folds: int, seed: int) -> Int:
    if folds < 2:
        raise ConfigError(f"a coefficient is fitted on other folds: 2 or more are needed; got {folds}.")
    if size < 3 * folds:
        raise DataError(f"{folds} folds need at least {3 * folds} sampled users; got {size}. Or give a coefficient.")
    return np.asarray(generator(seed, "control variate folds").permutation(size) % folds, np.int64)


def _fitted(e: Float, c: Float) -> float:
    spread = float(c.var(ddof=1))
    return float(np.cov(e, c)[0, 1]) / spread if spread > 1e-12 else 0.0


def _crossed(e: Float, c: Float, every: Float, drawn: NDArray[np.intp], part: Int, b: Float) -> float:
    """Return the estimate with coefficient 1, moved by (b - 1) times differences that are 0 in expectation."""
    total, out = float(every.sum()), float(every.mean() + (e - c).mean())
    for f in range(int(part.max()) + 1):
        own = part == f
        others = every[drawn[~own]]
        rest = (total - others.sum()) / (len(every) - len(others))
        out += own.mean() * float((b[own][0] - 1) * (rest - c[own].mean()))
    return out


def _error(d: Float, cheap: Float, drawn: NDArray[np.intp]) -> float:
    """Return the standard error over users: sampled ones bring d [n] and their cheap part, the others that alone."""
    n, m = len(d), len(cheap)
    inside = np.var(d + n / m * cheap[drawn], ddof=1) / n
    outside = (m - n) / m**2 * cheap.var(ddof=1)
    return float(np.sqrt(inside + outside))


def _student(mean: float, error: float, n: int, level: float) -> Interval:
    half = float(t.ppf((1 + level) / 2, n - 1)) * error
    return Interval(mean, mean - half, mean + half, level)
