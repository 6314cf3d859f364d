"""From a number to a distribution: the cumulative-logit map that gives every point predictor an NLL and an RPS.

Knows scores, ratings and a scale; nothing of how the scores came about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from simenv.errors import DataError
from simenv.scale import RatingScale

Float = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class OrdinalMap:
    """P(rating <= value k) = sigmoid(cut_k - slope * score): the proportional-odds model (McCullagh 1980)."""

    slope: float
    cut: Float
    """float64[R-1], ascending."""

    def __call__(self, score: NDArray[np.floating]) -> Float:
        """Return distributions p float64[N, R] of scores [N]."""
        return _distribution(self.cut[None, :] - self.slope * np.asarray(score, np.float64)[:, None])


def ordinal_map(score_train: NDArray[np.floating], y_train: NDArray[np.floating], scale: RatingScale) -> OrdinalMap:
    """Return the map with the highest likelihood of ratings y_train [N] given scores score_train [N].

    Fit it on rows the predictor has not seen. One pseudo-rating, spread evenly over the R values, keeps every
    probability above zero where a value is missing among the N.

    Raises:
        DataError: the lengths differ or nothing is given.

    """
    score, place = np.asarray(score_train, np.float64), scale.encode(y_train)
    if score.shape != place.shape or not len(score):
        raise DataError(f"scores and ratings must be [N] with N > 0; got {score.shape} and {place.shape}.")
    centre, spread = float(score.mean()), float(score.std())
    spread = spread if spread > 1e-6 else 1.0  # a constant says nothing: its slope stays where it starts
    x = np.append((score - centre) / spread, np.zeros(len(scale)))
    target = np.append(place, np.arange(len(scale)))
    weight = np.append(np.ones(len(score)), np.full(len(scale), 1 / len(scale)))
    best = minimize(_loss, _start(target, weight, len(scale)), (x, target, weight), "L-BFGS-B", jac=True)
    slope, cut = best.x[0], _cuts(best.x[1:])
    return OrdinalMap(float(slope / spread), cut + slope * centre / spread)


def _cuts(free: Float) -> Float:
    return np.asarray(np.cumsum(np.concatenate([free[:1], np.exp(free[1:])])))


def _start(target: NDArray[np.int64], weight: Float, n_values: int) -> Float:
    below = np.cumsum(np.bincount(target, weight, minlength=n_values))[:-1] / weight.sum()
    cut = np.log(below / (1 - below))
    return np.concatenate([[0.5], cut[:1], np.log(np.diff(cut))])


def _distribution(logit: Float) -> Float:
    cumulative = np.pad(expit(logit), ((0, 0), (1, 0)))
    return np.diff(np.pad(cumulative, ((0, 0), (0, 1)), constant_values=1.0), axis=1)


def _loss(free: Float, x: Float, target: NDArray[np.int64], weight: Float) -> tuple[float, Float]:
    """Return the mean negative log-likelihood and its gradient in (slope, first cut, log gaps)."""
    cut, row = _cuts(free[1:]), np.arange(len(x))
    cumulative = expit(cut[None, :] - free[0] * x[:, None])
    chosen = np.maximum(_distribution(cut[None, :] - free[0] * x[:, None])[row, target], 1e-300)
    density = np.pad(cumulative * (1 - cumulative), ((0, 0), (1, 1)))
    upper, lower = weight * density[row, target + 1] / chosen, weight * density[row, target] / chosen
    total = weight.sum()
    by_cut = -(np.bincount(target, upper, len(cut) + 1)[:-1] - np.bincount(target, lower, len(cut) + 1)[1:]) / total
    later = np.cumsum(by_cut[::-1])[::-1]
    gradient = np.concatenate([[((upper - lower) * x).sum() / total], later[:1], later[1:] * np.exp(free[2:])])
    return float(-(weight * np.log(chosen)).sum() / total), gradient
