"""Populations without any model, in microseconds, for testing wrappers, agents and environments. Knows no Gymnasium."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.index import Index
from simenv.protocols import Population
from simenv.randomness import Purpose, uniform
from simenv.scale import RatingScale
from simenv.session import Response, Slate, UserState


@final
@dataclass(frozen=True, eq=False)
class ScriptedPopulation:
    """Users without any model: likings and luck are hashes of user, item and key."""

    users: Index = field(default_factory=lambda: Index(tuple(101 + u for u in range(8)), "user"))
    items: Index = field(default_factory=lambda: Index(tuple(f"i{i:03d}" for i in range(30)), "item"))
    member: NDArray[np.int64] = field(default_factory=lambda: np.arange(8))
    scale: RatingScale = field(default_factory=RatingScale)
    p_leave: float = 0.2
    """Probability of leaving after a page."""
    persona: tuple[str, ...] = ()
    """[U]: name of each user's persona; (): none."""

    @property
    def assumption(self) -> dict[str, str]:
        """Say that everything here is made up."""
        return {"scripted.p_leave": f"assumed {self.p_leave:g}"}

    def begin(self, user: NDArray[np.int64], key: NDArray[np.uint64]) -> UserState:
        """Return users [B] before their first page."""
        zero, count = np.zeros(len(user)), np.zeros(len(user), np.int64)
        return UserState(user, key, count, zero, zero, zero, count, zero, np.empty((len(user), 0), np.int64))

    def respond(self, state: UserState, slate: Slate) -> tuple[Response, UserState]:
        """Return what the users [B] do with the slate [B, K]: an item is taken with probability 0.7."""
        shown, (key, user) = slate.item >= 0, (state.key[:, None], state.user[:, None])
        weight = uniform(7, user[..., None], slate.item[..., None], np.arange(len(self.scale)), purpose=Purpose.MOOD)
        p = np.where(shown[..., None], weight / weight.sum(axis=2, keepdims=True), np.nan)
        consumed = shown & (uniform(key, user, slate.item, purpose=Purpose.CONSUME) < 0.7)
        drawn = self.scale.sample(np.nan_to_num(p), uniform(key, user, slate.item, purpose=Purpose.RATING))
        rating = np.where(consumed, drawn, np.nan).astype(np.float32)
        leaves = uniform(state.key, state.user, state.page, purpose=Purpose.EXIT) < self.p_leave
        nothing = np.where(shown, np.float32(0), np.float32(np.nan))
        p_exit = np.full(len(shown), self.p_leave)
        response = Response(consumed, rating, leaves, p.astype(np.float32), nothing, p_exit, nothing.copy())
        seen = np.concatenate([state.shown, slate.item], axis=1)
        return response, replace(state, page=state.page + 1, fatigue=state.fatigue + shown.sum(axis=1), shown=seen)


@final
@dataclass(frozen=True, eq=False)
class CountingPopulation:
    """Passes everything on and counts the calls."""

    inner: Population
    calls: list[int] = field(default_factory=list)
    """Users asked in each call."""

    def __getattr__(self, name: str) -> Any:
        """Return what the inner population has."""
        if name == "inner":  # asked for while a copy is being made
            raise AttributeError(name)
        return getattr(self.inner, name)

    def respond(self, state: UserState, slate: Slate) -> tuple[Response, UserState]:
        """Count, and ask the inner population."""
        self.calls.append(len(slate.item))
        return self.inner.respond(state, slate)
