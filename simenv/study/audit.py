"""Audit: other simulators' published ratings beside the yardsticks and simenv's users, on the same pairs.

Everybody is measured by the same code on the same real ratings. Yardsticks and simulated users learn from all rows of
the log but these pairs (the `world` arm without a cut in time); what the published models had seen is theirs to say.
Knows published answers and how a population is built; nothing of where either came from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.evaluation.fidelity.answers import Answers, yardsticks
from simenv.evaluation.fidelity.held import Held
from simenv.evaluation.report import Column, Row, Section
from simenv.evaluation.statistics import RESAMPLES
from simenv.evaluation.unit import UnitStore
from simenv.evaluation.yardstick import Yardstick
from simenv.log import InteractionLog, Split
from simenv.protocols import Population
from simenv.randomness import generator
from simenv.study.audit_table import Table, given, measured
from simenv.study.published import Published

Build = Callable[[InteractionLog, Split, int], Population]
"""build(known, split, seed) -> the population of the users of `split.future`, trained on the known rows."""
OWN = "simenv"
BIAS = "user+item bias"
"""The score that a simulator must know something beyond."""
ALL = "all pairs"
_COLUMNS: tuple[tuple[str, Column], ...] = (
    ("rmse", Column("RMSE", "measured", "rating", "low", "Of the number: an agent's answer, a distribution's mean.")),
    ("rmse_rounded", Column("RMSE rounded", "measured", "rating", "low", "Of the number rounded to the scale.")),
    ("mae", Column("MAE", "measured", "rating", "low", "Of the answer, or of a distribution's median.")),
    ("r", Column("r", "measured", "-1..1", "high", "Pearson correlation of the number with the real rating.")),
    ("w1", Column("W1", "measured", "rating", "low", "Wasserstein distance of given or sampled to real shares.")),
    ("within_variance_ratio", Column("variance within", "measured", "real = 1", None,
        "Variance of a user's given or sampled ratings against the real one.")),
    ("between_sd_ratio", Column("sd between", "measured", "real = 1", None,
        "Standard deviation of users' mean given or sampled ratings against the real one.")),
    ("c2st", Column("AUC", "measured", "0.5 = real", "low", "Two-sample test of given or sampled ratings, by user.")),
    ("incremental_r2", Column("R2 beyond bias", "measured", "share of variance", "high",
        f"Gain in R2 when the number joins {BIAS}, fitted on other users.", "+.4f")),
    ("rmse_gap", Column("RMSE minus simenv", "measured", "rating", None,
        "Paired over users; above zero simenv is nearer to what they said.", "+.3f")),
)  # fmt: skip


@final
@dataclass(frozen=True)
class AuditSettings:
    """How an audit is made."""

    users: int | None = None
    """Users drawn at random, whose pairs are measured; None: all. All published pairs stay unknown either way."""
    draws: int = 20
    """Sampled ratings per pair of whoever gives distributions; published answers are one draw."""
    yardsticks: Mapping[str, Yardstick] | None = None
    """In place of the seven standard ones, by their names."""
    quick: bool = False
    """Tune the yardsticks over fewer settings, so that beating them means less."""
    resamples: int = RESAMPLES
    """Bootstrap resamples of users."""
    seed: int = 0


@final
@dataclass(frozen=True, eq=False)
class Audit:
    """What was found."""

    published: Published
    kind: Mapping[str, str]
    """predictor -> "published", "simenv" or "yardstick"; in the order of the tables."""
    table: Mapping[str, Table]
    """"all pairs", then each part that is looked at alone."""
    chosen: Mapping[str, str] = field(default_factory=dict)
    """Settings of each yardstick as tuned."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time by what was asked. No result."""

    def sections(self) -> tuple[Section, ...]:
        """Return a table of measures for each part, and one of rating shares."""
        return (*[_measures(self, part) for part in self.table], _shares(self))

    def to_json(self) -> dict[str, Any]:
        """Return plain values; a number that is not defined is None."""
        told = {part: table.to_json() for part, table in self.table.items()}
        about = {"name": self.published.name, "source": self.published.source, "note": self.published.note}
        return {**about, "tag": "measured", "kind": dict(self.kind), "yardstick": dict(self.chosen), "table": told}


