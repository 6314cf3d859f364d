"""Stable-Baselines3 learns on simenv, and the adapter says what a single environment would say, in one call a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from simenv.environment import SlateEnv
from simenv.errors import ConfigError
from simenv.rl.sb3 import SimenvVecEnv, make_sb3
from simenv.testing.population import CountingPopulation, ScriptedPopulation
from simenv.vector import SlateVectorEnv

SHORT = {"n_steps": 8, "batch_size": 16, "n_epochs": 1}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These networks are too small to share."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


RUNS: list[tuple[Any, str, str, dict[str, Any], dict[str, Any]]] = [
    (PPO, "simenv/Slate-v0", "MultiInputPolicy", {"slate_size": 3}, SHORT),
    (PPO, "simenv/Slate-v0", "MlpPolicy", {"slate_size": 3, "candidates": 8, "observation": "flat"}, SHORT),
    (A2C, "simenv/Slate-v0", "MultiInputPolicy", {"slate_size": 3, "observation": "history"}, {"n_steps": 4}),
    (A2C, "simenv/Item-v0", "MultiInputPolicy", {"show_user": True}, {"n_steps": 4}),
    (DQN, "simenv/Item-v0", "MlpPolicy", {"observation": "flat"}, {"learning_starts": 8}),
    (SAC, "simenv/Proto-v0", "MlpPolicy", {"slate_size": 3, "observation": "flat"}, {"learning_starts": 8}),
    (MaskablePPO, "simenv/Slate-v0", "MlpPolicy", {"slate_size": 3, "observation": "flat"}, SHORT),
    (MaskablePPO, "simenv/Item-v0", "MlpPolicy", {"slate_size": 3, "observation": "flat"}, SHORT),
]


@pytest.mark.parametrize(("algorithm", "name", "policy", "setting", "more"), RUNS)
def test_algorithms_learn_in_one_call_a_step(
    algorithm: Any, name: str, policy: str, setting: dict[str, Any], more: dict[str, Any]
) -> None:
    population = CountingPopulation(ScriptedPopulation())
    env = VecMonitor(make_sb3(name, 4, population=population, **setting))
    model = algorithm(policy, env, seed=0, device="cpu", **more)
    before = {k: v.clone() for k, v in model.policy.state_dict().items()}
    model.learn(64)
    assert any(not torch.equal(v, before[k]) for k, v in model.policy.state_dict().items()), "nothing was learned"
    assert len(model.ep_info_buffer) > 0, "no visit ended"
    assert len(population.calls) <= 16, "64 steps of 4 users side by side are 16 calls"


def test_masked_agents_never_lose_a_place() -> None:
    env = make_sb3("simenv/Item-v0", 4, population=ScriptedPopulation(p_leave=0.0), slate_size=3, observation="flat")
    assert is_masking_supported(env)
    model = MaskablePPO("MlpPolicy", env, seed=0, device="cpu", **SHORT)  # type: ignore[arg-type]
    env.seed(3)
    observation, lost = env.reset(), 0
    for _ in range(20):
        action, _ = model.predict(observation, action_masks=get_action_masks(env))
        observation, _, _, infos = env.step(action)
        lost += sum(info["duplicates"] + info["repeats"] + info["masked"] for info in infos)
    assert lost == 0
    assert not is_masking_supported(make_sb3("simenv/Proto-v0", 2, population=ScriptedPopulation()))


def test_it_says_what_sb3_makes_of_single_environments() -> None:
    """The same seeds and actions through SB3's own DummyVecEnv over SlateEnv."""
    population, draw = ScriptedPopulation(), np.random.default_rng(0)
    mine: Any = make_sb3("simenv/Slate-v0", 3, population=population, slate_size=3, max_pages=4)
    theirs: Any = DummyVecEnv([lambda: SlateEnv(population, slate_size=3, max_pages=4)] * 3)
    ends = 0
    for env in (mine, theirs):
        env.seed(5)
    _same(mine.reset(), theirs.reset())
    assert mine.reset_infos[1]["user_id"] == theirs.reset_infos[1]["user_id"]
    for _ in range(30):
        action = draw.integers(30, size=(3, 3))
        (a, r, done, infos), (b, s, over, others) = mine.step(action), theirs.step(action)
        _same(a, b)
        np.testing.assert_array_equal(r, s)
        np.testing.assert_array_equal(done, over)
        for i in range(3):
            assert set(infos[i]) | {"TimeLimit.truncated"} == set(others[i]) | {"TimeLimit.truncated"}
            _same({k: v for k, v in infos[i].items() if k != "terminal_observation"}, others[i])
            if done[i]:
                ends += 1
                _same(infos[i]["terminal_observation"], others[i]["terminal_observation"])
                assert mine.reset_infos[i]["user_id"] == theirs.reset_infos[i]["user_id"]
    assert ends > 5


def _same(one: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_users_are_chosen_by_options() -> None:
    env = make_sb3("simenv/Slate-v0", 2, population=ScriptedPopulation(), slate_size=3)
    env.set_options([{"user_id": 104}, {}])
    env.seed(0)
    env.reset()
    assert env.reset_infos[0]["user_id"] == 104
    env.set_options({"user_id": 102})
    env.reset()
    assert [info["user_id"] for info in env.reset_infos] == [102, 102]
    env.set_options({"reset_mask": True})
    with pytest.raises(ConfigError, match="'reset_mask' is unknown; options are user_id, persona, history"):
        env.reset()


def test_what_rows_share_is_not_set_for_one() -> None:
    env = make_sb3("simenv/Slate-v0", 3, population=ScriptedPopulation(), slate_size=3, render_mode="ansi")
    env.seed(0)
    env.reset()
    assert [m.shape for m in env.env_method("action_masks", indices=[0, 2])] == [(90,), (90,)]
    assert all(text.startswith("User ") for text in env.env_method("render"))
    assert env.get_attr("num_envs", indices=1) == [3]
    assert env.env_is_wrapped(VecMonitor) == [False] * 3  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="'snapshot' does not give one value per row"):
        env.env_method("snapshot")
    with pytest.raises(ConfigError, match="the rows share one environment: 'render_mode'"):
        env.set_attr("render_mode", None, indices=[0])
    env.set_attr("render_mode", None)
    assert env.env_method("render") == [None] * 3


def test_other_ways_of_beginning_anew_are_refused() -> None:
    with pytest.raises(ConfigError, match="Stable-Baselines3 needs autoreset_mode=AutoresetMode"):
        SimenvVecEnv(SlateVectorEnv(ScriptedPopulation(), 2, autoreset_mode=AutoresetMode.NEXT_STEP))
