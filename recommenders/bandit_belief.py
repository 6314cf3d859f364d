"""Beliefs: what a user's ratings say of their taste, as a normal distribution over the weights of item vectors.

Bayesian linear regression (Bishop 2006, section 3.3) on the factors of a rating model; what LinUCB and Thompson
sampling act on. Knows sessions and logs; nothing of how a slate is chosen. B users; T ratings; I items;
W = D + 1 weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv.catalogue import Catalogue
from simenv.log import InteractionLog
from simenv.recommenders.biased_mf import BiasedMF
from simenv.recommenders.ranking import inner

Floats = NDArray[np.float64]
_ENOUGH = 2000
"""Users whose ratings settle the noise."""


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """Sums over ratings: all that a belief needs, and they add up."""

    gram: Floats
    """float64[B, W, W]: sum of vector vector^T over the rated items."""
    moment: Floats
    """float64[B, W]: sum of vector * (rating - what the item gets from anybody)."""

    def __add__(self, other: Evidence) -> Evidence:
        return Evidence(self.gram + other.gram, self.moment + other.moment)

    def of(self, row: NDArray[np.int64]) -> Evidence:
        """Return the evidence of the rows [b]."""
        return Evidence(self.gram[row], self.moment[row])


@final
@dataclass(frozen=True, eq=False)
class Belief:
    """Weights of B users: normal with this mean and covariance."""

    mean: Floats
    """float64[B, W]"""
    covariance: Floats
    """float64[B, W, W], in squared rating points."""


@final
@dataclass(frozen=True, eq=False)
class Space:
    """Items as vectors in which a user's ratings are linear: rating = base + vector . weights + noise."""

    base: Floats
    """float64[I]: what the item gets from anybody: mean of all ratings plus the item's bias."""
    vector: Floats
    """float64[I, W]: 1 (the user's own level), then the item's factors."""
    penalty: float
    """Noise variance over the prior variance of each weight: how many ratings the prior is worth."""
    noise: float
    """Standard deviation of a rating about its mean, in rating points."""

    @classmethod
    def fit(cls, log: InteractionLog, catalogue: Catalogue, how: BiasedMF, *, seed: int) -> Space:
        """Factorise the ratings; the noise is what the model leaves over, per degree of freedom that is left."""
        model = how.fit(log, catalogue, seed=seed)
        vector = np.concatenate([np.ones((log.n_items, 1)), model.item[:, 1:]], axis=1)
        space = cls(model.mu + model.item[:, 0], vector, how.regularization, 1.0)
        return replace(space, noise=_noise(space, log))

    def evidence(self, item: NDArray[np.int64], rating: NDArray[np.floating]) -> Evidence:
        """Return the evidence of ratings [B, T]; places with item -1 or rating NaN say nothing.

        A pair rated twice counts twice. Sums run in the order of item numbers, so that a user's numbers do not depend
        on the other users of the batch.
        """
        row, place = np.nonzero((item >= 0) & ~np.isnan(rating))
        n, (n_items, width) = len(item), self.vector.shape
        rated = item[row, place]
        rest = rating[row, place] - self.base[rated]
        one = csr_matrix((np.ones(len(row)), (row, rated)), (n, n_items))
        left = csr_matrix((rest, (row, rated)), (n, n_items))
        gram = np.asarray(one @ self._outer()).reshape(n, width, width)
        return Evidence(gram, np.asarray(left @ self.vector))

    def belief(self, evidence: Evidence) -> Belief:
        """Return what the users' weights are, given the evidence; without any, the prior."""
        precision = evidence.gram + self.penalty * np.eye(self.vector.shape[1])
        inverse = np.asarray(np.linalg.inv(precision), np.float64)
        mean = (inverse @ evidence.moment[..., None])[..., 0]
        return Belief(mean, np.asarray(self.noise**2 * inverse, np.float64))

    def expected(self, belief: Belief) -> Floats:
        """Return float64[B, I]: the expected rating of every item, not clipped to the scale."""
        return self.base + np.asarray(inner(belief.mean, self.vector), np.float64)

    def at(self, belief: Belief, item: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return float64[B, C] twice, for items [B, C]: the expected rating and its standard deviation."""
        vector = self.vector[item]
        mean = self.base[item] + (vector @ belief.mean[..., None])[..., 0]
        variance = ((vector @ belief.covariance) * vector).sum(axis=2)
        return mean, np.sqrt(np.maximum(variance, 0.0))

    def _outer(self) -> Floats:
        width = self.vector.shape[1]
        return (self.vector[:, :, None] * self.vector[:, None, :]).reshape(-1, width * width)


def _noise(space: Space, log: InteractionLog) -> float:
    """Return the standard deviation of ratings about what their user's belief expects, per degree of freedom left.

    A user's ratings lose trace(posterior precision^-1 gram) degrees (Hastie and Tibshirani 1990). Of many users every
    n-th is looked at. 1 where the log leaves nothing to look at.
    """
    known = np.flatnonzero(log.count)
    user = known[:: max(1, -(-len(known) // _ENOUGH))]
    item, rating = log.padded(user)
    evidence = space.evidence(item, rating)
    belief = space.belief(evidence)
    gap = (rating - np.take_along_axis(space.expected(belief), np.maximum(item, 0), axis=1))[item >= 0]
    free = len(gap) - float(np.einsum("bij,bji->", belief.covariance, evidence.gram))
    return float(np.sqrt((gap**2).sum() / free)) if free > 0 and gap.any() else 1.0
