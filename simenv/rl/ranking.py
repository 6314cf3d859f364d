"""RankingVectorEnv: B visits side by side in which an action weighs what is known of candidates; in several replicas.

For training in compiled populations: the rows are dealt out to replicas of one population, so that an agent cannot
learn the quirks of one. Small actions whatever the catalogue: F weights per page, see
`simenv.recommenders.learned.RankerForm`. Knows populations by protocol.

B rows; F features; D numbers of an observation; K places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np
from gymnasium import spaces
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from simenv.errors import ActionError, ConfigError
from simenv.log import InteractionLog
from simenv.protocols import Population
from simenv.recommenders.learned import Ranker, RankerLook
from simenv.recommenders.pair_features import Start
from simenv.rewards import Reward, by_name
from simenv.session import Response, Session, Slate, UserState, put_rows
from simenv.slates import trimmed

Rows = NDArray[np.int64]


@final
class RankingVectorEnv(VectorEnv[NDArray[np.float32], ArrayLike, NDArray[Any]]):
    """Visits in which an agent says how much each feature of a candidate counts, and the best K are shown.

    Observations are float32[B, D], actions float32[B, F] in -1..1 (clipped). A row whose visit ended begins the next in
    the same step (SAME_STEP): the last observation stands in `info["final_obs"]`. Leaving terminates, the page cap
    truncates. Row b plays replica b * len(populations) // B.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012
    autoreset_mode: ClassVar[AutoresetMode] = AutoresetMode.SAME_STEP

    def __init__(
        self,
        populations: Sequence[Population],
        log: InteractionLog,
        ranker: Ranker,
        user: NDArray[np.int64],
        num_envs: int = 64,
        *,
        slate_size: int = 10,
        max_pages: int = 10,
        reward: str | Reward = "expected",
        leave: bool = True,
    ) -> None:
        """Open the environment.

        log: the contestants' rows, what `ranker` was fitted on. user: int64[M], who visits; members of every replica.
        leave: False keeps everyone to the last page.

        Raises:
            ConfigError: no replica or no user, fewer rows than replicas, or sizes below 1.

        """
        if not populations or not len(user) or num_envs < len(populations) or min(slate_size, max_pages) < 1:
            raise ConfigError(
                "training needs at least one replica, one user, a row for every replica, and sizes of at least 1; got "
                f"{len(populations)} replicas, {len(user)} users, {num_envs} rows, pages {max_pages} x {slate_size}."
            )
        self.num_envs, self.populations, self.log, self.ranker = num_envs, tuple(populations), log, ranker
        self.user, self.slate_size, self.max_pages, self.leave = np.unique(user), slate_size, max_pages, leave
        self.reward = by_name(reward)
        # What the past says of a user never changes: computed once for everyone.
        self._told = ranker.features.start(Session.begin(self.user, log))
        self.single_action_space = spaces.Box(-1.0, 1.0, (ranker.n_features,), np.float32)
        self.single_observation_space = spaces.Box(-5.0, 5.0, (ranker.n_context,), np.float32)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._blocks: list[_Block] = []

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin visits and return (observations, {}).

        seed: the rows share one generator, so of a list the first counts; None: go on with it.
        """
        one = seed if seed is None or isinstance(seed, (int, np.integer)) else seed[0]
        if one is not None or not self._blocks:
            self._np_random, self._np_random_seed = seeding.np_random(None if one is None else int(one))
        row = np.array_split(np.arange(self.num_envs), len(self.populations))
        self._blocks = [_Block(self, p, len(r)) for p, r in zip(self.populations, row, strict=True)]
        return np.concatenate([block.look.observation for block in self._blocks]), {}

    def step(
        self, actions: ArrayLike
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Show pages for weights float[B, F] and return (observations, rewards, terminated, truncated, infos).

        Raises:
            ActionError: another shape, or a weight that is no number.

        """
        weight = np.asarray(actions, np.float64)
        if weight.shape != self.action_space.shape or not np.isfinite(weight).all():
            raise ActionError(f"expected finite weights of shape {self.action_space.shape}; got shape {weight.shape}.")
        start, found = 0, []
        for block in self._blocks:
            found.append(block.step(np.clip(weight[start : start + block.n], -1.0, 1.0)))
            start += block.n
        observation, reward, left, capped, final = (np.concatenate(part) for part in zip(*found, strict=True))
        return observation, reward, left, capped & ~left, _finals(final, left | capped)

    def draw(self, n: int) -> tuple[Rows, NDArray[np.uint64]]:
        """Return n users, as places in `user`, and their luck."""
        key = self.np_random.integers(2**64, size=n, dtype=np.uint64)
        return self.np_random.integers(len(self.user), size=n), key

    def told(self, place: Rows) -> Start:
        """Return what the past says of the users at places [n] in `user`."""
        return self._told.of(place)


@final
class _Block:
    """The rows that play one replica. Mutable."""

    def __init__(self, env: RankingVectorEnv, population: Population, n: int) -> None:
        self.env, self.population, self.n = env, population, n
        self.place, key = env.draw(n)
        user = env.user[self.place]
        self.session, self.state = Session.begin(user, env.log), population.begin(user, key)
        self.look = self._look()

    def step(self, weight: NDArray[np.float64]) -> tuple[NDArray[Any], ...]:
        """Return observations, rewards, who left, who reached the cap, and the last observations of all rows."""
        slate = self.look.slate(weight)
        response, state = self.population.respond(self.state, slate)
        reward = np.asarray(self.env.reward(response, slate, self.population.scale), np.float64)
        self._turn(slate, response, state)
        final = self.look.observation
        left = response.exit & self.env.leave | (slate.item < 0).all(axis=1)
        capped = self.session.page >= self.env.max_pages
        self._renew(np.flatnonzero(left | capped))
        return self.look.observation, reward, left, capped, final

    def _turn(self, slate: Slate, response: Response, state: UserState) -> None:
        self.session, self.state = trimmed(self.session.after(slate, response)), trimmed(state)
        self.look = self._look()

    def _renew(self, row: Rows) -> None:
        if not len(row):
            return
        self.place[row], key = self.env.draw(len(row))
        user = self.env.user[self.place[row]]
        self.session = put_rows(self.session, row, Session.begin(user, self.env.log))
        self.state = put_rows(self.state, row, self.population.begin(user, key))
        self.look = self._look()

    def _look(self) -> RankerLook:
        return self.env.ranker.look_from(self.env.told(self.place), self.session, self.env.slate_size)


def _finals(observation: NDArray[np.float32], ended: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the infos of a step: the last observations of the visits that ended, as Gymnasium lays them out."""
    if not ended.any():
        return {}
    kept = np.full(len(ended), None, dtype=object)
    for row in np.flatnonzero(ended):
        kept[row] = observation[row]
    return {"final_obs": kept, "_final_obs": ended, "final_info": {}, "_final_info": ended.copy()}
