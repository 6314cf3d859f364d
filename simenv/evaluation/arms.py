"""The arms of a benchmark: which units there are, and how each is computed. Knows nothing of tables and verdicts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.evaluation import metrics, offline
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
from simenv.log import InteractionLog
from simenv.play import play
from simenv.protocols import Policy, Population, Recommender
from simenv.randomness import derive
from simenv.record import Record
from simenv.session import Session

if TYPE_CHECKING:
    from simenv.evaluation.benchmark import Benchmark

Results = dict[tuple[str, str, int, int], Values]
"""(recommender, arm, refit, seed) -> numbers, each [M] (exposure: [I])."""
Job = tuple[Unit, Callable[[], tuple[Values, Record | None]]]
Compute = Callable[..., tuple[Values, Record | None]]


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
@dataclass(frozen=True, eq=False)
class Arms:
    """All units of one benchmark, computed or remembered."""

    settings: Benchmark
    recommenders: tuple[Recommender, ...]
    world: World
    user: NDArray[np.int64]
    store: UnitStore
    progress: Callable[[int, int, str], None] | None
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by arm, remembered units with the time they once took. Filled by `run`."""
    populations: list[str] = field(default_factory=list)
    """Fingerprints of the populations used. Filled by `run`."""
    _policies: dict[tuple[str, int, str], Policy] = field(default_factory=dict)

    def run(self, first: Population, build: Callable[[int], Population]) -> Results:
        """Return the numbers of all units; one population is alive at a time."""
        results: Results = {}
        jobs = list(self._jobs(first, 0))
        total = len(jobs) + (self.settings.refits - 1) * len(self.recommenders) * len(self.settings.seeds)
        self._do(jobs, results, total)
        for refit in range(1, self.settings.refits):
            population = build(refit)
            self._check_members(population)
            self._do(self._jobs(population, refit), results, total)
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

    def _do(self, jobs: Iterable[Job], results: Results, total: int) -> None:
        for unit, compute in jobs:
            self._tell(len(results), total, f"{unit.recommender}, {unit.arm}")
            values, seconds = self.store.get(unit) if self.store.has(unit) else self.store.make(unit, compute)
            results[unit.recommender, unit.arm, unit.refit, unit.seed] = values
            self.seconds[unit.arm] = self.seconds.get(unit.arm, 0.0) + seconds
        if len(results) == total:
            self._tell(total, total, "done")

    def _tell(self, done: int, total: int, words: str) -> None:
        if self.progress is not None:
            self.progress(done, total, words)

    def _jobs(self, population: Population, refit: int) -> Iterator[Job]:
        key = population_fingerprint(population)
        self.populations.append(key)
        for recommender in self.recommenders:
            own = recommender_fingerprint(recommender)
            for seed in self.settings.seeds:
                for arm, judge, judge_key, compute in self._arms(population, key, refit, seed):
                    unit = Unit(recommender.name, seed, arm, refit, self._key(own, judge_key, arm, seed))
                    yield unit, partial(compute, recommender, judge, seed)

    def _arms(
        self, population: Population, key: str, refit: int, seed: int
    ) -> Iterator[tuple[str, Population, str, Compute]]:
        """Yield arm, who answers, the answerer's fingerprint and how its numbers are computed."""
        yield "pages", population, key, self._pages
        if refit:
            return
        yield "session", population, key, self._session
        if self.world.future is not None:
            yield "offline", population, "", self._offline
        if self.world.shared is not None:
            # Both arms may show the same items: else the price of passing over more rated items would hide the gain.
            yield "shared", population, key, partial(self._pages, shared=True)
            yield "own rows, shared items", population, key, partial(self._pages, narrow=True)
        if self.world.truth is not None:
            yield "truth", self.world.truth, self._truth_key, self._pages
            yield "truth session", self.world.truth, self._truth_key, self._session
        dial = getattr(population, "with_exit_slope", None)
        if dial is not None and seed == self.settings.seeds[0]:
            for factor in (f for f in self.settings.sweep if f != 1):
                yield f"sweep {factor:g}", dial(factor), key, self._session

    @cached_property
    def _truth_key(self) -> str:
        return "" if self.world.truth is None else population_fingerprint(self.world.truth)

    def _key(self, recommender: str, population: str, arm: str, seed: int) -> str:
        names = ("pages", "slate_size", "session_pages", "relevant", "ndcg_places", "rated_places", "support_threshold")
        settings = [getattr(self.settings, n) for n in names]
        return digest(FORMAT, settings, self.data, self.user.tolist(), recommender, population, arm, seed)

    def _check_members(self, population: Population) -> None:
        self.world.check(population)
        missing = np.setdiff1d(self.user, population.member)
        if len(missing):
            raise ConfigError(
                f"a refitted population lacks {len(missing)} of the {len(self.user)} benchmark users (first: number "
                f"{missing[0]}); build(n) may learn from other users but must simulate the same ones."
            )

    def _policy(self, recommender: Recommender, seed: int, *, shared: bool = False) -> Policy:
        slot = (recommender.name, seed, "shared" if shared else "own")
        if slot not in self._policies:
            log, catalogue = self._log(shared), self.world.catalogue
            self._policies[slot] = recommender.fit(log, catalogue, seed=derive(seed, "fit"))
        return self._policies[slot]

    def _log(self, shared: bool) -> InteractionLog:
        log = self.world.shared if shared else self.world.contestants
        assert log is not None
        return log

    def _offer(self, session: Session, key: NDArray[np.uint64]) -> Session:
        """Return the session with only the items that the shared rows leave open."""
        assert self.world.shared is not None
        free = ~Session.begin(session.user, self.world.shared).seen()
        return replace(session, candidate=offline.candidates(free))

    def _play(
        self,
        recommender: Recommender,
        judge: Population,
        seed: int,
        *,
        leave: bool,
        shared: bool = False,
        narrow: bool = False,
    ) -> Record:
        policy = self._policy(recommender, seed, shared=shared)
        pages = self.settings.session_pages if leave else self.settings.pages
        options: dict[str, Any] = {"slate_size": self.settings.slate_size, "max_pages": pages, "leave": leave}
        options["offer"] = self._offer if narrow else None
        return play(policy, judge, self._log(shared), self.user, name=recommender.name, seed=seed, **options)

    def _pages(
        self, recommender: Recommender, judge: Population, seed: int, *, shared: bool = False, narrow: bool = False
    ) -> tuple[Values, Record]:
        record = self._play(recommender, judge, seed, leave=False, shared=shared, narrow=narrow)
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

    def _session(self, recommender: Recommender, judge: Population, seed: int) -> tuple[Values, Record]:
        record = self._play(recommender, judge, seed, leave=True)
        shown = record.shown()
        return {"pages": metrics.pages(shown), "satisfaction": metrics.satisfaction(shown)}, record

    def _offline(self, recommender: Recommender, judge: Population, seed: int) -> tuple[Values, None]:
        policy, past, future = self._policy(recommender, seed), self.world.contestants, self.world.future
        assert future is not None
        relevant = self.settings.relevant or offline.relevance_threshold(past.scale)
        draw = derive(seed, "offline")
        sizes = self.settings.ndcg_places, self.settings.rated_places
        rank = offline.catalogue_ndcg(policy, past, future, self.user, k=sizes[0], relevant=relevant, seed=draw)
        rated = offline.held_out_rating(policy, past, future, self.user, k=sizes[1], seed=draw)
        return {"ndcg": rank, "true rating": rated}, None
