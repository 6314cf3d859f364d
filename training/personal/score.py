"""F1-macro per label and on average, with intervals over users; differences on the same resampled users.

F1 of a class is 2 TP / (2 TP + FP + FN) over all judgements; macro is the mean over classes, then over labels. Knows
arrays only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation.interval import Interval
from simenv.evaluation.statistics import bootstrap_p, resampled_means

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Gain:
    """A difference of F1-macro between two contestants on the same judgements."""

    difference: Interval
    p: float
    """Two-sided, from the bootstrap over users; not corrected for the number of comparisons."""

    @property
    def words(self) -> str:
        """The finding: better, worse, or no difference shown."""
        if not self.difference.clear:
            return "no difference shown"
        return "better" if self.difference.mean > 0 else "worse"


def counts(user: Ints, value: Ints, said: Ints, classes: Sequence[int]) -> Floats:
    """Return float64[M, L, C, C]: per user who occurs and label, how often class a was answered by b.

    user: int64[N]; value, said: int64[N, L], -1 in value: not given. classes: [L]; C is the largest of them.
    """
    _, who = np.unique(user, return_inverse=True)
    out = np.zeros((int(who.max()) + 1, len(classes), max(classes), max(classes)))
    row, label = np.nonzero(value >= 0)
    np.add.at(out, (who[row], label, value[row, label], said[row, label]), 1)
    return out


def f1_macro(count: Floats) -> Floats:
    """Return float64[..., L] from counts [..., L, C, C]; classes that never occur, nor are answered, do not count."""
    hit = np.diagonal(count, axis1=-2, axis2=-1)
    whole = count.sum(axis=-1) + count.sum(axis=-2)
    there = whole > 0
    f1 = np.where(there, 2 * hit / np.where(there, whole, 1), 0.0)
    return np.asarray(f1.sum(axis=-1) / np.maximum(there.sum(axis=-1), 1), np.float64)


@final
@dataclass(frozen=True, eq=False)
class Scores:
    """F1-macro of K contestants on the same judgements: as measured, and on B resamples of the users."""

    names: tuple[str, ...]
    point: Floats
    """float64[K, L]."""
    sample: Floats
    """float64[B, K, L]."""

    @classmethod
    def of(cls, counted: Mapping[str, Floats], seed: int) -> Scores:
        """Return the scores of contestants' counts [M, L, C, C], all over the same users in the same order."""
        stacked = np.stack(list(counted.values()), axis=1)
        means = resampled_means(stacked.reshape(len(stacked), -1), seed=seed)
        return cls(tuple(counted), f1_macro(stacked.sum(axis=0)), f1_macro(means.reshape(-1, *stacked.shape[1:])))

    def mean(self, name: str) -> Interval:
        """Return F1-macro, mean over labels."""
        k = self.names.index(name)
        return _interval(float(self.point[k].mean()), self.sample[:, k].mean(axis=-1))

    def label(self, name: str, label: int) -> Interval:
        """Return F1-macro of one label."""
        k = self.names.index(name)
        return _interval(float(self.point[k, label]), self.sample[:, k, label])

    def gain(self, name: str, twin: str) -> Gain:
        """Return the mean F1-macro of `name` less that of `twin`."""
        a, b = self.names.index(name), self.names.index(twin)
        gap = self.sample[:, a].mean(axis=-1) - self.sample[:, b].mean(axis=-1)
        return Gain(_interval(float(self.point[a].mean() - self.point[b].mean()), gap), bootstrap_p(gap))


def change(first: Scores, second: Scores, name: str, twin: str | None = None) -> Gain:
    """Return F1-macro in `second` less that in `first`, two parts of the same users' judgements.

    twin: the change of `name` less the change of `twin`; None: of `name` alone. Both must be resampled by one seed
    over the same users in the same order, so that a resample is the same users in both.
    """
    gap = _mean(second, name) - _mean(first, name)
    if twin is not None:
        gap = gap - (_mean(second, twin) - _mean(first, twin))
    return Gain(_interval(float(gap[0]), gap[1:]), bootstrap_p(gap[1:]))


def _mean(scores: Scores, name: str) -> Floats:
    """Return float64[1 + B]: mean over labels as measured, then resampled."""
    k = scores.names.index(name)
    return np.concatenate([[scores.point[k].mean()], scores.sample[:, k].mean(axis=-1)])


def _interval(point: float, sample: Floats, level: float = 0.95) -> Interval:
    low, high = np.quantile(sample, [(1 - level) / 2, (1 + level) / 2])
    return Interval(point, float(low), float(high), level)
