"""From option scores to an answer: record the off-scale mass, restrict to the scale, fuse with the prior.

Fusion is a log-linear pool: log p = a * log p_LM + b * log p_prior + c_r, fitted on users not learned from.
Prior alone, language model alone and fused are published apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp

Arm = Literal["fused", "lm", "prior"]


@final
@dataclass(frozen=True)
class Readout:
    """How an answer is read off. The default reads the language model alone, unchanged."""

    lm: float = 1.0
    """Exponent of the language model's distribution."""
    prior: float = 0.0
    """Exponent of the prior's distribution."""
    shift: tuple[float, ...] = ()
    """Added to the log-probability of each rating; empty: nothing."""
    arm: Arm = "fused"
    """"lm" and "prior" read one source alone."""

    def read(
        self, logp: NDArray[np.floating], prior: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return (p [N, R], off_scale [N]) from option log-probabilities [N, R] and the prior's distribution [N, R]."""
        total = np.minimum(logsumexp(logp, axis=1), 0.0)
        off_scale = (1 - np.exp(total)).astype(np.float32)
        if self.arm == "prior":
            return np.asarray(prior / prior.sum(axis=1, keepdims=True), np.float32), np.zeros(len(prior), np.float32)
        if self.arm == "lm":
            return np.exp(log_softmax(logp, axis=1)).astype(np.float32), off_scale
        return np.exp(self._pooled(log_softmax(logp, axis=1), np.log(prior))).astype(np.float32), off_scale

    def _pooled(self, lm: NDArray[np.floating], prior: NDArray[np.floating]) -> NDArray[np.float64]:
        shift = np.asarray(self.shift or np.zeros(lm.shape[1]))
        return np.asarray(log_softmax(self.lm * lm + self.prior * prior + shift, axis=1), np.float64)


def fit_readout(
    logp: NDArray[np.floating], prior: NDArray[np.floating], place: NDArray[np.int64], damping: float = 1e-3
) -> Readout:
    """Return the pool of least log-loss for true places [N] on the scale; a convex problem with R + 2 numbers."""
    lm, log_prior = log_softmax(logp, axis=1), np.log(prior)
    size = lm.shape[1]

    def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        q = log_softmax(theta[0] * lm + theta[1] * log_prior + theta[2:], axis=1)
        gap = np.exp(q)
        gap[np.arange(len(place)), place] -= 1
        slope = np.array([(gap * lm).sum(axis=1).mean(), (gap * log_prior).sum(axis=1).mean(), *gap.mean(axis=0)])
        slope[2:] += 2 * damping * theta[2:]
        value = -q[np.arange(len(place)), place].mean() + damping * (theta[2:] ** 2).sum()
        return float(value), slope

    start = np.concatenate([[0.3, 0.7], np.zeros(size)])
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(0, None), (0, None)] + [(None, None)] * size)
    return Readout(float(best.x[0]), float(best.x[1]), tuple(float(v) for v in best.x[2:]))
