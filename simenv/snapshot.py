"""Snapshot: visits in mid-air, to be gone on with later, elsewhere, or many times over. Plain arrays; no rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simenv.record import Page
from simenv.session import Response, Session, Slate, UserState, take_rows


@final
@dataclass(frozen=True, eq=False)
class Snapshot:
    """All there is to know of B visits. Made by `env.snapshot()`, given to `env.restore(...)`."""

    session: Session
    state: UserState
    slate: Slate
    response: Response
    own: Mapping[str, NDArray[Any]]
    """Arrays [B, ...] of the environment's own by name: reward, stop, what is used up, the page being filled."""
    rng: tuple[Mapping[str, Any], ...]
    """[B]: states of the generators that later visits are drawn from."""
    pages: tuple[tuple[Page, ...], ...]
    """[B]: what was played of each visit so far; () where no record is kept."""

    def __len__(self) -> int:
        return len(self.session)

    def take(self, rows: ArrayLike) -> Snapshot:
        """Return the visits at the given rows; a row may be named many times: `snapshot.take([0] * 64)`."""
        row = np.atleast_1d(np.asarray(rows, np.int64))
        return replace(
            self,
            session=take_rows(self.session, row),
            state=take_rows(self.state, row),
            slate=take_rows(self.slate, row),
            response=take_rows(self.response, row),
            own={name: value[row] for name, value in self.own.items()},
            rng=tuple(self.rng[i] for i in row),
            pages=tuple(self.pages[i] for i in row),
        )
