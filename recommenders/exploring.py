"""Exploring: any deterministic recommender, now and then replaced by chance, with the exact propensities.

For logs that offline scoring can trust: every available item may stand at every place. Knows nothing of how the wrapped
recommender ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.protocols import Policy, Recommender
from simenv.randomness import derive
from simenv.recommenders.baseline import chance
from simenv.recommenders.ranking import top
from simenv.session import Session, Slate


@final
@dataclass(frozen=True)
class Exploring:
    """Epsilon-greedy per place.

    Each place keeps the item of the wrapped recommender with probability 1 - epsilon, on its own. The other places are
    filled with distinct items drawn uniformly from what is available and not kept. `Slate.propensity` is the marginal
    probability of the item at its place over all draws, exact (see `propensity`).
    """

    recommender: Recommender
    """What is wrapped; it must be deterministic (propensity 1 everywhere)."""
    epsilon: float = 0.1
    """Probability that a place is drawn at random, in (0, 1]."""
    name: str = ""
    """How reports call it; empty: the wrapped name with "+explore"."""

    def __post_init__(self) -> None:
        if not 0 < self.epsilon <= 1:
            raise ConfigError(f"epsilon must lie in (0, 1]; got {self.epsilon}. For 0 use the recommender itself.")
        if not self.name:
            object.__setattr__(self, "name", f"{self.recommender.name}+explore")

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> ExploringPolicy:
        """Fit the wrapped recommender."""
        return ExploringPolicy(self.recommender.fit(log, catalogue, seed=seed), self.epsilon, seed)


@final
@dataclass(frozen=True, eq=False)
class ExploringPolicy:
    """See Exploring."""

    policy: Policy
    """The wrapped one."""
    epsilon: float
    """Probability that a place is drawn at random."""
    seed: int
    """Seed of the fit; draws depend on it and on the seed given to `recommend`."""

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return k places, some of them drawn at random; places that the wrapped policy leaves empty stay empty.

        Raises:
            ConfigError: the wrapped policy draws at random itself.

        """
        base = self.policy.recommend(session, k, seed=seed)
        if (base.propensity != 1).any():
            raise ConfigError("Exploring needs a deterministic recommender, whose propensities are all 1.")
        luck = derive(self.seed, seed)
        filled = base.item >= 0
        keep = filled & (chance(session, k, luck, "coin") >= self.epsilon)
        free = session.available()
        row, place = np.nonzero(keep)
        drawable = np.where(free, chance(session, session.n_items, luck, "explore"), np.nan)
        drawable[row, base.item[row, place]] = np.nan
        item = _fill(base.item, keep, filled, top(drawable, session, k).item)
        return Slate(item, propensity(base.item, item, free.sum(axis=1), self.epsilon))


def propensity(
    base: NDArray[np.int64], item: NDArray[np.int64], n_available: NDArray[np.int64], epsilon: float
) -> NDArray[np.float64]:
    """Return float64[B, K]: the probability that place p shows item[b, p], given the wrapped slate `base` [B, K].

    With n available items, F filled places and M ~ Binomial(places other than those named, 1 - epsilon) kept ones:
    item of this place in base: 1 - epsilon + epsilon * E[1 / (n - M)] over F - 1 other places;
    item of another place: epsilon^2 * E[1 / (n - M)] over F - 2 (that place must have let it go);
    any other item: epsilon * E[1 / (n - M)] over F - 1. Empty places have 1.
    """
    n_filled = (base >= 0).sum(axis=1)
    one = epsilon * _mean_share(n_available, n_filled - 1, epsilon)[:, None]
    two = epsilon**2 * _mean_share(n_available, n_filled - 2, epsilon)[:, None]
    elsewhere = (item[:, :, None] == base[:, None, :]).any(axis=2)
    chosen = np.where(item == base, 1 - epsilon + one, np.where(elsewhere, two, one))
    return np.asarray(np.where(item >= 0, np.minimum(chosen, 1.0), 1.0))


def _mean_share(n: NDArray[np.int64], places: NDArray[np.int64], epsilon: float) -> NDArray[np.float64]:
    """Return float64[B]: E[1 / (n - M)] with M ~ Binomial(places, 1 - epsilon)."""
    from scipy.stats import binom

    places = np.maximum(places, 0)
    kept = np.arange(int(places.max(initial=0)) + 1)
    share = 1.0 / np.maximum(n[:, None] - kept, 1)
    return np.asarray((binom.pmf(kept, places[:, None], 1 - epsilon) * share).sum(axis=1))


def _fill(
    base: NDArray[np.int64], keep: NDArray[np.bool_], filled: NDArray[np.bool_], drawn: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return base with its filled, not kept places taken by the drawn items in their order."""
    drawing = filled & ~keep
    order = np.maximum(np.cumsum(drawing, axis=1) - 1, 0)
    return np.where(drawing, np.take_along_axis(drawn, order, axis=1), base)
