"""Residuals: where the simulator is off on average, by what is known of item and user; and how it does in the cold.

Knows a case: held-out pairs, answers, known rows. Groups are made from known rows, never from held-out ratings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.fidelity.reliability import equal_mass
from simenv.evaluation.figure import dots
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Prediction, Truth, statistics
from simenv.evaluation.report import Figure
from simenv.evaluation.statistics import RESAMPLES, check_level, holm
from simenv.evaluation.user_total import Statistic, UserTotals, bootstrap

Float = NDArray[np.float64]
COLD_ITEM = 5
"""Items with fewer known ratings are cold."""
COLD_USER = 20
"""Users with fewer known ratings are cold."""


@final
@dataclass(frozen=True)
class Group:
    """Held-out pairs of one kind, and how far the simulator's mean rating lies off the real ratings."""

    label: str
    pairs: int
    users: int
    residual: Interval
    """Mean of prediction - truth over pairs, rating points; interval over users, NaN ends for a single user."""
    z: float
    """Mean over its standard error; NaN for a single user."""
    p: float
    """Two-sided p of "no residual" (Student, users - 1 degrees of freedom); NaN for a single user."""
    p_holm: float
    """The same after Holm's correction over all groups made together."""


@final
@dataclass(frozen=True, eq=False)
class Slice:
    """Held-out pairs that are cold in some way, and every predictor on them."""

    label: str
    pairs: int
    """May be 0: then there are no numbers."""
    users: int
    rmse: Mapping[str, Interval | None]
    """predictor -> RMSE of its number, interval over users (NaN ends for a single user); None: no pairs."""
    nll: Mapping[str, Interval | None]
    """predictor -> negative log-likelihood; None: no pairs, or the predictor has no distribution."""


def by_popularity(case: Case, *, level: float = 0.95) -> tuple[Group, ...]:
    """Return the residual by popularity and by the user's mean, corrected together: up to 13 groups.

    First up to ten groups of about as many pairs each, by the ratings the item has in `case.known`; then up to three of
    about as many users each, by the user's mean rating there. Equal values are never parted. Users without known
    ratings have no mean: they are a group of their own.

    Raises:
        ConfigError: level is no coverage.

    """
    count = np.bincount(case.known.item, minlength=case.known.n_items)[case.item]
    items = _ranges("items rated {} times", count, equal_mass(count, 10))
    user, row = np.unique(case.truth.user, return_inverse=True)
    mean = np.bincount(case.known.user, case.known.rating, case.known.n_users)[user]
    known = case.known.count[user] > 0
    mean = np.where(known, mean / np.maximum(case.known.count[user], 1), np.nan)
    third = np.full(len(user), -1)
    third[known] = equal_mass(mean[known], 3)
    users = _ranges("users of mean {}", mean[row.ravel()], third[row.ravel()], "users without known ratings", ".2f")
    return _groups(case, [*items, *users], level)


def by_support(case: Case, *, level: float = 0.95) -> tuple[Group, ...]:
    """Return the residual by `case.support`: pairs without any apart, the others in up to five groups of like size.

    Raises:
        ConfigError: level is no coverage.

    """
    group, some = np.full(len(case.item), -1), case.support > 0
    group[some] = equal_mass(case.support[some], 5)
    return _groups(case, _ranges("support {}", case.support, group, "no support"), level)


def figure(caption: str, groups: Sequence[Group]) -> Figure:
    """Return a dot with its interval per group, in the order given."""
    return dots(caption, {g.label: g.residual for g in groups}, "predicted - real, rating points")


