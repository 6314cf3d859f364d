"""Measures of predicted distributions and of sampled ratings: proper scores, calibration, spread, distance.

Knows arrays, totals per user and a scale; nothing of who predicted. `simenv.evaluation.rating` puts them together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation.user_total import Statistic, UserTotals, average, over_draws, ratio, root_ratio
from simenv.scale import RatingScale

Float = NDArray[np.float64]
BINS = 15
"""Bins of equal width in every calibration error."""
FLOOR = 1e-9
"""The smallest probability a logarithm is taken of, so that one impossible rating cannot hide all others."""


def of_distribution(
    users: UserTotals, y: Float, p: Float, scale: RatingScale, like_from: float
) -> dict[str, Statistic]:
    """Return the measures of distributions p [N, R] against ratings y [N].

    Proper scores: RPS after Epstein 1969, Brier 1950; see Gneiting and Raftery 2007.
    """
    place, row = scale.encode(y), np.arange(len(y))
    mode, given = p.argmax(axis=1), _histogram(place, len(scale))
    rps = ((p.cumsum(axis=1) - given.cumsum(axis=1))[:, :-1] ** 2).sum(axis=1) / (len(scale) - 1)
    likes = scale.array >= like_from - 1e-9
    mean = scale.expectation(p)
    variance = np.maximum(p @ scale.array**2 - mean**2, 0.0)
    return {
        "mae_median": average(users, np.abs(scale.median(p) - y)),
        "mae_mode": average(users, np.abs(scale.array[mode] - y)),
        "rmse_mode": average(users, (scale.array[mode] - y) ** 2, root_ratio),
        "accuracy": average(users, mode == place),
        "macro_f1": _macro_f1(users, _histogram(mode, len(scale)), given),
        "nll": average(users, -np.log(np.maximum(p[row, place], FLOOR))),
        "rps": average(users, rps),
        "brier": average(users, ((p - given) ** 2).sum(axis=1)),
        "ece_top": _calibration(users, p.max(axis=1), mode == place),
        "ece_like": _calibration(users, p[:, likes].sum(axis=1), likes[place]),
        "rmse_sampled": average(users, (mean - y) ** 2 + variance, root_ratio),
        "w1": _w1(users, p[None], given, scale),
        **_spread(users, y, mean[None], variance[None]),
    }


def of_draws(users: UserTotals, y: Float, draws: Float, scale: RatingScale) -> dict[str, Statistic]:
    """Return the measures of sampled ratings [D, N] against ratings y [N]."""
    given = _histogram(scale.encode(y), len(scale))
    drawn = np.stack([_histogram(scale.encode(d), len(scale)) for d in draws])
    found = {"w1": _w1(users, drawn, given, scale), **_spread(users, y, draws, np.zeros((1, len(y))))}
    return {f"sampled_{name}": statistic for name, statistic in found.items()}


def _histogram(place: NDArray[np.int64], n_values: int) -> Float:
    return np.asarray(place[:, None] == np.arange(n_values), np.float64)


def _macro_f1(users: UserTotals, said: Float, given: Float) -> Statistic:
    """Return F1 averaged over the values that were said or given at all [N, R], each value alike."""
    totals = np.hstack([users.sum(said * given), users.sum(said + given)])

    def f1(total: Float) -> Float:
        hit, all_ = np.split(total, 2, axis=-1)
        each = 2 * hit / np.where(all_ > 0, all_, 1)
        return np.asarray(each.sum(axis=-1) / (all_ > 0).sum(axis=-1))

    return Statistic(totals, f1)


def _spread(users: UserTotals, y: Float, answer: Float, noise: Float) -> dict[str, Statistic]:
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
        "within_variance_ratio": over_draws(within, ratio),
        "between_sd_ratio": over_draws(between, _sd_ratio),
    }


def _sd_ratio(total: Float) -> Float:
    n, mean, real, square, real_square = np.moveaxis(total, -1, 0)
    real_variance = real_square / n - (real / n) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        of_variance = np.maximum(square / n - (mean / n) ** 2, 0.0) / real_variance
    return np.sqrt(np.where(real_variance > 1e-12, of_variance, np.nan))


def _w1(users: UserTotals, p: Float, given: Float, scale: RatingScale) -> Statistic:
    """Wasserstein-1 between the pooled answers p [D, N, R] and real ratings, in rating points, mean over draws."""
    gap = np.diff(scale.array)
    totals = [np.hstack([users.sum(d - given), users.count[:, None]]) for d in p]

    def distance(total: Float) -> Float:
        cumulative = np.abs(total[..., :-1].cumsum(axis=-1)[..., :-1])
        return np.asarray((cumulative * gap).sum(axis=-1) / total[..., -1])

    return over_draws(totals, distance)


def _calibration(users: UserTotals, confidence: Float, hit: NDArray[np.bool_]) -> Statistic:
    """Return the expected calibration error with equal-width bins (Naeini et al. 2015; Guo et al. 2017).

    Its bootstrap leans upward, as |noise| does: read the interval's upper end.
    """
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gap = users.sum(_histogram(place, BINS) * (confidence - hit)[:, None])

    def error(total: Float) -> Float:
        return np.asarray(np.abs(total[..., :-1]).sum(axis=-1) / total[..., -1])

    return Statistic(np.column_stack([gap, users.count]), error)
