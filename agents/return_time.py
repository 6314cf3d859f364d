"""Return times: how long users stay away after a visit, and who never comes back.

Proportional hazards whose rate is constant between given days away (Friedman 1982, "Piecewise exponential models for
survival data with covariates") and a gamma frailty per user (Vaupel, Manton and Stallard 1979). All of it in closed
form. Knows numbers; how they were estimated is `simenv.training.return_model`'s business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from simenv.errors import ConfigError
from simenv.pages import GAP

Floats = NDArray[np.float64]

DAY = 86_400
"""Seconds."""
EDGE = (GAP / DAY, 1 / 24, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 7.0, 14.0, 30.0, 60.0, 120.0, 180.0)
"""Days away between which the rate of coming back is constant; nobody comes back before the first or after the last."""
_LOG_RATE = (-0.4, -0.7, -1.6, -2.4, -2.0, -2.5, -3.0, -3.2, -3.5, -4.3, -5.5, -6.4, -7.1)
"""Assumed where nothing was fitted: about what visitors of a film site do who rate on it (the first hours and the next
day are likely, rates fall by half whenever the time away doubles)."""


@final
@dataclass(frozen=True)
class ReturnTime:
    """rate(days away) = exp(log_rate + slopes * what the user felt) * the user's own loyalty."""

    edge: tuple[float, ...] = EDGE
    """Days, ascending, J + 1 of them. After the last a user is gone for good: that is what churn means here."""
    log_rate: tuple[float, ...] = _LOG_RATE
    """[J]: log of returns per day between edge j and j + 1, of a user of loyalty 1 who was as satisfied as usual."""
    slope_satisfaction: float = 0.5
    """Added to log_rate per rating point of the running utility at the end of the visit (see `UserState.utility`).
    Assumed: ratings given in MovieLens say nothing about returns (`benchmarks/results/return-visits.json`)."""
    slope_activity: float = 0.0
    """Added to log_rate per standard deviation of the activity trait."""
    slope_visits: float = 0.0
    """Added to log_rate per unit of log(1 + visits before the one just over): below 0, users tire with every visit."""
    frailty: float = 1.0
    """Variance of loyalty between users, whose mean is 1; 0: all alike."""
    carry: float = 0.5
    """In [0, 1]: share of a visit's utility with which the next visit begins, were it to follow at once."""
    half_life: float = 7.0
    """Days away in which half of what is carried fades."""
    tag: Mapping[str, str] = field(default_factory=dict)
    """"fitted" or "assumed" for each field by name; a field that is not named is "assumed"."""
    note: str = ""
    """How it was fitted, or why it was not."""

    def __post_init__(self) -> None:
        edge = np.asarray(self.edge, np.float64)
        if len(edge) != len(self.log_rate) + 1 or len(edge) < 2 or edge[0] < 0 or not (np.diff(edge) > 0).all():
            raise ConfigError(
                "edge must hold ascending days from 0 on, one more than there are rates; "
                f"got {len(edge)} edges and {len(self.log_rate)} rates."
            )
        numbers = [*edge, *self.log_rate, self.slope_satisfaction, self.slope_activity, self.slope_visits]
        if not np.isfinite(numbers).all():
            raise ConfigError("edges, rates and slopes must be finite.")
        if self.frailty < 0 or not 0 <= self.carry <= 1 or self.half_life <= 0:
            raise ConfigError(
                "expected frailty >= 0, carry in [0, 1] and half_life > 0; "
                f"got {self.frailty}, {self.carry} and {self.half_life}."
            )

    def beginning(self, days: float) -> ReturnTime:
        """Return it with `days` as the first edge: the silence that ends a visit, before which nobody can return."""
        later = [n for n, edge in enumerate(self.edge) if edge > days]
        if not later:
            raise ConfigError(f"visits end after {days:g} days of silence, but nobody returns after {self.horizon:g}.")
        return replace(
            self,
            edge=(days, *(self.edge[n] for n in later)),
            log_rate=tuple(self.log_rate[max(n - 1, 0)] for n in later),
        )

    @property
    def horizon(self) -> float:
        """Days after which nobody comes back any more."""
        return self.edge[-1]

    @cached_property
    def _known(self) -> tuple[Floats, Floats]:
        """Edges and the cumulative rate at each: straight lines between them are exact."""
        edge = np.asarray(self.edge, np.float64)
        return edge, np.concatenate([[0.0], np.cumsum(np.exp(self.log_rate) * np.diff(edge))])

    def cumulative(self, days: Floats) -> Floats:
        """Return the cumulative rate up to `days` away, of loyalty 1 and usual satisfaction; same shape."""
        edge, total = self._known
        return np.asarray(np.interp(days, edge, total), np.float64)

    def ratio(self, satisfaction: Floats, activity: Floats, visits: Floats) -> Floats:
        """Return how many times the usual rate is, before loyalty; same shape as the arguments.

        visits: how many there were before the one just over, known ones counted.
        """
        log = self.slope_satisfaction * satisfaction + self.slope_activity * activity
        return np.asarray(np.exp(log + self.slope_visits * np.log1p(visits)))

    def draw(self, u: Floats, ratio: Floats) -> Floats:
        """Return days away for uniforms u in (0, 1): the higher the ratio, the sooner; inf: never comes back."""
        return self.reached(-np.log1p(-u) / ratio)

    def reached(self, cumulative: Floats) -> Floats:
        """Return the days away at which the cumulative rate is so high; inf: it never is."""
        edge, total = self._known
        return np.asarray(np.interp(cumulative, total, edge, right=np.inf), np.float64)

    def p_return(self, days: Floats, ratio: Floats) -> Floats:
        """Return the probability of being back within `days`; `ratio` with loyalty in it."""
        return np.asarray(-np.expm1(-self.cumulative(days) * ratio), np.float64)

    def fade(self, days: Floats) -> Floats:
        """Return what is left of a feeling after `days` away, of 1."""
        return np.asarray(0.5 ** (days / self.half_life), np.float64)

    def scaled(self, factor: float) -> ReturnTime:
        """Return it with slope_satisfaction multiplied, for the 0-2x sweep."""
        return replace(self, slope_satisfaction=self.slope_satisfaction * factor)

    @property
    def assumption(self) -> dict[str, str]:
        """Each number by name with its tag, for reports."""
        rates = ", ".join(f"{a:.2f}" for a in self.log_rate)
        said = {"return.log_rate": f"{self.tag.get('log_rate', 'assumed')} {rates}"}
        names = ("slope_satisfaction", "slope_activity", "slope_visits", "frailty", "carry", "half_life")
        said |= {f"return.{n}": f"{self.tag.get(n, 'assumed')} {getattr(self, n):g}" for n in names}
        return said | {"return.horizon": f"assumed {self.horizon:g}"}


