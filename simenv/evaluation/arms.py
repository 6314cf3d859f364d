"""The arms of a benchmark: which units there are, which of them are finished, and who computes the rest.

What an arm is stands in contest.py, who computes it in executor.py. Knows nothing of tables and verdicts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.evaluation.contest import OWN, Contest, Judge, Part, Played, World, joined
from simenv.evaluation.executor import Executor, Here
from simenv.evaluation.shard import Shards
from simenv.evaluation.unit import (
    FORMAT,
    Unit,
    UnitStore,
    Values,
    catalogue_fingerprint,
    digest,
    population_fingerprint,
    recommender_fingerprint,
)
from simenv.protocols import Population, Recommender

if TYPE_CHECKING:
    from simenv.evaluation.benchmark import Benchmark

Results = dict[tuple[str, str, int, int], Values]
"""(recommender, arm, refit, seed) -> numbers, each [M] (exposure: [I])."""


@final
@dataclass
class Count:
    """How far it is."""

    done: int
    """Units of batches."""
    total: int
    progress: Callable[[int, int, str], None] | None

    def tell(self, words: str) -> None:
        """Tell whoever listens."""
        if self.progress is not None:
            self.progress(self.done, self.total, words)


@final
@dataclass(frozen=True, eq=False)
class Arms:
    """All units of one benchmark, computed or remembered."""

    settings: Benchmark
    recommenders: tuple[Recommender, ...]
    world: World
    user: NDArray[np.int64]
    store: UnitStore
    progress: Callable[[int, int, str], None] | None
    executor: Executor = field(default_factory=Here)
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by arm, added up over workers; remembered units with the time they once took. Filled by `run`."""
    populations: list[str] = field(default_factory=list)
    """Fingerprints of the populations used. Filled by `run`."""

    def run(self, first: Population, build: Callable[[int], Population]) -> Results:
        """Return the numbers of all units; one population is alive at a time."""
        results: Results = {}
        contest = Contest(self.settings, self.world, self.user, Judge(build, 0, [first]))
        plan = list(self._units(first, 0))
        rest = (self.settings.refits - 1) * len(self.recommenders) * len(self.settings.seeds)
        count = Count(0, (len(plan) + rest) * len(self._batches), self.progress)
        self._do(contest, plan, count, results)
        for refit in range(1, self.settings.refits):
            population = build(refit)
            self._check_members(population)
            contest = replace(contest, judge=Judge(build, refit, [population]))
            self._do(contest, list(self._units(population, refit)), count, results)
        count.tell("done")
        return results

    @cached_property
    def described(self) -> dict[str, str]:
        """Each contestant by name, for provenance: its repr without memory addresses."""
        return {r.name: re.sub(r" at 0x[0-9a-f]+", "", repr(r)) for r in self.recommenders}

    @cached_property
    def data(self) -> dict[str, str]:
        """Return the data versions: hashes of logs and catalogue."""
        logs = {"contestants": self.world.contestants, "future": self.world.future, "shared": self.world.shared}
        found = {f"data, {name}": log.fingerprint for name, log in logs.items() if log is not None}
        return found | {"data, catalogue": catalogue_fingerprint(self.world.catalogue)}

    def _do(self, contest: Contest, plan: list[Unit], count: Count, results: Results) -> None:
        """Put the numbers of all units of a population into the results."""
        missing = tuple(u for u in plan if not self.store.has(u))
        parts = [Part(*batch, missing) for batch in self._batches]
        shards = self._shards(plan)
        todo = [p for p in parts if not shards.has(p)] if missing else []
        count.done += len(plan) * len(parts) - len(missing) * len(todo)
        if todo:
            self._learn(contest, missing, count)
            self._play(contest, todo, shards, count)
        for unit in plan:
            known = unit not in missing
            played = Played(*self.store.get(unit)) if known else joined([shards.get(p, unit.key) for p in parts])
            if not known:
                self.store.put(unit, played.value, played.seconds, played.frame)
            results[unit.recommender, unit.arm, unit.refit, unit.seed] = played.value
            self.seconds[unit.arm] = self.seconds.get(unit.arm, 0.0) + played.seconds
        shards.drop()

    def _learn(self, contest: Contest, missing: Iterable[Unit], count: Count) -> None:
        """Fit all that is still to play. Here, and once: no two workers then differ in what they hold against users."""
        recommender = {r.name: r for r in self.recommenders}
        for name, seed, shared in dict.fromkeys((u.recommender, u.seed, u.arm == "shared") for u in missing):
            count.tell(f"{name}, learning")
            contest.learn(recommender[name], seed, shared=shared)

    def _play(self, contest: Contest, todo: list[Part], shards: Shards, count: Count) -> None:
        here = isinstance(self.executor, Here)
        begun = count.done

        def tell(part: Part, unit: Unit) -> None:
            count.tell(f"{unit.recommender}, {unit.arm}, users {part.start + 1}-{part.stop} of {len(self.user)}")
            count.done += 1

        if not here:
            count.tell(f"{len(todo)} batches of users, {len(todo[0].unit)} units each")
        for n, (part, played) in enumerate(self.executor.map(replace(contest, tell=tell if here else None), todo)):
            shards.put(part, played)
            count.done = begun + sum(len(p.unit) for p in todo[: n + 1])
            if not here:
                count.tell(f"users {part.start + 1}-{part.stop} done")

    def _units(self, population: Population, refit: int) -> Iterator[Unit]:
        """Yield all units before a population, those of a contestant one after another."""
        key = population_fingerprint(population)
        self.populations.append(key)
        for recommender in self.recommenders:
            own = recommender_fingerprint(recommender)
            for seed in self.settings.seeds:
                for arm, judge in self._arms(population, key, refit, seed):
                    yield Unit(recommender.name, seed, arm, refit, self._key(own, judge, arm, seed))

    def _shards(self, plan: Sequence[Unit]) -> Shards:
        folder = self.store.folder
        return Shards(None if folder is None else folder / "parts" / digest([(u.refit, u.key) for u in plan]))

    @cached_property
    def _batches(self) -> list[tuple[int, int]]:
        """First and last + 1 place of each batch of users."""
        size = self.settings.batch
        return [(start, min(start + size, len(self.user))) for start in range(0, len(self.user), size)]

    def _arms(self, population: Population, key: str, refit: int, seed: int) -> Iterator[tuple[str, str]]:
        """Yield arm and fingerprint of who answers."""
        yield "pages", key
        if refit:
            return
        yield "session", key
        if self.world.future is not None:
            yield "offline", ""
        if self.world.shared is not None:
            # Both arms may show the same items: else the price of passing over more rated items would hide the gain.
            yield "shared", key
            yield OWN, key
        if self.world.truth is not None:
            yield "truth", self._truth_key
            yield "truth session", self._truth_key
        if hasattr(population, "with_exit_slope") and seed == self.settings.seeds[0]:
            yield from ((f"sweep {factor:g}", key) for factor in self.settings.sweep if factor != 1)

    @cached_property
    def _truth_key(self) -> str:
        return "" if self.world.truth is None else population_fingerprint(self.world.truth)

    def _key(self, recommender: str, population: str, arm: str, seed: int) -> str:
        names = ("pages", "slate_size", "session_pages", "relevant", "ndcg_places", "rated_places", "support_threshold")
        settings = [getattr(self.settings, n) for n in (*names, "batch")]
        return digest(FORMAT, settings, self.data, self.user.tolist(), recommender, population, arm, seed)

    def _check_members(self, population: Population) -> None:
        self.world.check(population)
        missing = np.setdiff1d(self.user, population.member)
        if len(missing):
            raise ConfigError(
                f"a refitted population lacks {len(missing)} of the {len(self.user)} benchmark users (first: number "
                f"{missing[0]}); build(n) may learn from other users but must simulate the same ones."
            )
