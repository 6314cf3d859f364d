"""Gathering: yardsticks fitted, populations built and asked, refit by refit; ends in the cases a card is measured on.

Knows populations by protocol and how they are built as plain functions; no measure, no words of a report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from simenv.errors import ConfigError
from simenv.evaluation.fidelity.answers import Answers, yardsticks
from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.fidelity.held import Held
from simenv.evaluation.rating import Prediction
from simenv.evaluation.unit import UnitStore, population_fingerprint
from simenv.log import InteractionLog, Split
from simenv.protocols import Population

if TYPE_CHECKING:
    from simenv.evaluation.fidelity.study import Fidelity

Build = Callable[[InteractionLog, Split, int], Population]
"""build(log, split, seed) -> the population trained on `split.past` with that seed."""
Parts = Callable[[Any], Mapping[str, Population]]
"""What a population is made of, each part answering alone, by name."""
Disturb = Callable[[Any, int], Mapping[str, Population]]
"""The population with something exchanged or hidden, by name; the seed draws what is exchanged."""
SIMULATOR = "simulator"
CONTROL = "random clusters"
"""Name of the control arm: the same users, personas dealt at random."""


@final
@dataclass(frozen=True)
class Plan:
    """Who is asked. See `Fidelity.run`."""

    build: Build | Population
    log: InteractionLog
    split: Split
    arms: Parts | None = None
    disturb: Disturb | None = None
    control: Build | None = None
    external: Mapping[str, Prediction] | None = None

    def population(self, seed: int) -> Population:
        """Return the population of a training seed."""
        return self.build if isinstance(self.build, Population) else self.build(self.log, self.split, seed)


@final
@dataclass(frozen=True, eq=False)
class Gathered:
    """All that was asked."""

    population: Population
    """Of the first seed."""
    held: Held
    store: UnitStore
    """Remembers what was asked, and what takes long to measure."""
    cases: tuple[Case, ...]
    """[F refits]"""
    disturbed: Mapping[str, Prediction]
    """The first population's answers with something exchanged, by name."""
    described: Mapping[str, str]
    """Settings of each yardstick as chosen; fingerprints of the populations."""
    seconds: Mapping[str, float]


def gather(settings: Fidelity, plan: Plan, folder: Path | None, progress: Callable[[str], None]) -> Gathered:
    """Return the answers of everybody; finished ones are taken from the folder."""
    if isinstance(plan.build, Population) and len(settings.seeds) > 1:
        raise ConfigError("several seeds need a function build(log, split, seed); a ready population has one.")
    progress("population")
    first = plan.population(settings.seeds[0])
    held = Held.of(plan.split, first, settings.like_from)
    store = UnitStore(folder)
    answers = Answers(held, store, settings.draws, settings.seed, progress)
    own = yardsticks(settings.yardsticks, settings.quick)
    fixed = {name: answers.yardstick(name, y) for name, y in own.items()}
    cases, prints = [], []
    for refit, seed in enumerate(settings.seeds):
        population = first if refit == 0 else plan.population(seed)
        cases.append(_case(answers, plan, population, fixed, refit))
        prints.append(population_fingerprint(population))
    if plan.control is not None:
        progress(CONTROL)
        dealt, _ = answers.population(CONTROL, plan.control(plan.log, plan.split, settings.seeds[0]))
        cases = [replace(c, simulator={**c.simulator, CONTROL: dealt}) for c in cases]
    exchanged = {} if plan.disturb is None else plan.disturb(first, settings.seed)
    disturbed = {name: answers.population(name, population)[0] for name, population in exchanged.items()}
    told = {f"yardstick, {name}": text for name, text in answers.described.items()} | {"populations": ", ".join(prints)}
    return Gathered(first, held, store, tuple(cases), disturbed, told, answers.seconds)


def _case(answers: Answers, plan: Plan, population: Population, fixed: Mapping[str, Prediction], refit: int) -> Case:
    """Return the case of one refit: the population's own answers and those of its parts."""
    own, support = answers.population(SIMULATOR, population, refit)
    alone = {} if plan.arms is None else plan.arms(population)
    simulator = {SIMULATOR: own} | {n: answers.population(n, p, refit)[0] for n, p in alone.items()}
    label = tuple(getattr(population, "persona", ()))
    persona = tuple(label[u] for u in answers.held.user) if label else ()
    held, rho = answers.held, float(getattr(population, "rho", 0.0))
    return Case(held.truth, held.item, held.known, simulator, fixed, plan.external or {}, support, rho, persona)
