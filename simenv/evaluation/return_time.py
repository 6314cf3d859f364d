"""How well days until the next visit were foretold: discrimination, calibration and Brier scores, as sums per user.

Knows days, censoring and probabilities; nothing of who said them. N gaps of M users, T moments.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf

from simenv.errors import DataError
from simenv.evaluation.interval import Interval
from simenv.evaluation.user_total import Statistic, UserTotals, ratio
from simenv.randomness import generator

Float = NDArray[np.float64]
Ints = NDArray[np.int64]

MOMENTS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 7.0, 14.0, 30.0, 60.0, 120.0)
"""Days at which survival is looked at, about evenly spread in the logarithm."""
_CHUNK = 4_000_000


@final
@dataclass(frozen=True, eq=False)
class SeenGaps:
    """What really happened after N visits, up to a horizon."""

    user: Ints
    """int64[N]"""
    days: Float
    """float64[N]: until the next visit, or for how long none was seen."""
    returned: NDArray[np.bool_]
    """bool[N]"""

    def __post_init__(self) -> None:
        if not len(self.user) == len(self.days) == len(self.returned) or not len(self.user):
            raise DataError("held-out gaps need user, days and returned of one length, at least one of them.")

    def take(self, rows: NDArray[np.bool_]) -> SeenGaps:
        """Return some rows, bool[N]."""
        return SeenGaps(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def cut(self, horizon: float) -> SeenGaps:
        """Return the gaps as if nobody had looked beyond `horizon` days."""
        return SeenGaps(self.user, np.minimum(self.days, horizon), self.returned & (self.days <= horizon))

    @cached_property
    def totals(self) -> UserTotals:
        """Sums over each user's gaps."""
        return UserTotals(self.user)

    def weight(self, moment: Float) -> tuple[Float, Float]:
        """Return (back float64[N, T], weight float64[N, T]): who was back by each moment, and what it counts.

        Weight: one over the probability that it was seen (Kaplan-Meier of the censoring; Graf et al. 1999), 0 where
        it was not seen.
        """
        days = self.days[:, None]
        back = self.returned[:, None] & (days <= moment)
        away = days > moment
        seen_until = np.where(back, days, moment)
        # Who returns at the very moment that others are cut off was seen: censoring counts from just after.
        chance = self._unseen(np.nextafter(seen_until, 0)) if len(moment) else seen_until
        return back.astype(np.float64), (back | away) / np.maximum(chance, 1e-9)

    def _unseen(self, days: Float) -> Float:
        """Return the Kaplan-Meier estimate of not being cut off up to `days`, any shape."""
        curve = ecdf(CensoredData.right_censored(self.days, self.returned)).sf
        return np.asarray(curve.evaluate(days.ravel()), np.float64).reshape(days.shape)


def brier(seen: SeenGaps, p_back: Float, moment: Float) -> Float:
    """Return float64[N, T]: weighted squared errors of P(back within each moment), [N, T]; their mean is the score."""
    back, weight = seen.weight(moment)
    return np.asarray(weight * (back - p_back) ** 2)


def integrated_brier(seen: SeenGaps, p_back: Float, moment: Float) -> Statistic:
    """Return the Brier score averaged over the moments, for the bootstrap over users."""
    loss = brier(seen, p_back, moment).mean(axis=1)
    return Statistic(np.column_stack([seen.totals.sum(loss), seen.totals.count]), ratio)


def calibration(seen: SeenGaps, p_back: Float, moment: Float) -> tuple[list[Statistic], list[Statistic]]:
    """Return, per moment, the share foretold to be back and the foretold minus the seen share (weighted)."""
    back, weight = seen.weight(moment)
    gap, told = seen.totals.sum(p_back - weight * back), seen.totals.sum(p_back)
    count = seen.totals.count
    pair = [[Statistic(np.column_stack([x[:, t], count]), ratio) for t in range(len(moment))] for x in (told, gap)]
    return pair[0], pair[1]


@final
@dataclass(frozen=True, eq=False)
class Concordance:
    """Harrell's C-index: of two gaps of which one was seen to end first, how often its risk was the higher one.

    Pairs within and between users, ties in risk count one half; kept as sums per pair of users, so that users can be
    resampled.
    """

    right: Float
    """float64[M, M]: concordant pairs, the first user's gap ending first."""
    pairs: Float
    """float64[M, M]: comparable pairs."""

    @classmethod
    def of(cls, seen: SeenGaps, risk: Float) -> Concordance:
        """Return it for risks [N]; the higher, the sooner back."""
        users = seen.totals
        own = np.searchsorted(users.ids, seen.user)
        right, pairs = np.zeros((len(users.ids), len(users.ids))), np.zeros((len(users.ids), len(users.ids)))
        ended = np.flatnonzero(seen.returned)
        step = max(1, _CHUNK // len(seen.user))
        for start in range(0, len(ended), step):
            row = ended[start : start + step, None]
            first = (seen.days[row] < seen.days) | ((seen.days[row] == seen.days) & ~seen.returned)
            win = first * ((risk[row] > risk) + 0.5 * (risk[row] == risk))
            np.add.at(right, own[row[:, 0]], users.sum(win.T).T)
            np.add.at(pairs, own[row[:, 0]], users.sum(first.T).T)
        return cls(right, pairs)

    @property
    def value(self) -> float:
        """The index; NaN where no pair can be compared."""
        pairs = float(self.pairs.sum())
        return float(self.right.sum()) / pairs if pairs else float("nan")

    def interval(self, *, resamples: int = 500, seed: int = 0, level: float = 0.95) -> Interval:
        """Return it with its percentile interval over users."""
        rng, size = generator(seed, "concordance"), len(self.pairs)
        drawn = []
        for _ in range(resamples):
            weight = np.bincount(rng.integers(size, size=size), minlength=size).astype(np.float64)
            pairs = weight @ self.pairs @ weight
            drawn.append(weight @ self.right @ weight / pairs if pairs else np.nan)
        low, high = np.nanquantile(np.array(drawn, np.float64), [(1 - level) / 2, (1 + level) / 2])
        return Interval(self.value, float(low), float(high), level)
