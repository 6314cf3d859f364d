"""Scripted users and recommenders: no model, the right answer known by construction."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv import Catalogue, InteractionLog, Response, Session, Slate, UserState
from simenv.index import Index
from simenv.randomness import Purpose, generator, uniform
from simenv.scale import RatingScale
from simenv.testing.logs import tiny_catalogue, tiny_log


@dataclass(frozen=True, eq=False)
class ScriptedPopulation:
    """User u likes item i by quality[u, i] in 0..1: expected rating 1 + 4 * quality; leaves when bored."""

    users: Index
    items: Index
    quality: NDArray[np.float64]
    slope: float = 1.0
    support: float = 9.0
    scale: RatingScale = field(default_factory=RatingScale)
    member_from: int = 0

    @property
    def member(self) -> NDArray[np.int64]:
        return np.arange(self.member_from, len(self.users))

    @property
    def assumption(self) -> dict[str, str]:
        return {"choice.consume": "assumed 0.5", "exit.slope": f"assumed {self.slope:g}"}

    def with_exit_slope(self, factor: float) -> ScriptedPopulation:
        return replace(self, slope=self.slope * factor)

    def begin(self, user: NDArray[np.int64], key: NDArray[np.uint64]) -> UserState:
        zero = np.zeros(len(user))
        whole = np.zeros(len(user), np.int64)
        return UserState(user, key, whole, zero, zero, zero, whole, zero, np.zeros((len(user), 0), np.int64))

    def respond(self, state: UserState, slate: Slate) -> tuple[Response, UserState]:
        q = self.quality[state.user[:, None], slate.item]
        p = np.stack([1 - q, 0 * q, 0 * q, 0 * q, q], axis=-1)
        p[slate.item < 0] = np.nan
        luck = uniform(state.key[:, None], slate.item, purpose=Purpose.CONSUME)
        consumed = (luck < 0.5) & (slate.item >= 0)
        draw = uniform(state.key[:, None], slate.item, purpose=Purpose.RATING)
        rating = np.where(consumed, np.where(draw < q, 5.0, 1.0), np.nan)
        utility = np.where(slate.item >= 0, q, 0.0).mean(axis=1)
        p_exit = 1 / (1 + np.exp(1.0 + self.slope * 4 * (utility - 0.5)))
        left = uniform(state.key, state.page, purpose=Purpose.EXIT) < p_exit
        support = np.where(slate.item >= 0, self.support, 0.0)
        answer = Response(
            consumed,
            rating.astype(np.float32),
            left,
            p.astype(np.float32),
            np.zeros(q.shape, np.float32),
            p_exit,
            support.astype(np.float32),
        )
        return answer, replace(state, page=state.page + 1)


@dataclass(frozen=True, eq=False)
class ScorePolicy:
    score: NDArray[np.float64]

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        score = np.where(session.available(), self.score[session.user], -np.inf)
        order = np.argsort(-score, axis=1, kind="stable")[:, :k]
        item = np.where(np.isfinite(np.take_along_axis(score, order, axis=1)), order, -1)
        if item.shape[1] < k:
            item = np.pad(item, ((0, 0), (0, k - item.shape[1])), constant_values=-1)
        return Slate.certain(item)


@dataclass(frozen=True)
class ScriptedRecommender:
    """Ranks by the truth mixed with noise of its own: `skill` 1 is an oracle, 0 random."""

    name: str
    skill: float
    salt: int = 0
    world: int = 0

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> ScorePolicy:
        truth = quality(log.n_users, log.n_items, self.world)
        noise = generator(self.salt, "noise").random(truth.shape)
        return ScorePolicy(self.skill * truth + (1 - self.skill) * noise)


def quality(n_users: int, n_items: int, world: int = 0) -> NDArray[np.float64]:
    return generator(world, "quality").random((n_users, n_items))


@dataclass(frozen=True)
class World:
    log: InteractionLog
    future: InteractionLog
    catalogue: Catalogue

    def population(self, **changes: Any) -> ScriptedPopulation:
        truth = quality(self.log.n_users, self.log.n_items)
        return ScriptedPopulation(self.log.users, self.log.items, **({"quality": truth} | changes))

    def recommenders(self) -> list[ScriptedRecommender]:
        return [ScriptedRecommender("rand", 0.0), ScriptedRecommender("good", 1.0), ScriptedRecommender("fair", 0.6, 5)]


def make_world(n_users: int = 24, n_items: int = 60) -> World:
    """Return a world whose held-out ratings follow the same quality that the scripted users answer by."""
    log = tiny_log(n_users, n_items)
    true = quality(n_users, n_items)[log.user, log.item]
    log = replace(log, rating=np.clip(np.rint(1 + 4 * true), 1, 5).astype(np.float32))
    cut = log.split("random", 0.4, seed=1)
    return World(cut.past, cut.future, tiny_catalogue(log.items))


@pytest.fixture(scope="session")
def world() -> World:
    return make_world()


@pytest.fixture(scope="session")
def scripted() -> type[ScriptedRecommender]:
    return ScriptedRecommender