@final
@dataclass(frozen=True, eq=False)
class Loyalty:
    """What each user's own past says about coming back: the gamma posterior of the frailty, from known gaps alone."""

    returns: Floats
    """float64[U]: how often the user was seen to come back."""
    expected: Floats
    """float64[U]: how often a user of loyalty 1 would have, over the same days away."""
    visits: Floats
    """float64[U]: visits known, all of them over."""

    def __post_init__(self) -> None:
        shapes = [x.shape for x in (self.returns, self.expected, self.visits)]
        if self.returns.ndim != 1 or len(set(shapes)) != 1:
            raise ConfigError(f"loyalty needs returns, expected and visits of one shape [U]; got {shapes}.")
        if min(float(x.min(initial=0)) for x in (self.returns, self.expected, self.visits)) < 0:
            raise ConfigError("loyalty counts returns and visits: negative numbers stand for nothing.")

    @property
    def fingerprint(self) -> str:
        """Eight hex digits of all numbers."""
        return hashlib.blake2b(
            np.stack([self.returns, self.expected, self.visits]).tobytes(), digest_size=4
        ).hexdigest()

    @classmethod
    def unknown(cls, n_users: int) -> Loyalty:
        """Return what is known of users of whom nothing is known."""
        return cls(np.zeros(n_users), np.zeros(n_users), np.zeros(n_users))

    def posterior(self, user: NDArray[np.int64], frailty: float) -> tuple[Floats, Floats]:
        """Return shape and rate [B] of the gamma distribution of each user's loyalty; frailty > 0."""
        return 1 / frailty + self.returns[user], 1 / frailty + self.expected[user]

    def draw(self, user: NDArray[np.int64], u: Floats, frailty: float) -> Floats:
        """Return float64[B]: loyalties at quantiles u of what is known; 1 where users are all alike."""
        if frailty == 0:
            return np.ones(len(user))
        shape, rate = self.posterior(user, frailty)
        return np.asarray(gammaincinv(shape, u) / rate, np.float64)


@final
@dataclass(frozen=True)
class Newcomers:
    """New users: a share of the members comes only later, on days spread evenly. Always assumed."""

    share: float = 0.0
    """In [0, 1]: members who are not there on the first day."""
    days: float = 30.0
    """Days over which they arrive."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or not 0 < self.days < np.inf:
            raise ConfigError(f"expected share in [0, 1] and days > 0; got {self.share} and {self.days}.")

    def day(self, u: Floats) -> Floats:
        """Return the day of arrival for uniforms u; 0: there from the first day."""
        late = u >= 1 - self.share
        return np.where(late, (u - (1 - self.share)) / max(self.share, 1e-12) * self.days, 0.0)

    @property
    def assumption(self) -> dict[str, str]:
        """Both numbers by name, for reports."""
        return {"newcomers.share": f"assumed {self.share:g}", "newcomers.days": f"assumed {self.days:g}"}
