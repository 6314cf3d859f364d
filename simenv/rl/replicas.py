"""Replicas: one population built several times; some to learn in, others and other users to be tested on.

Replicas differ in the seed and in the users they were learned from; what they agree on is more likely true than what
one of them says. Knows populations by protocol. M users; I items; K replicas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.protocols import Population
from simenv.scale import RatingScale
from simenv.session import Response, Slate, UserState

Floats = NDArray[np.float64]
_AT_ONCE = 64
"""Places asked for on one page when all items are asked for."""


@final
@dataclass(frozen=True, eq=False)
class Proving:
    """Where policies learn, and where they are tried."""

    train: tuple[Population, ...]
    """Replicas to learn in."""
    test: tuple[Population, ...]
    """Replicas nobody learned in."""
    learner: NDArray[np.int64]
    """int64[M]: users whose visits train."""
    held_out: NDArray[np.int64]
    """int64[M']: users who meet finished policies only."""
    log: InteractionLog
    """The contestants' rows."""
    catalogue: Catalogue
    truth: Population | None = None
    """The true users, where the world is invented; None: nobody knows."""
    future: InteractionLog | None = None
    """What held-out users truly rated later: it reaches finished policies only, to be ranked. None: not kept."""

    def __post_init__(self) -> None:
        if not self.train or not self.test:
            raise ConfigError(
                "a policy is trained on some replicas and tested on others; "
                f"got {len(self.train)} and {len(self.test)}."
            )
        if any(a is b for a in self.train for b in self.test):
            raise ConfigError("one replica stands among those to train on and those to test on.")
        both = np.intersect1d(self.learner, self.held_out)
        if len(both) or len(self.held_out) < 2 or not len(self.learner):
            raise ConfigError(
                f"learners and at least two held-out users must be different people; got {len(self.learner)} and "
                f"{len(self.held_out)}, {len(both)} of them the same."
            )
        for population in (*self.train, *self.test, *(() if self.truth is None else (self.truth,))):
            if population.items.fingerprint != self.log.items.fingerprint:
                raise ConfigError("a replica numbers its items unlike the log; build all of them from one Index.")


def expected_table(population: Population, user: NDArray[np.int64]) -> Floats:
    """Return float64[M, I]: what users [M], before their first page, are expected to rate each item."""
    state = population.begin(user, np.zeros(len(user), np.uint64))
    out = np.empty((len(user), len(population.items)))
    for start in range(0, out.shape[1], _AT_ONCE):
        item = np.arange(start, min(start + _AT_ONCE, out.shape[1]))
        response, _ = population.respond(state, Slate.certain(np.tile(item, (len(user), 1))))
        out[:, item] = population.scale.expectation(response.p_rating)
    return out


@final
@dataclass(frozen=True, eq=False)
class Disagreement:
    """How far replicas differ in what they expect."""

    user: NDArray[np.int64]
    """int64[M], ascending."""
    deviation: Floats
    """float64[M, I]: standard deviation (n - 1) over the replicas, rating points."""

    @classmethod
    def of(cls, populations: Sequence[Population], user: NDArray[np.int64]) -> Disagreement:
        """Ask K replicas about every item.

        Each replica's own mean of a user is taken off first: a replica that finds a user stricter orders nothing anew.

        Raises:
            ConfigError: fewer than two replicas.

        """
        if len(populations) < 2:
            raise ConfigError(f"disagreement needs two replicas or more; got {len(populations)}.")
        user = np.unique(user)
        table = np.stack([expected_table(p, user) for p in populations])
        return cls(user, (table - table.mean(axis=2, keepdims=True)).std(axis=0, ddof=1))

    def at(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Floats:
        """Return float64[B, K] for users [B] and items [B, K]; 0 at empty places (-1).

        Raises:
            ConfigError: a user who was not asked about.

        """
        row = np.searchsorted(self.user, user)
        if (row >= len(self.user)).any() or (self.user[row] != user).any():
            raise ConfigError("the replicas were not asked about some of these users; take them into Disagreement.of.")
        return np.where(item >= 0, self.deviation[row[:, None], item], 0.0)


@final
@dataclass(frozen=True, eq=False)
class Pessimistic:
    """A population that promises less where replicas disagree: expected rating - weight * disagreement.

    Only `Response.p_rating` is lowered, and with it the reward "expected": each distribution gives up the share of its
    mass to the lowest value that lowers its mean by that much (never below the lowest value). What users take, rate and
    when they leave is as it was. A penalty as in MOReL and MOPO (Kidambi et al. 2020; Yu et al. 2020).
    """

    population: Population
    disagreement: Disagreement
    weight: float = 1.0
    """Rating points taken off per point of disagreement; 0 changes nothing."""

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ConfigError(f"the weight of pessimism is not negative; got {self.weight}.")

    @property
    def users(self) -> Index:
        """Those of the population."""
        return self.population.users

    @property
    def items(self) -> Index:
        """Those of the population."""
        return self.population.items

    @property
    def member(self) -> NDArray[np.int64]:
        """int64[M]: those of the population."""
        return self.population.member

    @property
    def scale(self) -> RatingScale:
        """That of the population."""
        return self.population.scale

    @property
    def assumption(self) -> dict[str, str]:
        """The population's, and the weight."""
        return {**self.population.assumption, "rl.pessimism": f"assumed {self.weight:g}"}

    def begin(self, user: NDArray[np.int64], key: NDArray[np.uint64]) -> UserState:
        """Return members [B] before their first page."""
        return self.population.begin(user, key)

    def respond(self, state: UserState, slate: Slate) -> tuple[Response, UserState]:
        """Return what the population does, its promises lowered."""
        response, after = self.population.respond(state, slate)
        penalty = self.weight * self.disagreement.at(state.user, slate.item)
        return replace(response, p_rating=lowered(response.p_rating, penalty, self.scale)), after


def lowered(p: NDArray[np.floating], by: Floats, scale: RatingScale) -> NDArray[np.float32]:
    """Return distributions [B, K, R] whose means [B, K] are lower by `by`, or the lowest value where that is not left.

    >>> scale = RatingScale()
    >>> scale.expectation(lowered(np.full((1, 1, 5), 0.2), np.array([[0.5]]), scale))
    array([[2.5]])
    """
    above = scale.expectation(np.asarray(p)) - scale.values[0]
    share = np.clip(np.divide(by, above, out=np.zeros_like(above), where=above > 0), 0.0, 1.0)[..., None]
    bottom = np.zeros(len(scale))
    bottom[0] = 1.0
    return np.asarray((1.0 - share) * p + share * bottom, np.float32)
