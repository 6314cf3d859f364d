"""The environments with B users side by side, answered by one call of the population per step. Skins over visits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Unpack, final

import gymnasium
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from simenv import rendering
from simenv.actions import ActionKind
from simenv.errors import ConfigError
from simenv.options import ANYBODY, WHO, Arrival, arrivals, checked_options, drawn
from simenv.protocols import Population
from simenv.rules import STOPS
from simenv.snapshot import Snapshot, generator_at, restore, taken
from simenv.stage import RENDER_MODES, Setting, Stage

Mask = NDArray[np.bool_]
_TERMINATED = np.array([stop is not None and stop.terminated for stop in STOPS])
_TRUNCATED = np.array([stop is not None and not stop.terminated for stop in STOPS])


class VisitVectorEnv(Stage, VectorEnv[Any, Any, NDArray[Any]]):
    """`num_envs` visits side by side; exactly what as many SlateEnv would give, in one call of the population per step.

    So are ItemVectorEnv and ProtoVectorEnv of ItemEnv and ProtoEnv.

    Observations are a dict of arrays with leading axis B = num_envs (`text`: a tuple of B strings), actions int[B, K].
    Infos are a dict of arrays, each with its mask `_key`, as in Gymnasium's own vector environments; `user_index`
    int64[B] and `observation["seen"]` are what a plain loop needs:

    ```python
    env = gymnasium.make_vec("simenv/Slate-v0", num_envs=64, population="path/to/population", slate_size=5)
    observation, info = env.reset(seed=0)
    for _ in range(100):
        score = model.predict(info["user_index"])              # float[64, n_items]
        score[observation["seen"] == 1] = -np.inf
        action = np.argsort(-score, axis=1)[:, :5]
        observation, reward, terminated, truncated, info = env.step(action)
    report = env.record.report(baselines=[env.play(other)])
    ```

    `reset(seed=s)` seeds row i with s + i; a list seeds each row. Each row has its own generator.

    When a visit has ended:

    - NEXT_STEP (default): the next step ignores the row's action and returns the first observation of a new visit with
      reward 0;
    - SAME_STEP: the step that ends a visit already returns the first observation of the next; the last observation and
      info stand in `info["final_obs"]` and `info["final_info"]`;
    - DISABLED: the caller resets with `reset(options={"reset_mask": bool[B]})` before the next step.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012
    supported: ClassVar[tuple[AutoresetMode, ...]] = tuple(AutoresetMode)

    def __init__(
        self,
        population: Population | str,
        num_envs: int = 1,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
        **setting: Unpack[Setting],
    ) -> None:
        """Open the environment; `setting` holds the arguments of SlateEnv.

        autoreset_mode: a member of gymnasium.vector.AutoresetMode, or its value ("NextStep", "SameStep", "Disabled").
        max_episode_steps: given by `gymnasium.make_vec`; lowers `max_pages`. None: `max_pages` holds.

        Raises:
            ConfigError: settings contradict each other, or no such population.

        """
        if num_envs < 1:
            raise ConfigError(f"num_envs must be at least 1; got {num_envs}.")
        if max_episode_steps is not None:
            setting["max_pages"] = min(max_episode_steps, setting.get("max_pages", max_episode_steps))
        self._open(population, num_envs, render_mode, setting)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": self.autoreset_mode}
        self.single_action_space, self.single_observation_space = self._action.space, self._form.space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._rngs: list[np.random.Generator] = []
        self._seeds: list[int] = []

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin visits and return (observations, infos).

        seed: s seeds row i with s + i; a sequence seeds each row (None: leave it); None: go on with the generators.
        options: those of SlateEnv, one per row or one for all; "reset_mask": bool[B], the rows to begin anew.

        Raises:
            ConfigError: as many seeds or users are needed as there are rows; the mask is no bool[B] with a True; no
                such option, or nobody of that persona.
            UnknownIdError: no such user among those simulated.

        """
        chosen = checked_options(options, (*WHO, "reset_mask"))
        row = self._rows(chosen.get("reset_mask"))
        self._seed(seed, row)
        who = arrivals(chosen, self.num_envs)
        self._start(row, [who[i] for i in row])
        return self._form.observe(self._visits), spread(self._form.info(self._visits), row, self.num_envs)

    def step(
        self, actions: ArrayLike
    ) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Act and return (observations, rewards[B], terminated[B], truncated[B], infos).

        actions: [B, ...]; pages int[B, K] for Slate-v0.

        Raises:
            ActionError: wrong type, shape or range (rows that begin a new visit in this step are not looked at).
            gymnasium.error.ResetNeeded: a row has no visit going on and autoreset does not begin one.

        """
        over = self._visits.stop > 0
        if not self._rngs or (over.any() and self.autoreset_mode is not AutoresetMode.NEXT_STEP):
            raise gymnasium.error.ResetNeeded(f"rows {np.flatnonzero(over)[:5]} have no visit going on; reset them.")
        live = np.flatnonzero(~over)
        action = self._action.checked(actions, over)
        if len(live):
            self._action.act(self._visits, live, action[live])
        self._start(np.flatnonzero(over))
        stop, reward = self._visits.stop.copy(), self._visits.reward.copy()
        self._show()
        final = self._next_visits(np.flatnonzero(stop)) if self.autoreset_mode is AutoresetMode.SAME_STEP else {}
        info = final | spread(self._form.info(self._visits), np.arange(self.num_envs), self.num_envs)
        return self._form.observe(self._visits), reward, _TERMINATED[stop], _TRUNCATED[stop], info

    def action_masks(self) -> NDArray[np.bool_]:
        """Return bool[B, K * n] for Slate-v0, bool[B, n] for Item-v0: which of the n choices fill a place.

        Raises:
            ConfigError: Proto-v0 has none.

        """
        return self._action.masks(self._visits)

    def snapshot(self, rows: ArrayLike | None = None) -> Snapshot:
        """Return all there is to know of the visits at `rows`, None: all. `reset` comes first.

        Raises:
            ConfigError: no visit has ever begun.

        """
        row = self._chosen(rows)
        if not self._rngs:
            raise ConfigError("there is nothing to take a snapshot of; call reset() first.")
        return taken(self._visits, row, [self._rngs[i] for i in row])

    def restore(
        self, snapshot: Snapshot, *, rows: ArrayLike | None = None, luck: int | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Go on at `rows` (ascending; None: all) from a snapshot, and return (observations, infos).

        A snapshot of one user fills many rows with `snapshot.take([0] * n)`: n slates from one state in one call of the
        population. See `SlateEnv.restore`; under `luck` each row has its own.

        Raises:
            ConfigError: as many visits are needed as there are rows; or it is of another form of page.

        """
        row = self._chosen(rows)
        if not self._rngs and len(row) < self.num_envs:
            raise ConfigError("reset all rows once before restoring some of them.")
        restore(self._visits, row, snapshot, luck)
        self._rngs = self._rngs or [np.random.default_rng(0)] * self.num_envs
        self._seeds = self._seeds or [-1] * self.num_envs
        for i, state in zip(row, snapshot.rng, strict=True):
            self._rngs[i] = generator_at(state)
        return self._form.observe(self._visits), spread(self._form.info(self._visits), row, self.num_envs)

    def render(self) -> tuple[str, ...] | None:
        """Return each row's last page as text under "ansi"; under "human" pages were printed already."""
        return self._pages() if self.render_mode == "ansi" else None

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generators of the rows; empty before the first reset."""
        return tuple(self._rngs)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seeds of the rows; empty before the first reset."""
        return tuple(self._seeds)

    def _next_visits(self, row: NDArray[np.int64]) -> dict[str, Any]:
        """Begin new visits at the rows that ended, and return what is left of the old ones."""
        if not len(row):
            return {}
        last, info = self._form.observe(self._visits), self._form.info(self._visits)
        kept = np.full(self.num_envs, None, dtype=object)
        for i in row:
            kept[i] = {name: value[i] for name, value in last.items()} if isinstance(last, dict) else last[i]
        ended = np.zeros(self.num_envs, bool)
        ended[row] = True
        self._start(row)
        final = spread(info, row, self.num_envs)
        return {"final_obs": kept, "_final_obs": ended, "final_info": final, "_final_info": ended.copy()}

    def _start(self, row: NDArray[np.int64], who: Sequence[Arrival] | None = None) -> None:
        """Begin visits at rows [b]; who: what is asked of each user, None: nothing."""
        if not len(row):
            return
        asked = [ANYBODY] * len(row) if who is None else who
        came = [drawn(self._visits.population, self._rngs[i], a) for i, a in zip(row, asked, strict=True)]
        self._visits.start(row, np.array([u for u, _ in came]), np.array([k for _, k in came]), asked)

    def _chosen(self, rows: ArrayLike | None) -> NDArray[np.int64]:
        if rows is None:
            return np.arange(self.num_envs)
        row = np.atleast_1d(np.asarray(rows))
        if row.dtype.kind != "i" or (np.diff(row) <= 0).any() or row.min() < 0 or row.max() >= self.num_envs:
            raise ConfigError(f"rows must be ascending numbers in 0..{self.num_envs - 1}; got {rows!r}.")
        return row

    def _rows(self, mask: Any) -> NDArray[np.int64]:
        if mask is None:
            return np.arange(self.num_envs)
        if (
            not isinstance(mask, np.ndarray)
            or mask.dtype != np.bool_
            or mask.shape != (self.num_envs,)
            or not mask.any()
        ):
            raise ConfigError(f"reset_mask must be a bool array of shape ({self.num_envs},) with a True; got {mask!r}.")
        if not self._rngs:
            raise ConfigError("reset all rows once before resetting some of them.")
        return np.flatnonzero(mask)

    def _seed(self, seed: int | Sequence[int | None] | None, row: NDArray[np.int64]) -> None:
        if seed is None or isinstance(seed, (int, np.integer)):
            seeds: list[int | None] = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ConfigError(f"expected {self.num_envs} seeds, one per row; got {len(seeds)}.")
        self._seeded(seeds[0])
        fresh = not self._rngs
        for i in range(self.num_envs):
            if fresh or (seeds[i] is not None and i in row):
                rng, used = seeding.np_random(seeds[i])
                self._rngs[i : i + 1], self._seeds[i : i + 1] = [rng], [used]

    def _pages(self) -> tuple[str, ...]:
        return tuple(rendering.rendered(self._visits, row) for row in range(self.num_envs))

    def _show(self) -> None:
        if self.render_mode == "human":
            print("\n\n".join(self._pages()))


@final
class SlateVectorEnv(VisitVectorEnv):
    """Many SlateEnv in one: actions are pages int[B, K]. See VisitVectorEnv."""

    kind: ClassVar[ActionKind] = "slate"


@final
class ItemVectorEnv(VisitVectorEnv):
    """Many ItemEnv in one: actions are single choices int[B]; only rows whose page is full are asked."""

    kind: ClassVar[ActionKind] = "item"


@final
class ProtoVectorEnv(VisitVectorEnv):
    """Many ProtoEnv in one: actions are float32[B, P * F]."""

    kind: ClassVar[ActionKind] = "proto"


def spread(info: dict[str, NDArray[Any]], row: NDArray[np.int64], n: int) -> dict[str, Any]:
    """Return infos [B] with their masks `_key`; rows not in `row` (ascending) are made zeros (None for strings)."""
    chosen = np.zeros(n, bool)
    chosen[row] = True
    out: dict[str, Any] = {}
    for name, value in info.items():
        if len(row) < n:
            value[~chosen] = None if value.dtype == object else 0
        out[name], out[f"_{name}"] = value, chosen.copy()
    return out
