"""One report and one figure on the claim "right where NDCG is wrong": invented worlds by dose, and Coat beside them.

Knows the findings of both studies, not how they came about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simenv.errors import DataError
from simenv.evaluation.figure import Panel, curves
from simenv.evaluation.interval import Interval
from simenv.evaluation.report import Figure, Report, Section
from simenv.study import coat_report, dose_report
from simenv.study.dose_response import DoseResponse
from simenv.study.dose_response import curves as dose_curves
from simenv.study.dose_unit import JUDGES, NDCG, OURS

TITLE = "Who orders recommenders as the truth does"
Coat = Mapping[str, Any]
"""What `simenv.study.coat.coat` returns."""


def figure(study: DoseResponse, units: Sequence[dict[str, Any]], coat: Coat | None = None) -> Figure:
    """Return pairs right by dose and, beside them, on Coat: the judges of `JUDGES` and the best without a simulator."""
    panel = dose_report.panels(dose_curves(study, units))
    counted = "worlds"
    if coat is not None:
        panel[coat["data"]] = Panel((0.0,), {judge: (share,) for judge, share in _shares(coat).items()}, "real ratings")
        counted = f"worlds, for {coat['data']} users"
    caption = f"Share of truly different pairs of recommenders in the right order; intervals count {counted}"
    return curves(caption, panel, "pairs in the right order", bold=(OURS, NDCG))


def report(study: DoseResponse, units: Sequence[dict[str, Any]], coat: Coat | None = None) -> Report:
    """Return both studies as one report. coat: None: not run, and not spoken of."""
    picture = Section(TITLE, _HOW, figures=(figure(study, units, coat),))
    log = {f"log, {u['kind']} {u['dose']:g}, world {u['seed']}": u["log"] for u in units}
    origin = {"doses": repr(study.doses), "worlds": repr(study.seeds), "settings": repr(study.world)} | log
    verdict, parts = dose_report.sentence(study, units), dose_report.sections(study, units)
    if coat is not None:
        verdict, parts = f"{verdict} {coat_report.verdict(coat)}", (*parts, coat_report.table(coat))
    return Report(TITLE, verdict, (picture, *parts), origin)


def page(study: DoseResponse, units: Sequence[dict[str, Any]], coat: Coat | None, picture: str, numbers: str) -> str:
    """Return the findings as markdown, verdict and picture first. picture, numbers: links to both."""
    made = report(study, units, coat)
    parts = (f"![{made.sections[0].figures[0].caption}]({picture})", *_READING, f"All numbers: [{numbers}]({numbers}).")
    head, _, tables = made.to_markdown().partition("\n## ")
    # The first section holds the picture alone; provenance stands with the numbers.
    tables = tables.partition("\n## ")[2].partition("\n## Provenance")[0]
    return "\n\n".join([head.strip(), *parts, f"## {tables.strip()}"]) + "\n"


def read_coat(path: Path) -> Coat:
    """Return what the Coat study found from a JSON file: the recorded result, or the bare one.

    Raises:
        DataError: no such file, or something else in it.

    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found: Coat = content.get("values", content)
        coat_report.verdict(found)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} holds no result of the Coat study ({error}); see benchmarks/coat.py.") from error
    return found


def _shares(coat: Coat) -> dict[str, Interval]:
    names = [n for n in (*JUDGES, coat["best_without_simulator"]) if n in coat["evaluator"]]
    share = {n: coat["evaluator"][n]["share"] for n in names}
    return {n: Interval(s["mean"], s["users"]["low"], s["users"]["high"]) for n, s in share.items()}


_READING = (
    "How to read it: a value of 0.9 says that nine in ten pairs of recommenders that truly differ are put in the right "
    "order; a coin scores 0.5. In the invented worlds the truth is known for every user and item. At dose 0 users rate "
    "items picked at random; from there on they pick more and more what they would like, or what is popular, and all "
    "who judge have only such ratings. The same users and items return at every dose. NDCG, SNIPS and the top held-out "
    "ratings read ratings that no other judge has; the others predict from the judge's rows.",
    "What it does not say: the worlds are small and made by our own generator, in which popular items are better on "
    "average and tastes follow genres and people; one kind of selection grows at a time; the embedded models are small "
    "and learn for few steps.",
)
_HOW = (
    "Every judge puts the same recommenders in order without knowing the truth. The invented worlds are cut as in "
    "simenv demo: recommenders, judges and held-out ratings have disjoint rows; what is judged is the first page each "
    "recommender shows from the whole catalogue."
)
