"""Persona quality as a report: per arena, who writes profiles and how far the held-out ratings bear them out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from simenv.evaluation.report import Cell, Column, Report, Section
from simenv.study.persona_quality import TRAIT, TRUTH, Arena, opinions, traits

_OPINION = (
    Column("writer"),
    Column("kind", note="counted, written by a language model, published, or nobody (the same for all users)"),
    Column("precision", "measured", better="high", note="of genres said to be liked, the share that is"),
    Column("recall", "measured", better="high", note="of genres that are liked, the share that is said"),
    Column("lift", "measured", better="high", note="precision over the share of all genres that is liked; 1: chance"),
    Column("against", "measured", better="high", note="of genres said to be disliked, the share that is not liked"),
)
_TRAIT = (
    Column("writer"),
    Column("trait"),
    Column("accuracy", "measured", better="high", note="share of users whose level is that of the held-out rows"),
    Column("kappa", "measured", better="high", note="Cohen's, quadratic weights; 0: chance, 1: always right"),
)
NO_MODEL = (
    "No language model was asked here, so this report has no row of one; give a folder made by simenv distil to add it."
)


def values(arenas: Sequence[Arena], seed: int = 0) -> dict[str, Any]:
    """Return all numbers by arena, writer and measure: Intervals over users; None: nothing of the kind was said."""
    return {
        arena.name: {
            "users": len(arena.user),
            "known ratings": int(arena.log.take(arena.known).count[arena.user].sum()),
            "held-out ratings": len(arena.held),
            "writers": {name: _writer(arena, name, seed) for name in arena.claims},
        }
        for arena in arenas
    }


def _writer(arena: Arena, name: str, seed: int) -> dict[str, Any]:
    claims = arena.claims[name]
    return {
        "kind": claims.kind,
        "note": claims.note,
        "genres": {truth: opinions(arena, name, truth, seed=seed) for truth in TRUTH},
        "traits": {trait: traits(arena, name, n, seed=seed) for n, trait in enumerate(TRAIT)},
    }


def report(found: dict[str, Any], provenance: dict[str, str]) -> Report:
    """Return the report of `values`."""
    sections = [section for name, arena in found.items() for section in _sections(name, arena)]
    asked = any(w["kind"] == "written" for arena in found.values() for w in arena["writers"].values())
    verdict = " ".join(_sentence(name, arena) for name, arena in found.items()) + ("" if asked else f" {NO_MODEL}")
    return Report("What profiles say, and what held-out ratings show", verdict, tuple(sections), provenance)


def _sections(name: str, arena: dict[str, Any]) -> list[Section]:
    about = (
        f"{arena['users']} users, {arena['known ratings']:,} known and {arena['held-out ratings']:,} held-out ratings. "
        + " ".join(f"{n}: {w['note']}." for n, w in arena["writers"].items() if w["note"])
        + " Intervals: 95 %, bootstrap over users."
    )
    made = []
    for truth in TRUTH:
        rows: list[dict[str, Cell]] = []
        for writer, w in arena["writers"].items():
            cells = {k: v for k, v in w["genres"][truth].items() if k != "base"}
            rows.append({"writer": writer, "kind": w["kind"], **cells})
        made.append(Section(f"{name}: genres {truth}", about, _OPINION, tuple(rows)))
        about = ""
    levels: list[dict[str, Cell]] = [
        {"writer": writer, "trait": trait, **cells}
        for writer, w in arena["writers"].items()
        for trait, cells in w["traits"].items()
        if cells["accuracy"] is not None
    ]
    if levels:
        made.append(
            Section(f"{name}: trait levels", "Activity is left out where the cut decides it.", _TRAIT, tuple(levels))
        )
    return made


def _sentence(name: str, arena: dict[str, Any]) -> str:
    """Return how often each writer is right about what is personal, beside chance."""
    told = {w: v["genres"][TRUTH[0]] for w, v in arena["writers"].items() if not w.endswith("text read")}
    said = ", ".join(f"{w} {v['precision'].mean:.2f}" for w, v in told.items() if v["precision"] is not None)
    chance = next((v["base"].mean for v in told.values() if v["base"] is not None), None)
    if chance is None or not said:
        return f"{name}: no genre is said to be liked, or none can be judged."
    return (
        f"{name}: of the genres said to be liked, the share that held-out ratings show to be liked more than others "
        f"like them is {said} (chance {chance:.2f})."
    )
