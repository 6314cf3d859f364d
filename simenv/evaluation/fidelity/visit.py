"""Held-out visits: when each began, which of its pages were seen, and how it ended; for Kaplan-Meier and its like.

Knows logs; nothing of populations.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.log import InteractionLog
from simenv.pages import VisitPages, visit_pages

Ints = NDArray[np.int64]
Float = NDArray[np.float64]
STEPS = 10
"""Free steps of the page-only model; later pages share the last."""


@final
@dataclass(frozen=True, eq=False)
class HeldVisits:
    """V visits of which at least one page holds held-out ratings. T: pages looked at."""

    user: Ints
    """int64[V]"""
    number: Ints
    """int64[V]: 0, 1, .. within a user."""
    entry: Ints
    """int64[V]: pages over before the first held-out rating; above 0 the visit began before the cut (late entry)."""
    length: Ints
    """int64[V]: pages it is known to have outlasted, plus the one it ended with where the end was seen."""
    left: NDArray[np.bool_]
    """bool[V]: the end was seen; False: the log ended first."""
    late: NDArray[np.bool_]
    """bool[V]: began before the cut."""
    shown: Ints
    """int64[V]: pages of `item` after which leaving could have been seen: until the user's ratings run out."""
    item: Ints
    """int64[V, T * K]: T pages of K places: the visit's items in order, from its beginning, those of the user's later
    visits after them, then -1."""

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: Ints) -> HeldVisits:
        """Return the visits at ascending positions."""
        return HeldVisits(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def at_risk(self, pages: int) -> NDArray[np.bool_]:
        """Return bool[V, pages]: whether page 1..pages of the visit was reached after the cut and its outcome seen."""
        page = np.arange(1, pages + 1)
        return np.asarray((self.entry[:, None] < page) & (page <= self.length[:, None]))

    def ended(self, pages: int) -> NDArray[np.bool_]:
        """Return bool[V, pages]: whether the user was seen to leave after page 1..pages."""
        return np.asarray(self.left[:, None] & (np.arange(1, pages + 1) == self.length[:, None]))


def held_visits(
    past: InteractionLog, held: InteractionLog, *, pages: int, page_size: int, gap: int
) -> tuple[HeldVisits | None, str]:
    """Return the visits that reach into the held-out rows, or (None, why there are none to be told).

    past: all rows before the cut, judge's and contestants' together: a visit cut in two is counted from its beginning.
    held: held-out rows of simulated users. pages: T, how many pages of a visit are looked at.
    """
    if past.time is None or held.time is None:
        return None, "this log has no times, so it has no visits"
    log, is_held = _merged(past.of_users(np.unique(held.user)), held)
    first = np.concatenate([[True], log.user[1:] != log.user[:-1]])
    if (is_held[:-1] & ~is_held[1:] & ~first[1:]).any():
        return None, (
            "known and held-out ratings of a user alternate in time (a random split): what is held out of a visit is "
            "only a part of it"
        )
    end = int(max(past.time.max(initial=0), held.time.max(initial=0)))
    table = visit_pages(log, gap=gap, page_size=page_size, end=end)
    return _visits(log, table, is_held, pages, page_size), ""


def _merged(past: InteractionLog, held: InteractionLog) -> tuple[InteractionLog, NDArray[np.bool_]]:
    """Return both logs as one, and bool[E]: which events are held out."""
    user, item, rating, time = (
        np.concatenate([getattr(past, n), getattr(held, n)]) for n in ("user", "item", "rating", "time")
    )
    order = np.lexsort((time, user))
    log = InteractionLog.of(
        past.users, past.items, user[order], item[order], rating[order], time[order], past.scale
    )  # already sorted: a stable sort leaves it so
    return log, np.repeat([False, True], [len(past), len(held)])[order]


def _visits(
    log: InteractionLog, table: VisitPages, is_held: NDArray[np.bool_], pages: int, page_size: int
) -> HeldVisits:
    last = np.flatnonzero(table.left | table.censored)
    begin = table.start[np.flatnonzero(table.page == 1)]
    stop = table.start[last] + table.size[last]
    reaches = is_held[stop - 1]
    last, begin = last[reaches], begin[reaches]
    held_from = np.array([b + int(np.argmax(is_held[b:])) for b in begin], np.int64)
    user = table.user[last]
    item = np.full((len(begin), pages * page_size), -1, np.int64)
    for v, b in enumerate(begin):
        shown = log.item[b : log.indptr[user[v] + 1]][: item.shape[1]]
        item[v, : len(shown)] = shown
    first = np.flatnonzero(np.concatenate([[True], user[1:] != user[:-1]]))[: len(user)]
    number = np.arange(len(user)) - np.repeat(first, np.diff(np.append(first, len(user))))
    left = table.left[last]
    open_end = np.bincount(table.user[table.censored], minlength=log.n_users)[user]
    pages_shown = -(-(log.indptr[user + 1] - begin) // page_size) - open_end
    return HeldVisits(
        user,
        number,
        (held_from - begin) // page_size,
        table.page[last] - ~left,
        left,
        held_from > begin,
        pages_shown,
        item,
    )


def page_hazard(
    past: InteractionLog, unseen: NDArray[np.bool_], *, pages: int, page_size: int, gap: int
) -> Float | None:
    """Return float64[pages]: the page-only model, the share of past visits that end with each page reached.

    A free step per page up to STEPS, one for all later pages, half a visit added that ends and half that does not.
    None: no past visit was seen to end.

    unseen: bool[U], users whose last visit may go on in held-out rows.
    """
    table = visit_pages(past, gap=gap, page_size=page_size, unseen=unseen)
    step = np.minimum(table.page, STEPS)[~table.censored]
    left = table.left[~table.censored]
    if not left.any():
        return None
    ended = np.bincount(step[left], minlength=STEPS + 1)[1:]
    reached = np.bincount(step, minlength=STEPS + 1)[1:]
    share = (ended + 0.5) / (reached + 1)
    return np.asarray(share[np.minimum(np.arange(pages), STEPS - 1)], np.float64)
