"""RL libraries: which take simenv's vector environments, in which autoreset mode, and how often they ask the users.

python benchmarks/rl_libraries.py [--out FOLDER]

Checks what is installed here and keeps what an earlier run recorded of the rest: RLlib pins an older Gymnasium, so it
needs an environment of its own (pip install "ray[rllib]" torchrl). Users are scripted: what counts is whether a library
learns on the environment as it is, and the calls of the population it takes. Every entry names its own versions.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
import typer
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from recording import RESULTS, record

import simenv.environment  # noqa: F401  registers the ids
from simenv.environment import SlateEnv
from simenv.registration import ITEM_ID, SLATE_ID
from simenv.testing.population import CountingPopulation, ScriptedPopulation
from simenv.testing.vector import random_actions

NAME, USERS, STEPS = "rl-libraries", 8, 32
SETTING: dict[str, Any] = {"slate_size": 3, "max_pages": 5}


def opened(name: str, population: CountingPopulation, mode: AutoresetMode, **more: Any) -> Any:
    return gymnasium.make_vec(
        name,
        num_envs=USERS,
        vectorization_mode="vector_entry_point",
        population=population,
        autoreset_mode=mode,
        **SETTING | more,
    )


class _Tally(list[int]):
    """Stays the same list in every copy: RLlib copies its settings, and the users in them."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Tally:
        return self


def users() -> CountingPopulation:
    return CountingPopulation(ScriptedPopulation(), _Tally())


def gymnasium_itself() -> dict[str, object]:
    """Every mode through make_vec, beside the single environments in Gymnasium's own SyncVectorEnv."""
    calls: dict[str, object] = {}
    for mode in AutoresetMode:
        asked = users()
        _drive(opened(SLATE_ID, asked, mode), mode)
        calls[f"calls, {mode.value}"] = len(asked.calls)
    asked = users()
    single = [lambda: SlateEnv(asked, **SETTING)] * USERS
    _drive(SyncVectorEnv(single), AutoresetMode.NEXT_STEP)
    return calls | {"steps": STEPS, "users": USERS, "calls, single environments side by side": len(asked.calls)}


def _drive(env: Any, mode: AutoresetMode) -> None:
    draw = np.random.default_rng(0)
    env.reset(seed=0)
    for _ in range(STEPS):
        _, _, terminated, truncated, _ = env.step(random_actions(env.single_action_space, draw, USERS))
        over = terminated | truncated
        if mode is AutoresetMode.DISABLED and over.any():
            env.reset(options={"reset_mask": over})


def stable_baselines3() -> dict[str, object]:
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    from simenv.rl.sb3 import make_sb3

    short: dict[str, Any] = {"n_steps": STEPS, "batch_size": USERS * STEPS, "n_epochs": 1, "device": "cpu", "seed": 0}
    mine, theirs = users(), users()
    PPO("MultiInputPolicy", make_sb3(SLATE_ID, USERS, population=mine, **SETTING), **short).learn(STEPS * USERS)
    dummy = DummyVecEnv([lambda: SlateEnv(theirs, **SETTING)] * USERS)
    PPO("MultiInputPolicy", dummy, **short).learn(STEPS * USERS)
    return {"mode": "SameStep", "through": "simenv.rl.sb3", "algorithm": "PPO, MultiInputPolicy"} | {
        "steps": STEPS,
        "users": USERS,
        "calls": len(mine.calls),
        "calls, DummyVecEnv": len(theirs.calls),
    }


def sb3_contrib() -> dict[str, object]:
    from sb3_contrib import MaskablePPO

    from simenv.rl.sb3 import make_sb3

    asked = users()
    env = make_sb3(ITEM_ID, USERS, population=asked, observation="flat", **SETTING)
    short: dict[str, Any] = {"n_steps": STEPS, "batch_size": USERS * STEPS, "n_epochs": 1, "device": "cpu", "seed": 0}
    MaskablePPO("MlpPolicy", env, **short).learn(STEPS * USERS)
    return {"mode": "SameStep", "through": "simenv.rl.sb3", "algorithm": "MaskablePPO"} | {
        "steps": STEPS,
        "users": USERS,
        "calls": len(asked.calls),
    }


