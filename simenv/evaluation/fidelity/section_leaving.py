"""The chapter on leaving: real and simulated visits, and whether users stay longer before what they like.

Knows populations by protocol and logs; decides words and columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simenv.evaluation.fidelity.answers import remembered
from simenv.evaluation.fidelity.exit import Curve, VisitSurvival, visit_survival
from simenv.evaluation.fidelity.gather import Gathered
from simenv.evaluation.fidelity.response import ORDER, ResponseTest, response_test
from simenv.evaluation.fidelity.section import Chapter
from simenv.evaluation.interval import Interval
from simenv.evaluation.presentation import behaviour_tag
from simenv.evaluation.report import Column, Row, Section
from simenv.evaluation.statistics import Pair
from simenv.evaluation.unit import population_fingerprint
from simenv.log import InteractionLog
from simenv.randomness import generator

if TYPE_CHECKING:
    from simenv.evaluation.fidelity.study import Fidelity

_USERS = 100
"""Users of the response test at most, drawn at random: two hundred items each are put to all of them."""
_SLATE, _PAGES = 10, 10
_CAUTION = (
    "A ratings log says when people stopped rating, not that they were dissatisfied; and where users were chosen by "
    "how much they rated, or are cut at a share of their history, the choice bounds how long visits can be."
)


def visits(settings: Fidelity, gathered: Gathered, before: InteractionLog) -> Chapter:
    """Return the survival of real and simulated visits. before: all rows before the cut, contestants' too."""
    how: dict[str, Any] = {"resamples": settings.resamples, "seed": settings.seed, "level": settings.level}
    data = [gathered.held.future.fingerprint, before.fingerprint]
    found, why = remembered(
        gathered.store, "visits", [how, data, population_fingerprint(gathered.population)],
        lambda: visit_survival(gathered.population, before, gathered.held.future, **how),
        (VisitSurvival, Curve, Interval),
    )  # fmt: skip
    title = "How long visits last"
    if found is None:
        return Chapter("visits", Section(title, f"Not measured: {why}."), {"not measured": why})
    columns = (
        Column("number"),
        Column("value", "measured", "", None, "Intervals over users."),
    )
    numbers: dict[str, Interval | float] = {
        "largest gap between the curves": found.distance,
        "the same gap by chance": found.noise,
        "integrated Brier score": found.brier,
        "of a model that knows the page alone": found.brier_page_only,
        "difference": found.brier_difference,
    }
    rows: tuple[Row, ...] = tuple({"number": k, "value": v} for k, v in numbers.items())
    text = (
        f"{found.visits} held-out visits of {found.users} users, {found.late} of them under way at the cut and "
        f"{found.censored} cut off by the end of the log (Kaplan and Meier 1958). {_CAUTION}"
    )
    light = {"visits": found.brier_difference}
    return Chapter("visits", Section(title, text, columns, rows, (found.figure,)), _plain(found), light)


def response(settings: Fidelity, gathered: Gathered) -> Chapter:
    """Return the response test: the same users before the best, random and worst slates by their own expectation."""
    population = gathered.population
    member, items = np.sort(population.member), len(population.items)
    if len(member) > _USERS:
        member = np.sort(generator(settings.seed, "response").choice(member, _USERS, replace=False))
    slate = min(_SLATE, max(1, items // 4))
    pages = min(_PAGES, max(1, items // (2 * slate)))
    how: dict[str, Any] = {"resamples": settings.resamples, "seed": settings.seed, "level": settings.level}
    how |= {"pages": pages, "slate_size": slate, "candidates": min(2 * pages * slate, items)}
    found = remembered(
        gathered.store, "response", [how, member.tolist(), population_fingerprint(population)],
        lambda: response_test(population, users=member, **how), (ResponseTest, Pair, Interval),
    )  # fmt: skip
    tag = behaviour_tag(dict(population.assumption), "exit")
    columns = (
        Column("shown"),
        Column("pages", tag, "pages per visit", None, f"Expected, at most {pages}; intervals over users.", ".2f"),
        Column("p, Holm", tag, "", None, "Of no difference; over the three differences."),
    )
    rows: list[Row] = [{"shown": name, "pages": found.pages[name]} for name in ORDER]
    rows += [{"shown": n, "pages": p.difference, "p, Holm": p.p_holm} for n, p in found.difference.items()]
    text = (
        f"{found.users} users before {pages} pages of {slate} of {found.candidates} random items each: those they "
        "expect most of, any, those they expect least of. An exit that ignores what is shown cannot rank recommenders. "
        + ("The order is as it should be." if found.right else "The order is not sure.")
    )
    value = {"pages": dict(found.pages), "difference": {k: vars(p) for k, p in found.difference.items()}}
    light = {"exit response": found.difference["best - random"].difference}
    section = Section("Do users stay for what they like?", text, columns, tuple(rows), (found.figure,))
    return Chapter("response", section, value | {"right": found.right}, light)


def _plain(found: VisitSurvival) -> dict[str, Any]:
    curves = {n: vars(getattr(found, n)) for n in ("real", "simulated")}
    told = {n: {k: v.tolist() for k, v in curve.items()} for n, curve in curves.items()}
    names = ("distance", "noise", "brier", "brier_page_only", "brier_difference", "users", "visits", "late", "censored")
    return told | {"page_only": found.page_only.tolist()} | {n: getattr(found, n) for n in names}
