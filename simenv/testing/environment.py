"""EnvironmentContract: what the environment promises over any Population. Inherit it to test your own users.

    class TestMyUsers(EnvironmentContract):
        population = my_population

Plain asserts, for pytest.
"""

# ruff: noqa: D102 (the names of the tests say what is promised)

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env, data_equivalence

from simenv.testing.population import ScriptedPopulation
from simenv.testing.vector import VectorEqualsSingles, random_actions, rolled

__all__ = ["EnvironmentContract", "ScriptedPopulation", "played", "rolled"]


class EnvironmentContract(VectorEqualsSingles):
    """Set `population`: a Population or a method that returns one; `env_id` and `setting` for other environments."""

    def test_gymnasium_finds_nothing_to_complain_about(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            check_env(self.make())

    def test_same_seed_and_actions_give_the_same_episodes(self) -> None:
        once, again = (played(self.make(), seed=5) for _ in range(2))
        assert data_equivalence(once, again, exact=True)

    def test_observations_and_infos_keep_their_form(self) -> None:
        env, keys = self.make(), None
        for observation, info, reward, *_ in played(env, seed=3):
            assert observation in env.observation_space
            assert np.isfinite(reward)
            keys = keys or info.keys()
            assert info.keys() == keys

    def test_a_snapshot_is_gone_on_with_bit_for_bit(self) -> None:
        env: Any = self.make()
        draw = np.random.default_rng(2)
        now = env.reset(seed=4)
        shot, actions = env.snapshot(), [random_actions(env.action_space, draw) for _ in range(12)]
        first = followed(env, actions)
        other: Any = self.make()
        assert data_equivalence(env.restore(shot), now, exact=True)
        assert data_equivalence(followed(env, actions), first, exact=True)
        assert data_equivalence(other.restore(shot), now, exact=True)
        assert data_equivalence(followed(other, actions), first, exact=True), "another environment must do as well"


def played(env: gymnasium.Env[Any, Any], seed: int, episodes: int = 3) -> list[tuple[Any, ...]]:
    """Return (observation, info, reward, terminated, truncated) of each reset and step under random actions."""
    draw = np.random.default_rng(seed)
    out: list[tuple[Any, ...]] = []
    for episode in range(episodes):
        over = False
        out.append((*env.reset(seed=seed if episode == 0 else None), 0.0, False, False))
        while not over:
            observation, reward, terminated, truncated, info = env.step(random_actions(env.action_space, draw))
            out.append((observation, info, reward, terminated, truncated))
            over = terminated or truncated
    return out


def followed(env: gymnasium.Env[Any, Any], actions: list[Any]) -> list[Any]:
    """Return what each action leads to; where a visit ends, another one is begun."""
    out: list[Any] = []
    for action in actions:
        out.append(env.step(action))
        if out[-1][2] or out[-1][3]:
            out.append(env.reset())
    return out
