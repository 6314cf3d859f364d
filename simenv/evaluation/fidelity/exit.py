"""Leaving: how long visits last, simulated against real ones, page by page; and against a model that knows pages alone.

Real visits are held-out ratings cut by silence. The same users are then simulated before the same items in order, and
leave by their own probabilities. Knows populations by protocol, and logs.

Two cautions belong beside every number from here. A ratings log says when people stopped rating, not that they were
dissatisfied. And where users were chosen by how much they rated, or are cut at a share of their own history, the choice
bounds how long their visits can be: the curves then describe these users and judge no hazard fitted on others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation import figure
from simenv.evaluation.fidelity import survival
from simenv.evaluation.fidelity.response import ResponseTest, response_test
from simenv.evaluation.fidelity.visit import HeldVisits, held_visits, page_hazard
from simenv.evaluation.interval import Interval
from simenv.evaluation.report import Figure
from simenv.evaluation.statistics import RESAMPLES, check_level, resampled_means
from simenv.evaluation.user_total import bootstrap
from simenv.log import InteractionLog
from simenv.pages import GAP, PAGE
from simenv.protocols import Population
from simenv.randomness import Purpose, counter_hash, derive
from simenv.session import Slate

__all__ = ["Curve", "ResponseTest", "VisitSurvival", "response_test", "visit_survival"]

Float = NDArray[np.float64]
PAGES = 20
"""Pages of a visit that are looked at."""
LIVES = 8
"""Times each visit is simulated, with another readiness to leave each time; their probabilities are averaged."""
ENOUGH_VISITS, ENOUGH_USERS = 30, 10
"""Below either nothing is said."""
AT_RISK = 10
"""The curves end before the first page that fewer real visits reached."""
_PICTURED = 1000


@final
@dataclass(frozen=True, eq=False)
class Curve:
    """Share of visits still going on after 0, 1, .. T pages."""

    mean: Float
    """float64[T+1]"""
    low: Float
    """float64[T+1]: pointwise, over users."""
    high: Float


@final
@dataclass(frozen=True, eq=False)
class VisitSurvival:
    """Real and simulated visits of the same users."""

    real: Curve
    """Kaplan-Meier 1958, visits that began before the cut entering late."""
    simulated: Curve
    """The same estimator on expected numbers: what the simulated users' probabilities of leaving come to."""
    page_only: Float
    """float64[T+1]: the model that knows nothing but the page, fitted on past visits."""
    distance: Interval
    """Largest gap between real and simulated curve. Its bootstrap leans upward, as |noise| does."""
    noise: float
    """The same gap between the real curve and itself resampled, on average: what a perfect simulator would show."""
    brier: Interval
    """Integrated Brier score of the simulator (Graf et al. 1999, censoring weighted out), mean over pages."""
    brier_page_only: Interval
    brier_difference: Interval
    """Simulator minus page-only model, over the same users; below 0 the simulator is better."""
    users: int
    visits: int
    late: int
    """Visits that began before the cut."""
    censored: int
    """Visits whose end was not seen, because the log ended first."""

    @property
    def figure(self) -> Figure:
        """The curves."""
        named = {"real": self.real.mean, "simulated": self.simulated.mean, "page-only model": self.page_only}
        pages = {name: _as_lengths(curve) for name, curve in named.items()}
        return figure.survival("Share of visits going on after each page", pages, len(self.page_only) - 1)


