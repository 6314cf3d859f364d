"""Estimate: values of recommenders as a judge finds them, in a form that can be found again over resampled users.

Knows arrays only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation.statistics import resampled_means

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Estimate:
    """Values of A recommenders as a judge finds them over M users: a sum of ratios of means.

    Most judges are one mean per recommender; self-normalised importance sampling is a ratio, a doubly robust judge the
    sum of a mean and a ratio. Resampling users repeats each sum in a ratio.
    """

    term: tuple[tuple[Floats, Floats], ...]
    """(numerator [M, A], denominator [M, A]) of each ratio; finite."""

    @classmethod
    def of(cls, value: Floats) -> Estimate:
        """Return the means over users of value [M, A]; NaN entries are left out of their column."""
        array = np.asarray(value, np.float64)
        known = np.isfinite(array)
        return cls(((np.where(known, array, 0.0), known.astype(np.float64)),))

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(self.term + other.term)

    def take(self, rows: NDArray[np.bool_]) -> Estimate:
        """Return the estimate from some users."""
        return Estimate(tuple((top[rows], bottom[rows]) for top, bottom in self.term))

    def value(self) -> Floats:
        """Return float64[A]; NaN where a denominator is 0."""
        return self._ratio([(top.mean(axis=0), bottom.mean(axis=0)) for top, bottom in self.term])

    def resampled(self, resamples: int, seed: int) -> Floats:
        """Return float64[B, A]: the values over resampled users, the same users for every estimate of M users."""
        columns = np.concatenate([part for term in self.term for part in term], axis=1)
        sums = np.split(resampled_means(columns, resamples=resamples, seed=seed), 2 * len(self.term), axis=1)
        return self._ratio(list(zip(sums[::2], sums[1::2], strict=True)))

    @staticmethod
    def _ratio(terms: list[tuple[Floats, Floats]]) -> Floats:
        parts = [np.where(bottom > 0, top, np.nan) / np.where(bottom > 0, bottom, 1.0) for top, bottom in terms]
        return np.asarray(np.sum(parts, axis=0), np.float64)
