"""Fidelity: from a population, or a way to build one, and a cut log to the card that says how far to believe it.

Knows populations by protocol and everything else it needs as plain functions handed in: how a population is built, what
its parts are, how it is disturbed.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.evaluation.fidelity import (
    section_decision,
    section_error,
    section_headline,
    section_leaving,
    section_signal,
    section_user,
)
from simenv.evaluation.fidelity.card import Card
from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.fidelity.gather import Build, Disturb, Gathered, Parts, Plan, gather
from simenv.evaluation.fidelity.headline import found, headline
from simenv.evaluation.fidelity.held import before
from simenv.evaluation.fidelity.light import Light, criteria
from simenv.evaluation.fidelity.section import Chapter
from simenv.evaluation.fidelity.section_decision import Contest
from simenv.evaluation.fidelity.uncertainty import of_differences, of_measures
from simenv.evaluation.rating import Prediction
from simenv.evaluation.statistics import RESAMPLES, check_level
from simenv.evaluation.yardstick import Yardstick
from simenv.log import InteractionLog, Split
from simenv.protocols import Population, Recommender

Progress = Callable[[int, int, str], None]
_QUICK = "Quick card: the yardsticks were tuned over fewer settings, so beating them means less."


@final
@dataclass(frozen=True)
class Fidelity:
    """Settings of a card."""

    seeds: tuple[int, ...] = (0,)
    """Training seeds; one population each is asked of `build`."""
    draws: int = 20
    """Sampled ratings per pair."""
    resamples: int = RESAMPLES
    """Bootstrap resamples of users."""
    level: float = 0.95
    """Coverage of intervals; comparisons count as significant below 1 - level after Holm."""
    like_from: float | None = None
    """Ratings from here on count as a like; None: three quarters up the scale."""
    yardsticks: Mapping[str, Yardstick] | None = None
    """The seven by name, fitted otherwise than usual, and any more; None: the usual seven."""
    quick: bool = False
    """Tune the yardsticks over fewer settings; the card says so."""
    seed: int = 0
    """Draws sampled ratings, bootstrap, folds and exchanges."""

    def __post_init__(self) -> None:
        check_level(self.level)
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ConfigError(f"seeds must be one or more different numbers; got {self.seeds}.")
        for name in ("draws", "resamples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1; got {getattr(self, name)}.")

    def run(
        self,
        build: Build | Population,
        log: InteractionLog,
        split: Split,
        *,
        catalogue: Catalogue | None = None,
        arms: Parts | None = None,
        disturb: Disturb | None = None,
        control: Build | None = None,
        external: Mapping[str, Prediction] | None = None,
        recommenders: Sequence[Recommender] | None = None,
        contestants: InteractionLog | None = None,
        folder: str | Path | None = None,
        progress: Progress | None = None,
        provenance: Mapping[str, str] | None = None,
    ) -> Card:
        """Return the card of a population, or of a way to build one.

        build: the population, or build(log, split, seed) for each of `seeds`; it must learn from `split.past` alone.
        log: all rows, those held out included; real visits are cut from it. It is handed to `build` as it is.
        split: only its future rows of simulated users are asked about.
        arms: parts of a population that answer alone; shown beside it.
        disturb: the population with something exchanged; the exchange must cost it something.
        control: builds the same users with personas dealt at random; None: the arm is left out.
        external: others' published answers to the same pairs, in the order of the members' future rows.
        recommenders: those to be put in order, for the check of decisions; it wants a catalogue. None: not checked.
        contestants: rows they learn from; None: `split.past`, the simulator's own rows, which flatters it.
        folder: keeps finished parts, so that an interrupted card goes on where it stopped; None: keeps nothing.
        progress: called with parts done, parts in all, and what comes next.
        provenance: anything to print beside seeds, hashes and versions.

        Raises:
            ConfigError: a population of other users, items or scale, several seeds of a ready one, a yardstick missing.
            DataError: fewer than two users with held-out ratings.
            StoreError: a part in the folder is damaged.

        """
        plan = Plan(build, log, split, arms, disturb, control, external)
        trial = Contest(tuple(recommenders or ()), contestants or split.past, catalogue)
        step = _Steps(progress or (lambda done, total, words: None))
        gathered = gather(self, plan, None if folder is None else Path(folder), step)
        chapters = list(self._chapters(gathered, log, trial, step))
        values = {key: value for chapter in chapters for key, value in chapter.light.items()}
        light = Light(criteria(log.scale, list(gathered.disturbed)), values, _QUICK if self.quick else "")
        title = f"Fidelity of {len(gathered.population.member)} simulated users"
        origin = _provenance(self, gathered, provenance or {})
        return Card.of(title, light, chapters, origin, self.to_dict(), gathered.seconds)

    def _chapters(
        self, gathered: Gathered, log: InteractionLog, contest: Contest, step: Callable[[str], None]
    ) -> Iterator[Chapter]:
        cases, first = gathered.cases, gathered.cases[0]
        step("measures")
        yield from self._headline(cases)
        for chapter in (section_error.calibration, section_error.residuals, section_error.cold):
            yield chapter(self, first)
        step("signal")
        yield section_signal.added(self, cases)
        step("two samples")
        yield section_signal.two_samples(self, gathered)
        yield section_signal.coverage(self, cases)
        step("users")
        yield from _made(section_user.personas(self, first), section_user.disturbed(self, first, gathered.disturbed))
        step("visits")
        yield section_leaving.visits(self, gathered, before(log, gathered.held.future))
        step("response")
        yield section_leaving.response(self, gathered)
        if contest.recommenders:
            step("decisions")
            yield section_decision.decision(self, first, gathered.held.future, contest)

    def _headline(self, cases: tuple[Case, ...]) -> Iterator[Chapter]:
        table = found(cases)
        name, *others = table
        top = headline(table, resamples=self.resamples, seed=self.seed, level=self.level)
        measure = of_measures(cases, table[name], self.level)
        pairs = [(c.measure, c.other) for c in top.comparison]
        difference = of_differences(table[name], {n: table[n] for n in others}, pairs, self.level)
        yield section_headline.yardsticks(top, cases)
        yield section_headline.comparisons(top, difference, 1 - self.level)
        yield section_headline.uncertainty(measure, difference, top.value[name], len(cases), self.draws)
        yield section_headline.rating_shares(cases[0])

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON-able values."""
        own = None if self.yardsticks is None else {name: repr(y) for name, y in self.yardsticks.items()}
        return asdict(replace(self, yardsticks=None)) | {"yardsticks": own}


def _made(*chapters: Chapter | None) -> Iterator[Chapter]:
    yield from (c for c in chapters if c is not None)


class _Steps:
    """Counts the parts of a card as they begin."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.done = progress, 0

    def __call__(self, words: str) -> None:
        self.progress(self.done, max(self.done + 1, 20), words)
        self.done += 1


def _provenance(settings: Fidelity, gathered: Gathered, extra: Mapping[str, str]) -> dict[str, str]:
    """Return all that is needed to repeat the numbers."""
    names = {"simenv": "simenv-personas", "numpy": "numpy", "scipy": "scipy", "scikit-learn": "scikit-learn"}
    packages = [f"{n} {version(p)}" for n, p in names.items()]
    told = {k: v for k, v in settings.to_dict().items() if k != "yardsticks"}
    return {
        **extra,
        "settings": ", ".join(f"{k}={v}" for k, v in told.items()),
        "data, known": gathered.held.known.fingerprint,
        "data, held out": gathered.held.future.fingerprint,
        **gathered.described,
        **{f"users' behaviour, {k}": v for k, v in gathered.population.assumption.items()},
        "versions": ", ".join([f"python {platform.python_version()}", *packages]),
    }
