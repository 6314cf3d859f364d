"""An agent shows in a benchmark what it showed in its environment: page by page, for every form and observation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simenv.agents.synthetic import true_population
from simenv.datasets.synthetic import World, generate
from simenv.errors import ActionError, ConfigError
from simenv.recommenders import EnvironmentForm, Learned
from simenv.session import Session
from simenv.vector import ItemVectorEnv, ProtoVectorEnv, SlateVectorEnv

KINDS: dict[str, Any] = {"Slate": SlateVectorEnv, "Item": ItemVectorEnv, "Proto": ProtoVectorEnv}


@pytest.fixture(scope="module")
def world() -> World:
    return generate(3, n_users=20, n_items=60, median_history=20)


class Hashing:
    """An agent whose action depends on all it observes, so that one wrong number shows."""

    def __init__(self, space: Any, n: int) -> None:
        self.space, self.n = space, n

    def predict(self, observation: Any, *, deterministic: bool = False) -> tuple[Any, None]:
        assert deterministic
        seen = observation if isinstance(observation, dict) else {"flat": observation}
        total = sum(
            np.round(np.asarray(value, np.float64) * 64).reshape(len(value), -1) @ np.arange(1, value[0].size + 1)
            for name, value in sorted(seen.items())
        )
        return np.stack([self._one(int(x)) for x in np.atleast_1d(total)]), None

    def _one(self, seed: int) -> Any:
        rng = np.random.default_rng(seed % 2**32)
        if hasattr(self.space, "nvec"):
            return rng.choice(self.n, len(self.space.nvec), replace=False)
        return rng.integers(self.n) if hasattr(self.space, "n") else rng.uniform(-1, 1, self.space.shape).astype("f4")


SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("Slate", {"slate_size": 3, "max_pages": 3}),
    ("Slate", {"slate_size": 3, "max_pages": 3, "candidates": 12, "observation": "flat"}),
    ("Slate", {"slate_size": 2, "max_pages": 4, "repeats": "answer", "observation": "history", "show_user": True}),
    ("Item", {"slate_size": 3, "max_pages": 3}),
    ("Item", {"slate_size": 1, "max_pages": 4, "candidates": 9}),
    ("Item", {"slate_size": 3, "max_pages": 2, "candidates": 9, "observation": "flat"}),
    ("Proto", {"slate_size": 4, "max_pages": 3, "protos": 2}),
    ("Proto", {"slate_size": 3, "max_pages": 3, "candidates": 12, "history": 5}),
]


@pytest.mark.parametrize(("kind", "setting"), SETTINGS, ids=str)
def test_it_shows_what_it_showed_in_its_environment(world: World, kind: Any, setting: dict[str, Any]) -> None:
    _, known = world.log.split_worlds(0)
    env = KINDS[kind](
        true_population(world), 5, training_log=known, catalogue=world.catalogue, autoreset_mode="NextStep", **setting
    )
    n = setting.get("candidates") or 60
    agent = Hashing(env.single_action_space, n)
    observation, _ = env.reset(seed=2)  # in which no page is left empty: `play` ends a visit there
    for _ in range(setting["max_pages"] * setting["slate_size"]):
        action, _ = agent.predict(observation, deterministic=True)
        observation, *_ = env.step(action)
    policy = Learned(agent, EnvironmentForm(kind, setting)).fit(known, world.catalogue, seed=0)
    lived, again = (record.to_frame() for record in (env.record, env.play(policy)))
    order = ["visit", "page", "place"]
    lived, again = (f.sort_values(order).reset_index(drop=True)[[*order, "user", "item"]] for f in (lived, again))
    assert len(lived) > 10
    assert lived.equals(again)


class Zero:
    def predict(self, observation: Any, *, deterministic: bool = False) -> tuple[Any, None]:
        return np.full((len(observation["page"]), 3), 999), None


def test_bad_words_are_said(world: World) -> None:
    policy = Learned(Zero(), EnvironmentForm(setting={"slate_size": 3})).fit(world.log, world.catalogue, seed=0)
    session = Session.begin(np.arange(3), world.log)
    with pytest.raises(ActionError, match="999"):
        policy.recommend(session, 3, seed=0)
    with pytest.raises(ConfigError, match="fills 3 places, and 5 are asked for"):
        policy.recommend(session, 5, seed=0)
    few = Session.begin(np.arange(3), world.log, np.tile(np.arange(7), (3, 1)))
    offered = Learned(Zero(), EnvironmentForm(setting={"slate_size": 3, "candidates": 9}))
    with pytest.raises(ConfigError, match="trained with 9 candidates and the session has 7"):
        offered.fit(world.log, world.catalogue, seed=0).recommend(few, 3, seed=0)


@pytest.mark.parametrize(
    ("how", "words"), [({"kind": "Page"}, "kind is"), ({"setting": {"visits": 3}}, "one visit of a user")], ids=str
)
def test_bad_forms(how: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        EnvironmentForm(**how)
