"""Foretellers: who says when users come back, on held-out gaps. Constant rate, Weibull, log-normal, and our own model.

The plain ones are fitted by scipy to days beyond the silence that ends a visit. Knows gaps and models of return; no
populations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.return_time import ReturnTime
from simenv.training.return_model import Gaps, fit_gaps

Floats = NDArray[np.float64]

PLAIN = {"constant rate": "expon", "Weibull": "weibull_min", "log-normal": "lognorm"}
"""Name -> distribution of scipy.stats."""
ARMS = (
    "rates",
    "rates, activity and visits",
    "own past",
    "own past, satisfaction assumed",
    "own past, satisfaction fitted",
)
"""Rates that change with the days away; with the slopes of activity and visits; with frailty, read off each user's
earlier gaps; with the satisfaction slope as assumed by default, or as fitted."""


class Foreteller(Protocol):
    """Says how likely users are to be back."""

    def p_back(self, gaps: Gaps, days: Floats) -> Floats:
        """Return float64[N, T]: P(back within days); days: [T] or [N, T]."""
        ...

    def risk(self, gaps: Gaps) -> Floats:
        """Return float64[N]: the higher, the sooner back."""
        ...


@final
@dataclass(frozen=True, eq=False)
class Plain:
    """One distribution for everybody."""

    law: Any
    """A frozen distribution of scipy.stats."""
    low: float
    """Days before which nobody is back."""

    @classmethod
    def fit(cls, name: str, gaps: Gaps, low: float) -> Plain:
        """Return the maximum likelihood, gaps that were cut off counted as such."""
        from scipy import stats

        law = getattr(stats, name)
        away = np.maximum(gaps.days - low, 1e-6)
        data = stats.CensoredData.right_censored(away, ~gaps.returned)
        return cls(law(*law.fit(data, floc=0)), low)

    def p_back(self, gaps: Gaps, days: Floats) -> Floats:
        """Return float64[N, T], all rows alike for days [T]."""
        p = self.law.cdf(np.maximum(np.asarray(days) - self.low, 0.0))
        return np.asarray(np.broadcast_to(p, (len(gaps), p.shape[-1])), np.float64)

    def risk(self, gaps: Gaps) -> Floats:
        """Return zeros: everybody is alike."""
        return np.zeros(len(gaps))


@final
@dataclass(frozen=True, eq=False)
class Own:
    """Our model. With frailty, what a user's earlier gaps say is taken in; the gap itself and later ones are not."""

    model: ReturnTime

    @classmethod
    def fit(cls, arm: str, gaps: Gaps, assumed: ReturnTime) -> Own:
        """Return the arm by its name in ARMS."""
        base = assumed if arm.endswith("assumed") else assumed.scaled(0)
        free: Literal["fit", "assumed"] = "fit" if arm.endswith("fitted") else "assumed"
        tiring, frailty = arm != "rates", arm.startswith("own past")
        return cls(fit_gaps(gaps, slope=free, assumed=base, tiring=tiring, frailty=frailty))

    def p_back(self, gaps: Gaps, days: Floats) -> Floats:
        """Return float64[N, T]."""
        ratio = self._ratio(gaps)[:, None]
        total = self.model.cumulative(np.broadcast_to(days, (len(gaps), np.shape(days)[-1])))
        if self.model.frailty == 0:
            return np.asarray(-np.expm1(-ratio * total), np.float64)
        shape, rate = self.posterior(gaps)
        return np.asarray(1 - (rate[:, None] / (rate[:, None] + ratio * total)) ** shape[:, None], np.float64)

    def risk(self, gaps: Gaps) -> Floats:
        """Return the expected multiple of the usual rate."""
        if self.model.frailty == 0:
            return self._ratio(gaps)
        shape, rate = self.posterior(gaps)
        return self._ratio(gaps) * shape / rate

    def posterior(self, gaps: Gaps) -> tuple[Floats, Floats]:
        """Return shape and rate [N] of each user's loyalty after the gaps before this one."""
        seen = (gaps.returned & (gaps.days <= self.model.horizon)).astype(np.float64)
        waited = self.model.cumulative(gaps.days) * self._ratio(gaps)
        first = np.searchsorted(gaps.user, gaps.user)
        before = [np.cumsum(x) - x for x in (seen, waited)]
        own = [x - x[first] for x in before]
        return 1 / self.model.frailty + own[0], 1 / self.model.frailty + own[1]

    def _ratio(self, gaps: Gaps) -> Floats:
        return self.model.ratio(gaps.utility, gaps.activity, gaps.visit.astype(np.float64))


def foretellers(gaps: Gaps, assumed: ReturnTime, names: Sequence[str] = (*PLAIN, *ARMS)) -> dict[str, Foreteller]:
    """Return those named, fitted to gaps."""
    return {n: Plain.fit(PLAIN[n], gaps, assumed.edge[0]) if n in PLAIN else Own.fit(n, gaps, assumed) for n in names}
