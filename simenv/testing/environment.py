"""EnvironmentContract: what the environment promises over any Population. Inherit it to test your own users.

    class TestMyUsers(EnvironmentContract):
        def population(self) -> Population:
            return my_population()

Plain asserts, for pytest. Also ScriptedPopulation, users made of hashes, for testing wrappers and agents.
"""

# ruff: noqa: D102 (the names of the tests say what is promised)

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, final

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from simenv.environment import SlateEnv
from simenv.index import Index
from simenv.protocols import Population
from simenv.randomness import Purpose, uniform
from simenv.registration import SLATE_ID
from simenv.scale import RatingScale
from simenv.session import Response, Slate, UserState
from simenv.stage import Setting
from simenv.vector import SlateVectorEnv

_B = 4


@final
@dataclass(frozen=True, eq=False)
class ScriptedPopulation:
    """Users without any model: likings and luck are hashes of user, item and key. Answers in microseconds."""

    users: Index = field(default_factory=lambda: Index(tuple(101 + u for u in range(8)), "user"))
    items: Index = field(default_factory=lambda: Index(tuple(f"i{i:03d}" for i in range(30)), "item"))
    member: NDArray[np.int64] = field(default_factory=lambda: np.arange(8))
    scale: RatingScale = field(default_factory=RatingScale)
    p_leave: float = 0.2
    """Probability of leaving after a page."""

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


class EnvironmentContract:
    """Override `population`; override `setting` for other arguments of SlateEnv."""

    def population(self) -> Population:
        """Return the users; called many times."""
        raise NotImplementedError("override population(self) and return yours")

    def setting(self) -> Setting:
        """Return the arguments of SlateEnv."""
        return {"slate_size": 3, "max_pages": 4, "diagnostics": True}

    def test_gymnasium_finds_nothing_to_complain_about(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            env = gymnasium.make(SLATE_ID, population=self.population(), **self.setting())
            check_env(env.unwrapped)

    def test_same_seed_and_actions_give_the_same_episodes(self) -> None:
        once, again = (played(SlateEnv(self.population(), **self.setting()), seed=5) for _ in range(2))
        assert data_equivalence(once, again, exact=True)

    def test_observations_and_infos_keep_their_form(self) -> None:
        env = SlateEnv(self.population(), **self.setting())
        keys = None
        for observation, info, *_ in played(env, seed=3):
            assert observation in env.observation_space
            keys = keys or info.keys()
            assert info.keys() == keys

    def test_vector_equals_singles_next_step(self) -> None:
        self.check_vector(AutoresetMode.NEXT_STEP)

    def test_vector_equals_singles_same_step(self) -> None:
        self.check_vector(AutoresetMode.SAME_STEP)

    def test_vector_equals_singles_disabled(self) -> None:
        self.check_vector(AutoresetMode.DISABLED)

    def check_vector(self, mode: AutoresetMode, steps: int = 25) -> None:
        """Assert that SlateVectorEnv returns, bit for bit, what Gymnasium makes of as many SlateEnv."""
        population, setting = self.population(), self.setting()
        make: list[Callable[[], SlateEnv]] = [lambda: SlateEnv(population, **setting)] * _B
        singles = SyncVectorEnv(make, autoreset_mode=mode)
        vector = SlateVectorEnv(population, _B, autoreset_mode=mode, **setting)
        assert vector.single_observation_space == singles.single_observation_space
        assert vector.action_space == singles.action_space
        for step, (got, want) in enumerate(zip(rolled(vector, steps), rolled(singles, steps), strict=True)):
            assert data_equivalence(got, want, exact=True), f"step {step}: {got} is not {want}"


def played(env: SlateEnv, seed: int, episodes: int = 3) -> list[tuple[Any, ...]]:
    """Return (observation, info, reward, terminated, truncated) of each reset and step under random actions."""
    draw, out = np.random.default_rng(seed), []
    nvec = env.action_space.nvec  # type: ignore[attr-defined]
    for episode in range(episodes):
        over = False
        out.append((*env.reset(seed=seed if episode == 0 else None), 0.0, False, False))
        while not over:
            observation, reward, terminated, truncated, info = env.step(draw.integers(nvec))
            out.append((observation, info, reward, terminated, truncated))
            over = terminated or truncated
    return out


def rolled(env: VectorEnv[Any, Any, Any], steps: int, seed: int = 1) -> list[Any]:
    """Return what reset and each step of a vector environment return under random actions; resets where disabled."""
    draw = np.random.default_rng(seed)
    nvec = env.single_action_space.nvec  # type: ignore[attr-defined]
    out: list[Any] = [env.reset(seed=seed)]
    for _ in range(steps):
        out.append(env.step(draw.integers(nvec, size=(env.num_envs, len(nvec)))))
        over = out[-1][2] | out[-1][3]
        if env.metadata["autoreset_mode"] is AutoresetMode.DISABLED and over.any():
            out.append(env.reset(options={"reset_mask": over}))
    return out
