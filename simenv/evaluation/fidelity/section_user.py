"""Chapters on who the users are: each persona, personas dealt at random, and what users answer from.

Knows cases and measures; decides words and columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.fidelity.disturbance import disturbances, section
from simenv.evaluation.fidelity.gather import CONTROL
from simenv.evaluation.fidelity.persona import MEASURE, PersonaRow, between, per_persona
from simenv.evaluation.fidelity.section import Chapter
from simenv.evaluation.rating import Prediction
from simenv.evaluation.report import Column, Row, Section

if TYPE_CHECKING:
    from simenv.evaluation.fidelity.study import Fidelity

_NAMES = dict(zip(MEASURE, ("RMSE", "MAE", "NLL"), strict=True))


def personas(settings: Fidelity, case: Case) -> Chapter | None:
    """Return one row per persona and, where there is the control arm, what dealing them by likeness gains."""
    how: dict[str, Any] = {"resamples": settings.resamples, "seed": settings.seed, "level": settings.level}
    found = per_persona(case, **how)
    if not found:
        return None
    best = ", ".join(f"{_NAMES[m]}: {name}" for m, name in found[0].against.items())
    columns = (
        Column("persona"),
        Column("users", "measured", "", None, "With held-out pairs."),
        Column("pairs", "measured"),
        *[Column(n, "measured", "", "low") for n in _NAMES.values()],
        *[Column(f"{n}, gap", "measured", "", "low", f"Minus the best yardstick ({best}).", "+.3f")
          for n in _NAMES.values()],
    )  # fmt: skip
    rows: list[Row] = [_cells(r) for r in found]
    text = "Each kind of user by itself; intervals over its users."
    value: dict[str, Any] = {"rows": [vars(r) for r in found]}
    if CONTROL in case.simulator:
        row = between(case, {CONTROL: case.simulator[CONTROL]}, **how)[0]
        gaps = ", ".join(f"{_NAMES[m]} {p.difference:+.4f} (p {p.p:.3f})" for m, p in row.difference.items())
        text += f" Personas dealt at random, minus those found: {gaps}; above zero the personas found are better."
        value |= {"control": {m: vars(p) for m, p in row.difference.items()}}
    else:
        text += " Personas dealt at random were not trained for this card."
    return Chapter("personas", Section("Personas", text, columns, tuple(rows)), value)


def _cells(row: PersonaRow) -> Row:
    own = {_NAMES[m]: v for m, v in row.value.items()}
    gap = {f"{_NAMES[m]}, gap": v for m, v in row.difference.items()}
    return {"persona": row.name, "users": row.users, "pairs": row.pairs, **own, **gap}


def disturbed(settings: Fidelity, case: Case, found: Mapping[str, Prediction]) -> Chapter | None:
    """Return what it costs when users answer with another's evidence or with something hidden."""
    if not found:
        return None
    how: dict[str, Any] = {"resamples": settings.resamples, "seed": settings.seed, "level": settings.level}
    rows = disturbances(case.truth, case.answer, found, **how)
    light = {f"disturbed {r.name}": r.nll.difference for r in rows}
    value = {r.name: {"nll": vars(r.nll), "rmse": vars(r.rmse), "raises": r.raises} for r in rows}
    return Chapter("disturbances", section(rows), value, light)
