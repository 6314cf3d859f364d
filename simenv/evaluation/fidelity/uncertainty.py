"""Uncertainty of the headline: users, refits and draws told apart, for every measure and every difference of measures.

Knows cases and statistics; no words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.fidelity.source import sources
from simenv.evaluation.rating import Prediction, statistics
from simenv.evaluation.statistics import Uncertainty
from simenv.evaluation.user_total import Statistic

Float = NDArray[np.float64]
Rows = Sequence[Mapping[str, Statistic]]
"""Refit -> measure -> statistic."""
_SAMPLED = "sampled_"


def of_measures(cases: Sequence[Case], rows: Rows, level: float) -> dict[str, Uncertainty]:
    """Return the sources of each measure of the simulator, those of sampled ratings draw by draw.

    A measure that is not defined without one of the users (a value that nobody else gave) is left out.
    """
    found = {m: _told([[row[m]] for row in rows], level) for m in rows[0] if not m.startswith(_SAMPLED)}
    by_draw = [_by_draw(c) for c in cases]
    found |= {m: _told([[d[m] for d in draws] for draws in by_draw], level) for m in by_draw[0][0]}
    return {m: u for m, u in found.items() if u is not None}


def of_differences(
    rows: Rows, others: Mapping[str, Rows], pairs: Sequence[tuple[str, str]], level: float
) -> dict[tuple[str, str], Uncertainty]:
    """Return the sources of the simulator's measure minus another's, per (measure, other).

    Arms of the simulator are paired refit by refit; who is not refitted is the same in all of them.
    """
    found = {}
    for measure, name in pairs:
        other = [r[measure] for r in others[name]]
        other = other * len(rows) if len(other) == 1 else other
        grid = [[difference(row[measure], o)] for row, o in zip(rows, other, strict=True)]
        found[measure, name] = sources(grid, level=level)
    return found


def _told(grid: Sequence[Sequence[Statistic]], level: float) -> Uncertainty | None:
    try:
        return sources(grid, level=level)
    except DataError:
        return None


def _by_draw(case: Case) -> list[dict[str, Statistic]]:
    """Return the statistics of sampled ratings for each draw; none for a simulator that draws none."""
    draws = case.answer.draws
    alone = [] if draws is None else [Prediction(case.answer.point, draws=np.asarray(d)[None]) for d in draws]
    every = [statistics(case.truth, p) for p in alone]
    return [{m: s for m, s in row.items() if m.startswith(_SAMPLED)} for row in every] or [{}]


def difference(one: Statistic, other: Statistic) -> Statistic:
    """Return one measure minus another over the same users, as a measure."""
    size = one.total.shape[1]

    def gap(total: Float) -> Float:
        return np.asarray(one.value(total[..., :size]) - other.value(total[..., size:]))

    return Statistic(np.hstack([one.total, other.total]), gap)
