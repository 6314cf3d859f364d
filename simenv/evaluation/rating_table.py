"""The table of rating-level measures: every predictor on the same pairs, with intervals over users and differences.

Knows measures and the bootstrap; nothing of who predicted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Prediction, Statistic, Truth, statistics
from simenv.evaluation.statistics import RESAMPLES, check_level, resampled_means

Float = NDArray[np.float64]
HEADLINE = ("rmse", "rmse_rounded", "mae_median", "nll", "rps", "ece_top", "within_variance_ratio", "w1")
"""Columns shown unless told otherwise."""


@final
@dataclass(frozen=True, eq=False)
class Measures:
    """P predictors by their measures. A measure a predictor cannot have is absent from its row, never filled in."""

    value: Mapping[str, Mapping[str, Interval]]
    """predictor -> measure -> estimate with its interval over users."""
    difference: Mapping[str, Mapping[str, Interval]]
    """The same, predictor minus baseline on the same resampled users; the baseline itself is absent."""
    baseline: str
    users: int
    pairs: int

    def to_json(self) -> dict[str, object]:
        """Return plain values; a number that is not defined (a constant's correlation) is None."""

        def plain(table: Mapping[str, Mapping[str, Interval]]) -> dict[str, dict[str, dict[str, float | None]]]:
            return {
                name: {m: {k: _finite(getattr(i, k)) for k in ("mean", "low", "high")} for m, i in row.items()}
                for name, row in table.items()
            }

        about = {"baseline": self.baseline, "users": self.users, "pairs": self.pairs, "tag": "measured"}
        return {**about, "value": plain(self.value), "difference": plain(self.difference)}

    def to_frame(self) -> pd.DataFrame:
        """Return one row per predictor and measure: value, low, high, difference, difference_low, difference_high."""
        rows = []
        for name, row in self.value.items():
            for measure, i in row.items():
                d = self.difference.get(name, {}).get(measure)
                gap = (d.mean, d.low, d.high) if d else (np.nan,) * 3
                rows.append((name, measure, i.mean, i.low, i.high, *gap))
        names = ("value", "low", "high", "difference", "difference_low", "difference_high")
        return pd.DataFrame(rows, columns=["predictor", "measure", *names])

    def to_markdown(self, columns: Sequence[str] = HEADLINE) -> str:
        """Return one line per predictor; a star marks a difference from the baseline whose interval leaves out zero."""
        lines = ["| predictor | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for name, row in self.value.items():
            own = self.difference.get(name, {})
            cells = [f"{row[c]:.3f}" + ("*" if c in own and own[c].clear else "") if c in row else "" for c in columns]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        note = f"{self.pairs} pairs of {self.users} users; intervals over users; * differs from {self.baseline}."
        return "\n".join([*lines, "", note])


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def shares(truth: Truth, prediction: Prediction) -> Mapping[str, Float]:
    """Return the share of each scale value, float64[R]: "real" and, where they exist, "expected" and "sampled"."""

    def counted(rating: NDArray[np.floating]) -> Float:
        return np.bincount(truth.scale.encode(rating.ravel()), minlength=len(truth.scale)) / rating.size

    out = {"real": counted(truth.rating)}
    if prediction.p is not None:
        out["expected"] = np.asarray(prediction.p, np.float64).mean(axis=0)
    if prediction.draws is not None:
        out["sampled"] = counted(prediction.draws)
    return out


def measure_all(
    truth: Truth,
    predictions: Mapping[str, Prediction],
    *,
    baseline: str,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Measures:
    """Return all measures of all predictors, with percentile intervals from resampled users (paired).

    Raises:
        ConfigError: the baseline is not among the predictors, or level is no coverage.
        DataError: fewer than two users, or a prediction that does not fit the truth.

    """
    check_level(level)
    if baseline not in predictions:
        raise ConfigError(f"baseline {baseline!r} is not among the predictors {', '.join(predictions)}.")
    found = {name: statistics(truth, p) for name, p in predictions.items()}
    drawn = {name: _resampled(row, resamples, seed) for name, row in found.items()}
    point = {name: {m: float(s.value(s.total.sum(axis=0))) for m, s in row.items()} for name, row in found.items()}
    value = {n: {m: _interval(v, drawn[n][m], level) for m, v in row.items()} for n, row in point.items()}
    difference = {
        n: {
            m: _interval(v - point[baseline][m], drawn[n][m] - drawn[baseline][m], level)
            for m, v in row.items()
            if m in point[baseline]
        }
        for n, row in point.items()
        if n != baseline
    }
    return Measures(value, difference, baseline, len(np.unique(truth.user)), len(truth.rating))


def _resampled(row: Mapping[str, Statistic], resamples: int, seed: int) -> dict[str, Float]:
    """Return float64[B] per measure. One seed draws the same users for every predictor: differences are paired."""
    mean = resampled_means(np.hstack([s.total for s in row.values()]), resamples=resamples, seed=seed)
    edges = np.cumsum([s.total.shape[1] for s in row.values()])[:-1]
    parts = np.split(mean, edges, axis=1)
    return {name: s.value(part) for (name, s), part in zip(row.items(), parts, strict=True)}


def _interval(value: float, drawn: Float, level: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), level)
