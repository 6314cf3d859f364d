"""What the dose-response study found, as sentences, tables and curves. Every verdict is computed from the curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from simenv.evaluation.figure import Panel
from simenv.evaluation.interval import Interval
from simenv.evaluation.report import Column, Row, Section
from simenv.study.dose_curve import LIMIT, Crossing, Curve, crossing, over_worlds
from simenv.study.dose_response import Curves, DoseResponse, crossings, curves
from simenv.study.dose_unit import NDCG, OURS, PLAIN, Kind

WORDS: dict[Kind, str] = {"rating": "true rating", "popularity": "popularity"}


def panels(found: Curves) -> dict[str, Panel]:
    """Return one panel of curves per kind of selection."""
    return {
        f"chosen by {WORDS[kind]}": Panel(
            next(iter(by.values())).dose, {j: c.interval() for j, c in by.items()}, "dose"
        )
        for kind, by in found.items()
    }


def sections(study: DoseResponse, units: Sequence[dict[str, Any]]) -> tuple[Section, ...]:
    """Return the tables: pairs right by dose, regret by dose, and where each judge crosses NDCG and breaks."""
    found = curves(study, units)
    met = crossings(found)
    shares = [
        _by_dose(f"Pairs right, chosen by {WORDS[k]}", _about(study, units), by, "share") for k, by in found.items()
    ]
    lost = [_by_dose(f"Regret, chosen by {WORDS[k]}", _REGRET, by, "regret") for k, by in found.items()]
    return (*shares, *(_crossing(f"Against {NDCG}, chosen by {WORDS[k]}", by) for k, by in met.items()), *lost)


def sentence(study: DoseResponse, units: Sequence[dict[str, Any]]) -> str:
    """Return the finding in words, one sentence per kind of selection."""
    found = curves(study, units)
    met = crossings(found)
    said = [_said(k, by[OURS], by[NDCG], met[k][OURS]) + _beside_plain(by) for k, by in found.items()]
    return " ".join(said)


def to_dict(study: DoseResponse, units: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return all numbers behind the report: means with intervals over worlds, crossings, and the units."""
    found = curves(study, units)

    def numbers(c: Curve) -> dict[str, Any]:
        rest = {"regret": _rows(c.regret), "tau": _rows(c.tau)}
        return {"right": c.interval(), "change from dose 0": c.change(), **rest}

    against = {kind: {judge: asdict(c) for judge, c in by.items()} for kind, by in crossings(found).items()}
    return {
        "sentence": sentence(study, units),
        "doses": study.doses,
        "worlds": study.seeds,
        "settings": repr(study.world),
        "by judge": {kind: {judge: numbers(c) for judge, c in by.items()} for kind, by in found.items()},
        f"against {NDCG}": against,
        "units": list(units),
    }


_REGRET = "Rating points lost by taking the recommender that the judge puts first."


def _about(study: DoseResponse, units: Sequence[dict[str, Any]]) -> str:
    pairs = [u["pairs"] for u in units]
    world, size = study.world, len(study.world.contestants)
    return (
        f"Share of the truly different pairs of {size} recommenders (Holm over {world.members} users: {min(pairs)} to "
        f"{max(pairs)} of {size * (size - 1) // 2}) that a judge puts in the right order; ties count one half. Mean of "
        f"{len(study.seeds)} worlds of {world.n_users} users and {world.n_items} items; intervals (Student, 95 %) "
        "count worlds: other users, items, logs and luck of training. At dose 0 items are rated uniformly at random."
    )


def _by_dose(title: str, text: str, by: dict[str, Curve], number: str) -> Section:
    dose = next(iter(by.values())).dose
    better = "high" if number == "share" else "low"
    columns = [Column(_at(d), "measured", better=better, form=".2f") for d in dose]  # type: ignore[arg-type]
    rows: list[Row] = []
    for judge, curve in by.items():
        value = curve.interval() if number == "share" else _rows(curve.regret, (0.0, np.inf))
        rows.append({"judge": judge} | {_at(d): v for d, v in zip(dose, value, strict=True)})
    return Section(title, text, (Column("judge"), *columns), tuple(rows))


def _crossing(title: str, by: dict[str, Crossing]) -> Section:
    notes = {
        f"first below {NDCG}": "First dose at which its mean share is lower.",
        "crosses at": "Where the difference of the mean shares changes sign, on straight lines between doses.",
        "clearly above": "Doses at which the interval of the difference, paired by world, lies above 0.",
        "clearly below": "Doses at which it lies below 0.",
        f"under {LIMIT:g}": "Doses at which fewer than nine in ten pairs are right on average.",
        f"clearly under {LIMIT:g}": "Doses at which the whole interval is.",
        "clearly worse than at dose 0": "Doses at which the change, paired by world, lies below 0 with its interval.",
    }
    rows = [dict(zip(("judge", *notes), (judge, *_doses(c)), strict=True)) for judge, c in by.items()]
    text = "Computed from the curves. The intervals are not corrected for the number of doses."
    return Section(title, text, (Column("judge"), *(Column(n, note=note) for n, note in notes.items())), tuple(rows))


def _doses(c: Crossing) -> tuple[str, ...]:
    first = "never" if c.first_below is None else f"{c.first_below:g}"
    lists = (c.clearly_above, c.clearly_below, c.under_limit, c.clearly_under_limit, c.clearly_worse_than_at_0)
    return (first, _list(c.crosses, ".2f"), *(_list(doses) for doses in lists))


def _list(doses: Sequence[float], form: str = "g") -> str:
    return ", ".join(f"{d:{form}}" for d in doses) or "never"


def _at(dose: float) -> str:
    return f"dose {dose:g}"


def _rows(value: Any, bounds: tuple[float, float] | None = None) -> tuple[Interval, ...]:
    return tuple(over_worlds(row, bounds=bounds) for row in value)


def _said(kind: Kind, ours: Curve, other: Curve, c: Crossing) -> str:
    mean, rival = ours.share.mean(axis=1), other.share.mean(axis=1)
    words = (
        f"Where users choose by {WORDS[kind]}, {OURS} orders {mean.min():.0%} to {mean.max():.0%} of the truly "
        f"different pairs right and {NDCG} {rival.min():.0%} to {rival.max():.0%}; {OURS} is clearly above "
        f"{_where(c.clearly_above)} and clearly below {_where(c.clearly_below)}"
    )
    first = () if c.first_below is None else (c.first_below,)
    return (
        f"{words}. On average it is below {NDCG} first {_where(first)}, under {LIMIT:.0%} {_where(c.under_limit)}, and "
        f"clearly worse than at dose 0 {_where(c.clearly_worse_than_at_0)}."
    )


def _beside_plain(by: dict[str, Curve]) -> str:
    """Return how simenv stands to the plain predictor of the same rows: who beats NDCG need not be a simulator."""
    if PLAIN not in by:
        return ""
    c = crossing(by[OURS], by[PLAIN])
    gap = [g.mean for g in c.gap]
    return (
        f" Beside {PLAIN} on the same rows it differs by {min(gap):+.3f} to {max(gap):+.3f}, clearly for the better "
        f"{_where(c.clearly_above)} and for the worse {_where(c.clearly_below)}."
    )


def _where(doses: Sequence[float]) -> str:
    return "at no dose tried" if not doses else f"at dose{'s' if len(doses) > 1 else ''} {_list(doses)}"
