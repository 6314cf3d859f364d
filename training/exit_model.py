"""Exit from a log with times: visits, a person-period table, and a hazard fitted to it.

A ratings log says when people stopped rating, not whether they were shown something bad: satisfaction slopes are
assumed unless asked for. Knows no rating model and no slates.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logsumexp

from simenv.agents.exit import DECAY, ExitHazard
from simenv.log import InteractionLog
from simenv.pages import GAP, PAGE, length, visit_pages

Floats = NDArray[np.float64]

STEPS = 10
"""Free steps of the page hazard; later pages share the last."""
ENOUGH = 30
"""Users with two or more visits below which frailty cannot be told from the page steps and stays assumed."""
RETURNS = 200
"""Seen ends of returning visits from which on the hazard is fitted to these alone."""
_PRIOR_COUNT = 5.0


@final
@dataclass(frozen=True, eq=False)
class PersonPeriods:
    """One row per page of each visit: N rows, sorted by user, visit and page."""

    user: NDArray[np.int64]
    """int64[N]"""
    visit: NDArray[np.int64]
    """int64[N]: number of the visit in the log, 0.. ."""
    page: NDArray[np.int64]
    """int64[N]: pages answered, 1 for the first of a visit."""
    utility: Floats
    """float64[N]: running satisfaction, as `UserState.utility`."""
    best: Floats
    """float64[N]: as `UserState.best`."""
    left: NDArray[np.bool_]
    """bool[N]: the user left after this page."""
    censored: NDArray[np.bool_]
    """bool[N]: the last page of a visit that was cut off: whether the user left after it was not seen."""

    @property
    def length(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Pages int64[V] and censoring bool[V] of each visit; see `simenv.pages.length`."""
        return length(self.page, self.left, self.censored)

    def known(self) -> PersonPeriods:
        """Return the rows whose outcome was seen."""
        return self.take(~self.censored)

    def returning(self) -> PersonPeriods:
        """Return the rows of all but each user's first visit."""
        first = self.visit[np.flatnonzero(np.diff(self.user, prepend=-1))]
        return self.take(~np.isin(self.visit, first))

    def take(self, rows: NDArray[np.bool_]) -> PersonPeriods:
        """Return some rows, bool[N]."""
        return PersonPeriods(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})


def person_periods(
    log: InteractionLog,
    *,
    value: Floats | None = None,
    mean: Floats | None = None,
    gap: int = GAP,
    page_size: int = PAGE,
    decay: float = DECAY,
    last: Literal["left", "censored"] = "left",
) -> PersonPeriods:
    """Return the table of pages.

    value: float64[E], what each event was worth; None: the rating given. A rating is a noisy reading of the expected
        rating that moves simulated users, and flattens a fitted slope: give expectations where there are any.
    mean: float64[U], each user's mean; None: the mean of the user's ratings before the page, with five ratings of the
        log's mean added (a user's very first page is judged against the log's mean).
    gap, page_size, last: see `simenv.pages.visit_pages`.

    Raises:
        ConfigError: the log has no times.

    """
    cut = visit_pages(log, gap=gap, page_size=page_size, last=last)
    felt = log.rating.astype(np.float64) if value is None else np.asarray(value, np.float64)
    zero = _past_mean(log, cut.start) if mean is None else np.asarray(mean, np.float64)[cut.user]
    some = len(cut.start) > 0
    gap_mean = np.add.reduceat(felt, cut.start) / cut.size - zero if some else np.zeros(0)
    best = np.maximum.reduceat(felt, cut.start) - zero if some else np.zeros(0)
    utility = _running(gap_mean, cut.page, decay)
    return PersonPeriods(cut.user, cut.visit, cut.page, utility, best, cut.left, cut.censored)


def fit_exit(
    log: InteractionLog,
    activity: Floats,
    *,
    slope: Literal["assumed", "fit"] = "assumed",
    assumed: ExitHazard | None = None,
    value: Floats | None = None,
    mean: Floats | None = None,
    gap: int = GAP,
    page_size: int = PAGE,
    decay: float = DECAY,
    last: Literal["left", "censored"] = "left",
) -> ExitHazard:
    """Return the hazard that fits the visits of a log: logistic regression with a random intercept per user.

    activity: float64[U], standardised trait.
    slope: "assumed": slope_utility and slope_best are taken from `assumed` and held fixed while the rest is fitted
        around them (right where leaving was not recorded, as in MovieLens); "fit": estimated. Beware on real logs: the
        last page of a visit is mostly a part of one, the best of fewer ratings is lower, and slope_best takes that for
        displeasure.
    assumed: the numbers for what is not fitted; None: ExitHazard(). Repeats and fatigue are always assumed: a log of
        ratings shows no repeats, and fatigue cannot be told from the page steps.
    value, mean, gap, page_size, decay, last: see `person_periods`.

    Simulated users have a past, so theirs are returning visits: a first visit, in which people sign up and rate many
    items, is left out where at least RETURNS others were seen to end. Page steps and the activity slope are "fitted",
    frailty too where at least ENOUGH users came twice. Without times, or where no visit was seen to end, everything
    stays assumed and the note says so.
    """
    assumed = assumed or ExitHazard()
    if log.time is None:
        return _unfitted(assumed, "this log has no times: every number of exit is assumed")
    options = {"gap": gap, "page_size": page_size, "decay": decay}
    table = person_periods(log, value=value, mean=mean, last=last, **options)  # type: ignore[arg-type]
    table, again = comparable(table)
    known = table.known()
    if not known.left.any():
        return _unfitted(assumed, "no visit of this log was seen to end: every number of exit is assumed")
    note = _note(table, log.time_note) + ("; returning visits only" if again else "")
    return _fitted(known, np.asarray(activity, np.float64)[known.user], slope == "fit", assumed, note)


