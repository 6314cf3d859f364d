"""The headline: every measure of every predictor on the same pairs, and the simulator against each of the others.

Averages over refits first, then resamples users, all predictors the same ones. Knows cases and statistics; no words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Statistic, statistics
from simenv.evaluation.statistics import bootstrap_p, holm, resampled_means

Float = NDArray[np.float64]
COMPARED = ("rmse", "mae_median", "nll", "rps")
"""Proper losses on which the simulator is compared with the others, one family for Holm's correction."""
Found = Mapping[str, Sequence[Mapping[str, Statistic]]]
"""predictor -> refit -> measure -> statistic; a predictor that is not refitted has one entry."""


@final
@dataclass(frozen=True)
class Comparison:
    """The simulator's loss minus another predictor's, over the same users."""

    measure: str
    other: str
    difference: Interval
    p: float
    """Two-sided bootstrap p of "no difference"."""
    p_holm: float
    """The same after Holm's correction over all comparisons of the card."""


@final
@dataclass(frozen=True, eq=False)
class Headline:
    """All measures, averaged over refits."""

    value: Mapping[str, Mapping[str, Interval]]
    """predictor -> measure -> estimate with its interval over users; what a predictor cannot have is absent."""
    comparison: tuple[Comparison, ...]


def found(cases: Sequence[Case]) -> dict[str, list[dict[str, Statistic]]]:
    """Return the statistics of all predictors of the cases [F refits], arms by refit, yardsticks once."""
    arms = {name: [statistics(c.truth, c.simulator[name]) for c in cases] for name in cases[0].simulator}
    fixed = {**cases[0].yardstick, **cases[0].external}
    return arms | {name: [statistics(cases[0].truth, p)] for name, p in fixed.items()}


def headline(table: Found, *, resamples: int, seed: int, level: float) -> Headline:
    """Return measures and comparisons of a table made by `found`; its first predictor is the simulator.

    B is raised to 4 P / (1 - level) where P comparisons would otherwise be too many for any to pass Holm's correction.

    Raises:
        DataError: fewer than two users.

    """
    simulator = next(iter(table))
    pairs = [(m, n) for n in table if n != simulator for m in COMPARED if all(m in row for row in table[n])]
    enough = max(resamples, int(np.ceil(4 * len(pairs) / (1 - level))))
    drawn = {name: _resampled(rows, enough, seed) for name, rows in table.items()}
    value = {n: {m: _interval(*drawn[n][m], level) for m in drawn[n]} for n in table}
    gap = [tuple(a - b for a, b in zip(drawn[simulator][m], drawn[n][m], strict=True)) for m, n in pairs]
    p = [bootstrap_p(sample) for _, sample in gap]
    fixed = holm(p)
    compared = [
        Comparison(m, n, _interval(mean, sample, level), p[k], float(fixed[k]))
        for k, ((m, n), (mean, sample)) in enumerate(zip(pairs, gap, strict=True))
    ]
    return Headline(value, tuple(compared))


def _resampled(rows: Sequence[Mapping[str, Statistic]], resamples: int, seed: int) -> dict[str, tuple[Float, Float]]:
    """Return, per measure, its value and its values [B] over resampled users, both averaged over refits."""
    found: dict[str, list[tuple[Float, Float]]] = {}
    for row in rows:
        mean = resampled_means(np.hstack([s.total for s in row.values()]), resamples=resamples, seed=seed)
        edges = np.cumsum([s.total.shape[1] for s in row.values()])[:-1]
        for (name, s), part in zip(row.items(), np.split(mean, edges, axis=1), strict=True):
            found.setdefault(name, []).append((s.value(s.total.sum(axis=0)), s.value(part)))
    return {name: (np.mean([v for v, _ in f], axis=0), np.mean([d for _, d in f], axis=0)) for name, f in found.items()}


def _interval(value: Float, drawn: Float, level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high), level)
