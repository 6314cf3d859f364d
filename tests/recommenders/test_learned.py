"""Learned: trained agents as recommenders; the ranker's form; what is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from simenv.catalogue import Catalogue
from simenv.datasets.synthetic import World, generate
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.protocols import Recommender
from simenv.recommenders import ContextualGreedy, Learned, RankerForm, top
from simenv.recommenders.learned import Agent, Ranker
from simenv.recommenders.pair_features import CONTEXT, FEATURES, PairFeatureSettings
from simenv.session import Session, Slate
from simenv.testing.recommender import RecommenderContract

SMALL = PairFeatureSettings(pool=10, factors=3, text_factors=2)


@dataclass(frozen=True)
class Fixed:
    """An agent that always says the same; it asserts what it is shown."""

    weight: tuple[float, ...] = (1.0, 0.0, 0.5, 0.2, 0.3, 0.1, 0.2, -0.1)

    def predict(self, observation: Any, *, deterministic: bool = False) -> tuple[Any, Any]:
        assert deterministic
        assert observation.dtype == np.float32
        assert observation.shape[1] == len(CONTEXT)
        assert np.abs(observation).max() <= 5
        return np.tile(np.array(self.weight, np.float32), (len(observation), 1)), None


class TestLearnedRanker(RecommenderContract):
    def recommender(self) -> Recommender:
        return Learned(Fixed(), RankerForm(SMALL))


@pytest.fixture(scope="module")
def world() -> World:
    return generate(3, n_users=60, n_items=60, median_history=20)


def one(name: str) -> tuple[float, ...]:
    return tuple(float(name == f) for f in FEATURES)


class TestRanker:
    def test_weighs_as_the_contextual_greedy_does(self, world: World) -> None:
        greedy = ContextualGreedy(SMALL).fit(world.log, world.catalogue, seed=2)
        agent = Fixed(tuple(greedy.weight.tolist()))
        learned = Learned(agent, RankerForm(SMALL)).fit(world.log, world.catalogue, seed=2)
        session = Session.begin(np.arange(60), world.log)
        np.testing.assert_array_equal(
            learned.recommend(session, 5, seed=0).item, greedy.recommend(session, 5, seed=0).item
        )

    def test_one_feature_alone_ranks_by_it(self, world: World) -> None:
        policy = Learned(Fixed(one("popular")), RankerForm(SMALL)).fit(world.log, world.catalogue, seed=2)
        session = Session.begin(np.arange(10), world.log)
        count = np.bincount(world.log.item, minlength=60)
        ranked = count[policy.recommend(session, 8, seed=0).item]
        assert (np.diff(ranked, axis=1) <= 0).all()
        assert (np.diff(ranked, axis=1) < 0).any()

    def test_the_same_past_is_read_once(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        ranker = RankerForm(SMALL).fit(world.log, world.catalogue, seed=2)
        asked: list[Any] = []
        real = type(ranker.features).start

        def start(self: Any, session: Session) -> Any:
            asked.append(session)
            return real(self, session)

        monkeypatch.setattr(type(ranker.features), "start", start)
        session = Session.begin(np.arange(4), world.log)
        for _ in range(3):
            ranker.look(session, 5)
        assert len(asked) == 1
        other = Session.begin(np.arange(4, 8), world.log)
        fresh = Ranker(ranker.features)
        np.testing.assert_array_equal(ranker.look(other, 5).observation, fresh.look(other, 5).observation)
        np.testing.assert_array_equal(ranker.look(session, 5).observation, fresh.look(session, 5).observation)

    def test_the_seed_of_training_is_kept(self, world: World) -> None:
        how = Learned(Fixed(), RankerForm(SMALL), seed=7)
        a, b = (how.fit(world.log, world.catalogue, seed=s).form for s in (1, 2))
        c = Learned(Fixed(), RankerForm(SMALL)).fit(world.log, world.catalogue, seed=1).form
        vectors = [form.features.space.vector for form in (a, b, c) if isinstance(form, Ranker)]
        np.testing.assert_array_equal(vectors[0], vectors[1])
        assert not np.array_equal(vectors[0], vectors[2])


@dataclass(frozen=True)
class FirstFree:
    """A form of somebody's own: the agent sees the number of pages and names how far down to begin."""

    name: str = "first free"

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> FirstFree:
        return self

    def show(self, agent: Agent, session: Session, k: int, *, seed: int) -> Slate:
        action, _ = agent.predict({"page": session.page[:, None]}, deterministic=True)
        order = -np.abs(np.arange(session.n_items) - action[:, None])
        return top(order.astype(np.float64), session, k)


class Near:
    def predict(self, observation: Any, *, deterministic: bool = False) -> tuple[Any, Any]:
        return observation["page"][:, 0] + 10, None


def test_a_form_of_ones_own(world: World) -> None:
    policy = Learned(Near(), FirstFree(), name="mine").fit(world.log, world.catalogue, seed=0)
    nobody = Session.begin(np.array([0]), world.log.take(np.zeros(len(world.log), bool)))
    assert policy.recommend(nobody, 1, seed=0).item.tolist() == [[10]]


class Wrong:
    def __init__(self, action: Any) -> None:
        self.action = action

    def predict(self, observation: Any, *, deterministic: bool = False) -> tuple[Any, Any]:
        return self.action, None


@pytest.mark.parametrize(
    "action", [np.zeros((2, 3)), np.zeros(len(FEATURES)), np.full((2, len(FEATURES)), np.nan)], ids=str
)
def test_bad_actions_are_said(world: World, action: Any) -> None:
    policy = Learned(Wrong(action), RankerForm(SMALL)).fit(world.log, world.catalogue, seed=0)
    with pytest.raises(ConfigError, match="finite weights of shape"):
        policy.recommend(Session.begin(np.arange(2), world.log), 5, seed=0)


def test_something_that_is_no_agent_is_refused() -> None:
    with pytest.raises(ConfigError, match="function"):
        Learned(lambda observation: observation)  # type: ignore[arg-type]
