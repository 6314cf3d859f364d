"""Coverage: do simulated user means spread as far around the real ones as they claim to.

A simulated user's ratings share luck (`rho`), so their mean is less certain than independent ratings would make it.
Knows distributions and ratings; nothing of who predicted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from simenv.errors import ConfigError, DataError
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Truth
from simenv.evaluation.statistics import check_level
from simenv.evaluation.user_total import UserTotals
from simenv.randomness import generator, shared_luck

Float = NDArray[np.float64]


def user_mean_coverage(
    truth: Truth,
    p: NDArray[np.floating],
    rho: float,
    *,
    level: float = 0.9,
    draws: int = 400,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Return the share of users whose real mean lies in the central `level` of their simulated means.

    Simulated means are those of `draws` ratings of the same pairs from p [N, R], a user's with shared luck `rho` as in
    `shared_luck`. Means are discrete, so a real mean has a range of ranks among the simulated ones: a user counts by
    the part of that range inside the central interval (the expectation of a randomised rank). So a simulator that is
    right covers exactly `level` in expectation, for any number of pairs and draws. Less: too sure of its users.
    The interval counts users (Wilson 1927) at `confidence`.

    Raises:
        ConfigError: level or confidence is no coverage, rho lies outside [0, 1], or there are no draws.
        DataError: p is not one distribution per pair, or there is no pair.

    """
    for share in (level, confidence):
        check_level(share)
    if not 0 <= rho <= 1 or draws < 1:
        raise ConfigError(f"rho must lie in [0, 1] and draws be 1 or more; got {rho} and {draws}.")
    low, high = _rank(truth, _distribution(truth, p), rho, draws, seed)
    tail = (1 - level) / 2
    inside = np.clip(np.minimum(high, 1 - tail) - np.maximum(low, tail), 0, None) / (high - low)
    return _wilson(float(inside.mean()), len(inside), confidence)


def _distribution(truth: Truth, p: NDArray[np.floating]) -> Float:
    wide, shape = np.asarray(p, np.float64), (len(truth.rating), len(truth.scale))
    if wide.shape != shape or not len(wide):
        raise DataError(f"p must have shape {shape} (pairs > 0, scale values); got {wide.shape}.")
    if not (np.abs(wide.sum(axis=1) - 1) < 1e-3).all() or wide.min() < 0:
        raise DataError("each row of p must be a distribution: not below 0, sum 1. Normalise p first.")
    return wide


def _rank(truth: Truth, p: Float, rho: float, draws: int, seed: int) -> tuple[Float, Float]:
    """Return the ends [M] of each real mean's range of ranks among its simulated means, in units of all ranks."""
    users, rng = UserTotals(truth.user), generator(seed, "coverage")
    row = np.searchsorted(users.ids, truth.user)
    real = users.sum(truth.scale.array[truth.scale.encode(truth.rating)])
    below, equal = np.zeros(len(users.ids)), np.zeros(len(users.ids))
    for _ in range(draws):
        luck = shared_luck(rng.random(len(row)), rng.random(len(users.ids))[row], rho)
        gap = users.sum(truth.scale.sample(p, luck)) - real
        tie = np.abs(gap) < 1e-6  # sums of scale values differ by rounding only
        below, equal = below + ((gap < 0) & ~tie), equal + tie
    return below / (draws + 1), (below + equal + 1) / (draws + 1)


def _wilson(share: float, n: int, confidence: float) -> Interval:
    """Return the score interval of a share of n (Wilson 1927); wide enough for parts of users as well."""
    z = float(ndtri((1 + confidence) / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * float(np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)))
    return Interval(share, max(0.0, centre - half), min(1.0, centre + half), confidence)
