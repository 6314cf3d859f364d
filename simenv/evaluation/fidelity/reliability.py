"""Reliability: of the answers said to come with probability q, how many come.

Knows distributions and ratings; nothing of who predicted. Bins hold equally many pairs, so that each is as sure as the
next (Broecker and Smith 2007 on how to read the diagram; Nguyen and O'Connor 2015 on equal mass).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError, DataError
from simenv.evaluation.figure import lines
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Truth
from simenv.evaluation.report import Figure
from simenv.evaluation.statistics import RESAMPLES, check_level
from simenv.evaluation.user_total import Statistic, UserTotals, bootstrap, ratio

Float = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Bin:
    """Pairs of about the same predicted probability."""

    predicted: float
    """Mean probability."""
    observed: Interval
    """Share of pairs in which it came true; interval over users, NaN ends if they are of one user only."""
    pairs: int
    users: int


def reliability(
    truth: Truth,
    p: NDArray[np.floating],
    *,
    bins: int = 10,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[Bin, ...]:
    """Return predicted against observed share of likes (ratings from `truth.like_from` on) for p [N, R].

    Bins have equal mass, lowest probability first; equal probabilities are never parted, so there may be fewer than
    `bins`, and of unequal size.

    Raises:
        ConfigError: fewer than one bin, or level is no coverage.
        DataError: p is not one distribution per pair, or there are fewer than two users.

    """
    wide, place = _distribution(truth, p), truth.scale.encode(truth.rating)
    likes = truth.scale.array >= truth.like_from - 1e-9
    said = wide[:, likes].sum(axis=1)
    return _bins(truth, said, likes[place], bins=bins, resamples=resamples, seed=seed, level=level)


def top_reliability(
    truth: Truth,
    p: NDArray[np.floating],
    *,
    bins: int = 10,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[Bin, ...]:
    """Return the probability of the likeliest value against how often it was given; all else as `reliability`."""
    wide, place = _distribution(truth, p), truth.scale.encode(truth.rating)
    said, hit = wide.max(axis=1), wide.argmax(axis=1) == place
    return _bins(truth, said, hit, bins=bins, resamples=resamples, seed=seed, level=level)


def figure(caption: str, bins: Mapping[str, Sequence[Bin]]) -> Figure:
    """Return the reliability diagram: a line per name, intervals over users; on the dashed line all is as said."""
    series = {name: [(b.predicted, b.observed) for b in found] for name, found in bins.items()}
    return lines(caption, series, "predicted probability", "observed share", diagonal=True)


def equal_mass(value: NDArray[np.floating] | NDArray[np.integer], bins: int) -> NDArray[np.int64]:
    """Return the group int64[N] of each value [N]: up to `bins` of about equal size, ascending, ties together.

    Groups are numbered without gaps. A group of ties goes where most of its mid-rank lies.

    Raises:
        ConfigError: fewer than one bin.

    """
    if bins < 1:
        raise ConfigError(f"bins must be 1 or more; got {bins}.")
    _, place, count = np.unique(value, return_inverse=True, return_counts=True)
    middle = (np.cumsum(count) - count / 2) / max(len(value), 1)
    group = np.minimum((middle * bins).astype(np.int64), bins - 1)
    return np.asarray(np.unique(group, return_inverse=True)[1].ravel()[place.ravel()], np.int64)


def _distribution(truth: Truth, p: NDArray[np.floating]) -> Float:
    wide, shape = np.asarray(p, np.float64), (len(truth.rating), len(truth.scale))
    if wide.shape != shape or not (np.abs(wide.sum(axis=1) - 1) < 1e-3).all():
        raise DataError(f"p must be {shape} (pairs, scale values), rows that sum to 1; got shape {wide.shape}.")
    return wide


def _bins(
    truth: Truth, said: Float, hit: NDArray[np.bool_], *, bins: int, resamples: int, seed: int, level: float
) -> tuple[Bin, ...]:
    check_level(level)
    group, users = equal_mass(said, bins), UserTotals(truth.user)
    found = []
    for g in range(int(group.max(initial=-1)) + 1):
        inside = group == g
        total = users.sum(np.column_stack([hit & inside, inside]))
        several = int((total[:, 1] > 0).sum())
        observed = bootstrap(Statistic(total, ratio), resamples=resamples, seed=seed, level=level)
        if several < 2:
            observed = Interval(observed.mean, np.nan, np.nan, level)
        found.append(Bin(float(said[inside].mean()), observed, int(inside.sum()), several))
    return tuple(found)
