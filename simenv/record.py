"""Record: everything that was shown and answered. Again a log, so that a recommender can be fitted on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.index import Index
from simenv.log import InteractionLog
from simenv.scale import RatingScale
from simenv.session import Response, Slate

if TYPE_CHECKING:
    from simenv.evaluation.report import Report


@final
@dataclass(frozen=True, eq=False)
class Page:
    """One page of the B users that were still there."""

    user: NDArray[np.int64]
    """int64[B]"""
    visit: NDArray[np.int64]
    """int64[B]: which visit of the record this is (a user may come twice)."""
    page: NDArray[np.int64]
    """int64[B]: 0 for the first page of the visit."""
    slate: Slate
    response: Response
    candidate: NDArray[np.int64] | None = None
    """int64[B, C]; None: the whole catalogue."""
    day: NDArray[np.float64] | None = None
    """float64[B]: day on which the visit began; None: visits have no dates."""


@final
@dataclass(frozen=True, eq=False)
class Shown:
    """A record as flat columns: N shown places (empty ones left out) and V visits."""

    row: NDArray[np.int64]
    """int64[N]: the visit of the place, a number into `user` and `pages`."""
    page: NDArray[np.int64]
    """int64[N]: 0 for the first page of the visit."""
    place: NDArray[np.int64]
    """int64[N]"""
    item: NDArray[np.int64]
    """int64[N], dense numbers."""
    consumed: NDArray[np.bool_]
    """bool[N]"""
    rating: NDArray[np.float64]
    """float64[N]; NaN: none given."""
    expected: NDArray[np.float64]
    """float64[N]: mean of the distribution the rating was, or would have been, drawn from."""
    support: NDArray[np.float64]
    """float64[N]"""
    user: NDArray[np.int64]
    """int64[V]: whose visit it is."""
    pages: NDArray[np.int64]
    """int64[V]: pages answered."""
    places: NDArray[np.int64]
    """int64[V]: places there were, empty ones counted."""

    def mean(self, value: NDArray[np.floating] | NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return float64[V], the mean of value [N] over the places of each visit, NaN left out; NaN where none is."""
        number = np.asarray(value, np.float64)
        known = ~np.isnan(number)
        count = np.bincount(self.row[known], minlength=len(self.user)).astype(np.float64)
        total = np.bincount(self.row[known], weights=number[known], minlength=len(self.user))
        return np.asarray(np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0), np.float64)


@final
@dataclass(frozen=True, eq=False)
class Record:
    """What one policy showed to a population, page by page."""

    users: Index
    items: Index
    scale: RatingScale
    policy: str
    """Name of the policy."""
    seed: int
    """The seed that, with the users, fixes all luck."""
    pages: tuple[Page, ...] = ()
    meta: Mapping[str, str] = field(default_factory=dict)
    """Provenance of the population: fingerprint, model, versions; and its assumptions."""

    def with_page(self, page: Page) -> Record:
        """Return the record one page longer."""
        return Record(self.users, self.items, self.scale, self.policy, self.seed, (*self.pages, page), self.meta)

    def to_frame(self) -> pd.DataFrame:
        """Return a row per shown place; empty places are left out.

        Columns: policy, seed, visit, user, page, place, item (raw ids), propensity, n_candidate, consumed, rating,
        expected (mean of p_rating), off_scale, support, p_exit, exit; and day where visits have dates.
        """
        frames = [self._page_frame(page) for page in self.pages]
        frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["user", "item"])
        return frame

    def _page_frame(self, page: Page) -> pd.DataFrame:
        row, place = np.nonzero(page.slate.item >= 0)
        answer = page.response
        n_candidate = len(self.items) if page.candidate is None else (page.candidate >= 0).sum(axis=1)[row]
        frame = pd.DataFrame(
            {
                "policy": self.policy,
                "seed": self.seed,
                "visit": page.visit[row],
                "user": self.users.decode(page.user[row]),
                "page": page.page[row],
                "place": place,
                "item": self.items.decode(page.slate.item[row, place]),
                "propensity": page.slate.propensity[row, place],
                "n_candidate": n_candidate,
                "consumed": answer.consumed[row, place],
                "rating": answer.rating[row, place],
                "expected": self.scale.expectation(answer.p_rating[row, place]),
                "off_scale": answer.off_scale[row, place],
                "support": answer.support[row, place],
                "p_exit": answer.p_exit[row],
                "exit": answer.exit[row],
            }
        )
        return frame if page.day is None else frame.assign(day=page.day[row])

    def interactions(self) -> InteractionLog:
        """Return the ratings given, as a log marked simulated; time is the number of the page in the record."""
        frame = self.to_frame()
        frame = frame[frame["rating"].notna()]
        return InteractionLog.of(
            self.users,
            self.items,
            self.users.encode(frame["user"].to_numpy()),
            self.items.encode(frame["item"].to_numpy()),
            frame["rating"].to_numpy(),
            (frame["visit"] * 10_000 + frame["page"]).to_numpy(),
            self.scale,
            simulated=True,
        )

    def shown(self) -> Shown:
        """Return the record as flat columns, visits in ascending order of their number."""
        if not self.pages:
            none, number = np.zeros(0, np.int64), np.zeros(0)
            return Shown(none, none, none, none, none.astype(bool), number, number, number, none, none, none)
        visit, user = (np.concatenate([getattr(p, name) for p in self.pages]) for name in ("visit", "user"))
        width = np.concatenate([np.full(len(p.visit), p.slate.item.shape[1]) for p in self.pages])
        number, first, where = np.unique(visit, return_index=True, return_inverse=True)
        parts = [self._page_columns(page, np.searchsorted(number, page.visit)) for page in self.pages]
        column = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        places = np.bincount(where, weights=width).astype(np.int64)
        return Shown(**column, user=user[first], pages=np.bincount(where).astype(np.int64), places=places)

    def _page_columns(self, page: Page, visit: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        row, place = np.nonzero(page.slate.item >= 0)
        answer = page.response
        return {
            "row": visit[row],
            "page": page.page[row],
            "place": place,
            "item": page.slate.item[row, place],
            "consumed": answer.consumed[row, place],
            "rating": answer.rating[row, place].astype(np.float64),
            "expected": self.scale.expectation(answer.p_rating[row, place]),
            "support": answer.support[row, place].astype(np.float64),
        }

    def report(self, baselines: Sequence[Record] = ()) -> Report:
        """Return this record against others over the same users: utility per shown place, pages, ratings given.

        Differences are paired by user. Played with one seed, both sides also met the same luck.

        Raises:
            ConfigError: the records are of other users, items or scales, or one of them is empty.

        """
        from simenv.evaluation.comparison import compare_records

        return compare_records([self, *baselines])
