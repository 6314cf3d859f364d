"""Diary: the pages that were played in an environment, numbered by visit, and the means to play the visits again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.record import Page, Record
from simenv.session import take_rows

Rows = NDArray[np.int64]


@final
class Diary:
    """Grows by one page per step. Visits are numbered from 0 in the order of their first page."""

    def __init__(self) -> None:
        self.pages: list[Page] = []
        self._user: list[Rows] = []
        self._key: list[NDArray[np.uint64]] = []
        self._over: list[Rows] = []
        self._n = 0

    def number(self, visit: Rows, user: Rows, key: NDArray[np.uint64]) -> Rows:
        """Return the numbers of visits [b]; those that have none yet (-1) get the next ones."""
        if visit.min() >= 0:
            return visit
        new = np.flatnonzero(visit < 0)
        numbered = visit.copy()
        numbered[new] = self._n + np.arange(len(new))
        self._n += len(new)
        self._user.append(user[new])
        self._key.append(key[new])
        return numbered

    def write(self, page: Page, over: NDArray[np.bool_]) -> None:
        """Add a page of b users; `over` [b] tells whose visit it ended."""
        self.pages.append(page)
        if over.any():
            self._over.append(page.visit[over])

    def so_far(self, visit: Rows) -> tuple[tuple[Page, ...], ...]:
        """Return the pages, of one user each, of every visit [b] that is going on; () where the number is -1."""
        found: dict[int, list[Page]] = {int(v): [] for v in visit}
        missing = {v for v in found if v >= 0}
        for page in reversed(self.pages):
            if not missing:
                break
            for row in np.flatnonzero(np.isin(page.visit, list(missing))):
                number = int(page.visit[row])
                found[number].insert(0, _rows(page, np.array([row])))
                if page.page[row] == 0:
                    missing.discard(number)
        return tuple(tuple(found[int(v)]) for v in visit)

    def branch(self, pages: Sequence[Sequence[Page]], key: NDArray[np.uint64]) -> Rows:
        """Write pages of visits [b] again, as those of new visits with luck `key` [b]; return the numbers of these.

        -1 where there is no page yet: such a visit is numbered with its first page.
        """
        number = np.full(len(pages), -1)
        for row, past in enumerate(pages):
            for page in past:
                number[row : row + 1] = self.number(number[row : row + 1], page.user, key[row : row + 1])
                self.pages.append(replace(page, visit=number[row : row + 1].copy()))
        return number

    def __len__(self) -> int:
        return self._n

    def visits(self) -> tuple[Rows, NDArray[np.uint64]]:
        """Return (user number [V], episode key [V]) of all visits; V of at least 1."""
        return np.concatenate(self._user), np.concatenate(self._key)

    def aligned(self, record: Record) -> Record:
        """Return the same visits as another played them, without the pages that this side never came to.

        A visit that broke off here (the run stopped, or it was reset) is cut after as many pages there, so that no side
        of a comparison is credited with pages the other was not given the time for.
        """
        limit = np.zeros(self._n, np.int64)
        for page in self.pages:
            limit[page.visit] += 1
        for visit in self._over:
            limit[visit] = np.iinfo(np.int64).max
        cut = [_rows(page, np.flatnonzero(page.page < limit[page.visit])) for page in record.pages]
        return replace(record, pages=tuple(page for page in cut if len(page.user)))


def _rows(page: Page, row: Rows) -> Page:
    candidate = None if page.candidate is None else page.candidate[row]
    slate, response = take_rows(page.slate, row), take_rows(page.response, row)
    return Page(page.user[row], page.visit[row], page.page[row], slate, response, candidate)
