"""What the study of learners found, as sentences, tables and curves; every sentence is computed from the units.

Knows units and gates; nothing of how they came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simenv.evaluation.figure import lines
from simenv.evaluation.report import Column, Figure, Report, Row, Section
from simenv.evaluation.statistics import decompose
from simenv.rl import findings
from simenv.rl.exploitation import LEVEL
from simenv.rl.gate import Gate, over_worlds, verdict
from simenv.rl.proof import RATED
from simenv.study.rl_study import RLStudy, Unit, policies

PLACES = {
    "trained on": "replicas and users it was trained with",
    "held out": "other replicas, other users",
    "true": "the true users of the invented world, held out",
}
_SIGNS = {
    "effective_items": Column(
        "effective items", "fitted", form=".0f", note="exp(entropy) of how often each item is shown."
    ),
    "gini": Column("gini", "fitted", note="Of exposure over the catalogue."),
    "overlap": Column("overlap", "fitted", note="Share of a user's items that another user is shown too."),
    "slates_outside": Column(
        "pages outside", "fitted", form=".0%", note=f"Share of pages unlike {LEVEL:.0%} of those of logged histories."
    ),
    "states_outside": Column(
        "states outside", "fitted", form=".0%", note="The same for what visits had shown and earned so far."
    ),
    "disagreement": Column(
        "disagreement", "fitted", form=".2f", note="Of replicas, over the places shown; 1: that over all items."
    ),
}


def report(
    study: RLStudy,
    worlds: Sequence[Sequence[Unit]],
    gate: Gate | None,
    own: Sequence[Unit] | None = None,
    provenance: Mapping[str, str] | None = None,
) -> Report:
    """Return the page: of one's own population where `own` units are given, else of the invented worlds.

    worlds: units of each invented world; (): the gate was read, or not run.
    """
    learner = study.learners[0].name
    parts: list[Section] = []
    if own is not None:
        said = verdict(own, learner, study.must_beat, gate)
        parts += _ground(own, learner, "on this population")
    else:
        assert gate is not None
        said = gate_sentence(gate, worlds)
    if gate is not None:
        parts.append(gate_section(gate))
    for number, units in enumerate(worlds):
        parts += _ground(units, learner, f"in world {study.worlds[number]}")
    told = {"learners": "; ".join(repr(x) for x in study.learners), "seeds of learners": str(study.seeds)}
    told |= {"worlds": str(study.worlds) if worlds else "none run"} | dict(provenance or {})
    return Report("Learned policies: what they gain, and whether it is real", said, tuple(parts), told)


def gate_sentence(gate: Gate, worlds: Sequence[Sequence[Unit]]) -> str:
    """Return whether the gate was passed, by what, and which alarms rang."""
    gains = ", ".join(f"{gate.true[r]:+.3f} over {r} ({gate.kept(r):.0%} kept)" for r in gate.must_beat)
    rang = sum(bool(findings.alarms(units, gate.learner)) for units in worlds)
    state = "passed the gate" if gate.passed else "failed the gate"
    return (
        f"{gate.learner} {state}: trained on populations built from biased logs alone, it truly gains {gains} per "
        f"shown place; {gate.signs_right:.0%} of the simulated gains have the true sign; alarms in {rang} of "
        f"{gate.worlds} worlds."
    )


def gate_section(gate: Gate) -> Section:
    """Return simulated and true gain over each rival, and what of it was kept."""
    rows: list[Row] = [
        {
            "over": r,
            "must be beaten": "yes" if r in gate.must_beat else "",
            "simulated gain": gate.simulated[r],
            "true gain": gate.true[r],
            "kept": gate.kept(r),
        }
        for r in gate.true
    ]
    unit = "rating points per place"
    columns = (
        Column("over"),
        Column("must be beaten"),
        Column("simulated gain", "fitted", unit, "high", "Held-out users of held-out replicas.", "+.3f"),
        Column("true gain", "measured", unit, "high", "Before the true users.", "+.3f"),
        Column("kept", "measured", form=".0%", note="True gain over simulated gain."),
    )
    text = (
        f"{gate.learner} in {gate.worlds} invented worlds; intervals (Student, 95 %) count worlds. Passed if the true "
        "gain over every rival that must be beaten lies above 0 with its interval."
    )
    return Section("Gate: from simulation to truth", text, columns, tuple(rows))


def _ground(units: Sequence[Unit], learner: str, where: str) -> list[Section]:
    known = [_rated(units, learner, where)] if units[0]["rated"][learner] else []
    rest = _signs(units, where), _curve(units, learner, where)
    return [_values(units, where), _gains(units, learner, where), *known, *rest]


def _values(units: Sequence[Unit], where: str) -> Section:
    places = [p for p in PLACES if p in units[0]["value"][policies(units)[0]]]
    tags: dict[str, Any] = {"true": "measured"}
    columns = [Column(p, tags.get(p, "fitted"), better="high", note=f"Visits of {PLACES[p]}.") for p in places]
    rows: list[Row] = [
        {"policy": name} | {p: decompose(findings.cube(units, name, p)).total for p in places}
        for name in policies(units)
    ]
    text = (
        "Expected rating per shown place, everyone staying to the last page. Intervals count replicas, seeds and "
        "users. Columns hold different users: compare within a column."
    )
    return Section(f"Value {where}", text, (Column("policy"), *columns), tuple(rows))


def _gains(units: Sequence[Unit], learner: str, where: str) -> Section:
    rows: list[Row] = []
    for rival in units[0]["rivals"]:
        row: dict[str, Any] = {
            "over": rival, "trained on": findings.gain(units, learner, rival, "trained on"),
            "held out": findings.gain(units, learner, rival, "held out"), "gap": findings.gap(units, learner, rival),
        }  # fmt: skip
        if "true" in units[0]["value"][learner]:
            row["true"] = findings.gain(units, learner, rival, "true")
        rows.append(row)
    unit = "rating points per place"
    columns = [Column(p, "fitted", unit, "high", form="+.3f") for p in ("trained on", "held out")]
    columns.append(Column("gap", "fitted", unit, "low", "Gain where it was trained minus gain held out.", "+.3f"))
    if rows and "true" in rows[0]:
        columns.append(Column("true", "measured", unit, "high", form="+.3f"))
    rang = {name: findings.alarms(units, name) for name in policies(units) if name not in units[0]["rivals"]}
    said = " ".join(f"{name}: {'it ' + '; it '.join(x) if x else 'no alarm'}." for name, x in rang.items())
    text = f"What {learner} gains over each rival, paired by replica, seed and user. Alarms: {said}"
    return Section(f"Gain of {learner} {where}", text, (Column("over"), *columns), tuple(rows))


def _rated(units: Sequence[Unit], learner: str, where: str) -> Section:
    rows: list[Row] = [
        {
            "policy": name,
            "mean rating": findings.rated(units, name),
            f"minus {learner}": None if name == learner else findings.rated(units, name, learner),
        }
        for name in policies(units)
    ]
    columns = (
        Column("policy"),
        Column("mean rating", "measured", better="high"),
        Column(f"minus {learner}", "measured", "rating points", form="+.3f"),
    )
    text = (
        f"What held-out users truly gave, later, to the {RATED} of their held-out items that a policy ranks first. "
        "Nobody learned from these ratings; they say nothing of items nobody rated. Intervals count seeds and users."
    )
    return Section(f"Held-out ratings {where}", text, columns, tuple(rows))


def _signs(units: Sequence[Unit], where: str) -> Section:
    rows: list[Row] = [
        {"policy": name} | {column.name: findings.sign(units, name, what) for what, column in _SIGNS.items()}
        for name in policies(units)
    ]
    text = (
        "What is shown to held-out users of a held-out replica, mean over seeds. Rivals show what is usual; people "
        "choose more narrowly than any recommender shows, so pages lie outside more often than "
        f"{1 - LEVEL:.0%} for everyone."
    )
    return Section(f"Signs of exploitation {where}", text, (Column("policy"), *_SIGNS.values()), tuple(rows))


def _curve(units: Sequence[Unit], learner: str, where: str) -> Section:
    points = curve(units, learner)
    step = [int(p["step"]) for p in points]
    picture: tuple[Figure, ...] = ()
    if len(points) > 1:
        known = [p for p in PLACES if p in points[0]]
        series = {PLACES[p]: [(float(s), row[p]) for s, row in zip(step, points, strict=True)] for p in known}
        picture = (lines(f"Learning curve of {learner} {where}", series, "pages shown in training", "per place"),)
    columns = [Column(p, "measured" if p == "true" else "fitted", better="high") for p in PLACES if p in points[0]]
    rows: list[Row] = [
        {"pages": str(s)} | {c.name: row[c.name] for c in columns} for s, row in zip(step, points, strict=True)
    ]
    text = "First replica of each kind; intervals (Student, 95 %) count seeds. The last policy counts."
    return Section(f"Learning curve of {learner} {where}", text, (Column("pages"), *columns), tuple(rows), picture)


def curve(units: Sequence[Unit], learner: str) -> list[dict[str, Any]]:
    """Return the learning curve: per look, the steps and an interval over seeds of each place."""
    runs = [u["curve"][learner] for u in units]
    points: list[dict[str, Any]] = []
    for look in zip(*runs, strict=False):
        row: dict[str, Any] = {"step": float(np.mean([x["step"] for x in look]))}
        row |= {p: over_worlds([x[p] for x in look]) for p in look[0] if p != "step"}
        points.append(row)
    return points


def to_dict(
    study: RLStudy, worlds: Sequence[Sequence[Unit]], gate: Gate | None, own: Sequence[Unit] | None = None
) -> dict[str, Any]:
    """Return the numbers behind the report, users averaged: verdict, gate, values, gains, signs, curves."""
    learner = study.learners[0].name
    found: dict[str, Any] = {"settings": repr(study), "gate": None if gate is None else gate.to_dict()}
    if gate is not None and worlds:
        found["sentence"] = gate_sentence(gate, worlds)
    if own is not None:
        found["verdict"] = verdict(own, learner, study.must_beat, gate)
        found["population"] = _numbers(own, learner)
    return found | {"world": {str(s): _numbers(u, learner) for s, u in zip(study.worlds, worlds, strict=False)}}


def _numbers(units: Sequence[Unit], learner: str) -> dict[str, Any]:
    places = [p for p in PLACES if p in units[0]["value"][learner]]
    every = policies(units)
    return {
        "value": {n: {p: decompose(findings.cube(units, n, p)).total for p in places} for n in every},
        "gain": {
            x: {r: {p: findings.gain(units, x, r, p) for p in places} for r in units[0]["rivals"]}
            for x in every
            if x not in units[0]["rivals"]
        },
        "rated": {n: findings.rated(units, n) for n in every} if units[0]["rated"][learner] else None,
        "gap": {r: findings.gap(units, learner, r) for r in units[0]["rivals"]},
        "alarms": {x: list(findings.alarms(units, x)) for x in every if x not in units[0]["rivals"]},
        "signs": {n: {w: findings.sign(units, n, w) for w in _SIGNS} for n in every},
        "curve": {x: curve(units, x) for x in units[0]["learners"]},
        "by seed": {n: {p: [float(np.mean(u["value"][n][p])) for u in units] for p in places} for n in every},
    }
