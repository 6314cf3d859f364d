"""A chapter of a card: its section for people, its numbers for machines, and what it hands to the traffic light.

Knows reports; nothing of how the numbers came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from simenv.evaluation.interval import Interval
from simenv.evaluation.report import Cell, Column, Section
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


PARTS = (
    Column("users", "measured", "standard error", "low", "What only more users would lower.", ".4f"),
    Column("refits", "measured", "standard error", "low", "What only more training seeds would lower.", ".4f"),
    Column("draws", "measured", "standard error", "low", "What only more sampled ratings would lower.", ".4f"),
)
"""Columns of the parts of an interval; a dash: one level only, or nothing is drawn for this number."""


def cells(found: Uncertainty) -> dict[str, Cell]:
    """Return the cells of PARTS."""
    return {"users": found.users, "refits": found.refits, "draws": found.draws}


def parts(found: Uncertainty) -> dict[str, Any]:
    """Return the parts of an uncertainty by name; a part that is not known is None."""
    return {"total": found.total, "users": found.users, "refits": found.refits, "draws": found.draws}


def known(value: Interval) -> Interval | None:
    """Return the interval, or None where the number is not defined: a dash in the table."""
    return None if np.isnan(value.mean) else value


def pooled(grid: Sequence[Sequence[Interval]], users: int) -> Uncertainty:
    """Return the mean of a number found for F refits and D draws each, with the parts of its uncertainty.

    For numbers that are no function of totals over users. Each cell's interval counts its `users`; they are the same in
    all cells, so their part is that of an average cell. Draws within refits, refits: nested random effects by the
    method of moments, negative estimates set to 0. The total is a Student interval with Satterthwaite's degrees of
    freedom; a single cell keeps its own interval. A source with one level is not known.
    """
    from scipy.stats import norm, t

    level, mean = grid[0][0].level, np.array([[i.mean for i in row] for row in grid])
    (f, d), z = mean.shape, norm.ppf((1 + level) / 2)
    own = float(np.mean([[i.high - i.low for i in row] for row in grid]) / (2 * z)) ** 2
    draw = float(mean.var(axis=1, ddof=1).mean()) if d > 1 else 0.0
    refit = max(0.0, float(mean.mean(axis=1).var(ddof=1)) - draw / d) if f > 1 else 0.0
    part = ((own, users - 1), (refit / f, f - 1), (draw / (f * d), f * (d - 1)))
    error = [float(np.sqrt(v)) if df else None for v, df in part]
    variance = sum(v for v, _ in part)
    weight = sum(v * v / df for v, df in part if df)
    half = float(t.ppf((1 + level) / 2, variance**2 / weight) * np.sqrt(variance)) if weight > 0 else 0.0
    total = Interval(float(mean.mean()), float(mean.mean()) - half, float(mean.mean()) + half, level)
    return Uncertainty(grid[0][0] if f * d == 1 else total, float(np.sqrt(own)), error[1], error[2])
