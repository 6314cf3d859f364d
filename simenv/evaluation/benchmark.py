"""Benchmark: contestants x users x seeds x refits, from fits to the finished report.

Knows populations and recommenders by protocol only. Contestants learn from the contestants' rows; whether the
population saw other rows than these (`log.split_worlds`) is the caller's choice, and the shared arm shows its price.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.evaluation import presentation
from simenv.evaluation.arms import Arms
from simenv.evaluation.contest import World
from simenv.evaluation.executor import Executor, Here
from simenv.evaluation.findings import Findings
from simenv.evaluation.gate import fail_if
from simenv.evaluation.report import Report, stable_json
from simenv.evaluation.statistics import RESAMPLES, check_level
from simenv.evaluation.unit import UnitStore
from simenv.log import InteractionLog
from simenv.protocols import Population, Recommender
from simenv.randomness import generator

Build = Callable[[int], Population]
Progress = Callable[[int, int, str], None]


@final
@dataclass(frozen=True)
class Benchmark:
    """Settings of a benchmark."""

    users: int | None = None
    """Number of members drawn (seeded) from the population; None: all of them."""
    pages: int = 10
    """Pages everyone sees for the headline."""
    slate_size: int = 10
    """Places per page."""
    session_pages: int = 30
    """Cap on the pages of visits that users may leave."""
    seeds: tuple[int, ...] = (0,)
    """One repeat each: its own fit of every contestant, its own luck of every user."""
    refits: int = 1
    """Populations asked of `build`: build(0), build(1), ...; more than one shows what refitting the users changes."""
    resamples: int = RESAMPLES
    """Bootstrap resamples of users."""
    level: float = 0.95
    """Coverage of intervals; differences count as significant below 1 - level after Holm."""
    relevant: float | None = None
    """Rating from which a held-out item is relevant for NDCG; None: three quarters up the scale."""
    ndcg_places: int = 10
    """K of NDCG@K over the whole catalogue."""
    rated_places: int = 5
    """K of the mean true rating of the K first among each user's held-out rated items."""
    support_threshold: float = 5.0
    """A place has no support if the simulated users' model learned from fewer ratings of the item."""
    support_limit: float = 0.5
    """Share of places without support above which no verdict is given."""
    sweep: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    """Factors on the satisfaction slope of the exit; empty: no sweep."""
    records: bool = False
    """Keep every record as parquet in the folder."""
    batch: int = 32
    """Users who are played together: the work of one part, and what a killed run may lose. A language model's answers
    differ in their last bits (about 1e-7) with what is asked together: results belong to this number, and to no number
    of workers."""
    seed: int = 0
    """Draws the users and the bootstrap."""

    def __post_init__(self) -> None:
        check_level(self.level)
        sizes = ("pages", "slate_size", "session_pages", "refits", "ndcg_places", "rated_places", "resamples", "batch")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds must be one or more different numbers; got {self.seeds}.")

    def run(
        self,
        recommenders: Sequence[Recommender],
        population: Population | Build,
        contestants: InteractionLog,
        catalogue: Catalogue,
        *,
        future: InteractionLog | None = None,
        truth: Population | None = None,
        shared: InteractionLog | None = None,
        folder: str | Path | None = None,
        progress: Progress | None = None,
        provenance: Mapping[str, str] | None = None,
        executor: Executor | None = None,
    ) -> Outcome:
        """Return who serves these users best, and how surely.

        population: the simulated users, or build(n) -> Population for `refits` of them (each on its own resample).
        contestants: rows the recommenders learn from and know of the users' past.
        future: held-out rows for NDCG and true ratings; None: those columns are left out.
        truth: the true users of a synthetic world; the report then says whether the simulator was right.
        shared: contestants' and judge's rows together; the recommenders are also fitted on these, for the difference.
        folder: keeps finished units, so that a killed run goes on where it stopped; None: keeps nothing.
        progress: called with how much is done, how much there is (units of batches of users), and what comes next.
        provenance: anything to print beside seeds, hashes and versions.
        executor: who computes: `Processes(4)`, `Ray()`; None: this process. The numbers are the same, to the bit, on
            machines of one kind. Users are sent to workers as `population` gives them: a ready population as it is, a
            function build(n) as a function.

        Raises:
            ConfigError: no or equally named recommenders, logs or populations of other users or items, refits asked of
                a ready population, records wanted without a folder.
            StoreError: a unit in the folder is damaged.
            WorkerError: a worker died.

        """
        _check(recommenders, population, self.refits)
        build = partial(_ready, population) if isinstance(population, Population) else population
        first = build(0)
        world = World(contestants, catalogue, future, truth, shared)
        world.check(first)
        user = self._users(first, truth)
        store = UnitStore(None if folder is None else Path(folder), self.records)
        arms = Arms(self, tuple(recommenders), world, user, store, progress, executor or Here())
        results = arms.run(first, build)
        found = Findings(self, tuple(r.name for r in recommenders), results)
        assumption = dict(first.assumption)
        origin = presentation.provenance(arms, assumption, provenance or {})
        report = presentation.report(found, arms, assumption, origin)
        result = {"verdict": report.verdict, "provenance": origin, "settings": self.to_dict()} | found.to_dict()
        return Outcome(report, result, user, found.per_user)

    def _users(self, population: Population, truth: Population | None) -> NDArray[np.int64]:
        member = np.sort(population.member)
        if truth is not None:
            member = np.intersect1d(member, truth.member)
        if self.users is not None and self.users < len(member):
            member = np.sort(generator(self.seed, "users").choice(member, self.users, replace=False))
        if len(member) < 2:
            raise ConfigError(f"a benchmark needs at least two simulated users; there are {len(member)}.")
        return member

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        return asdict(self)


@final
@dataclass(frozen=True, eq=False)
class Outcome:
    """What a benchmark found."""

    report: Report
    """For people."""
    result: Mapping[str, Any]
    """For machines: verdict, headline, values, pairs, uncertainty, truth, sweep, provenance. No wall times."""
    user: NDArray[np.int64]
    """int64[M]: the users."""
    per_user: Mapping[str, Mapping[str, NDArray[np.float64]]]
    """Contestant -> number -> float64[M], averaged over seeds and refits; NaN where a user has none."""

    @property
    def headline(self) -> Mapping[str, float]:
        """Expected utility per shown place by contestant."""
        return dict(self.result["headline"])

    def to_json(self) -> str:
        """Return `result` as stable JSON: two runs with the same inputs give the same bytes."""
        return stable_json(self.result)

    def fail_if(self, expression: str) -> tuple[bool, str]:
        """Return whether a condition such as "mine < als" holds on the headline, and a sentence."""
        return fail_if(expression, self.headline)


def _ready(population: Population, refit: int) -> Population:
    return population


def _check(recommenders: Sequence[Recommender], population: object, refits: int) -> None:
    names = [r.name for r in recommenders]
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"a benchmark needs recommenders with different names; got {names}.")
    if refits > 1 and isinstance(population, Population):
        raise ConfigError("refits need a function build(n) -> Population; a ready population cannot be refitted.")
