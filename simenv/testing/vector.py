"""VectorEqualsSingles: a vector environment gives, bit for bit, what Gymnasium makes of as many single ones.

    class TestMyUsers(VectorEqualsSingles):
        population = my_population

Plain asserts, for pytest. Gymnasium ships no check of vector environments; this is ours.
"""

# ruff: noqa: D102 (the names of the tests say what is promised)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

import simenv.environment  # noqa: F401  registers the ids
from simenv.protocols import Population
from simenv.registration import SLATE_ID

_B = 4


class OverPopulation:
    """What contracts over users and environments have in common: which users, which environment, which arguments."""

    env_id: str = SLATE_ID
    """Of the environment: "simenv/Slate-v0", "simenv/Item-v0" or "simenv/Proto-v0"; or of your own."""
    setting: Any = {"slate_size": 3, "max_pages": 4, "diagnostics": True}  # noqa: RUF012
    """Arguments of the environment besides the population; a dict, or a method that returns one."""
    population: Any = None
    """The users; a Population, or a method that returns one (called many times)."""

    def users(self) -> Population:
        """Return the users of this contract.

        Raises:
            NotImplementedError: the class has no `population`.

        """
        if self.population is None:
            raise NotImplementedError("write `population = ...` in your class: the users to test")
        found = self.population() if callable(self.population) else self.population
        assert isinstance(found, Population), f"population must be a Population; got {type(found).__name__}"
        return found

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of this contract."""
        return dict(self.setting() if callable(self.setting) else self.setting)

    def make(self, **more: Any) -> gymnasium.Env[Any, Any]:
        """Return the single environment, without Gymnasium's wrappers."""
        return gymnasium.make(self.env_id, population=self.users(), **self.arguments() | more).unwrapped


class VectorEqualsSingles(OverPopulation):
    """Set `population`; `env_id` and `setting` for other environments."""

    def test_vector_equals_singles_next_step(self) -> None:
        self.check_vector(AutoresetMode.NEXT_STEP)

    def test_vector_equals_singles_same_step(self) -> None:
        self.check_vector(AutoresetMode.SAME_STEP)

    def test_vector_equals_singles_disabled(self) -> None:
        self.check_vector(AutoresetMode.DISABLED)

    def check_vector(self, mode: AutoresetMode, steps: int = 25) -> None:
        """Assert that both return the same under random actions, resets included."""
        population, setting = self.users(), self.arguments()
        make: list[Callable[[], gymnasium.Env[Any, Any]]] = [
            lambda: gymnasium.make(self.env_id, population=population, **setting).unwrapped
        ] * _B
        singles = SyncVectorEnv(make, autoreset_mode=mode)
        vector = gymnasium.make_vec(
            self.env_id,
            num_envs=_B,
            vectorization_mode="vector_entry_point",
            population=population,
            autoreset_mode=mode,
            **setting,
        )
        assert vector.single_observation_space == singles.single_observation_space
        assert vector.action_space == singles.action_space
        for step, (got, want) in enumerate(zip(rolled(vector, steps), rolled(singles, steps), strict=True)):
            assert data_equivalence(got, want, exact=True), f"step {step}: {got} is not {want}"


def random_actions(space: gymnasium.Space[Any], draw: np.random.Generator, n: int | None = None) -> NDArray[Any]:
    """Return an action of a Box, Discrete or MultiDiscrete space, or n of them [n, ...], from a generator."""
    head = () if n is None else (n,)
    if isinstance(space, gymnasium.spaces.Box):
        return draw.uniform(space.low, space.high, (*head, *space.shape)).astype(np.float32)
    if isinstance(space, gymnasium.spaces.Discrete):
        return np.asarray(draw.integers(space.n, size=head))
    assert isinstance(space, gymnasium.spaces.MultiDiscrete)
    return draw.integers(space.nvec, size=(*head, len(space.nvec)))


def rolled(env: VectorEnv[Any, Any, Any], steps: int, seed: int = 1) -> list[Any]:
    """Return what reset and each step of a vector environment return under random actions; resets where disabled."""
    draw = np.random.default_rng(seed)
    out: list[Any] = [env.reset(seed=seed)]
    for _ in range(steps):
        out.append(env.step(random_actions(env.single_action_space, draw, env.num_envs)))
        over = out[-1][2] | out[-1][3]
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and over.any():
            out.append(env.reset(options={"reset_mask": over}))
    return out
