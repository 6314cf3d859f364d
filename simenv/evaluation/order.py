"""Order: what of the order of recommenders is sure, and how well a judge keeps it. Pairs, regret, spread, tau.

RMSE does not tell: users of whom only the histogram is right predict well and cannot rank anything. Knows arrays only;
no recommender, no population.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.evaluation.estimate import Estimate
from simenv.evaluation.interval import Interval
from simenv.evaluation.statistics import RESAMPLES, Pair, paired_differences, resampled_means
from simenv.randomness import generator

Floats = NDArray[np.float64]
_HALVES = 400
"""Halvings of the users behind the ceiling of tau."""
_TIE = 1e-9
"""Values nearer than this are equal: sums in another order differ so much."""


@final
@dataclass(frozen=True)
class Decision:
    """How well a judge orders A recommenders. All intervals count users, drawn anew; nothing else is repeated."""

    pairs_right: Interval
    """Share of the truly different pairs that the judge orders as the truth does; a tie, and a pair on which the judge
    is silent, counts one half. Which pairs differ is decided once, in the sample; resampling adds the noise of users
    once more, so close to 1 the interval lies below its number. NaN: no pair differs."""
    pairs: int
    """Pairs that truly differ: paired bootstrap over users, Holm over all A (A - 1) / 2 pairs."""
    regret: Interval
    """True value of the truly best minus true value of the judge's first; the mean over those that tie there."""
    chosen: tuple[int, ...]
    """The judge's first, several if they tie; all if the judge is silent."""
    error_mean: Interval
    """Mean over recommenders of |judged - true|; NaN if the judge has another unit."""
    error_max: Interval
    """The largest of these."""
    spread: Interval
    """Slope of judged on true values: below 1 the judge plays differences down. NaN if the judge has another unit."""
    tau: Interval
    """Kendall's tau-b of judged and true values; NaN if the judge finds all alike."""
    tau_ceiling: float
    """What tau to expect of the truth itself, measured again on as many other users; see `TrueOrder.ceiling`."""
    tau_of_ceiling: Interval
    """tau / tau_ceiling; a judge with less noise than the truth may pass 1."""
    users: int
    """Users with a true value of every recommender."""


