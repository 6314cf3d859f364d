"""From the numbers of all units to what a benchmark found: leagues, intervals, agreement. Words and tables come later.

Knows arrays by name only; no population, no recommender.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation import metrics
from simenv.evaluation.interval import Interval
from simenv.evaluation.statistics import Uncertainty, bootstrap_mean, decompose, kendall_tau
from simenv.evaluation.verdict import League

if TYPE_CHECKING:
    from simenv.evaluation.arms import Results
    from simenv.evaluation.benchmark import Benchmark

Floats = NDArray[np.float64]
HEADLINE = "expected utility"
_OWN = "own rows, shared items"
_RENAMED = {("truth", HEADLINE): "true utility", ("shared", HEADLINE): "shared utility"}
_RENAMED |= {("truth session", "pages"): "true pages"}
_RENAMED[_OWN, HEADLINE] = "own utility"
_KEPT = {_OWN: (HEADLINE,), "truth": (HEADLINE,), "shared": (HEADLINE,), "truth session": ("pages",)}


@final
@dataclass(frozen=True)
class Agreement:
    """How far one judge orders contestants as the truth does."""

    judge: str
    pairs: int
    """Pairs that truly differ, surely (Holm)."""
    right: int
    """Of these, ordered right by the judge's means."""
    misled: int
    """Of these, ordered wrong although the judge calls its difference significant."""
    tau: float
    """Kendall's tau-b between the means; NaN if one side has no order."""


