"""A chapter of a card: its section for people, its numbers for machines, and what it hands to the traffic light.

Knows reports; nothing of how the numbers came about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from simenv.evaluation.interval import Interval
from simenv.evaluation.report import Section
from simenv.evaluation.statistics import Uncertainty


@final
@dataclass(frozen=True, eq=False)
class Chapter:
    """One part of a card."""

    name: str
    """Its key in the card's numbers."""
    section: Section
    value: Mapping[str, Any]
    """JSON-able, intervals included."""
    light: Mapping[str, Interval] = field(default_factory=dict)
    """What criteria are judged by, by their key; see simenv.evaluation.fidelity.light."""


def parts(found: Uncertainty) -> dict[str, Any]:
    """Return the parts of an uncertainty by name; a part that is not known is None."""
    return {"total": found.total, "users": found.users, "refits": found.refits, "draws": found.draws}