@final
@dataclass(frozen=True, eq=False)
class TrueOrder:
    """True values of A recommenders for M users, and what of their order is sure; judges are held to it."""

    true: Floats
    """float64[M, A], finite."""
    kept: NDArray[np.bool_]
    """bool: which of the users given have a true value of every recommender; M of them."""
    alpha: float = 0.05
    """A pair differs truly if its p, after Holm, lies below."""
    resamples: int = RESAMPLES
    """Resamples of the users behind intervals (behind p more, where many pairs ask for it)."""
    seed: int = 0
    """Draws the users."""
    level: float = 0.95
    """Coverage of intervals."""

    @classmethod
    def of(
        cls, true: Floats, *, alpha: float = 0.05, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
    ) -> TrueOrder:
        """Return the order of true values [N, A]; users with a value that is not finite are left out.

        Raises:
            DataError: fewer than two recommenders, or than two users are left.

        """
        array = np.asarray(true, np.float64)
        kept = np.asarray(np.isfinite(array).all(axis=-1))
        if array.ndim != 2 or array.shape[1] < 2 or kept.sum() < 2:
            raise DataError(
                f"an order needs true values [users, recommenders] of two of each at least; got {array.shape}, "
                f"{int(kept.sum())} users with a value for every recommender."
            )
        return cls(array[kept], kept, alpha, resamples, seed, level)

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs that truly differ, after Holm."""
        every = paired_differences(self.true, resamples=self.resamples, seed=self.seed, level=self.level)
        return tuple(p for p in every if p.significant(self.alpha))

    @cached_property
    def mean(self) -> Floats:
        """True values [A]: means over users."""
        return np.asarray(self.true.mean(axis=0))

    @cached_property
    def drawn(self) -> Floats:
        """True values [B, A] over resampled users."""
        return resampled_means(self.true, resamples=self.resamples, seed=self.seed)

    @cached_property
    def ceiling(self) -> float:
        """What tau-b to expect between the truth and an equally noisy measurement of it, on other users.

        The mean tau of two random halves of the users, turned into a correlation (Greiner 1909: rho = sin(pi tau / 2)
        for normal values), lengthened to all users (Spearman 1910, Brown 1910: 2 rho / (1 + rho)) and turned back.
        0: halves do not agree at all.
        """
        rng, size = generator(self.seed, "halves"), len(self.true)
        mask = np.argsort(rng.random((_HALVES, size)), axis=1) < size // 2
        one, other = mask @ self.true / (size // 2), ~mask @ self.true / (size - size // 2)
        tau = tau_b(one, other)
        if np.isnan(tau).all():
            return float("nan")
        rho = np.sin(np.pi / 2 * max(0.0, float(np.nanmean(tau))))
        return float(2 / np.pi * np.arcsin(2 * rho / (1 + rho)))

    def right(self, judged: Floats, true: Floats) -> Floats:
        """Return the share [B] of the sure pairs that judged [B, A] orders as true [B, A]; NaN without such pairs."""
        first, second = (np.array([getattr(p, n) for p in self.pairs], np.int64) for n in ("first", "second"))
        if not len(first):
            return np.full(len(judged), np.nan)
        agree = _sign(judged[:, first] - judged[:, second]) * _sign(true[:, first] - true[:, second])
        return np.asarray(0.5 + 0.5 * agree.mean(axis=1))

    def right_drawn(self, judged: Estimate | Floats) -> Floats:
        """Return the share [B] of the sure pairs ordered right, over resampled users; the same users for any judge."""
        return self.right(self._drawn(judged), self.drawn)

    def judge(self, judged: Estimate | Floats, *, same_unit: bool = True) -> Decision:
        """Return how well a judge orders; see `decide`."""
        told = self._estimate(judged)
        one = (told if isinstance(told, np.ndarray) else told.value())[None]
        many, blank = self._drawn(judged), _interval([np.nan] * 3, self.level)

        def interval(number: Callable[[Floats, Floats], Floats]) -> Interval:
            point, sample = number(one, self.mean[None])[0], number(many, self.drawn)
            sample = sample[np.isfinite(sample)]
            if not len(sample) or not np.isfinite(point):
                return blank
            return _interval([point, *np.quantile(sample, [(1 - self.level) / 2, (1 + self.level) / 2])], self.level)

        tau = interval(tau_b)
        share = [x / self.ceiling if self.ceiling > 0 else np.nan for x in (tau.mean, tau.low, tau.high)]
        return Decision(
            pairs_right=interval(self.right),
            pairs=len(self.pairs),
            regret=interval(_regret),
            chosen=tuple(int(n) for n in np.flatnonzero(_first(one)[0])),
            error_mean=interval(lambda j, t: np.abs(j - t).mean(axis=1)) if same_unit else blank,
            error_max=interval(lambda j, t: np.abs(j - t).max(axis=1)) if same_unit else blank,
            spread=interval(_slope) if same_unit else blank,
            tau=tau,
            tau_ceiling=self.ceiling,
            tau_of_ceiling=_interval(share, self.level),
            users=len(self.true),
        )

    def _estimate(self, judged: Estimate | Floats) -> Estimate | Floats:
        size = self.true.shape[1]
        if not isinstance(judged, Estimate):
            array = np.asarray(judged, np.float64)
            if array.shape == (size,):
                return array
            judged = Estimate.of(array)
        shape = judged.term[0][0].shape
        if shape != (len(self.kept), size):
            raise DataError(
                f"a judge gives one value for each of {size} recommenders, or [{len(self.kept)} users, {size}]; "
                f"got {shape}."
            )
        return judged.take(self.kept)

    def _drawn(self, judged: Estimate | Floats) -> Floats:
        told = self._estimate(judged)
        if isinstance(told, np.ndarray):
            return np.broadcast_to(told, self.drawn.shape)
        return told.resampled(self.resamples, self.seed)


def decide(
    true: Floats,
    judged: Estimate | Floats,
    *,
    same_unit: bool = True,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Decision:
    """Return how well `judged` orders A recommenders whose true values are [M, A].

    judged: values [M, A] over the same users, values [A], or an `Estimate`. NaN: the judge says nothing there.
    same_unit: whether judged values are in the unit of the true ones; else errors and spread are NaN.

    >>> true = np.array([[3.0, 4.0, 5.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])
    >>> found = decide(true, np.array([1.0, 3.0, 3.0]))  # right, right, tied
    >>> round(found.pairs_right.mean, 3), found.pairs, found.chosen, found.regret.mean
    (0.833, 3, (1, 2), 0.5)

    Raises:
        DataError: shapes do not fit, or fewer than two users or recommenders have true values.

    """
    order = TrueOrder.of(true, alpha=alpha, resamples=resamples, seed=seed, level=level)
    return order.judge(judged, same_unit=same_unit)


def tau_b(first: Floats, second: Floats) -> Floats:
    """Return Kendall's tau-b [B] of rows [B, A] of two arrays; pairs with a NaN are left out; NaN if all are tied."""
    a, b = np.triu_indices(first.shape[1], 1)
    one, other = first[:, a] - first[:, b], second[:, a] - second[:, b]
    known = np.isfinite(one) & np.isfinite(other)
    s, t = (np.where(known, _sign(x), 0.0) for x in (one, other))
    size = np.sqrt(np.abs(s).sum(axis=1) * np.abs(t).sum(axis=1))
    return np.asarray(np.where(size > 0, (s * t).sum(axis=1), np.nan) / np.where(size > 0, size, 1.0))


def _interval(numbers: Sequence[float], level: float) -> Interval:
    mean, low, high = (float(x) for x in numbers)
    return Interval(mean, low, high, level)


def _sign(difference: Floats) -> Floats:
    """Return -1, 0 or 1; 0 for differences that are nothing but rounding, or NaN."""
    return np.where(np.abs(np.nan_to_num(difference)) <= _TIE, 0.0, np.sign(np.nan_to_num(difference)))


def _first(judged: Floats) -> NDArray[np.bool_]:
    """Return bool[B, A]: which a judge puts first; all in a row of NaN."""
    value: Floats = np.where(np.isnan(judged), -np.inf, judged)
    silent: NDArray[np.bool_] = np.asarray(np.isnan(judged).all(axis=1, keepdims=True))
    return np.asarray((value >= value.max(axis=1, keepdims=True) - _TIE) | silent)


def _regret(judged: Floats, true: Floats) -> Floats:
    chosen = _first(judged)
    return np.asarray(true.max(axis=1) - (true * chosen).sum(axis=1) / chosen.sum(axis=1))


def _slope(judged: Floats, true: Floats) -> Floats:
    """Return the least-squares slope [B] of judged on true; NaN where the true values are all alike."""
    centred = true - true.mean(axis=1, keepdims=True)
    square = (centred**2).sum(axis=1)
    return np.asarray(np.where(square > 0, (centred * judged).sum(axis=1), np.nan) / np.where(square > 0, square, 1.0))