def torchrl() -> dict[str, object]:
    from torchrl.envs import GymWrapper  # type: ignore[import-not-found]

    found: dict[str, object] = {"through": "GymWrapper", "steps": STEPS, "users": USERS}
    for mode in AutoresetMode:
        asked = users()
        try:
            env = GymWrapper(opened(SLATE_ID, asked, mode))
            rolled = env.rollout(STEPS, break_when_any_done=False)
            found[f"calls, {mode.value}"] = len(asked.calls)
            assert tuple(rolled.batch_size) == (USERS, STEPS)
        except (RuntimeError, ValueError) as error:
            found[f"refused, {mode.value}"] = str(error).split("\n")[0][:160]
    found["note"] = "SameStep fails on texts in infos (stop_reason), without them it works; Disabled is its own way"
    return found


def rllib() -> dict[str, object]:
    """Take the new API stack, one runner in this process; the vector environment is unmodified."""
    import ray
    from ray.rllib.algorithms.ppo import PPOConfig

    asked = users()
    setting = SETTING | {"population": asked, "observation": "flat", "autoreset_mode": AutoresetMode.NEXT_STEP}
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        config = (
            PPOConfig()
            .environment(ITEM_ID, env_config=setting)
            .env_runners(num_env_runners=0, num_envs_per_env_runner=USERS, gym_env_vectorize_mode="vector_entry_point")
            .training(train_batch_size_per_learner=USERS * STEPS, minibatch_size=USERS * STEPS, num_epochs=1)
        )
        algorithm = config.build_algo()
        result = algorithm.train()
        algorithm.stop()
    finally:
        ray.shutdown()
    sampled = int(result["env_runners"]["num_env_steps_sampled"])
    return {"mode": "NextStep", "through": "gym_env_vectorize_mode=vector_entry_point", "algorithm": "PPO"} | {
        "steps": sampled // USERS,
        "users": USERS,
        "calls": len(asked.calls),
    }


CHECKS: dict[str, tuple[Callable[[], dict[str, object]], tuple[str, ...]]] = {
    "gymnasium": (gymnasium_itself, ("gymnasium",)),
    "stable_baselines3": (stable_baselines3, ("stable-baselines3", "gymnasium", "torch")),
    "sb3_contrib": (sb3_contrib, ("sb3-contrib", "stable-baselines3", "gymnasium")),
    "torchrl": (torchrl, ("torchrl", "tensordict", "gymnasium", "torch")),
    "ray": (rllib, ("ray", "gymnasium", "torch")),
}
"""Importable name -> what to do with it, and which versions matter."""


def checked(name: str) -> dict[str, object]:
    work, packages = CHECKS[name]
    begin = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # theirs
        found = work()
    versions = {package: _version(package) for package in packages}
    return {"versions": versions, "seconds": round(time.perf_counter() - begin, 1)} | found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main(
    out: Annotated[Path, typer.Option(help="where the result is written")] = RESULTS,
    only: Annotated[list[str] | None, typer.Option(help="check these alone")] = None,
) -> None:
    started, path = time.time(), out / f"{NAME}.json"
    values: dict[str, Any] = json.loads(path.read_text())["values"]["library"] if path.exists() else {}
    for name in only or CHECKS:
        try:
            values[name] = checked(name)
        except ImportError as error:
            print(f"{name}: not installed here ({error})" + (", as recorded before" if name in values else ""))
            continue
        print(name, _told(values[name]), flush=True)
    ordered = {name: values[name] for name in CHECKS if name in values}
    window = {"supported": ">=1.1,<2", "checked": sorted({v["versions"]["gymnasium"] for v in ordered.values()})}
    told = {"gymnasium": window, "library": ordered}
    print(record(NAME, told, command="python benchmarks/rl_libraries.py", seed=0, data={}, started=started, folder=out))


def _told(found: Mapping[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in found.items() if key != "versions")


if __name__ == "__main__":
    typer.run(main)
