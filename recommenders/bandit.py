"""LinUCB and Thompson sampling: rankers that try what they are not sure of, and learn from the visit itself.

Each user is a linear bandit whose arms are the items: the prior over tastes comes from the log, ratings of the past and
of this visit narrow it. A policy holds no state: what was learned in a visit stands in the Session. Learning across
users and rounds is `refit.py`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.randomness import derive
from simenv.recommenders.bandit_belief import Belief, Space
from simenv.recommenders.baseline import chance
from simenv.recommenders.biased_mf import BiasedMF
from simenv.recommenders.ranking import inner, top
from simenv.session import Session, Slate

_TINY = 2.0**-54
"""Half the grain of `chance`: keeps uniforms off 0."""


@final
@dataclass(frozen=True)
class LinUCB:
    """The items with the highest upper confidence bound: expected rating + width * its standard deviation.

    Li, Chu, Langford, Schapire 2010 ("A contextual-bandit approach to personalized news article recommendation"), with
    one linear model per user over the factors of BiasedMF instead of one per article, so that items need no ratings of
    this user to be told apart. Deterministic.
    """

    width: float = 0.5
    """Standard deviations added (alpha of the paper); 0: BiasedMF. Not negative."""
    factors: int = 16
    """Length D of the item vectors."""
    regularization: float = 8.0
    """Ratings that the prior of a taste is worth."""
    name: str = "linucb"
    """How reports call it."""

    def __post_init__(self) -> None:
        if not self.width >= 0:
            raise ConfigError(f"width counts standard deviations and is not negative; got {self.width}.")

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> LinUCBPolicy:
        """Factorise the ratings."""
        how = BiasedMF(self.factors, self.regularization)
        return LinUCBPolicy(Space.fit(log, catalogue, how, seed=seed), self.width)


@final
@dataclass(frozen=True, eq=False)
class LinUCBPolicy:
    """See LinUCB."""

    space: Space
    width: float
    """Standard deviations added."""

    def score(self, session: Session) -> NDArray[np.floating]:
        """Return float64[B, I]: upper confidence bounds, in rating points."""
        belief = believed(self.space, session)
        everything = np.broadcast_to(np.arange(session.n_items), (len(session), session.n_items))
        expected, doubt = self.space.at(belief, everything)
        return expected + self.width * doubt

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k items with the highest bound."""
        return top(self.score(session), session, k)


@final
@dataclass(frozen=True)
class Thompson:
    """The items that are best under one taste drawn from what is believed of the user, anew on each page.

    Thompson sampling for linear payoffs (Agrawal and Goyal 2013); all places of a page rest on one draw. The propensity
    of an item at its place has no formula: it is the share of `draws` + 1 pages, the one shown among them, that have it
    there. So it is never below 1 / (draws + 1), and a rare item's is too high.
    """

    spread: float = 1.0
    """Multiplies the standard deviations of the belief (v of the paper); 0: BiasedMF. Not negative."""
    draws: int = 20
    """Further pages drawn for the propensities."""
    factors: int = 16
    """Length D of the item vectors."""
    regularization: float = 8.0
    """Ratings that the prior of a taste is worth."""
    name: str = "thompson"
    """How reports call it."""

    def __post_init__(self) -> None:
        if not self.spread >= 0 or self.draws < 1:
            raise ConfigError(f"spread must not be negative and draws at least 1; got {self.spread}, {self.draws}.")

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> ThompsonPolicy:
        """Factorise the ratings."""
        how = BiasedMF(self.factors, self.regularization)
        return ThompsonPolicy(Space.fit(log, catalogue, how, seed=seed), self.spread, self.draws, seed)


@final
@dataclass(frozen=True, eq=False)
class ThompsonPolicy:
    """See Thompson."""

    space: Space
    spread: float
    """Multiplies the standard deviations of the belief."""
    draws: int
    """Further pages drawn for the propensities."""
    seed: int
    """Seed of the fit; draws depend on it and on the seed given to `recommend`."""

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k best items under a drawn taste, with estimated propensities."""
        belief = believed(self.space, session)
        root = np.asarray(np.linalg.cholesky(belief.covariance), np.float64)
        pages = [
            top(self._score(belief, root, session, derive(self.seed, seed, n)), session, k).item
            for n in range(self.draws + 1)
        ]
        same = np.mean([page == pages[0] for page in pages], axis=0)
        return Slate(pages[0], np.where(pages[0] >= 0, same, 1.0))

    def _score(self, belief: Belief, root: NDArray[np.float64], session: Session, luck: int) -> NDArray[np.floating]:
        normal = ndtri(chance(session, belief.mean.shape[1], luck, "thompson") + _TINY)
        drawn = belief.mean + self.spread * (root @ normal[..., None])[..., 0]
        return self.space.base + inner(drawn, self.space.vector)


def believed(space: Space, session: Session) -> Belief:
    """Return what past and visit say of the users' tastes."""
    now = np.where(session.consumed, session.shown, -1)
    past = space.evidence(session.past_item, session.past_rating)
    return space.belief(past + space.evidence(now, session.rating))