def cold(case: Case, *, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95) -> tuple[Slice, Slice, Slice]:
    """Return RMSE and NLL of every predictor on cold items, on cold users (a pair may be both), and on all others.

    Cold: fewer than `COLD_ITEM` or `COLD_USER` ratings in `case.known`. An empty slice says so.

    Raises:
        ConfigError: level is no coverage.
        DataError: a prediction that does not fit the truth.

    """
    check_level(level)
    item = np.bincount(case.known.item, minlength=case.known.n_items)[case.item] < COLD_ITEM
    user = case.known.count[case.truth.user] < COLD_USER
    labels = f"items with fewer than {COLD_ITEM} known ratings", f"users with fewer than {COLD_USER} known ratings"
    made = []
    for label, inside in ((labels[0], item), (labels[1], user), ("all others", ~item & ~user)):
        truth = replace(case.truth, user=case.truth.user[inside], rating=case.truth.rating[inside])
        found = {name: _scores(truth, p, inside, resamples, seed, level) for name, p in case.prediction.items()}
        rmse, nll = ({name: row.get(key) for name, row in found.items()} for key in ("rmse", "nll"))
        made.append(Slice(label, int(inside.sum()), len(np.unique(truth.user)), rmse, nll))
    return made[0], made[1], made[2]


def _scores(
    truth: Truth, prediction: Prediction, inside: NDArray[np.bool_], resamples: int, seed: int, level: float
) -> dict[str, Interval]:
    """Return rmse and, where there is a distribution, nll of the pairs inside; nothing if there are none."""
    if not inside.any():
        return {}
    p = None if prediction.p is None else prediction.p[inside]
    found = statistics(truth, Prediction(prediction.point[inside], p))
    kept = {name: found[name] for name in ("rmse", "nll") if name in found}
    if len(np.unique(truth.user)) > 1:
        return {n: bootstrap(s, resamples=resamples, seed=seed, level=level) for n, s in kept.items()}
    return {n: Interval(_whole(s), np.nan, np.nan, level) for n, s in kept.items()}


def _whole(statistic: Statistic) -> float:
    return float(statistic.value(statistic.total.sum(axis=0)))


def _ranges(
    form: str, value: NDArray[np.generic], group: NDArray[np.int64], rest: str = "", digits: str = "g"
) -> list[tuple[str, NDArray[np.bool_]]]:
    """Return label and pairs bool[N] of each group, `form` filled with the range of its values; -1 is `rest`."""
    number = np.asarray(value, np.float64)
    out = [(rest, group < 0)] if (group < 0).any() else []
    for g in range(int(group.max(initial=-1)) + 1):
        low, high = (format(end(number[group == g]), digits) for end in (np.min, np.max))
        out.append((form.format(low if low == high else f"{low}..{high}"), group == g))
    return out


def _groups(case: Case, inside: Sequence[tuple[str, NDArray[np.bool_]]], level: float) -> tuple[Group, ...]:
    check_level(level)
    users = UserTotals(case.truth.user)
    gap = np.asarray(case.answer.point, np.float64) - case.truth.rating
    made = [_group(name, users.sum(np.column_stack([gap * here, here])), level) for name, here in inside]
    tested = [n for n, g in enumerate(made) if np.isfinite(g.p)]
    for n, p in zip(tested, holm([made[n].p for n in tested]), strict=True):
        made[n] = replace(made[n], p_holm=float(p))
    return tuple(made)


def _group(label: str, total: Float, level: float) -> Group:
    """Return a group from its users' sums of residuals and pairs [M, 2]; errors of one user are not independent.

    The standard error is that of a ratio of totals over users (linearised; Liang and Zeger 1986).
    """
    from scipy.stats import t

    residual, pairs = total[total[:, 1] > 0].T
    m, n = len(pairs), pairs.sum()
    mean = residual.sum() / n
    if m < 2:
        return Group(label, int(n), m, Interval(float(mean), np.nan, np.nan, level), np.nan, np.nan, np.nan)
    error = np.sqrt(m / (m - 1) * ((residual - mean * pairs) ** 2).sum()) / n
    half = float(t.ppf((1 + level) / 2, m - 1) * error)
    z = float(mean / error) if error > 0 else float(np.sign(mean) * np.inf) if mean else 0.0
    p = float(2 * t.sf(abs(z), m - 1))
    return Group(label, int(n), m, Interval(float(mean), float(mean - half), float(mean + half), level), z, p, np.nan)
