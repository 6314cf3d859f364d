"""Stable-Baselines3's VecEnv over a vector environment of simenv: one call of the population per step, for all users.

SB3 takes no Gymnasium vector environment, and its DummyVecEnv would ask the users one by one. Needs
stable-baselines3 (the extra `rl`).

    from simenv.rl.sb3 import make_sb3
    env = make_sb3("simenv/Slate-v0", 64, population="path/to/population", observation="flat", candidates=50)
    PPO("MlpPolicy", env).learn(100_000)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, final

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from simenv.errors import ConfigError
from simenv.options import WHO
from simenv.protocols import Population
from simenv.vector import VisitVectorEnv

Rows = None | int | Iterable[int]


@final
class SimenvVecEnv(VecEnv):
    """A VisitVectorEnv as SB3 knows environments.

    When a visit ends, `infos[i]` is the info of its last step, with `terminal_observation` and `TimeLimit.truncated`;
    the observation is the first of the next visit, whose info stands in `reset_infos[i]`. Wrap it in SB3's VecMonitor
    for returns and lengths.
    """

    def __init__(self, env: VisitVectorEnv) -> None:
        """Take an environment with autoreset SAME_STEP, the only one SB3 understands.

        Raises:
            ConfigError: another autoreset mode.

        """
        if env.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ConfigError(
                f"Stable-Baselines3 needs autoreset_mode=AutoresetMode.SAME_STEP; got {env.autoreset_mode}. "
                "make_sb3(...) sets it."
            )
        self.env = env
        self._actions: NDArray[Any] | None = None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Any:
        """Begin all visits anew, with the seeds of `seed` and the options of `set_options`, and return observations."""
        seeded = any(seed is not None for seed in self._seeds)
        observation, info = self.env.reset(seed=self._seeds if seeded else None, options=self._merged())
        self.reset_infos = split(info, self.num_envs)
        self._reset_seeds()
        self._reset_options()
        return observation

    def _merged(self) -> dict[str, Any] | None:
        """Return the options of all rows as one; a row without an option takes anybody."""
        names = {name for row in self._options for name in row}
        if not names:
            return None
        unknown = sorted(names - set(WHO))
        if unknown:
            raise ConfigError(f"reset option {unknown[0]!r} is unknown; options are {', '.join(WHO)}.")
        return {name: [row.get(name) for row in self._options] for name in names}

    def step_async(self, actions: NDArray[Any]) -> None:
        """Note the actions [B, ...]."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        """Return (observations, rewards float32[B], dones bool[B], infos: a dict per row)."""
        assert self._actions is not None, "step_async comes first"
        observation, reward, terminated, truncated, info = self.env.step(self._actions)
        last, final = info.pop("final_obs", None), info.pop("final_info", None)
        info = {name: value for name, value in info.items() if name not in ("_final_obs", "_final_info")}
        infos = split(info, self.num_envs)
        done = terminated | truncated
        if last is not None and final is not None:
            ended = split(final, self.num_envs)
            for i in np.flatnonzero(done):
                self.reset_infos[i], infos[i] = infos[i], ended[i]
                infos[i]["terminal_observation"] = last[i]
                infos[i]["TimeLimit.truncated"] = bool(truncated[i] and not terminated[i])
        return observation, reward.astype(np.float32), done, infos

    def env_method(self, method_name: str, *args: Any, indices: Rows = None, **kwargs: Any) -> list[Any]:
        """Return what a method of the vector environment gives, one per row: `action_masks`, `render`.

        Raises:
            AttributeError: no such method, or one that does not give something per row.

        """
        given = getattr(self.env, method_name)(*args, **kwargs)
        if given is None:
            return [None for _ in self._rows(indices)]
        if not isinstance(given, (list, tuple, np.ndarray)) or len(given) != self.num_envs:
            raise AttributeError(f"{method_name!r} does not give one value per row; call it on `env.env` directly.")
        return [given[i] for i in self._rows(indices)]

    def get_attr(self, attr_name: str, indices: Rows = None) -> list[Any]:
        """Return an attribute of the vector environment, the same for each row."""
        value = getattr(self.env, attr_name)
        return [value for _ in self._rows(indices)]

    def has_attr(self, attr_name: str) -> bool:
        """Return whether there is such an attribute; `action_masks` only where the action space has choices."""
        return hasattr(self.env, attr_name) and (attr_name != "action_masks" or self.env.kind != "proto")

    def set_attr(self, attr_name: str, value: Any, indices: Rows = None) -> None:
        """Set an attribute for all rows.

        Raises:
            ConfigError: only some rows are meant: they share one environment.

        """
        if indices is not None and len(self._rows(indices)) < self.num_envs:
            raise ConfigError(f"the rows share one environment: {attr_name!r} can only be set for all of them.")
        setattr(self.env, attr_name, value)

    def env_is_wrapped(
        self, wrapper_class: type[gymnasium.Wrapper[Any, Any, Any, Any]], indices: Rows = None
    ) -> list[bool]:
        """Return False for each row: nothing is wrapped."""
        return [False for _ in self._rows(indices)]

    def close(self) -> None:
        """Close the vector environment."""
        self.env.close()

    def _rows(self, indices: Rows) -> Sequence[int]:
        return list(self._get_indices(indices))


def make_sb3(env_id: str, num_envs: int, *, population: Population | str, **setting: Any) -> SimenvVecEnv:
    """Return an environment of simenv for Stable-Baselines3: `num_envs` users side by side.

    env_id: "simenv/Slate-v0", "simenv/Item-v0" or "simenv/Proto-v0". setting: see simenv.stage.Setting.
    """
    import simenv.environment  # noqa: F401  registers the ids

    env = gymnasium.make_vec(
        env_id,
        num_envs=num_envs,
        vectorization_mode="vector_entry_point",
        population=population,
        autoreset_mode=AutoresetMode.SAME_STEP,
        **setting,
    )
    assert isinstance(env, VisitVectorEnv), f"{env_id} is no environment of simenv"
    return SimenvVecEnv(env)


def split(info: dict[str, Any], n: int) -> list[dict[str, Any]]:
    """Return the infos of a vector environment, arrays with masks `_key`, as a dict per row of what is there."""
    keys = [key for key in info if not key.startswith("_")]
    rows: list[dict[str, Any]] = [{} for _ in range(n)]
    for key in keys:
        values, there = info[key], info[f"_{key}"]
        values = values.tolist() if values.ndim == 1 else values
        for row, value, held in zip(rows, values, there, strict=True):
            if held:
                row[key] = value
    return rows
