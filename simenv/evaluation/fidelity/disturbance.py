"""Disturbances: what it costs when users answer with another's evidence or with something hidden. Then it mattered.

A simulator that is as good with another user's memories does not use them. Knows arrays only; who is disturbed, and
how, is the business of whoever hands in the predictions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Prediction, Truth, statistics
from simenv.evaluation.report import Column, Row, Section
from simenv.evaluation.statistics import RESAMPLES, bootstrap_p, check_level, holm, resampled_means
from simenv.evaluation.user_total import Statistic, bootstrap, ratio

Float = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Paired:
    """One measure of two predictors on the same pairs."""

    difference: Interval
    """Other minus first; the interval is over users, who are resampled alike for both."""
    p: float
    """Two-sided bootstrap p of "no difference"."""
    p_holm: float
    """The same after Holm's correction over the others compared in one call, each measure a family of its own."""


@final
@dataclass(frozen=True)
class Disturbed:
    """What one disturbance costs, against the same users undisturbed."""

    name: str
    nll: Paired
    """Negative log-likelihood, nats per rating."""
    rmse: Paired
    """RMSE of the mean rating, rating points."""
    users: int
    pairs: int

    @property
    def raises(self) -> bool:
        """Whether the negative log-likelihood is higher, for certain (Holm over all disturbances) at their level."""
        return self.nll.difference.mean > 0 and self.nll.p_holm < 1 - self.nll.difference.level


def disturbances(
    truth: Truth,
    intact: Prediction,
    disturbed: Mapping[str, Prediction],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[Disturbed, ...]:
    """Return what each disturbance costs; positive differences: the disturbed users predict worse.

    Raises:
        DataError: a prediction has no distributions or does not fit the truth, or there are fewer than two users.
        ConfigError: level is no coverage.

    """
    found = paired(truth, intact, disturbed, ("nll", "rmse"), resamples=resamples, seed=seed, level=level)
    users, pairs = len(np.unique(truth.user)), len(truth.user)
    return tuple(Disturbed(name, row["nll"], row["rmse"], users, pairs) for name, row in found.items())


def paired(
    truth: Truth,
    first: Prediction,
    others: Mapping[str, Prediction],
    measure: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, dict[str, Paired]]:
    """Return other -> measure -> difference of each other prediction from the first, over the same users.

    A bootstrap p cannot fall below 2 / (B + 1), so B is raised to 4 P / (1 - level) where P others would otherwise be
    too many for any of them to pass the correction.

    Raises:
        DataError: a prediction lacks one of the measures (see `rating.statistics`) or does not fit the truth.
        ConfigError: level is no coverage.

    """
    check_level(level)
    size = max(resamples, int(np.ceil(4 * len(others) / (1 - level))))
    base = _resampled(truth, "the undisturbed prediction", first, measure, size, seed)
    found: dict[str, dict[str, tuple[Interval, float]]] = {}
    for name, other in others.items():
        own = _resampled(truth, repr(name), other, measure, size, seed)
        found[name] = {m: _difference(own[m], base[m], level) for m in measure}
    fixed = {m: holm([row[m][1] for row in found.values()]).tolist() for m in measure}
    return {
        name: {m: Paired(*row[m], fixed[m][n]) for m in measure} for n, (name, row) in enumerate(found.items())
    }  # fmt: skip


def _resampled(
    truth: Truth, name: str, prediction: Prediction, measure: Sequence[str], resamples: int, seed: int
) -> dict[str, Float]:
    """Return measure -> float64[1 + B]: the value on all users, then on each resample (the same ones for all)."""
    known = statistics(truth, replace(prediction, draws=None))
    missing = [m for m in measure if m not in known]
    if missing:
        raise DataError(f"{name} has no {missing[0]}; give a prediction with distributions, made by Prediction.of.")
    out = {}
    for m in measure:
        total = known[m].total
        drawn = resampled_means(total, resamples=resamples, seed=seed)
        out[m] = np.asarray(known[m].value(np.vstack([total.mean(axis=0), drawn])), np.float64)
    return out


def _difference(own: Float, base: Float, level: float) -> tuple[Interval, float]:
    gap = own - base
    low, high = np.quantile(gap[1:], [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(gap[0]), float(low), float(high), level), bootstrap_p(gap[1:])


def conformity_effect(
    user: NDArray[np.int64],
    shown: Float,
    moved: Float,
    before: Prediction,
    after: Prediction,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the change of the expected rating per rating point by which the shown average was moved.

    The least-squares slope through the origin of the change of expectation on the change of the number shown, over
    all pairs; the interval is over users. 0: what others think leaves them cold; 1: they repeat it.

    user: int64[N]. shown, moved: float64[N], what was printed before and after. before, after: what was said then.

    Raises:
        DataError: lengths differ, nothing moved, or there are fewer than two users.
        ConfigError: level is no coverage.

    """
    check_level(level)
    step = np.asarray(moved, np.float64) - np.asarray(shown, np.float64)
    change = np.asarray(after.point, np.float64) - np.asarray(before.point, np.float64)
    if not len(user) == len(step) == len(change):
        raise DataError(f"users, averages and answers differ in length: {len(user)}, {len(step)}, {len(change)}.")
    if not np.abs(step).max(initial=0.0) > 1e-9:
        raise DataError("the shown average moved nowhere, so nothing can be said of its effect; give a larger shift.")
    row = np.unique(user, return_inverse=True)[1].ravel()
    total = np.column_stack([np.bincount(row, step * change), np.bincount(row, step**2)]).astype(np.float64)
    return bootstrap(Statistic(total, ratio), resamples=resamples, seed=seed, level=level)


def section(rows: Sequence[Disturbed], conformity: Mapping[str, Interval] | None = None) -> Section:
    """Return the table of disturbances; conformity: effect per shown point by the name of who answers."""
    said = [
        f"Shown a crowd average one rating point higher, {who} rate {effect:+.2f} points higher."
        for who, effect in (conformity or {}).items()
    ]
    if rows:
        said.insert(0, f"{rows[0].pairs} pairs of {rows[0].users} users, resampled as whole users.")
    columns = (
        Column("disturbance"),
        Column(
            "NLL", "measured", "nats", note="Rise of the negative log-likelihood against the same users undisturbed."
        ),
        Column("RMSE", "measured", "points", note="Rise of the RMSE of the mean rating."),
        Column(
            "p", "measured", note="Of no rise or fall of the NLL: bootstrap over users, Holm over the disturbances."
        ),
        Column(
            "raises the loss", "measured", note="A rise that is certain: what was disturbed is used, and rightly so."
        ),
    )
    cells: list[Row] = [
        {
            "disturbance": r.name,
            "NLL": r.nll.difference,
            "RMSE": r.rmse.difference,
            "p": r.nll.p_holm,
            "raises the loss": r.raises,
        }
        for r in rows
    ]
    return Section("What users answer from", " ".join(said), columns, tuple(cells))
