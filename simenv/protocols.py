"""What a plug-in must be. Each protocol has one or two methods; nothing here has a body.

Implement these in your own class; no base class is needed. `simenv.testing` ships a contract test for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.scale import RatingScale
from simenv.session import Response, Session, Slate, UserState


@final
@dataclass(frozen=True, eq=False)
class Answer:
    """How much N users like N items."""

    p: NDArray[np.float32]
    """float32[N, R]: probability of each value of the scale; rows sum to 1."""
    off_scale: NDArray[np.float32]
    """float32[N]: probability the model put outside the scale before restriction."""
    support: NDArray[np.float32]
    """float32[N]: number of ratings of the item among the rows the model learned from."""


@runtime_checkable
class RatingModel(Protocol):
    """How much users like items. Stateless: the same pair gives the same answer, in any batch."""

    @property
    def scale(self) -> RatingScale:
        """The R values answers are distributed over."""
        ...

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return the answers of users [N] for items [N]."""
        ...


@runtime_checkable
class Population(Protocol):
    """The users who answer: a RatingModel, a choice model and an exit model."""

    @property
    def users(self) -> Index:
        """All users known by number (the log's index)."""
        ...

    @property
    def items(self) -> Index:
        """All items that may be shown."""
        ...

    @property
    def member(self) -> NDArray[np.int64]:
        """int64[M]: numbers of the users that are simulated."""
        ...

    @property
    def scale(self) -> RatingScale:
        """The scale of ratings."""
        ...

    @property
    def assumption(self) -> dict[str, str]:
        """Each behavioural parameter by name, with "fitted" or "assumed" and its value, for reports."""
        ...

    def begin(self, user: NDArray[np.int64], key: NDArray[np.uint64]) -> UserState:
        """Return members [B] before their first page; `key` [B] fixes all their luck in this visit."""
        ...

    def respond(self, state: UserState, slate: Slate) -> tuple[Response, UserState]:
        """Return what the users do with the slate, and what they then know. Pure: no hidden state."""
        ...


@runtime_checkable
class Returning(Protocol):
    """What a Population also is whose users may come back after a visit."""

    def return_visit(self, state: UserState) -> tuple[UserState, NDArray[np.float64]]:
        """Return users whose visit is over before their next one, and the days [B] until then; inf: gone for good."""
        ...


@runtime_checkable
class Policy(Protocol):
    """What ranks."""

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return k places for each of the B users: distinct items of `session.available()`, -1 if too few are left."""
        ...


@runtime_checkable
class Recommender(Protocol):
    """A way to become a policy. Usually a frozen dataclass of hyper-parameters with a `name`."""

    @property
    def name(self) -> str:
        """How reports call it."""
        ...

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> Policy:
        """Learn from the log and return a ready policy."""
        ...
