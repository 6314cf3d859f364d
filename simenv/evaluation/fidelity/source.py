"""Sources of a measure's uncertainty: users, refits, draws, for measures that are no mean over users.

Knows statistics over users only. Pseudo-values turn a smooth measure into a mean over users, which is then decomposed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.evaluation.statistics import Uncertainty, decompose
from simenv.evaluation.user_total import Statistic


def pseudo_values(statistic: Statistic) -> NDArray[np.float64]:
    """Return the jackknife pseudo-values float64[M]: M t(all) - (M - 1) t(all but user m) (Tukey 1958).

    For a mean over users they are the users' values. Their mean is the measure less its first-order bias, and their
    standard error that of the measure, if it is smooth (Efron and Stein 1981): an RMSE, a ratio, a correlation; for
    absolute values near zero (calibration errors, W1) it is rough.

    Raises:
        DataError: fewer than two users.

    """
    m = len(statistic.total)
    if m < 2:
        raise DataError(f"leaving users out needs at least 2 users; got {m}.")
    all_ = statistic.total.sum(axis=0)
    return np.asarray(m * statistic.value(all_) - (m - 1) * statistic.value(all_ - statistic.total), np.float64)


def sources(statistic: Sequence[Sequence[Statistic]], *, level: float = 0.95) -> Uncertainty:
    """Return where the uncertainty of a measure comes from, given it for F refits x D draws, each over the same users.

    Pseudo-values of each cell, moved so that their mean is the cell's measure as it stands in tables, are decomposed as
    in `simenv.evaluation.statistics.decompose`. `total` is the average over refits and draws.

    Raises:
        DataError: cells of different users or draws, fewer than two users, or a measure that is not defined when one
            of the users is left out.

    """
    draws, users = {len(row) for row in statistic}, {len(s.total) for row in statistic for s in row}
    if len(draws) != 1 or len(users) != 1:
        found = f"draws {sorted(draws)}, users {sorted(users)}"
        raise DataError(f"every refit needs as many draws, and every cell the same users; got {found}.")
    value = np.array([[_centred(s) for s in row] for row in statistic])
    if not np.isfinite(value).all():
        raise DataError("the measure is not defined for all users, or without one of them; its sources are not known.")
    return decompose(value, level=level)


def _centred(statistic: Statistic) -> NDArray[np.float64]:
    value, whole = pseudo_values(statistic), statistic.value(statistic.total.sum(axis=0))
    return np.asarray(value - value.mean() + whole, np.float64)
