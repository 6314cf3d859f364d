"""Pages: the visits of a log with times, cut into pages; how long each lasted and whether its end was seen.

A ratings log says when people stopped rating and nothing of why. Knows logs; no populations and no models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import CensoredData, ecdf

from simenv.errors import ConfigError
from simenv.log import InteractionLog

Ints = NDArray[np.int64]

GAP = 1800
"""Seconds without a rating after which the next one opens a new visit (the usual 30 minutes of web analytics)."""
PAGE = 10
"""Ratings that count as one page."""


@final
@dataclass(frozen=True, eq=False)
class VisitPages:
    """One row per page of each visit: N rows, sorted by user, visit and page."""

    user: Ints
    """int64[N]"""
    visit: Ints
    """int64[N]: number of the visit in the log, 0.. ."""
    page: Ints
    """int64[N]: 1 for the first of a visit."""
    start: Ints
    """int64[N]: row of the log where the page begins."""
    size: Ints
    """int64[N]: its ratings; the last page of a visit may have fewer than the others."""
    left: NDArray[np.bool_]
    """bool[N]: the user left after this page."""
    censored: NDArray[np.bool_]
    """bool[N]: the last page of a visit that was cut off: whether the user left after it was not seen."""

    @property
    def length(self) -> tuple[Ints, NDArray[np.bool_]]:
        """Pages int64[V] and censoring bool[V] of each visit; see `length`."""
        return length(self.page, self.left, self.censored)


def visits(log: InteractionLog, gap: int = GAP) -> Ints:
    """Return int64[E]: the number of the visit each event belongs to; `gap` seconds of silence end a visit.

    Raises:
        ConfigError: the log has no times.

    """
    if log.time is None:
        raise ConfigError("visits need times and this log has none.")
    new = (np.diff(log.user, prepend=-1) != 0) | (np.diff(log.time, prepend=0) > gap)
    return np.cumsum(new) - 1


def visit_pages(
    log: InteractionLog,
    *,
    gap: int = GAP,
    page_size: int = PAGE,
    last: Literal["left", "censored"] = "left",
    unseen: NDArray[np.bool_] | None = None,
    end: int | None = None,
) -> VisitPages:
    """Return the pages of all visits.

    page_size: ratings that count as one page. On a random half of a log give half of it.
    last: "left": a user's last visit ended by leaving, unless it reaches the last `gap` seconds of the log, where
        nobody can tell (cut off). "censored": no last visit was seen to end; right for the past of a `user_time`
        split.
    unseen: bool[U], users whose last visit was not seen to end though it lies far from the log's end; None: nobody.
    end: the last second of the log that these rows are a part of; None: their own.

    Raises:
        ConfigError: the log has no times.

    """
    visit = visits(log, gap)
    assert log.time is not None
    place = np.arange(len(log)) - np.searchsorted(visit, visit)
    start = np.flatnonzero(place % page_size == 0)
    page, user = place[start] // page_size + 1, log.user[start]
    size = np.diff(np.append(start, len(log)))
    ends = np.append(page[1:] == 1, True)[: len(page)]
    final = np.append(user[1:] != user[:-1], True)[: len(page)]
    edge = (log.time.max(initial=0) if end is None else end) - gap
    late = log.time[start + size - 1] >= edge
    open_end = late if unseen is None else late | unseen[user]
    cut_off = final if last == "censored" else final & open_end
    return VisitPages(user, visit[start], page, start, size, ends & ~cut_off, ends & cut_off)


def length(page: Ints, left: NDArray[np.bool_], censored: NDArray[np.bool_]) -> tuple[Ints, NDArray[np.bool_]]:
    """Return pages int64[V] and censoring bool[V] of each visit, from rows [N] per page, as `survival` takes them.

    A visit cut off after n pages is known to have outlasted n - 1: that is its length.
    """
    last = left | censored
    return page[last] - censored[last], censored[last]


def survival(session_length: Ints, censored: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return float64[T+1]: Kaplan-Meier estimate of the share of visits longer than 0, 1, .. T pages.

    session_length: int64[V], pages. censored: bool[V], the end was not seen. T is the longest visit.
    """
    pages = np.asarray(session_length, np.float64)
    curve = ecdf(CensoredData.right_censored(pages, np.asarray(censored, bool))).sf
    return np.asarray(curve.evaluate(np.arange(int(pages.max()) + 1)), np.float64)
