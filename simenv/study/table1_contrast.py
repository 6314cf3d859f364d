"""What the paper reads off its table, as paired differences: whether Ml, more rows, a LoRA per persona help.

Knows lines and their totals; no models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from simenv.evaluation.interval import Interval
from simenv.study.table1_score import Scored


@final
@dataclass(frozen=True)
class Contrast:
    """Two printed rows that differ in one thing."""

    question: str
    first: int
    """Printed row; the difference is first minus second, so below zero: the first is better."""
    second: int
    printed: str
    """The same difference of RMSE as printed, without an interval."""


CONTRASTS = (
    Contrast("Ml beside Ms, no adapter", 1, 0, "LLaMA-3-8B +.063; Phi-3-Mini +.112"),
    Contrast("Ml instead of Ms, no adapter", 2, 0, "LLaMA-3-8B +.071"),
    Contrast("Ml beside Ms, one LoRA, more rows", 7, 5, "Phi-3-Mini -.162"),
    Contrast("Ml beside Ms, one LoRA, fewer rows", 8, 6, "Phi-3-Mini +.157"),
    Contrast("Ml beside Ms, LoRA per persona", 10, 9, "Phi-3-Mini -.121"),
    Contrast("one LoRA (more rows) against none, Ms", 5, 0, "Phi-3-Mini +.109"),
    Contrast("one LoRA (more rows) against none, Ms+Ml", 7, 1, "Phi-3-Mini -.165"),
    Contrast("more rows against fewer, Ms", 5, 6, "Phi-3-Mini +.132"),
    Contrast("more rows against fewer, Ms+Ml", 7, 8, "Phi-3-Mini -.187"),
    Contrast("LoRA per persona against one (more rows), Ms", 9, 5, "Phi-3-Mini -.020"),
    Contrast("LoRA per persona against one (more rows), Ms+Ml", 10, 7, "Phi-3-Mini +.021"),
)
"""First minus second of the RMSE in Thakur et al. 2025, rows 0 to 10."""


def contrasts(scored: Mapping[int, Scored]) -> list[tuple[Contrast, Interval | None, Interval | None]]:
    """Return (contrast, written, read) of RMSE for one base whose lines are given by printed row; others are left out.

    written: unrelated answers count as the worst, so that both rows are of the same pairs.
    """
    asked = [c for c in CONTRASTS if c.first in scored and c.second in scored]
    return [(c, _gap(scored, c, "rmse_worst"), _gap(scored, c, "rmse_read")) for c in asked]


def _gap(scored: Mapping[int, Scored], c: Contrast, measure: str) -> Interval | None:
    return scored[c.first].minus(measure, scored[c.second], measure)
