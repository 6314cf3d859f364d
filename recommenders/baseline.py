"""The recommenders everyone must beat: chance, popularity, and the best average.

None of them knows the user; all of them know only ids.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.log import InteractionLog
from simenv.randomness import counter_hash, derive
from simenv.recommenders.ranking import top
from simenv.session import Session, Slate


def chance(session: Session, n: int, seed: int, purpose: str) -> NDArray[np.float64]:
    """Return float64[B, n] in [0, 1), a hash of (seed, purpose, user, page, column): the same in any batch."""
    key = np.uint64(derive(seed, purpose))
    bits = counter_hash(key, session.user[:, None], session.page[:, None], np.arange(n)[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


@final
@dataclass(frozen=True)
class Random:
    """Uniformly random distinct items.

    Propensity is exact: at each place every available item is equally likely, 1 / (number of available items).
    A seed, a user and a page fix the draw.
    """

    name: str = "random"
    """How reports call it."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> RandomPolicy:
        """Return the policy; nothing is learned."""
        return RandomPolicy(seed)


@final
@dataclass(frozen=True, eq=False)
class RandomPolicy:
    """See Random."""

    seed: int
    """Seed of the fit; draws depend on it and on the seed given to `recommend`."""

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return k random places for each of B users."""
        luck = chance(session, session.n_items, derive(self.seed, seed), "random")
        slate = top(luck, session, k)
        n_available = session.available().sum(axis=1, keepdims=True)
        return Slate(slate.item, np.where(slate.item >= 0, 1.0 / np.maximum(n_available, 1), 1.0))


@final
@dataclass(frozen=True, eq=False)
class ListPolicy:
    """The same ranking for everyone."""

    score: NDArray[np.float64]
    """float64[I], higher is better."""

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k best items each user has not seen."""
        return top(np.broadcast_to(self.score, (len(session), len(self.score))), session, k)


@final
@dataclass(frozen=True)
class Popular:
    """Items with the most ratings first, whatever the ratings say."""

    name: str = "popular"
    """How reports call it."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> ListPolicy:
        """Count the ratings."""
        return ListPolicy(popularity(log))


@final
@dataclass(frozen=True)
class BestRated:
    """Items with the best average first, the average being shrunk to that of all ratings.

    score = (sum + weight * mean of all ratings) / (n + weight): the posterior mean of a normal model whose prior is
    worth `weight` ratings.
    """

    weight: float = 10.0
    """Number of ratings the prior is worth; 0: plain averages, where one 5 beats a thousand. Positive or 0."""
    name: str = "best-rated"
    """How reports call it."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> ListPolicy:
        """Average the ratings."""
        return ListPolicy(shrunk_mean(log, self.weight))


@final
@dataclass(frozen=True)
class LongTail:
    """Items with the fewest ratings first, those without any last: what taste for the obscure alone is worth."""

    name: str = "long-tail"
    """How reports call it."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> ListPolicy:
        """Count the ratings."""
        n = popularity(log)
        return ListPolicy(np.where(n > 0, -n, -n.max(initial=0.0) - 1))


def popularity(log: InteractionLog) -> NDArray[np.float64]:
    """Return float64[I]: number of ratings of each item."""
    return np.bincount(log.item, minlength=log.n_items).astype(np.float64)


def shrunk_mean(log: InteractionLog, weight: float) -> NDArray[np.float64]:
    """Return float64[I]: mean rating of each item, shrunk to the mean of all as if `weight` more ratings said so.

    Items without ratings have the mean of all; a log without ratings gives zeros.
    """
    n = popularity(log)
    mu = float(log.rating.mean()) if len(log) else 0.0
    total = np.bincount(log.item, log.rating, log.n_items) + weight * mu
    return np.asarray(np.divide(total, n + weight, out=np.full(log.n_items, mu), where=n + weight > 0))
