"""From option scores to an answer: record the off-scale mass, restrict to the scale, fuse with the prior.

Fusion is a log-linear pool, log p = a * log p_LM + b * log p_prior, fitted on users not learned from and shrunk to one
half each: some tens of users cannot tell more (docs/log.md has what a freer pool did). Prior alone, language model
alone and fused are published apart.
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
        return np.asarray(log_softmax(self.lm * lm + self.prior * prior, axis=1), np.float64)


def fit_readout(
    logp: NDArray[np.floating], prior: NDArray[np.floating], place: NDArray[np.int64], damping: float = 0.01
) -> Readout:
    """Return the pool of least log-loss for true places [N] on the scale; a convex problem with two numbers.

    damping: weight, against the mean log-loss, of the squared distance of each exponent from one half.
    """
    lm, log_prior = log_softmax(logp, axis=1), np.log(prior)
    row = np.arange(len(place))

    def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        q = log_softmax(theta[0] * lm + theta[1] * log_prior, axis=1)
        gap = np.exp(q)
        gap[row, place] -= 1
        slope = np.array([(gap * lm).sum(axis=1).mean(), (gap * log_prior).sum(axis=1).mean()])
        value = -q[row, place].mean() + damping * ((theta - 0.5) ** 2).sum()
        return float(value), slope + 2 * damping * (theta - 0.5)

    best = minimize(loss, np.array([0.5, 0.5]), jac=True, method="L-BFGS-B", bounds=[(0, None), (0, None)])
    return Readout(float(best.x[0]), float(best.x[1]))
