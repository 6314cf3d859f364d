"""Contest: contestants before a batch of users, arm by arm; in this process or in any other, with the same numbers.

A part is a batch of users with all that is to be played before them, so that no pair is asked twice. It begins with
nothing remembered of earlier questions: its numbers depend on what stands in it, not on who computes it and when.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.evaluation import metrics, offline
from simenv.evaluation.unit import Unit, Values
from simenv.log import InteractionLog
from simenv.play import play
from simenv.protocols import Policy, Population, Recommender
from simenv.randomness import derive
from simenv.record import Record
from simenv.session import Session

if TYPE_CHECKING:
    from simenv.evaluation.benchmark import Benchmark

OWN = "own rows, shared items"


@final
@dataclass(frozen=True, eq=False)
class World:
    """The data of a benchmark."""

    contestants: InteractionLog
    catalogue: Catalogue
    future: InteractionLog | None
    truth: Population | None
    shared: InteractionLog | None

    def check(self, population: Population) -> None:
        """Raise ConfigError unless all parts speak of the same users and items."""
        users, items = self.contestants.users.fingerprint, self.contestants.items.fingerprint
        named = {"population": population, "truth": self.truth, "future": self.future, "shared": self.shared}
        for name, part in named.items():
            if part is not None and (part.users.fingerprint, part.items.fingerprint) != (users, items):
                raise ConfigError(
                    f"{name} has other users or items than the contestants' log; make the indices once and cut logs "
                    "with split and split_worlds, which keep them."
                )
        if self.catalogue.items.fingerprint != items:
            raise ConfigError("the catalogue has other items than the contestants' log; make it with log.items.")


@final
@dataclass(frozen=True)
class Part:
    """What is computed at one go."""

    start: int
    """Place of the first user in the contest's `user`,"""
    stop: int
    """and of the last one, plus 1."""
    unit: tuple[Unit, ...]
    """What is played before them, in this order."""


@final
@dataclass(frozen=True, eq=False)
class Played:
    """What came out of one arm."""

    value: Values
    """float64[B] each; exposure: [I]."""
    seconds: float
    frame: pd.DataFrame | None = None
    """The record; None: not wanted, or an arm without one."""


