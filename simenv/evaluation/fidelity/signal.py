"""Signal: what a score knows of real ratings beyond other scores (incremental R2).

Knows arrays only. Models are fitted on other users than they are scored on, so that a column of noise gains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Truth
from simenv.evaluation.statistics import RESAMPLES
from simenv.evaluation.user_total import Statistic, UserTotals, bootstrap, deal

Float = NDArray[np.float64]


def incremental_r2(
    truth: Truth,
    base: Mapping[str, NDArray[np.floating]],
    added: NDArray[np.floating],
    *,
    folds: int = 10,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the gain in R2 of the real ratings when `added` [N] joins the columns [N] of `base`.

    (SSE_base - SSE_both) / SST, where each SSE is of least squares with an intercept, fitted on the users of the other
    folds. Negative where `added` costs more by being estimated than it tells. The interval resamples users of the
    scored pairs; the fits stay as they are. NaN if all ratings are equal.

    Raises:
        ConfigError: fewer than two folds, or level is no coverage.
        DataError: fewer than two users, or a column that is not [N] finite numbers.

    """
    y = np.asarray(truth.rating, np.float64)
    columns = [_column(name, value, len(y)) for name, value in base.items()]
    one, fold = np.ones(len(y)), deal(truth.user, folds, seed)
    without = np.column_stack([one, *columns])
    both = np.column_stack([without, _column("added", added, len(y))])
    loss = [(y - _held_out(x, y, fold)) ** 2 for x in (without, both)]
    total = UserTotals(truth.user).sum(np.column_stack([*loss, one, y, y**2]))
    return bootstrap(Statistic(total, _gain), resamples=resamples, seed=seed, level=level)


def _column(name: str, value: NDArray[np.floating], n: int) -> Float:
    column = np.asarray(value, np.float64)
    if column.shape != (n,):
        raise DataError(f"column {name!r} must hold one number for each of {n} pairs; got shape {column.shape}.")
    if not np.isfinite(column).all():
        raise DataError(f"column {name!r} holds {int((~np.isfinite(column)).sum())} numbers that are not finite.")
    return column


def _held_out(x: Float, y: Float, fold: NDArray[np.int64]) -> Float:
    """Return predictions [N] from columns x [N, Q], each fold's by coefficients of the others.

    Least squares of least norm: a column that repeats the others changes nothing.
    """
    out = np.empty_like(y)
    for f in np.unique(fold):
        held = fold == f
        out[held] = x[held] @ np.linalg.lstsq(x[~held], y[~held], rcond=None)[0]
    return out


def _gain(total: Float) -> Float:
    base, both, n, rating, square = np.moveaxis(total, -1, 0)
    spread = square - rating**2 / n
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 1e-9 * square, (base - both) / spread, np.nan)
