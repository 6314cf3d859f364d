"""Recommenders made to be wrong in a known way: whoever judges recommenders must not be taken in by them.

Each spoils matrix factorisation (or an average) in one respect, so that its true place is roughly known beforehand:
worst first, predictions drowned in noise, items known by taste alone, fame mixed up with quality. Knows ratings only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.randomness import Purpose, derive, uniform
from simenv.recommenders import history
from simenv.recommenders.baseline import ListPolicy, popularity, shrunk_mean
from simenv.recommenders.biased_mf import BiasedMF, BiasedMFPolicy, ridge
from simenv.recommenders.ranking import inner, top
from simenv.session import Session, Slate


@final
@dataclass(frozen=True)
class InvertedMF:
    """Matrix factorisation read backwards: the worst predicted item first."""

    mf: BiasedMF = field(default_factory=BiasedMF)
    """What is inverted."""
    name: str = "inverted-mf"
    """How reports call it."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> InvertedPolicy:
        """Fit what is inverted."""
        return InvertedPolicy(self.mf.fit(log, catalogue, seed=seed))


@final
@dataclass(frozen=True, eq=False)
class InvertedPolicy:
    """See InvertedMF."""

    policy: BiasedMFPolicy
    """The right way round."""

    def score(self, session: Session) -> NDArray[np.floating]:
        """Return float64[B, I]: predicted ratings, negated."""
        return -self.policy.score(session)

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k items with the lowest predicted rating."""
        return top(self.score(session), session, k)


@final
@dataclass(frozen=True)
class NoisyMF:
    """Matrix factorisation with a fixed error for each user and item on top of what it predicts."""

    noise: float = 0.5
    """Standard deviation of the error, in rating points; predictions themselves differ by about as much."""
    mf: BiasedMF = field(default_factory=BiasedMF)
    """What is drowned."""
    name: str = "noisy-mf"
    """How reports call it."""

    def __post_init__(self) -> None:
        if not 0 <= self.noise < np.inf:
            raise ConfigError(f"noise is a standard deviation in rating points, 0 or more; got {self.noise}.")

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> NoisyPolicy:
        """Fit what is drowned; the errors follow from the seed and belong to the pairs."""
        return NoisyPolicy(self.mf.fit(log, catalogue, seed=seed), self.noise, derive(seed, "noisy mf"))


@final
@dataclass(frozen=True, eq=False)
class NoisyPolicy:
    """See NoisyMF."""

    policy: BiasedMFPolicy
    """Without the error."""
    noise: float
    """Standard deviation of the error."""
    seed: int
    """Fixes the errors."""

    def score(self, session: Session) -> NDArray[np.floating]:
        """Return float64[B, I]: predicted ratings plus the pair's error, the same on every page."""
        from scipy.special import ndtri

        luck = uniform(self.seed, session.user[:, None], np.arange(session.n_items), purpose=Purpose.RATING)
        return np.asarray(self.policy.score(session) + self.noise * ndtri(luck))

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k items with the highest disturbed prediction."""
        return top(self.score(session), session, k)


@final
@dataclass(frozen=True)
class TasteMF:
    """Matrix factorisation without the item's bias: ranks by taste alone and does not see that some items are better.

    Users without ratings get items in the order of their numbers.
    """

    mf: BiasedMF = field(default_factory=BiasedMF)
    """What is fitted, biases included; the item's is left out of the ranking."""
    name: str = "mf-no-item-bias"
    """How reports call it."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> TastePolicy:
        """Fit the factors."""
        return TastePolicy(self.mf.fit(log, catalogue, seed=seed))


@final
@dataclass(frozen=True, eq=False)
class TastePolicy:
    """See TasteMF."""

    policy: BiasedMFPolicy
    """With the item's bias."""

    def score(self, session: Session) -> NDArray[np.floating]:
        """Return float64[B, I]: p_user . q_item."""
        rated = history.ratings(session)
        rated.data -= self.policy.mu
        user = ridge(rated, self.policy.item, self.policy.regularization)
        return inner(user[:, 1:], self.policy.item[:, 1:])

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k items nearest to the user's taste."""
        return top(self.score(session), session, k)


@final
@dataclass(frozen=True)
class PopularTimesMean:
    """Items by number of ratings times their shrunk mean: looks like quality and is nearly fame alone."""

    weight: float = 10.0
    """Number of ratings the prior of an item's mean is worth; see BestRated."""
    name: str = "popular-x-mean"
    """How reports call it."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> ListPolicy:
        """Count and average the ratings."""
        return ListPolicy(popularity(log) * shrunk_mean(log, self.weight))
