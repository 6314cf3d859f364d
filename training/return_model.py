"""Return times from a log with times: days between visits, and the rates, frailty and loyalties fitted to them.

A log of ratings says when people rated again, not why: the satisfaction slope is assumed unless asked for. Knows no
rating model and no slates.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import gammaln

from simenv.agents.exit import DECAY
from simenv.agents.return_time import DAY, Loyalty, ReturnTime
from simenv.errors import ConfigError, DataError
from simenv.log import InteractionLog
from simenv.pages import GAP, PAGE, visits
from simenv.training.exit_model import person_periods

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ENOUGH = 30
"""Users with two or more seen gaps below which frailty cannot be told from the rates and stays assumed."""
_SMOOTH = 0.5
"""Neighbouring log rates are held together like two numbers whose difference has this precision (sd 1.4)."""


@final
@dataclass(frozen=True, eq=False)
class Gaps:
    """The times between visits: N rows, one after each visit, sorted by user and time."""

    user: Ints
    """int64[N]"""
    visit: Ints
    """int64[N]: number of the visit it follows, 0 for the user's first."""
    days: Floats
    """float64[N]: from the last rating of that visit to the first of the next, or to the end of the log."""
    returned: NDArray[np.bool_]
    """bool[N]: the user was seen to come back; False: not before the log ended."""
    utility: Floats
    """float64[N]: running satisfaction at the end of the visit, with what was carried into it."""
    activity: Floats
    """float64[N]: log of the ratings given until then, standardised as the trait is."""
    start: Ints
    """int64[N], Unix seconds: when it began."""

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: NDArray[np.bool_] | Ints) -> Gaps:
        """Return some rows, by mask bool[N] or ascending numbers."""
        return Gaps(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def until(self, moment: int) -> Gaps:
        """Return the gaps as they stood at a moment (Unix seconds): later ones left out, open ones cut off there."""
        known = self.take(self.start < moment)
        open_for = (moment - known.start) / DAY
        return replace(known, days=np.minimum(known.days, open_for), returned=known.returned & (known.days < open_for))


def gaps(
    log: InteractionLog,
    *,
    carried: ReturnTime | None = None,
    gap: int = GAP,
    page_size: int = PAGE,
    decay: float = DECAY,
    end: int | None = None,
    least: int | None = None,
) -> Gaps:
    """Return the gaps between the visits of a log.

    carried: how much of a visit's utility the next begins with; None: ReturnTime().
    gap, page_size, decay: see `simenv.training.exit_model.person_periods`.
    end: the last second of the log that these rows are a part of; None: their own.
    least: gaps before the user's rating number `least` are left out. Data sets of users with at least so many ratings
        hold nobody who stayed away before: such gaps are no evidence. None: the shortest history in the log.

    Raises:
        ConfigError: the log has no times.
        DataError: the log is simulated; users are never fitted to what users were simulated.

    """
    if log.simulated:
        raise DataError("these answers came from a simulator; return times are fitted to real visits alone.")
    if log.time is None:
        raise ConfigError("return times need times and this log has none.")
    carried = carried or ReturnTime()
    table = person_periods(log, gap=gap, page_size=page_size, decay=decay)
    last = np.flatnonzero(np.diff(table.visit, append=-1))
    user, pages = table.user[last], table.page[last]
    ends = np.append(np.flatnonzero(np.diff(visits(log, gap))), len(log) - 1) if len(log) else np.zeros(0, np.int64)
    begins = np.append(0, ends[:-1] + 1)[: len(ends)]
    final_ = np.append(user[1:] != user[:-1], True)[: len(user)]
    stop = int(log.time.max(initial=0) if end is None else end)
    left = log.time[ends]
    away = np.where(final_, stop - left, np.append(log.time[begins[1:]], 0)[: len(ends)] - left) / DAY
    count = ends - log.indptr[user] + 1
    number = np.arange(len(user)) - np.searchsorted(user, user)
    utility = _carried(table.utility[last], pages, number, away, decay, carried)
    shortest = int(log.count[log.count > 0].min(initial=len(log))) if least is None else least
    every = Gaps(user, number, away, ~final_, utility, _activity(log, count), left)
    return every.take((count >= shortest) & (away > 0))


def fit_return(
    log: InteractionLog,
    *,
    slope: Literal["assumed", "fit"] = "assumed",
    assumed: ReturnTime | None = None,
    gap: int = GAP,
    page_size: int = PAGE,
    decay: float = DECAY,
    end: int | None = None,
    least: int | None = None,
) -> tuple[ReturnTime, Loyalty]:
    """Return what fits the gaps of a log, and what each user's own gaps say; both belong into a Life.

    Rates, slopes of activity and visits, and frailty are fitted by maximum marginal likelihood, frailty where at least
    ENOUGH users were seen in two gaps or more. Slope, carrying and fading of satisfaction are taken from `assumed`;
    slope="fit" estimates the slope. An assumed slope plays no part in the fit: the rates are those of users who were as
    satisfied as usual. (Ratings given are a noisy reading of satisfaction; fitting around them made the rest worse.)

    log: *known* rows; for users whose histories are cut, none after the cut, and `end` the moment of it.
    assumed: None: ReturnTime(). gap, page_size, decay, end, least: see `gaps`.

    Without times, or where nobody was seen to return, everything stays assumed and the note says so.

    Raises:
        DataError: the log is simulated.

    """
    assumed = (assumed or ReturnTime()).beginning(gap / DAY)
    if log.time is None:
        unfitted = replace(assumed, note="this log has no times: every number of return is assumed", tag={})
        return unfitted, Loyalty.unknown(log.n_users)
    known = gaps(log, carried=assumed, gap=gap, page_size=page_size, decay=decay, end=end, least=least)
    found = fit_gaps(known, slope=slope, assumed=assumed)
    if log.time_note == "approximate":
        found = replace(found, note=f"{found.note}; approximate time")
    return found, loyalty(known, found, log.n_users)


def fit_gaps(
    known: Gaps,
    *,
    slope: Literal["assumed", "fit"] = "assumed",
    assumed: ReturnTime | None = None,
    tiring: bool = True,
    frailty: bool = True,
) -> ReturnTime:
    """Return what fits gaps. tiring: False leaves the slopes of activity and visits out (0), frailty likewise."""
    assumed = assumed or ReturnTime()
    if not known.returned.any():
        return replace(assumed, note="nobody was seen to come back: every number of return is assumed", tag={})
    plain = replace(assumed, slope_satisfaction=0.0, slope_activity=0.0, slope_visits=0.0)
    free = ["slope_satisfaction"] if slope == "fit" else []
    free += ["slope_activity", "slope_visits"] if tiring else []
    twice = int((np.bincount(known.user) >= 2).sum()) >= ENOUGH
    fixed = 0.0 if not frailty else None if twice else assumed.frailty
    found = _maximum(known, plain, free, fixed)
    tag = dict.fromkeys(["log_rate", *free, *(["frailty"] if fixed is None else [])], "fitted")
    note = f"fitted on {len(known)} gaps of {len(np.unique(known.user))} users, {int(known.returned.sum())} came back"
    if frailty and not twice:
        note += f"; fewer than {ENOUGH} users were seen in two gaps, so frailty is assumed"
    told = found.slope_satisfaction if slope == "fit" else assumed.slope_satisfaction
    return replace(found, tag=tag, note=note, slope_satisfaction=told)


def loyalty(known: Gaps, model: ReturnTime, n_users: int) -> Loyalty:
    """Return what each user's known gaps say, under a fitted model; users without gaps are unknown.

    A satisfaction slope that is assumed explains nothing of the past here either.
    """
    if model.tag.get("slope_satisfaction") != "fitted":
        model = replace(model, slope_satisfaction=0.0)
    ratio = model.ratio(known.utility, known.activity, known.visit.astype(np.float64))
    expected = np.asarray(model.cumulative(known.days) * ratio, np.float64)
    seen = known.returned & (known.days <= model.horizon)
    visits = np.zeros(n_users)
    np.maximum.at(visits, known.user, known.visit + 1)
    return Loyalty(
        np.bincount(known.user, seen, minlength=n_users).astype(np.float64),
        np.asarray(np.bincount(known.user, expected, minlength=n_users), np.float64),
        visits,
    )


def exposure(known: Gaps, edge: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Return days at risk [N, J] between edges, and whether the return fell there [N, J]."""
    low, high = np.asarray(edge[:-1]), np.asarray(edge[1:])
    at_risk = np.clip(known.days[:, None], low, high) - low
    there = (known.days[:, None] > low) & (known.days[:, None] <= high)
    there[:, 0] |= known.days <= low[0]  # nobody is back sooner, but for the rounding of times
    return at_risk, (there & known.returned[:, None]).astype(np.float64)


def _maximum(known: Gaps, start: ReturnTime, free: list[str], frailty: float | None) -> ReturnTime:
    """Return the maximum of the penalised marginal likelihood; frailty: held fixed; None: estimated."""
    at_risk, event = exposure(known, start.edge)
    column = {
        "slope_satisfaction": known.utility,
        "slope_activity": known.activity,
        "slope_visits": np.log1p(known.visit),
    }
    design = np.column_stack([column[n] for n in free]) if free else np.zeros((len(known), 0))
    first = np.flatnonzero(np.diff(known.user, prepend=-1))
    n_rates = len(start.log_rate)

    def loss(theta: Floats) -> tuple[float, Floats]:
        return _loss(theta, n_rates, at_risk, event, design, first, frailty)

    guess = np.log((event.sum(axis=0) + 0.5) / (at_risk.sum(axis=0) + 0.5 / np.exp(np.asarray(start.log_rate))))
    begin = np.concatenate([guess, np.zeros(len(free)), [0.0]])
    bounds = [(-20.0, 10.0)] * n_rates + [(-10.0, 10.0)] * len(free) + [(-6.0, 4.0)]
    options = {"maxiter": 1000, "maxfun": 5000}
    theta = minimize(loss, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options).x  # type: ignore[call-overload]
    slopes: dict[str, Any] = dict(zip(free, (float(x) for x in theta[n_rates:-1]), strict=True))
    variance = float(np.exp(theta[-1])) if frailty is None else frailty
    return replace(start, log_rate=tuple(float(x) for x in theta[:n_rates]), frailty=variance, **slopes)


def _loss(
    theta: Floats,
    n_rates: int,
    at_risk: Floats,
    event: Floats,
    design: Floats,
    first: Ints,
    frailty: float | None,
) -> tuple[float, Floats]:
    """Return minus the penalised marginal log-likelihood and its slope in theta = (rates, slopes, log frailty).

    Per user, with n returns and cumulative rate A: log Gamma(n + 1/v) - log Gamma(1/v) + n log v
    - (n + 1/v) log(1 + v A), plus the log rates at the returns (Vaupel et al. 1979; v -> 0: a Poisson likelihood).
    """
    rate = np.exp(theta[:n_rates])
    slope = theta[n_rates:-1]
    line = design @ slope
    waited = (at_risk @ rate) * np.exp(line)
    n, total = np.add.reduceat(event.sum(axis=1), first), np.add.reduceat(waited, first)
    variance = np.exp(theta[-1]) if frailty is None else frailty
    value, pull = _marginal(n, total, float(variance))
    own = np.repeat(pull, np.diff(np.append(first, len(waited))))
    step = np.diff(theta[:n_rates])
    back = event.sum(axis=0)
    value = value + back @ theta[:n_rates] + event.sum(axis=1) @ line - _SMOOTH * (step**2).sum() / 2
    rates = back + rate * (at_risk.T @ (own * np.exp(line)))
    rates += _SMOOTH * (np.append(step, 0.0) - np.append(0.0, step))
    slopes = design.T @ (event.sum(axis=1) + own * waited) - 0.5 * slope
    value -= 0.25 * (slope @ slope)
    return -value, -np.concatenate([rates, slopes, [_frailty_slope(n, total, variance) if frailty is None else 0.0]])


def _marginal(n: Floats, total: Floats, variance: float) -> tuple[float, Floats]:
    """Return the sum over users of the log-likelihood's frailty part, and its slope [users] in `total`."""
    if variance == 0:
        return float(-total.sum()), -np.ones_like(total)
    shape = 1 / variance
    value = gammaln(n + shape) - gammaln(shape) + n * np.log(variance) - (n + shape) * np.log1p(variance * total)
    return float(value.sum()), -(n + shape) * variance / (1 + variance * total)


def _frailty_slope(n: Floats, total: Floats, variance: float) -> float:
    """Return the slope of the same sum in log variance, by central differences of a smooth function."""
    high, low = (_marginal(n, total, variance * float(np.exp(h)))[0] for h in (1e-4, -1e-4))
    return (high - low) / 2e-4


def _carried(own: Floats, pages: Ints, number: Ints, away: Floats, decay: float, model: ReturnTime) -> Floats:
    """Return the utility at the end of each visit with what the one before left; rows of a user follow each other."""
    out = own.copy()
    for n in range(1, int(number.max(initial=0)) + 1):
        row = np.flatnonzero(number == n)
        start = model.carry * model.fade(away[row - 1]) * out[row - 1]
        out[row] += decay ** pages[row] * start
    return out


def _activity(log: InteractionLog, count: Ints) -> Floats:
    """Return log ratings so far, standardised by the mean and spread over users of the whole log's."""
    known = np.log1p(log.count[log.count > 0].astype(np.float64))
    if not len(known):
        return np.zeros(len(count))
    spread = float(known.std())
    return np.asarray((np.log1p(count) - known.mean()) / (spread if spread > 1e-6 else 1.0), np.float64)
