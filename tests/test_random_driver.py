"""Whatever is done to it: thousands of steps of legal and illegal actions, resets, snapshots, under all settings.

No crash, no NaN, observations always in their space, and what is refused is refused with the words that are promised.
"""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from simenv.environment import ItemEnv, ProtoEnv, SlateEnv
from simenv.errors import ActionError
from simenv.index import Index
from simenv.testing.logs import log_of
from simenv.testing.population import ScriptedPopulation
from simenv.testing.vector import random_actions
from simenv.vector import ItemVectorEnv, ProtoVectorEnv, SlateVectorEnv

REFUSALS = re.compile(
    r"shows (item|candidate) number -?\d+, but there are 0\.\.\d+|an action holds .* got dtype|expected an action of "
    r"shape|expected float features of shape|lies outside -1\.\.1 or is NaN"
)
KINDS = [(SlateEnv, SlateVectorEnv), (ItemEnv, ItemVectorEnv), (ProtoEnv, ProtoVectorEnv)]


@st.composite
def setups(draw: st.DrawFn) -> tuple[int, ScriptedPopulation, dict[str, Any], int]:
    n_items, size = draw(st.integers(1, 14)), draw(st.integers(1, 4))
    population = ScriptedPopulation(
        items=Index(tuple(range(n_items)), "item"), p_leave=draw(st.sampled_from([0.0, 0.1, 0.5]))
    )
    setting: dict[str, Any] = {
        "slate_size": size,
        "max_pages": draw(st.integers(1, 5)),
        "candidates": draw(st.sampled_from([None, size, size + 3])),
        "repeats": draw(st.sampled_from(["drop", "answer"])),
        "observation": draw(st.sampled_from(["numeric", "flat", "history", "text"])),
        "reward": draw(st.sampled_from(["rating", "expected", "consumed", "satisfaction", "retention"])),
        "show_user": draw(st.booleans()),
        "diagnostics": draw(st.booleans()),
        "training_log": log_of(population),
    }
    return draw(st.integers(0, 2)), population, setting, draw(st.integers(0, 2**31))


def illegal(space: spaces.Space[Any], draw: np.random.Generator, n: int | None) -> Any:
    """Return an action that is wrong in one of the ways people get it wrong."""
    action = random_actions(space, draw, n)
    way = draw.integers(5)
    if way == 0:
        return np.asarray(action)[..., None]  # one axis too many
    if way == 1:
        return np.asarray(action).astype(np.int64 if isinstance(space, spaces.Box) else np.float64)
    if way == 2:
        return np.asarray(action).astype(str)
    if isinstance(space, spaces.Box):
        action.flat[draw.integers(action.size)] = np.nan if way == 3 else 1.5
        return action
    out = np.atleast_1d(action).copy()
    out.flat[draw.integers(out.size)] = -2 if way == 3 else 10_000
    return out.reshape(np.shape(action))


def finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(finite(v) for v in value.values())
    array = np.asarray(value)
    return array.dtype.kind not in "f" or bool(np.isfinite(array).all())


@settings(max_examples=45, deadline=None)
@given(setups())
def test_one_user(setup: tuple[int, ScriptedPopulation, dict[str, Any], int]) -> None:
    form, population, setting, seed = setup
    env, draw, over = KINDS[form][0](population, **setting), np.random.default_rng(seed), True
    for _ in range(40):
        if over:
            observation, info = env.reset(seed=int(draw.integers(99)) if draw.random() < 0.3 else None)
            over = False
        elif draw.random() < 0.2:
            with pytest.raises(ActionError, match=REFUSALS):
                env.step(illegal(env.action_space, draw, None))
            continue
        elif draw.random() < 0.1:
            observation, info = env.restore(env.snapshot())
        else:
            observation, reward, terminated, truncated, info = env.step(random_actions(env.action_space, draw))
            assert np.isfinite(reward)
            over = terminated or truncated
            assert not (terminated and truncated)
            assert over == bool(info["stop_reason"])
        assert observation in env.observation_space
        assert finite(observation)
        assert finite(info)
    if over:
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.step(random_actions(env.action_space, draw))
    record = env.record.to_frame()
    if setting["repeats"] == "drop" and len(record):
        assert not record.duplicated(["visit", "item"]).any()


@settings(max_examples=30, deadline=None)
@given(setups(), st.sampled_from(["NextStep", "SameStep", "Disabled"]), st.integers(1, 5))
def test_many_users(setup: tuple[int, ScriptedPopulation, dict[str, Any], int], mode: str, n: int) -> None:
    form, population, setting, seed = setup
    env: Any = KINDS[form][1](population, n, autoreset_mode=mode, **setting)
    draw = np.random.default_rng(seed)
    env.reset(seed=seed)
    for _ in range(25):
        if draw.random() < 0.15 and not (env._visits.stop > 0).any():
            with pytest.raises(ActionError, match=REFUSALS):
                env.step(illegal(env.single_action_space, draw, n))
        observation, reward, terminated, truncated, info = env.step(random_actions(env.single_action_space, draw, n))
        assert observation in env.observation_space
        assert finite(observation)
        assert np.isfinite(reward).all()
        assert finite({key: value for key, value in info.items() if "final" not in key})
        over = terminated | truncated
        if mode == "SameStep" and over.any():
            assert all(info["final_obs"][row] in env.single_observation_space for row in np.flatnonzero(over))
        if mode == "Disabled" and over.any():
            env.reset(options={"reset_mask": over})
