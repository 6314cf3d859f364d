"""Personas: how well each kind of user is simulated, beside the best yardstick; and whether dealing them out pays.

Knows cases; nothing of clusters, adapters or portraits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import nan
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.fidelity.disturbance import Paired, paired
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Prediction, Truth, measures
from simenv.evaluation.rating_table import measure_all
from simenv.evaluation.statistics import RESAMPLES

MEASURE = ("rmse", "mae_median", "nll")
"""Losses shown per persona."""


@final
@dataclass(frozen=True)
class PersonaRow:
    """One persona's held-out pairs."""

    name: str
    users: int
    """Users with held-out pairs; an interval over fewer than two of them is unknown (NaN ends)."""
    pairs: int
    value: Mapping[str, Interval]
    """Loss of the simulator by measure: RMSE of the mean, MAE of the median, NLL."""
    difference: Mapping[str, Interval]
    """Simulator minus yardstick by measure, over the same users; below 0 the simulator is better."""
    against: Mapping[str, str]
    """The yardstick of each difference: the one with the lowest loss over the whole case, the same for all personas."""


@final
@dataclass(frozen=True)
class ControlRow:
    """The population against a control, such as personas dealt at random."""

    name: str
    difference: Mapping[str, Paired]
    """Control minus population by measure; above 0 the population is better than the control."""
    users: int
    pairs: int


def per_persona(
    case: Case, *, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> tuple[PersonaRow, ...]:
    """Return one row per persona with held-out pairs, by name; (): the population has no personas.

    A yardstick without distributions is not compared in measures that need one; a measure nobody else has has no
    difference.

    Raises:
        DataError: personas and pairs differ in number.
        ConfigError: level is no coverage.

    """
    if not case.persona:
        return ()
    if len(case.persona) != len(case.truth.user):
        raise DataError(f"{len(case.truth.user)} pairs need a persona each; got {len(case.persona)}.")
    best = _best(case)
    label = np.asarray(case.persona)
    return tuple(
        _row(case, name, np.flatnonzero(label == name), best, resamples, seed, level)
        for name in dict.fromkeys(sorted(case.persona))
    )


def between(
    case: Case, control: Mapping[str, Prediction], *, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> tuple[ControlRow, ...]:
    """Return, per control, its loss minus the population's on the same pairs, Holm-corrected over the controls.

    control: what the same users say with personas dealt at random, say.

    Raises:
        DataError: a control does not fit the pairs, or has no distributions.
        ConfigError: level is no coverage.

    """
    found = paired(case.truth, case.answer, control, MEASURE, resamples=resamples, seed=seed, level=level)
    users, pairs = len(np.unique(case.truth.user)), len(case.truth.user)
    return tuple(ControlRow(name, row, users, pairs) for name, row in found.items())


def _best(case: Case) -> dict[str, str]:
    """Return the yardstick with the lowest loss over the whole case, by measure; yardsticks that lack it stand back."""
    found = {name: measures(case.truth, replace(p, draws=None)) for name, p in case.yardstick.items()}
    able = {m: {n: row[m] for n, row in found.items() if m in row} for m in MEASURE}
    return {m: min(loss, key=loss.__getitem__) for m, loss in able.items() if loss}


def _row(
    case: Case, name: str, rows: NDArray[np.int64], best: Mapping[str, str], resamples: int, seed: int, level: float
) -> PersonaRow:
    truth = replace(case.truth, user=case.truth.user[rows], rating=np.asarray(case.truth.rating)[rows])
    users = len(np.unique(truth.user))
    value: dict[str, Interval] = {}
    difference: dict[str, Interval] = {}
    for m in MEASURE:
        own = {"": case.answer} | ({best[m]: case.yardstick[best[m]]} if m in best else {})
        taken = {n: _taken(p, rows) for n, p in own.items()}
        value[m], gap = _compared(truth, taken, m, best.get(m), resamples, seed, level)
        difference |= {} if gap is None else {m: gap}
    return PersonaRow(name, users, len(rows), value, difference, dict(best))


def _taken(prediction: Prediction, rows: NDArray[np.int64]) -> Prediction:
    p = None if prediction.p is None else prediction.p[rows]
    return Prediction(prediction.point[rows], p)


def _compared(
    truth: Truth,
    taken: Mapping[str, Prediction],
    measure: str,
    against: str | None,
    resamples: int,
    seed: int,
    level: float,
) -> tuple[Interval, Interval | None]:
    """Return the loss and, where there is something to compare with, the difference; one user gives no interval."""
    if len(np.unique(truth.user)) < 2:
        loss = {n: measures(truth, p)[measure] for n, p in taken.items()}
        gap = None if against is None else Interval(loss[""] - loss[against], nan, nan, level)
        return Interval(loss[""], nan, nan, level), gap
    base = "" if against is None else against
    table = measure_all(truth, taken, baseline=base, resamples=resamples, seed=seed, level=level)
    return table.value[""][measure], None if against is None else table.difference[""][measure]