@final
@dataclass(frozen=True, eq=False)
class Judge:
    """The users of a refit: those at hand in this process, made by `build` in any other."""

    build: Callable[[int], Population]
    refit: int
    made: list[Population] = field(default_factory=list)
    """None or one."""

    def __call__(self) -> Population:
        """Return them; made once."""
        if not self.made:
            self.made.append(self.build(self.refit))
        return self.made[0]

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the users behind."""
        return Judge, (self.build, self.refit)


@final
@dataclass(frozen=True, eq=False)
class Contest:
    """All that is needed to play any part."""

    settings: Benchmark
    world: World
    user: NDArray[np.int64]
    """int64[M]: all users of the benchmark."""
    judge: Judge
    policy: dict[tuple[str, int, bool], Policy] = field(default_factory=dict)
    """(contestant, seed, learned from the shared rows) -> what it learned. Filled by `learn`."""
    tell: Callable[[Part, Unit], None] | None = None
    """Called before each unit; None: nobody listens, as in workers."""

    def learn(self, recommender: Recommender, seed: int, *, shared: bool) -> None:
        """Fit a contestant, unless it is fitted already."""
        if (recommender.name, seed, shared) not in self.policy:
            fitted = recommender.fit(self._log(shared), self.world.catalogue, seed=derive(seed, "fit"))
            self.policy[recommender.name, seed, shared] = fitted

    def __call__(self, part: Part) -> dict[str, Played]:
        """Return what came out of each unit of a part, by the unit's key."""
        user, judge = self.user[part.start : part.stop], self.judge()
        _forget(judge, self.world.truth)
        out = {}
        for unit in part.unit:
            if self.tell is not None:
                self.tell(part, unit)
            out[unit.key] = self._played(unit, user, judge, part.start)
        _forget(judge, self.world.truth)  # also lets files go
        return out

    def _played(self, unit: Unit, user: NDArray[np.int64], judge: Population, start: int) -> Played:
        begun = time.perf_counter()
        value, record = self._arm(unit, user, judge)
        seconds = time.perf_counter() - begun
        frame = _frame(record, start) if self.settings.records and record is not None else None
        return Played(value, seconds, frame)

    def _arm(self, unit: Unit, user: NDArray[np.int64], judge: Population) -> tuple[Values, Record | None]:
        """Return the numbers of a unit, and its record."""
        truth, sweep = self.world.truth, {f"sweep {f:g}": f for f in self.settings.sweep}
        if unit.arm in sweep:
            dialled: Any = judge
            return self._session(unit, user, dialled.with_exit_slope(sweep[unit.arm]))
        own: dict[str, Callable[[], tuple[Values, Record | None]]] = {
            "pages": partial(self._pages, unit, user, judge),
            "session": partial(self._session, unit, user, judge),
            "offline": partial(self._offline, unit, user),
            "shared": partial(self._pages, unit, user, judge, shared=True),
            OWN: partial(self._pages, unit, user, judge, narrow=True),
        }
        if truth is not None:
            own["truth"] = partial(self._pages, unit, user, truth)
            own["truth session"] = partial(self._session, unit, user, truth)
        return own[unit.arm]()

    def _pages(
        self, unit: Unit, user: NDArray[np.int64], judge: Population, *, shared: bool = False, narrow: bool = False
    ) -> tuple[Values, Record]:
        record = self._play(unit, user, judge, leave=False, shared=shared, narrow=narrow)
        shown, log = record.shown(), self.world.contestants
        return {
            "expected utility": metrics.expected_utility(shown),
            "consumed": metrics.consumed_share(shown),
            "given rating": metrics.given_rating(shown),
            "filled": metrics.filled_share(shown),
            "unsupported": metrics.unsupported_share(shown, self.settings.support_threshold),
            "novelty": metrics.novelty(shown, log),
            "diversity": metrics.diversity(shown, self.world.catalogue),
            "popularity bias": metrics.popularity_bias(shown, log),
            "exposure": metrics.exposure(shown, log.n_items).astype(np.float64),
        }, record

    def _session(self, unit: Unit, user: NDArray[np.int64], judge: Population) -> tuple[Values, Record]:
        record = self._play(unit, user, judge, leave=True)
        shown = record.shown()
        return {"pages": metrics.pages(shown), "satisfaction": metrics.satisfaction(shown)}, record

    def _offline(self, unit: Unit, user: NDArray[np.int64]) -> tuple[Values, None]:
        policy, past = self.policy[unit.recommender, unit.seed, False], self.world.contestants
        future, draw = self.world.future, derive(unit.seed, "offline")
        assert future is not None
        relevant = self.settings.relevant or offline.relevance_threshold(past.scale)
        sizes = self.settings.ndcg_places, self.settings.rated_places
        rank = offline.catalogue_ndcg(policy, past, future, user, k=sizes[0], relevant=relevant, seed=draw)
        rated = offline.held_out_rating(policy, past, future, user, k=sizes[1], seed=draw)
        return {"ndcg": rank, "true rating": rated}, None

    def _play(
        self,
        unit: Unit,
        user: NDArray[np.int64],
        judge: Population,
        *,
        leave: bool,
        shared: bool = False,
        narrow: bool = False,
    ) -> Record:
        policy = self.policy[unit.recommender, unit.seed, shared]
        pages = self.settings.session_pages if leave else self.settings.pages
        options: dict[str, Any] = {"slate_size": self.settings.slate_size, "max_pages": pages, "leave": leave}
        options["offer"] = self._offer if narrow else None
        return play(policy, judge, self._log(shared), user, name=unit.recommender, seed=unit.seed, **options)

    def _log(self, shared: bool) -> InteractionLog:
        log = self.world.shared if shared else self.world.contestants
        assert log is not None
        return log

    def _offer(self, session: Session, key: NDArray[np.uint64]) -> Session:
        """Return the session with only the items that the shared rows leave open."""
        assert self.world.shared is not None
        free = ~Session.begin(session.user, self.world.shared).seen()
        return replace(session, candidate=offline.candidates(free))


def joined(parts: list[Played]) -> Played:
    """Return a unit's numbers over all users from those of its batches, in the order of users."""
    keys = parts[0].value
    value = {k: _joined(k, [p.value[k] for p in parts]) for k in keys}
    frames = [p.frame for p in parts if p.frame is not None]
    frame = pd.concat(frames).sort_values("page", kind="stable", ignore_index=True) if frames else None
    return Played(value, sum(p.seconds for p in parts), frame)


def _joined(key: str, parts: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.asarray(np.sum(parts, axis=0) if key == "exposure" else np.concatenate(parts), np.float64)


def _frame(record: Record, start: int) -> pd.DataFrame:
    frame = record.to_frame()
    return frame.assign(visit=frame["visit"] + start)


def _forget(*users: Population | None) -> None:
    for one in users:
        own = getattr(one, "forget", None)
        if own is not None:
            own()
