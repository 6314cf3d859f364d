"""Record: everything that was shown and answered. Again a log, so that a recommender can be fitted on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.index import Index
from simenv.log import InteractionLog
from simenv.scale import RatingScale
from simenv.session import Response, Slate


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
        expected (mean of p_rating), off_scale, support, p_exit, exit.
        """
        frames = [self._page_frame(page) for page in self.pages]
        frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["user", "item"])
        return frame

    def _page_frame(self, page: Page) -> pd.DataFrame:
        row, place = np.nonzero(page.slate.item >= 0)
        answer = page.response
        n_candidate = len(self.items) if page.candidate is None else (page.candidate >= 0).sum(axis=1)[row]
        return pd.DataFrame(
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
