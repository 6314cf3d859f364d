"""Return visits: how well the model of return times foretells held-out users and held-out time, and what it assumes.

Three questions. Users left out of the fit: after each of their visits, who comes back when? One moment in the log: who
of those who are away comes back in the next days, and how often do simulated users come, against real ones? And where
the truth is known: is it found? Intervals resample users; refits use halves of the users fitted to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.return_time import DAY, Loyalty, ReturnTime
from simenv.datasets.synthetic import World
from simenv.evaluation.interval import Interval
from simenv.evaluation.return_time import (
    MOMENTS,
    Concordance,
    SeenGaps,
    brier,
    calibration,
    integrated_brier,
)
from simenv.evaluation.statistics import bootstrap_mean, decompose
from simenv.evaluation.user_total import Statistic, bootstrap, ratio
from simenv.log import InteractionLog
from simenv.pages import visits
from simenv.randomness import derive, generator
from simenv.study.return_foreteller import Foreteller, Own, foretellers
from simenv.training.return_model import Gaps, fit_gaps, gaps, loyalty

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BASELINE = "constant rate"
SHIPPED = "own past"


@final
@dataclass(frozen=True)
class ReturnStudy:
    """How return times are judged."""

    assumed: ReturnTime = field(default_factory=ReturnTime)
    moments: tuple[float, ...] = MOMENTS
    """Days at which Brier scores are taken; their plain mean is the integrated score, about even in log time."""
    horizons: tuple[float, ...] = (1.0, 7.0, 30.0, 90.0)
    """Days at which calibration is looked at."""
    ahead: tuple[float, ...] = (7.0, 30.0)
    """Days after the one moment."""
    refits: int = 10
    resamples: int = 100
    """Refits on resampled users, for the intervals of the fitted numbers."""
    at: float = 0.6
    """Share of the log's ratings before the one moment."""
    seed: int = 0

    def held_out(self, known: Gaps) -> dict[str, Any]:
        """Return what each foreteller scores on the gaps of half of the users, fitted to the other half's."""
        fit_to, asked = self._halves(known)
        seen = SeenGaps(asked.user, asked.days, asked.returned).cut(self.assumed.horizon)
        told = foretellers(fit_to, self.assumed)
        moment, horizon = np.asarray(self.moments), np.asarray(self.horizons)
        base = brier(seen, told[BASELINE].p_back(asked, moment), moment).mean(axis=1)
        rows = {}
        for name, who in told.items():
            p = who.p_back(asked, moment)
            less = brier(seen, p, moment).mean(axis=1) - base
            totals = np.column_stack([seen.totals.sum(less), seen.totals.count])
            share, off = calibration(seen, who.p_back(asked, horizon), horizon)
            rows[name] = {
                "c_index": interval(Concordance.of(seen, who.risk(asked)).interval(seed=self.seed)),
                "integrated_brier": interval(bootstrap(integrated_brier(seen, p, moment))),
                "less_than_constant": interval(bootstrap(Statistic(totals, ratio))),
                "back_foretold": {f"{h:g} d": _mean(s) for h, s in zip(horizon, share, strict=True)},
                "foretold_minus_seen": {f"{h:g} d": interval(bootstrap(o)) for h, o in zip(horizon, off, strict=True)},
            }
        about = {"users": len(seen.totals.ids), "gaps": len(asked), "returned": int(seen.returned.sum())}
        return {
            **about,
            "users_fitted_to": len(np.unique(fit_to.user)),
            "foretellers": rows,
            "users_and_refits": self._refitted(fit_to, asked, seen),
        }

    def _refitted(self, fit_to: Gaps, asked: Gaps, seen: SeenGaps) -> dict[str, Any]:
        """Return the shipped model's gain on the constant rate as a mean over users, with users and refits apart."""
        moment, gain, index = np.asarray(self.moments), [], []
        for n in range(self.refits):
            half = self._half(fit_to.user, n)
            told = foretellers(fit_to.take(half), self.assumed, (BASELINE, SHIPPED))
            loss = [brier(seen, told[a].p_back(asked, moment), moment).mean(axis=1) for a in (SHIPPED, BASELINE)]
            gain.append(seen.totals.sum(loss[0] - loss[1]) / seen.totals.count)
            index.append(Concordance.of(seen, told[SHIPPED].risk(asked)).value)
        parts = decompose(np.array(gain)[:, None, :])
        return {
            "less_than_constant, mean over users": interval(parts.total),
            "standard_error_users": parts.users,
            "standard_error_refits": parts.refits,
            "c_index_over_refits": [min(index), max(index)],
        }

    def fitted(self, known: Gaps) -> dict[str, Any]:
        """Return the fitted numbers with intervals over resampled users, the satisfaction slope fitted as well."""
        model, free = (fit_gaps(known, slope=s, assumed=self.assumed) for s in ("assumed", "fit"))
        drawn = []
        for n in range(self.resamples):
            again = fit_gaps(_resampled(known, derive(self.seed, "resample", n)), slope="fit", assumed=self.assumed)
            usual = float(np.exp(-again.cumulative(np.array([again.horizon]))[0]))
            drawn.append((again.slope_satisfaction, again.slope_activity, again.slope_visits, again.frailty, usual))
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        names = ("slope_satisfaction", "slope_activity", "slope_visits", "frailty", "never_back_at_loyalty_1")
        usual = float(np.exp(-free.cumulative(np.array([free.horizon]))[0]))
        values = (free.slope_satisfaction, free.slope_activity, free.slope_visits, free.frailty, usual)
        shape = 1 / model.frailty
        never = (shape / (shape + model.cumulative(np.array([model.horizon]))[0])) ** shape
        return {
            "note": model.note,
            "edges_days": list(model.edge),
            "log_rate": list(model.log_rate),
            "slope_activity": model.slope_activity,
            "slope_visits": model.slope_visits,
            "frailty": model.frailty,
            "churn_per_gap_of_a_user_drawn_at_random": float(never),
            "with_the_satisfaction_slope_fitted": {
                n: interval(Interval(v, float(a), float(b)))
                for n, v, a, b in zip(names, values, low, high, strict=True)
            },
        }

    def one_moment(self, log: InteractionLog, least: int) -> dict[str, Any]:
        """Return how well those who are away at one moment are foretold, and how often simulated users come after it.

        Everything is fitted to the rows before the moment.
        """
        assert log.time is not None
        moment = int(np.quantile(log.time, self.at, method="lower"))
        past = log.take(log.time < moment)
        known = gaps(past, end=moment, least=least, carried=self.assumed)
        model = fit_gaps(known, assumed=self.assumed)
        last = np.flatnonzero(np.diff(known.user, append=-1))
        last = last[known.days[last] > self.assumed.edge[0]]  # the others are in mid-visit
        left = float((log.time.max() - moment) / DAY)
        told = foretellers(known, self.assumed, (BASELINE, SHIPPED))
        rows = {f"{days:g} d": self._ahead(log, moment, known, last, days, told) for days in self.ahead if days <= left}
        lived = self._visits(log, moment, known, last, model, min(30.0, left))
        return {"users": len(last), "days_left": left, "back_within": rows, "visits_in_30_days": lived}

    def _ahead(
        self, log: InteractionLog, moment: int, known: Gaps, last: Ints, days: float, told: Mapping[str, Foreteller]
    ) -> dict[str, Any]:
        soon = _after(log, moment, days)
        back = np.isin(known.user[last], soon.user).astype(np.float64)
        rows: dict[str, Any] = {"share_back": float(back.mean())}
        constant = _given(told[BASELINE], known, last, days)
        for name in (BASELINE, SHIPPED):
            p = _given(told[name], known, last, days)
            rows[name] = {
                "brier": interval(bootstrap_mean((p - back) ** 2)),
                "less_than_constant": interval(bootstrap_mean((p - back) ** 2 - (constant - back) ** 2)),
                "foretold_minus_seen": interval(bootstrap_mean(p - back)),
            }
        return rows

    def _visits(
        self, log: InteractionLog, moment: int, known: Gaps, last: Ints, model: ReturnTime, days: float, times: int = 20
    ) -> dict[str, Any]:
        """Return the visits per user in the days after the moment: real, simulated by the model, at a constant rate."""
        away = known.take(last)
        real = _count(log, moment, days, away.user, log.n_users)
        said = loyalty(known, model, log.n_users)
        draws = [_lived(model, said, away, days, derive(self.seed, "lives", n)) for n in range(times)]
        told = np.mean(draws, axis=0)
        flat = known.returned.sum() / known.days.sum() * days
        shares = {f"{k}": [float((real == k).mean()), float((np.array(draws) == k).mean())] for k in range(4)}
        return {
            "real": interval(bootstrap_mean(real)),
            "simulated": interval(bootstrap_mean(told)),
            "simulated_minus_real": interval(bootstrap_mean(told - real)),
            "constant_rate_minus_real": interval(bootstrap_mean(flat - real)),
            "share_with_so_many_visits, real and simulated": shares,
            "correlation_over_users": float(np.corrcoef(told, real)[0, 1]) if real.std() > 0 else None,
        }

    def truth(self, world: World) -> dict[str, Any]:
        """Return how near the fit comes to an invented world's own return times: a day, then nine on average."""
        known = gaps(world.log, carried=self.assumed)
        fit_to, asked = self._halves(known)
        model = fit_gaps(fit_to, slope="fit", assumed=self.assumed)
        grid = np.asarray([m for m in self.moments if m <= 60])
        true = np.where(grid > 1, -np.expm1(-(grid - 1) / 9), 0.0)
        seen = SeenGaps(asked.user, asked.days, asked.returned).cut(self.assumed.horizon)
        plain = foretellers(fit_to, self.assumed, (BASELINE,))[BASELINE].p_back(asked, grid)
        own = Own(model).p_back(asked, grid)
        told = {"truth": np.broadcast_to(true, own.shape), "own": own, BASELINE: plain}
        return {
            "largest_gap_to_the_truth": {n: float(np.abs(p.mean(axis=0) - true).max()) for n, p in told.items()},
            "integrated_brier": {n: interval(bootstrap(integrated_brier(seen, p, grid))) for n, p in told.items()},
            "slope_satisfaction, true 0": model.slope_satisfaction,
            "frailty, true 0": model.frailty,
        }

    def _halves(self, known: Gaps) -> tuple[Gaps, Gaps]:
        half = self._half(known.user, -1)
        return known.take(half), known.take(~half)

    def _half(self, user: Ints, number: int) -> NDArray[np.bool_]:
        """Return which rows [N] are of a random half of the users."""
        ids = np.unique(user)
        chosen = generator(self.seed, "half", number).permutation(ids)[: len(ids) // 2]
        return np.isin(user, chosen)


def interval(found: Interval) -> list[float]:
    """Return [mean, low, high], for JSON."""
    return [found.mean, found.low, found.high]


def _mean(statistic: Statistic) -> float:
    return float(statistic.value(statistic.total.sum(axis=0)))


def _resampled(known: Gaps, seed: int) -> Gaps:
    """Return the gaps of users drawn with replacement; one drawn twice counts as two users."""
    ids, first, size = np.unique(known.user, return_index=True, return_counts=True)
    pick = generator(seed).integers(len(ids), size=len(ids))
    number = np.repeat(np.arange(len(pick)), size[pick])
    place = np.arange(len(number)) - np.repeat(np.cumsum(size[pick]) - size[pick], size[pick])
    drawn = known.take(first[pick][number] + place)
    return Gaps(number, *(getattr(drawn, n) for n in ("visit", "days", "returned", "utility", "activity", "start")))


def _after(log: InteractionLog, moment: int, days: float) -> InteractionLog:
    assert log.time is not None
    return log.take((log.time >= moment) & (log.time < moment + days * DAY))


def _count(log: InteractionLog, moment: int, days: float, user: Ints, n_users: int) -> Floats:
    """Return float64[M]: visits of users that began in the days after a moment."""
    number = visits(log)
    first = np.flatnonzero(np.diff(number, prepend=-1))
    begun = log.take(first)
    return np.bincount(_after(begun, moment, days).user, minlength=n_users)[user].astype(np.float64)


def _given(who: Foreteller, known: Gaps, last: Ints, days: float) -> Floats:
    """Return float64[M]: P(back within `days` more) of the gaps at `last`, given that they have lasted already."""
    both = np.zeros((len(known), 2))
    both[last] = known.days[last, None] + [0.0, days]
    p = who.p_back(known, both)[last]
    return np.asarray((p[:, 1] - p[:, 0]) / np.maximum(1 - p[:, 0], 1e-9), np.float64)


def _lived(model: ReturnTime, said: Loyalty, away: Gaps, days: float, seed: int) -> Floats:
    """Return float64[M]: visits that simulated users begin in `days`, those away for so long already going on."""
    rng, size = generator(seed), len(away)
    liking, model = said.draw(away.user, rng.random(size), model.frailty), model.scaled(0)
    ratio = np.asarray(liking * model.ratio(away.utility, away.activity, away.visit.astype(np.float64)), np.float64)
    clock = model.reached(model.cumulative(away.days) - np.log(rng.random(size)) / ratio) - away.days
    count = np.zeros(size)
    while (clock <= days).any():
        count += clock <= days
        ratio = liking * model.ratio(away.utility, away.activity, away.visit + count)
        clock = clock + model.draw(rng.random(size), ratio)
    return count