def visit_survival(
    population: Population,
    past: InteractionLog,
    held: InteractionLog,
    *,
    cut: NDArray[np.int64] | None = None,
    page_size: int = PAGE,
    gap: int = GAP,
    pages: int = PAGES,
    lives: int = LIVES,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[VisitSurvival | None, str]:
    """Return how real and simulated visits last, or (None, why it cannot be told).

    past: *all* rows before the cut, contestants' too; a half of them would shorten every visit that begins there.
    held: held-out rows; those of users who are not simulated are left out.
    cut: int64[U], `Split.cut`: whose rows go on after the past; None: only those of users in `held`.
    page_size: ratings that make a page of a real visit, and places of a simulated one.
    gap: seconds of silence that end a visit.

    A visit that began before the cut is counted, and shown, from its beginning, and enters with its first held-out
    page. After the visit's own items come the user's later held-out items; where these run out the simulated visit is
    cut off, too. (The Brier scores look further: at empty pages, with the mood as it was.)

    Raises:
        UnknownIdError: the population does not know a user or item.
        ConfigError: level is no coverage.

    """
    check_level(level)
    goes_on = _goes_on(past, held, cut)
    held = held.of_users(population.member)
    seen, why = held_visits(past, held, pages=pages, page_size=page_size, gap=gap)
    if seen is None:
        return None, why
    last = _last_page(seen, pages)
    users = len(np.unique(seen.user))
    if len(seen) < ENOUGH_VISITS or users < ENOUGH_USERS or last == 0:
        return None, (
            f"there are {len(seen)} held-out visits of {users} simulated users; at least {ENOUGH_VISITS} visits of "
            f"{ENOUGH_USERS} users are needed, {AT_RISK} of them from their first page on"
        )
    seen = seen.take(np.flatnonzero(seen.at_risk(last).any(axis=1)))
    alone = page_hazard(past, goes_on, pages=last, page_size=page_size, gap=gap)
    if alone is None:
        return None, "no past visit was seen to end, so there is no page-only model to compare with"
    stay = _simulated(population, seen, last, page_size, lives, seed)
    page_only = np.concatenate([[1.0], np.cumprod(1 - alone)])
    other = survival.since_entry(np.tile(page_only, (len(seen), 1)), seen.entry)
    return _measured(survival.totals(seen, stay, other), page_only, seen, resamples, seed, level), ""


def _last_page(seen: HeldVisits, pages: int) -> int:
    few = seen.at_risk(pages).sum(axis=0) < AT_RISK
    return int(np.argmax(few)) if few.any() else pages


def _goes_on(past: InteractionLog, held: InteractionLog, cut: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Return bool[U]: whose last past visit may go on after the cut."""
    known = np.isin(np.arange(past.n_users), held.user)
    return known if cut is None else known | (cut < np.iinfo(np.int64).max)


def _simulated(population: Population, seen: HeldVisits, pages: int, page_size: int, lives: int, seed: int) -> Float:
    """Return float64[V, T+1]: the simulated share still there after each page, of those there at the visit's entry."""
    stay = np.ones((lives, len(seen), pages + 1))
    for life in range(lives):
        key = counter_hash(np.uint64(derive(seed, "life", life)), seen.user, seen.number, int(Purpose.EPISODE))
        state = population.begin(seen.user, key)
        for t in range(pages):
            item = seen.item[:, t * page_size : (t + 1) * page_size]
            response, state = population.respond(state, Slate.certain(item))
            stay[life, :, t + 1] = stay[life, :, t] * (1 - response.p_exit)
    return survival.since_entry(stay.mean(axis=0), seen.entry)


def _measured(
    total: Float, page_only: Float, seen: HeldVisits, resamples: int, seed: int, level: float
) -> VisitSurvival:
    def interval(value: Callable[[Float], Float]) -> Interval:
        return bootstrap(survival.statistic(total, value), resamples=resamples, seed=seed, level=level)

    real, drawn = _curve(total, survival.real_curve, resamples, seed, level)
    simulated, _ = _curve(total, survival.simulated_curve, resamples, seed, level)
    return VisitSurvival(
        real,
        simulated,
        page_only,
        distance=interval(survival.distance),
        noise=float(np.abs(drawn - real.mean).max(axis=1).mean()),
        brier=interval(survival.brier),
        brier_page_only=interval(survival.brier_other),
        brier_difference=interval(survival.brier_difference),
        users=len(total),
        visits=len(seen),
        late=int(seen.late.sum()),
        censored=int((~seen.left).sum()),
    )


def _curve(
    total: Float, value: Callable[[Float], Float], resamples: int, seed: int, level: float
) -> tuple[Curve, Float]:
    """Return the curve with its pointwise interval, and the resampled curves [B, T+1]."""
    statistic = survival.statistic(total, value)
    drawn = statistic.value(resampled_means(statistic.total, resamples=resamples, seed=seed))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Curve(statistic.value(statistic.total.sum(axis=0)), low, high), drawn


def _as_lengths(curve: Float) -> NDArray[np.int64]:
    """Return visit lengths of which a share as the curve says outlasts each page."""
    outlasting = (np.arange(_PICTURED) + 0.5) / _PICTURED
    return np.asarray((outlasting[:, None] < curve).sum(axis=1), np.int64)
