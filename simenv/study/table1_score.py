"""Errors of written and of read answers as sums over users, and their values with intervals. Knows arrays only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Truth
from simenv.evaluation.statistics import RESAMPLES, resampled_means
from simenv.study.table1_rule import lenient, strict, worst

Float = NDArray[np.float64]
SUMS = (
    "pairs", "related", "square", "absolute", "square_all", "absolute_all", "lenient", "square_lenient",
    "absolute_lenient", "square_read", "absolute_read", "off_scale",
)  # fmt: skip
"""Columns of `Totals.sum`."""


def _share(top: str, bottom: str, root: bool = False) -> Callable[[Float], Float]:
    a, b = SUMS.index(top), SUMS.index(bottom)

    def value(total: Float) -> Float:
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = total[..., a] / total[..., b]
        return np.asarray(np.sqrt(ratio) if root else ratio)

    return value


def _missing(name: str) -> Callable[[Float], Float]:
    share = _share(name, "pairs")
    return lambda total: 1 - share(total)


MEASURES: Mapping[str, Callable[[Float], Float]] = {
    "rmse_written": _share("square", "related", root=True),
    "mae_written": _share("absolute", "related"),
    "urr": _missing("related"),
    "rmse_worst": _share("square_all", "pairs", root=True),
    "mae_worst": _share("absolute_all", "pairs"),
    "urr_lenient": _missing("lenient"),
    "rmse_lenient": _share("square_lenient", "lenient", root=True),
    "mae_lenient": _share("absolute_lenient", "lenient"),
    "rmse_read": _share("square_read", "pairs", root=True),
    "mae_read": _share("absolute_read", "pairs"),
    "off_scale": _share("off_scale", "pairs"),
}
"""Measure -> value of sums or means [..., Q]. written: unrelated answers left out, as in the paper; worst: counted as
the end of the scale farther from the truth; lenient: read with good will; read: expectation (RMSE) and median (MAE) of
the probabilities."""


@final
@dataclass(frozen=True, eq=False)
class Totals:
    """What each of M users contributes to every measure."""

    user: NDArray[np.int64]
    """int64[M], ascending."""
    sum: Float
    """float64[M, Q], columns SUMS."""

    @classmethod
    def of(
        cls,
        truth: Truth,
        text: Sequence[str],
        p: NDArray[np.floating],
        off_scale: NDArray[np.floating],
        point: NDArray[np.floating] | None = None,
    ) -> Totals:
        """Return the totals of N answers: text [N] as written, p [N, R] over the scale, off_scale [N].

        point: [N], a predictor's own number, scored by squared error; None: the expectation of p.

        Raises:
            DataError: lengths differ.

        """
        if not len(truth.rating) == len(text) == len(p) == len(off_scale):
            raise DataError(f"{len(truth.rating)} ratings, {len(text)} texts, {len(p)} and {len(off_scale)} readings.")
        y, scale = np.asarray(truth.rating, np.float64), truth.scale
        expected = scale.expectation(p) if point is None else np.asarray(point, np.float64)
        written, kind = strict(text, scale), lenient(text, scale)
        filled = np.where(np.isnan(written), worst(y, scale), written)
        column = {
            "pairs": np.ones(len(y)), "related": ~np.isnan(written), "lenient": ~np.isnan(kind), "off_scale": off_scale,
            "square_read": (expected - y) ** 2, "absolute_read": np.abs(scale.median(p) - y),
        }  # fmt: skip
        for suffix, answer in (("", written), ("_all", filled), ("_lenient", kind)):
            error = np.nan_to_num(answer - y)
            column |= {f"square{suffix}": error**2, f"absolute{suffix}": np.abs(error)}
        user, row = np.unique(truth.user, return_inverse=True)
        return cls(user, np.column_stack([np.bincount(row.ravel(), column[name], len(user)) for name in SUMS]))

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {"columns": list(SUMS), "user": self.user.tolist(), "sum": self.sum.tolist()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Totals:
        """Return what `to_json` wrote."""
        total = np.asarray(content["sum"], np.float64)
        return cls(np.asarray(content["user"], np.int64), total[:, [content["columns"].index(name) for name in SUMS]])


@final
@dataclass(frozen=True, eq=False)
class Scored:
    """Totals and their means over B resamples of the users; one seed draws the same users for every line."""

    total: Totals
    drawn: Float
    """float64[B, Q]"""

    @classmethod
    def of(cls, total: Totals, *, resamples: int = RESAMPLES, seed: int = 0) -> Scored:
        """Resample the users."""
        return cls(total, resampled_means(total.sum, resamples=resamples, seed=seed))

    def value(self, measure: str) -> Interval | None:
        """Return a measure with its percentile interval over users; None: not defined (no related answer)."""
        of = MEASURES[measure]
        return _interval(float(of(self.total.sum.sum(axis=0))), of(self.drawn))

    def minus(self, measure: str, other: Scored, its: str) -> Interval | None:
        """Return own measure minus another line's, on the same resampled users.

        Raises:
            DataError: the lines are not of the same users and pairs.

        """
        a, b = self.total, other.total
        if not np.array_equal(a.user, b.user) or not np.array_equal(a.sum[:, 0], b.sum[:, 0]):
            raise DataError("two lines are compared on the same pairs of the same users; these differ.")
        own, theirs = MEASURES[measure], MEASURES[its]
        point = float(own(a.sum.sum(axis=0)) - theirs(b.sum.sum(axis=0)))
        return _interval(point, own(self.drawn) - theirs(other.drawn))


def _interval(value: float, drawn: Float) -> Interval | None:
    if not np.isfinite(value):
        return None
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(value, float(low), float(high))
