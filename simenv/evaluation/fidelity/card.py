"""The card: one sentence, the criteria it stands on, then chapter after chapter; for people and for machines.

Knows chapters and a traffic light; measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any, final

from simenv.errors import StoreError
from simenv.evaluation.fidelity.light import Criterion, Light
from simenv.evaluation.fidelity.section import Chapter
from simenv.evaluation.report import Column, Report, Row, Section, stable_json

VERSION = 1
"""Raised when a card of before can no longer be read."""
FILE = "card.json"


@final
@dataclass(frozen=True, eq=False)
class Card:
    """How far a simulator can be believed."""

    light: Light
    """What stands first."""
    report: Report
    """For people."""
    value: Mapping[str, Any]
    """For machines: light, criteria, all chapters' numbers, settings, provenance. No wall times."""

    @classmethod
    def of(
        cls,
        title: str,
        light: Light,
        chapters: Sequence[Chapter],
        provenance: Mapping[str, str],
        settings: Mapping[str, Any],
        timings: Mapping[str, float],
    ) -> Card:
        """Return the card of measured chapters, in their order."""
        sections = (_criteria(light), *[c.section for c in chapters])
        report = Report(title, light.sentence, sections, dict(provenance), dict(timings))
        value = {
            "format": "simenv-fidelity",
            "version": VERSION,
            "title": title,
            "light": {"colour": light.colour, "sentence": light.sentence, "criteria": _plain(light)},
            "chapters": {c.name: dict(c.value) for c in chapters},
            "settings": dict(settings),
            "provenance": dict(provenance),
        }
        return cls(light, report, value)

    def to_json(self) -> str:
        """Return `value` as stable JSON: two runs with the same inputs give the same bytes."""
        return stable_json(self.value)

    def save(self, folder: str | Path) -> Path:
        """Write card.md, card.json and card.html, and return the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("card.md", "card.html"):
            self.report.save(folder / name)
        (folder / FILE).write_text(self.to_json(), encoding="utf-8")
        return folder


def read(folder: str | Path) -> dict[str, Any] | None:
    """Return the numbers of a card saved in a folder; None: there is none.

    Raises:
        StoreError: the file is damaged, or of another version.

    """
    path = Path(folder) / FILE
    if not path.is_file():
        return None
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = value["format"] == "simenv-fidelity" and value["version"] == VERSION and "sentence" in value["light"]
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} is damaged ({error}); make the card again with `simenv fidelity`.") from error
    if not known:
        raise StoreError(f"{path} is no card of version {VERSION}; make it again with `simenv fidelity`.")
    return value


def _criteria(light: Light) -> Section:
    columns = (
        Column("criterion"),
        Column("kind"),
        Column("measured", "measured", "", None, "With its interval from all sources of uncertainty."),
        Column("standing"),
        Column("goal"),
        Column("threshold from"),
    )
    rows: list[Row] = []
    for c in light.criterion:
        value, goal = light.value.get(c.key), c.reaches_goal(light.value.get(c.key))
        rows.append(
            {
                "criterion": c.name,
                "kind": "requirement" if c.must else "goal",
                "measured": value,
                "standing": light.standing[c.name],
                "goal": ("" if c.goal is None else f"{c.goal:g}: ") + _reached(goal) if c.goal or not c.must else "",
                "threshold from": c.source,
            }
        )
    text = (
        "Green: every requirement that could be measured is met. Amber: one is missed, but its interval reaches the "
        "threshold, or a comparison is not decided. Red: one is missed with its whole interval. A comparison must hold "
        "with its whole interval, any other requirement with its estimate."
    )
    return Section("What the light stands on", text, columns, tuple(rows))


def _reached(goal: bool | None) -> str:
    return {True: "reached", False: "not reached", None: "not measured"}[goal]


def _plain(light: Light) -> list[dict[str, Any]]:
    return [_one(light, c) for c in light.criterion]


def _one(light: Light, criterion: Criterion) -> dict[str, Any]:
    value = light.value.get(criterion.key)
    ends = {k: v if abs(v) < inf else None for k, v in (("low", criterion.low), ("high", criterion.high))}
    told = {k: v for k, v in asdict(criterion).items() if k not in ("low", "high", "form")}
    return (
        told
        | ends
        | {
            "value": value,
            "standing": light.standing[criterion.name],
            "goal_reached": criterion.reaches_goal(value),
        }
    )
