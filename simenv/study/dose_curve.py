"""Curves of the dose-response study: one judge over doses and worlds, where two judges cross, where one breaks.

Knows arrays only: neither worlds nor judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation.interval import Interval

LIMIT = 0.9
"""A judge breaks where it orders fewer than nine in ten truly different pairs right."""


@final
@dataclass(frozen=True, eq=False)
class Curve:
    """One judge under one kind of selection."""

    dose: tuple[float, ...]
    share: NDArray[np.float64]
    """float64[D, W]: share of the truly different pairs in the right order, by dose and world."""
    regret: NDArray[np.float64]
    """float64[D, W]: rating points lost by taking the recommender the judge puts first."""
    tau: NDArray[np.float64]
    """float64[D, W]: Kendall's tau with the true order; NaN: all equal."""

    def interval(self, level: float = 0.95) -> tuple[Interval, ...]:
        """Return [D] mean share right, interval over worlds, within 0 and 1."""
        return tuple(over_worlds(row, level, bounds=(0.0, 1.0)) for row in self.share)

    def change(self, level: float = 0.95) -> tuple[Interval, ...]:
        """Return [D] difference from dose 0, paired by world."""
        return tuple(over_worlds(row - self.share[0], level) for row in self.share)


@final
@dataclass(frozen=True)
class Crossing:
    """Where a judge stands against NDCG, and where it breaks, computed from two curves. Doses throughout."""

    dose: tuple[float, ...]
    gap: tuple[Interval, ...]
    """[D]: share right minus NDCG's, paired by world."""
    first_below: float | None
    """First dose at which the mean gap is below 0; None: at no dose tried."""
    crosses: tuple[float, ...]
    """Where the mean gap changes sign, on straight lines between neighbouring doses."""
    clearly_above: tuple[float, ...]
    """Doses whose interval lies above 0."""
    clearly_below: tuple[float, ...]
    """Doses whose interval lies below 0."""
    under_limit: tuple[float, ...]
    """Doses at which the judge's own mean share is under the limit."""
    clearly_under_limit: tuple[float, ...]
    """Doses at which its whole interval is."""
    clearly_worse_than_at_0: tuple[float, ...]
    """Doses whose change from dose 0, paired by world, lies below 0 with its interval."""


def crossing(curve: Curve, other: Curve, *, limit: float = LIMIT, level: float = 0.95) -> Crossing:
    """Return where a judge's curve lies against another's (NDCG's), and where it falls below the limit."""
    gap = tuple(over_worlds(a - b, level) for a, b in zip(curve.share, other.share, strict=True))
    own, change = curve.interval(level), curve.change(level)

    def doses(hits: Sequence[bool]) -> tuple[float, ...]:
        return tuple(d for d, hit in zip(curve.dose, hits, strict=True) if hit)

    below = doses([g.mean < 0 for g in gap])
    return Crossing(
        dose=curve.dose,
        gap=gap,
        first_below=below[0] if below else None,
        crosses=_sign_changes(curve.dose, [g.mean for g in gap]),
        clearly_above=doses([g.low > 0 for g in gap]),
        clearly_below=doses([g.high < 0 for g in gap]),
        under_limit=doses([s.mean < limit for s in own]),
        clearly_under_limit=doses([s.high < limit for s in own]),
        clearly_worse_than_at_0=doses([c.high < 0 for c in change]),
    )


def _sign_changes(dose: Sequence[float], gap: Sequence[float]) -> tuple[float, ...]:
    """Return where the piecewise linear gap changes sign; a stretch at exactly 0 counts once, where it begins."""
    place = [n for n, g in enumerate(gap) if g]
    out = []
    for a, b in pairwise(place):
        if gap[a] * gap[b] < 0:
            # With zeros in between the gap reaches 0 at the first of them.
            out.append(dose[a + 1] if b > a + 1 else dose[a] + (dose[b] - dose[a]) * gap[a] / (gap[a] - gap[b]))
    return tuple(float(x) for x in out)


def over_worlds(value: NDArray[np.float64], level: float = 0.95, bounds: tuple[float, float] | None = None) -> Interval:
    """Return the mean over worlds [W] with Student's interval (W - 1 degrees of freedom), cut off at `bounds`.

    It counts what another world would change: its users, its items, its luck. NaN: a world without a value.
    """
    from scipy.stats import t

    mean = float(value.mean())
    half = float(t.ppf((1 + level) / 2, len(value) - 1) * value.std(ddof=1) / np.sqrt(len(value)))
    low, high = bounds or (-np.inf, np.inf)
    return Interval(mean, max(mean - half, low), min(mean + half, high), level)
