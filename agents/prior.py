"""Prior: an expected rating from the cues alone, by ridge regression, and its distribution by a cumulative-logit map.

It is the collaborative yardstick inside the simulator: published beside the language model, never instead of it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from simenv.scale import RatingScale

Float = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Prior:
    """A fitted ridge on D cues and R-1 cut points."""

    weight: Float
    """float64[D+1]: on (rating - crowd mean); the last is the intercept."""
    cut: Float
    """float64[R-1]: ascending, on the scale of the expected rating."""
    steepness: Float
    """float64[2]: log slope of the cumulative logit and its change with a pair's log spread."""
    low: float
    high: float

    @classmethod
    def fit(
        cls,
        feature: NDArray[np.floating],
        spread: NDArray[np.floating],
        rating: NDArray[np.floating],
        mean: NDArray[np.floating] | float,
        scale: RatingScale,
        damping: float = 10.0,
    ) -> Prior:
        """Fit on N pairs: feature [N, D], spread [N] (`Cues.spread`), rating [N], the crowd's mean [N] behind them.

        damping: ridge.
        """
        x, y = _with_one(feature), np.asarray(rating, np.float64)
        weight = np.asarray(np.linalg.solve(x.T @ x + damping * np.eye(x.shape[1]), x.T @ (y - mean)), np.float64)
        low, high = scale.values[0], scale.values[-1]
        expected = np.clip(x @ weight + mean, low, high)
        cut, steepness = _fit_cuts(expected, np.log(spread), scale.encode(y), len(scale))
        return cls(weight, cut, steepness, low, high)

    def expected(self, feature: NDArray[np.floating], mean: float) -> Float:
        """Return the expected rating [N]; `mean` is the crowd's."""
        return np.asarray(np.clip(_with_one(feature) @ self.weight + mean, self.low, self.high))

    def distribution(self, expected: Float, spread: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return p [N, R] for expected ratings [N] of pairs with spread [N] (`Cues.spread`)."""
        return _cumulative(expected, np.log(spread), self.cut, self.steepness).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write one npz file without pickles."""
        np.savez(path, **{f.name: np.asarray(getattr(self, f.name)) for f in fields(self)})  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Prior:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as d:
            return cls(d["weight"], d["cut"], d["steepness"], float(d["low"]), float(d["high"]))


def _with_one(feature: NDArray[np.floating]) -> Float:
    return np.concatenate([np.asarray(feature, np.float64), np.ones((len(feature), 1))], axis=1)


def _cumulative(expected: Float, log_spread: Float, cut: Float, steepness: Float) -> Float:
    """Ordered logit (McCullagh 1980): P(rating <= k) = logistic(slope * (cut_k - expected)), slope by pair."""
    slope = np.exp(steepness[0] + steepness[1] * log_spread)[:, None]
    below = expit(slope * (cut[None, :] - np.asarray(expected)[:, None]))
    edges = np.concatenate([np.zeros((len(below), 1)), below, np.ones((len(below), 1))], axis=1)
    return np.maximum(np.diff(edges, axis=1), 1e-6)


def _fit_cuts(expected: Float, log_spread: Float, place: NDArray[np.int64], size: int) -> tuple[Float, Float]:
    keep = np.random.default_rng(0).permutation(len(place))[:20_000]
    expected, log_spread, place = expected[keep], np.asarray(log_spread, np.float64)[keep], place[keep]
    share = np.cumsum(np.bincount(place, minlength=size)[:-1] + 1) / (len(place) + size)
    start = expected.mean() + np.log(share / (1 - share)) / 1.7

    def unpack(theta: Float) -> tuple[Float, Float]:
        return np.cumsum(np.concatenate([theta[:1], np.exp(theta[1 : size - 1])])), theta[size - 1 :]

    def loss(theta: Float) -> float:
        p = _cumulative(expected, log_spread, *unpack(theta))
        return float(-np.log(p[np.arange(len(place)), place]).mean())

    gaps = np.log(np.maximum(np.diff(start), 1e-2))
    best = minimize(loss, np.concatenate([start[:1], gaps, [0.5, 0.0]]), method="L-BFGS-B")
    return unpack(best.x)