@final
@dataclass(frozen=True, eq=False)
class Findings:
    """All numbers of one benchmark."""

    settings: Benchmark
    names: tuple[str, ...]
    results: Results
    _intervals: dict[tuple[str, str], Interval] = field(default_factory=dict)

    @cached_property
    def per_user(self) -> dict[str, dict[str, Floats]]:
        """Contestant -> number -> float64[M], averaged over seeds and refits; NaN where none is known."""
        out: dict[str, dict[str, Floats]] = {name: {} for name in self.names}
        for name in self.names:
            for arm in sorted({a for n, a, _, _ in self.results if n == name and not a.startswith("sweep")}):
                units = [v for (n, a, _, _), v in self.results.items() if (n, a) == (name, arm)]
                for key in _KEPT.get(arm, tuple(k for k in units[0] if k != "exposure")):
                    out[name][_RENAMED.get((arm, key), key)] = _nanmean(np.stack([u[key] for u in units]))
        return out

    def has(self, key: str) -> bool:
        """Return whether the number was computed and at least two users have it for every contestant."""
        return all(np.isfinite(self.per_user[n].get(key, np.zeros(0))).sum() > 1 for n in self.names)

    def interval(self, name: str, key: str) -> Interval:
        """Return the mean over the users that have the number, with a bootstrap interval over users."""
        if (name, key) not in self._intervals:
            self._intervals[name, key] = self._bootstrap(self.per_user[name][key])
        return self._intervals[name, key]

    def _bootstrap(self, value: Floats) -> Interval:
        s = self.settings
        return bootstrap_mean(value[np.isfinite(value)], resamples=s.resamples, seed=s.seed, level=s.level)

    @property
    def alpha(self) -> float:
        """Level of significance after Holm."""
        return 1 - self.settings.level

    def league(self, key: str) -> League:
        """Return the contestants on one number, over the users that have it for all of them."""
        s, value = self.settings, {n: self.per_user[n][key] for n in self.names}
        return League.of(value, resamples=s.resamples, seed=s.seed, level=s.level)

    @cached_property
    def headline(self) -> League:
        """The league on expected utility per shown place."""
        return self.league(HEADLINE)

    def mean(self, name: str, key: str) -> float:
        """Return the mean over the users that have the number."""
        value = self.per_user[name][key]
        return float(np.mean(value[np.isfinite(value)])) if np.isfinite(value).any() else float("nan")

    def exposure(self, name: str) -> Floats:
        """Return float64[I], how often each item was shown on the fixed pages, over all seeds and refits."""
        units = [v["exposure"] for (n, a, _, _), v in self.results.items() if (n, a) == (name, "pages")]
        return np.asarray(np.sum(units, axis=0), np.float64)

    def spread(self, name: str) -> dict[str, float]:
        """Return coverage and Gini of exposure."""
        count = self.exposure(name)
        return {"coverage": metrics.coverage(count), "gini": metrics.gini(count)}

    def cube(self, name: str) -> Floats:
        """Return the headline as float64[F refits, D seeds, M users]."""
        s = self.settings
        return np.array([[self.results[name, "pages", f, d][HEADLINE] for d in s.seeds] for f in range(s.refits)])

    def uncertainty(self, name: str, minus: str | None = None) -> Uncertainty:
        """Return the sources of uncertainty of a contestant's headline, or of its lead over another."""
        cube = self.cube(name) if minus is None else self.cube(name) - self.cube(minus)
        return decompose(cube[:, :, np.isfinite(cube).all(axis=(0, 1))], level=self.settings.level)

    @cached_property
    def sweep(self) -> dict[float, dict[str, float]]:
        """Factor on the satisfaction slope of exit -> contestant -> mean pages, at the first seed; empty: not swept."""
        seed, out = self.settings.seeds[0], {}
        for factor in self.settings.sweep:
            arm = "session" if factor == 1 else f"sweep {factor:g}"
            if (self.names[0], arm, 0, seed) in self.results:
                out[factor] = {n: float(np.mean(self.results[n, arm, 0, seed]["pages"])) for n in self.names}
        return out if any(f != 1 for f in out) else {}

    def order_kept(self) -> tuple[float, float, float]:
        """Return how much of the order at factor 1 holds at the other factors.

        Share of factors with the same first by pages; share of (pair, factor) with the pair in the same order; share of
        factors with the whole order.
        """
        seed = self.settings.seeds[0]
        base = {n: float(np.mean(self.results[n, "session", 0, seed]["pages"])) for n in self.names}
        other = [v for factor, v in self.sweep.items() if factor != 1]
        first = [max(self.names, key=base.__getitem__) == max(self.names, key=v.__getitem__) for v in other]
        kept = [_same_order(base, v) for v in other]
        pairs = float(np.mean(kept)) if len(self.names) > 1 else 1.0
        return float(np.mean(first)), pairs, float(np.mean([k.all() for k in kept]))

    def agreement(self) -> list[Agreement]:
        """Return how right the simulator, NDCG and mean true rating were about the true world."""
        true = self.league("true utility")
        judges = {"simulator": HEADLINE, "NDCG": "ndcg", "mean true rating": "true rating"}
        return [self._agree(true, word, key) for word, key in judges.items() if self.has(key)]

    def _agree(self, true: League, judge: str, key: str) -> Agreement:
        said, sure = self.league(key), [p for p in true.pairs if p.significant(self.alpha)]
        both = [(np.sign(p.difference.mean), said.pair(p.first, p.second)) for p in sure]
        right = sum(int(np.sign(q.difference.mean) == sign) for sign, q in both)
        misled = sum(int(np.sign(q.difference.mean) == -sign and q.significant(self.alpha)) for sign, q in both)
        return Agreement(judge, len(sure), right, misled, kendall_tau(true.mean, said.mean))

    def shared(self, name: str) -> tuple[Interval, Interval, Interval]:
        """Return utility learned from own rows, from shared rows, and the gain; both over the same open items."""
        own, shared = self.per_user[name]["own utility"], self.per_user[name]["shared utility"]
        return self._bootstrap(own), self._bootstrap(shared), self._bootstrap(shared - own)

    def to_dict(self) -> dict[str, Any]:
        """Return the findings for machines."""
        out: dict[str, Any] = {"headline": dict(zip(self.names, self.headline.mean, strict=True))}
        known = [k for k in self.per_user[self.names[0]] if self.has(k)]
        out["values"] = {n: {k: self.interval(n, k) for k in known} | self.spread(n) for n in self.names}
        out["pairs"] = _pairs(self.headline, self.alpha)
        out["uncertainty"] = {n: vars(self.uncertainty(n)) for n in self.names}
        out["sweep"] = {f"{f:g}": v for f, v in self.sweep.items()}
        if self.sweep:
            out["sweep_order_kept"] = dict(zip(("top", "pairs", "all"), self.order_kept(), strict=True))
        if self.has("true utility"):
            out["agreement"] = [vars(a) for a in self.agreement()]
            out["true_pairs"] = _pairs(self.league("true utility"), self.alpha)
        return out


def _pairs(league: League, alpha: float) -> list[dict[str, Any]]:
    return [
        {
            "first": league.names[p.first],
            "second": league.names[p.second],
            "difference": p.difference,
            "p": p.p,
            "p_holm": p.p_holm,
            "significant": p.significant(alpha),
        }
        for p in league.pairs
    ]


def _same_order(base: Mapping[str, float], other: Mapping[str, float]) -> NDArray[np.bool_]:
    """Return, for every pair of names, whether both orders agree."""
    pairs = combinations(base, 2)
    return np.array([np.sign(base[a] - base[b]) == np.sign(other[a] - other[b]) for a, b in pairs], bool)


def _nanmean(value: Floats) -> Floats:
    """Return the mean over the first axis of what is known; NaN where nothing is."""
    known = np.isfinite(value)
    count = known.sum(axis=0)
    total = np.where(known, value, 0.0).sum(axis=0)
    return np.asarray(np.where(count > 0, total, np.nan) / np.maximum(count, 1), np.float64)
