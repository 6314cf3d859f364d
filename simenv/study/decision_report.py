"""One report and one figure on the claim "right where NDCG is wrong": invented worlds by dose, and Coat beside them.

Knows the findings of both studies, not how they came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from simenv.evaluation.figure import Panel, curves
from simenv.evaluation.interval import Interval
from simenv.evaluation.report import Figure, Report, Section
from simenv.study import dose_report
from simenv.study.dose_response import DoseResponse
from simenv.study.dose_response import curves as dose_curves
from simenv.study.dose_unit import NDCG, OURS

TITLE = "Who orders recommenders as the truth does"


def figure(study: DoseResponse, units: Sequence[dict[str, Any]], coat: Mapping[str, Interval] | None = None) -> Figure:
    """Return pairs right by dose, and on Coat. coat: judge, named as in `JUDGES`, -> share of pairs right."""
    panel = dose_report.panels(dose_curves(study, units))
    if coat:
        panel["Coat"] = Panel((0.0,), {judge: (share,) for judge, share in coat.items()}, "real ratings")
    caption = f"Share of truly different pairs of recommenders in the right order; intervals count {_counted(coat)}"
    return curves(caption, panel, "pairs in the right order", bold=(OURS, NDCG))


def report(
    study: DoseResponse,
    units: Sequence[dict[str, Any]],
    *,
    coat: Report | None = None,
    coat_right: Mapping[str, Interval] | None = None,
) -> Report:
    """Return both studies as one report. coat: its own report, None: not run. coat_right: for the figure."""
    picture = Section(TITLE, _HOW, figures=(figure(study, units, coat_right),))
    log = {f"log, {u['kind']} {u['dose']:g}, world {u['seed']}": u["log"] for u in units}
    origin = {"doses": repr(study.doses), "worlds": repr(study.seeds), "settings": repr(study.world)} | log
    verdict, parts = dose_report.sentence(study, units), dose_report.sections(study, units)
    if coat is None:
        return Report(TITLE, verdict, (picture, *parts), origin)
    verdict = f"{verdict} Coat: {coat.verdict}"
    origin |= {f"Coat, {name}": value for name, value in coat.provenance.items()}
    return Report(TITLE, verdict, (picture, *parts, *coat.sections), origin)


_HOW = (
    "Every judge puts the same recommenders in order without knowing the truth. The invented worlds are cut as in "
    "simenv demo: recommenders, judges and held-out ratings have disjoint rows; what is judged is the first page each "
    "recommender shows from the whole catalogue."
)


def _counted(coat: Mapping[str, Interval] | None) -> str:
    return "worlds (Coat: users)" if coat else "worlds"
