"""Ladder: users of a synthetic world made worse on purpose, and how far each simulator really is from the truth.

What a card says of them can so be held against what is true. Knows rating models and the world; nothing of cards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.arms import derangement
from simenv.agents.population import SimulatedPopulation
from simenv.agents.synthetic import true_population
from simenv.datasets.synthetic import World
from simenv.evaluation.fidelity.replay import replay
from simenv.log import InteractionLog
from simenv.protocols import Answer, Population, RatingModel
from simenv.scale import RatingScale

TRUTH = "the truth"
SHARES = (0.25, 0.5)
"""Weights of the uniform distribution mixed in."""


@final
@dataclass(frozen=True, eq=False)
class Blurred:
    """A rating model with the uniform distribution mixed in."""

    inner: RatingModel
    share: float
    """Weight of the uniform distribution, 0..1."""

    @property
    def scale(self) -> RatingScale:
        """The inner model's scale."""
        return self.inner.scale

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return (1 - share) p + share / R."""
        said = self.inner.rate(user, item)
        p = (1 - self.share) * said.p + np.float32(self.share / len(self.scale))
        return Answer(p.astype(np.float32), said.off_scale, said.support)


@final
@dataclass(frozen=True, eq=False)
class Swapped:
    """A rating model in which everybody answers as somebody else."""

    inner: RatingModel
    other: NDArray[np.int64]
    """int64[U]: as whom."""

    @property
    def scale(self) -> RatingScale:
        """The inner model's scale."""
        return self.inner.scale

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return the other user's answers."""
        return self.inner.rate(self.other[user], item)


@final
@dataclass(frozen=True, eq=False)
class Faceless:
    """A rating model in which everybody answers as the members do on average: no personas, no persons."""

    inner: RatingModel
    member: NDArray[np.int64]
    """int64[M]"""

    @property
    def scale(self) -> RatingScale:
        """The inner model's scale."""
        return self.inner.scale

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return, for each item, the mean of all members' distributions."""
        one, place = np.unique(item, return_inverse=True)
        everyone = np.tile(self.member, len(one))
        p = self.inner.rate(everyone, np.repeat(one, len(self.member))).p
        mean = p.reshape(len(one), len(self.member), -1).mean(axis=1, dtype=np.float64)
        said = self.inner.rate(user, item)
        return Answer(mean[place.ravel()].astype(np.float32), said.off_scale, said.support)


@final
@dataclass(frozen=True, eq=False)
class Marginal:
    """A rating model that says the same of every pair: the shares of all known ratings."""

    known: InteractionLog

    @property
    def scale(self) -> RatingScale:
        """The log's scale."""
        return self.known.scale

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return the shares for every pair; support is the item's number of known ratings."""
        share = np.bincount(self.scale.encode(self.known.rating), minlength=len(self.scale)) / len(self.known)
        support = np.bincount(self.known.item, minlength=self.known.n_items)[item].astype(np.float32)
        p = np.broadcast_to(share.astype(np.float32), (len(user), len(share))).copy()
        return Answer(p, np.zeros(len(user), np.float32), support)


def ladder(
    world: World, member: NDArray[np.int64], known: InteractionLog, *, seed: int = 0
) -> dict[str, SimulatedPopulation]:
    """Return the world's own users, then worse ones, by name; choice and exit stay the true ones.

    known: rows whose shares the constant simulator answers with.
    """
    true = true_population(world, member)
    other = np.arange(len(world.log.users))
    other[member] = member[derangement(len(member), seed)]
    model = true.rating_model
    worse: dict[str, RatingModel] = {f"{s:.0%} uniform mixed in": Blurred(model, s) for s in SHARES}
    worse |= {"users swapped": Swapped(model, other), "persona-free": Faceless(model, member)}
    worse |= {"constant": Marginal(known)}
    return {TRUTH: true} | {name: true.with_(rating_model=m) for name, m in worse.items()}


def distance(population: Population, world: World, user: NDArray[np.int64], item: NDArray[np.int64]) -> float:
    """Return how far a simulator's answers to pairs [N] are from the truth: mean KL(true || said), nats per pair.

    Zero for the truth alone. What nobody knows of a real world; here it is known.
    """
    true = np.asarray(world.truth.p(user, item), np.float64)
    said = np.asarray(replay(population, user, item).p, np.float64)
    return float((true * (np.log(np.maximum(true, 1e-12)) - np.log(np.maximum(said, 1e-12)))).sum(axis=1).mean())