def audit(
    published: Published,
    build: Build,
    settings: AuditSettings | None = None,
    *,
    folder: str | Path | None = None,
    progress: Callable[[str], None] = lambda words: None,
) -> Audit:
    """Return the published answers beside the seven yardsticks and simenv's users.

    build: makes the population; it gets the known rows and the split, whose future says which users are asked.
    folder: remembers what was asked, so that an interrupted audit goes on; None: nothing is kept.

    Raises:
        ConfigError: the population lacks a user of the pairs, fewer users than wanted have any, or two models share a
            name.
        DataError: fewer than two users.

    """
    settings = settings or AuditSettings()
    here, known = _drawn(published, settings), published.known
    split = Split(known, published.log.take(published.row[here]), "random", "all rows but the published pairs", None)
    population = build(known, split, settings.seed)
    held = Held.of(split, population)
    if len(held.future) != len(split.future):
        raise ConfigError("the population must simulate every user of split.future; build it for these users.")
    store = UnitStore(None if folder is None else Path(folder))
    answers = Answers(held, store, settings.draws, settings.seed, progress)
    theirs = {n: given(a[here], held.truth) for n, a in published.answer.items()}
    own = {OWN: answers.population(OWN, population)[0]}
    fitted = {n: answers.yardstick(n, y) for n, y in yardsticks(settings.yardsticks, settings.quick).items()}
    if set(theirs) & {*own, *fitted}:
        raise ConfigError(f"a published model is called as one of ours: {', '.join({*own, *fitted} & set(theirs))}.")
    parts = {ALL: np.ones(len(held.future), bool)} | {n: mask[here] for n, mask in published.part.items()}
    tables = {}
    for part, mask in parts.items():
        progress(f"measures, {part}")
        tables[part] = measured(
            held, {**theirs, **own, **fitted}, mask, own=OWN, bias=BIAS, resamples=settings.resamples,
            seed=settings.seed,
        )  # fmt: skip
    kind = dict.fromkeys(theirs, "published") | {OWN: "simenv"} | dict.fromkeys(fitted, "yardstick")
    return Audit(published, kind, tables, answers.described, answers.seconds)


def _drawn(published: Published, settings: AuditSettings) -> NDArray[np.bool_]:
    """Return bool[N]: the pairs that are measured."""
    users = np.unique(published.pairs.user)
    if settings.users is None:
        return np.ones(len(published.row), bool)
    if not 2 <= settings.users <= len(users):
        raise ConfigError(f"users must be 2 to {len(users)}, who rated published pairs; got {settings.users}.")
    return published.of_users(generator(settings.seed, "audited users").permutation(users)[: settings.users])


def _measures(found: Audit, part: str) -> Section:
    table = found.table[part]
    known = [(m, c) for m, c in _COLUMNS if any(m in row for row in table.value.values())]
    rows: list[Row] = [
        {"predictor": n, "kind": found.kind[n]} | {c.name: row[m] for m, c in known if m in row}
        for n, row in table.value.items()
    ]
    text = (
        f"{table.pairs} pairs of {table.users} users. Yardsticks and simenv learned from all other ratings. "
        f"{found.published.note} Intervals over users."
    )
    columns = (Column("predictor"), Column("kind"), *[c for _, c in known])
    return Section(f"{found.published.name}: {part}", text, columns, tuple(rows))


def _shares(found: Audit) -> Section:
    labels = [f"{v:g}" for v in found.published.log.scale.values]
    share = found.table[ALL].share
    columns = (Column("who"), *[Column(v, "measured", "share") for v in labels])
    rows = tuple({"who": n} | dict(zip(labels, map(float, s), strict=True)) for n, s in share.items())
    return Section(f"{found.published.name}: rating mix", "Shares of given or sampled ratings.", columns, rows)