def comparable(table: PersonPeriods) -> tuple[PersonPeriods, bool]:
    """Return the visits that simulated ones are like, and whether they are returning ones alone; see `fit_exit`."""
    again = table.returning()
    enough = int(again.left.sum()) >= RETURNS
    return (again if enough else table), enough


def _unfitted(assumed: ExitHazard, why: str) -> ExitHazard:
    numbers = {n: getattr(assumed, n) for n in assumed.__dataclass_fields__ if n not in ("tag", "note")}
    return ExitHazard(**numbers, note=why)


def _past_mean(log: InteractionLog, start: NDArray[np.int64]) -> Floats:
    """Return float64[N]: shrunk mean of the user's ratings before event `start`."""
    total = np.concatenate([[0.0], np.cumsum(log.rating, dtype=np.float64)])
    first = log.indptr[log.user[start]]
    before, count = total[start] - total[first], start - first
    return np.asarray((before + _PRIOR_COUNT * float(log.rating.mean())) / (count + _PRIOR_COUNT))


def _running(page_mean: Floats, page: NDArray[np.int64], decay: float) -> Floats:
    """Return the moving average over the pages of each visit; rows of a visit follow each other."""
    out = (1 - decay) * page_mean
    for number in range(2, int(page.max(initial=0)) + 1):
        row = np.flatnonzero(page == number)
        out[row] += decay * out[row - 1]
    return out


def _fitted(table: PersonPeriods, activity: Floats, free: bool, assumed: ExitHazard, note: str) -> ExitHazard:
    steps = (np.minimum(table.page, STEPS)[:, None] > np.arange(STEPS)).astype(np.float64)
    felt = np.column_stack([table.utility, table.best])
    fixed = np.array([assumed.slope_utility, assumed.slope_best])
    design = np.column_stack([steps, activity, felt] if free else [steps, activity])
    came_twice = _users_with_two_visits(table) >= ENOUGH
    beta, sd = _random_intercept(
        design,
        np.zeros(len(felt)) if free else felt @ fixed,
        table.left,
        np.flatnonzero(np.diff(table.user, prepend=-1)),
        None if came_twice else assumed.frailty_sd,
    )
    fitted = {"page_logit", "slope_activity"} | ({"frailty_sd"} if came_twice else set())
    fitted |= {"slope_utility", "slope_best"} if free else set()
    slopes = beta[STEPS + 1 :] if free else fixed
    return ExitHazard(
        tuple(float(a) for a in np.cumsum(beta[:STEPS])),
        sd,
        float(slopes[0]),
        float(slopes[1]),
        assumed.slope_repeat,
        assumed.slope_fatigue,
        float(beta[STEPS]),
        {name: "fitted" for name in sorted(fitted)},
        note if came_twice else f"{note}; fewer than {ENOUGH} users came twice, so frailty is assumed",
    )


def _users_with_two_visits(table: PersonPeriods) -> int:
    first = table.page == 1
    return int((np.bincount(table.user[first]) >= 2).sum())


def _note(table: PersonPeriods, time_note: str) -> str:
    length, censored = table.length
    said = f"fitted on {len(length)} visits of {len(np.unique(table.user))} users, {int(censored.sum())} cut off"
    return said + ("; approximate time" if time_note == "approximate" else "")


def _random_intercept(
    design: Floats,
    offset: Floats,
    left: NDArray[np.bool_],
    first: NDArray[np.int64],
    sd: float | None,
    ridge: float = 0.5,
) -> tuple[Floats, float]:
    """Return coefficients [P] and the standard deviation of a normal intercept per user.

    Penalised marginal likelihood by Gauss-Hermite quadrature (Bock and Aitkin 1981). design: [N, P], whose first column
    is the constant and is not penalised. first: row where each user begins. sd: held fixed; None: estimated.
    """
    node, weight = np.polynomial.hermite_e.hermegauss(15)
    log_weight, free = np.log(weight / weight.sum()), sd is None
    penalty = np.r_[0.0, np.full(design.shape[1] - 1, ridge), ridge if free else 0.0]
    size = np.diff(np.append(first, len(left)))

    def loss(theta: Floats) -> tuple[float, Floats]:
        eta = (design @ theta[:-1] + offset)[:, None] + theta[-1] * node
        by_user = np.add.reduceat(left[:, None] * eta - np.logaddexp(0, eta), first) + log_weight
        total = logsumexp(by_user, axis=1, keepdims=True)
        residual = (left[:, None] - expit(eta)) * np.repeat(np.exp(by_user - total), size, axis=0)
        slope = np.r_[design.T @ residual.sum(axis=1), (residual @ node).sum() if free else 0.0]
        return float((penalty * theta**2).sum() / 2 - total.sum()), penalty * theta - slope

    start = np.r_[np.zeros(design.shape[1]), 0.5 if sd is None else sd]
    bounds = [(None, None)] * design.shape[1] + [(0.0, 5.0)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500}).x
    return np.asarray(found[:-1], np.float64), float(found[-1])
