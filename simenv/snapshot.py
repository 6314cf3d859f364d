"""Snapshot: visits in mid-air, to be gone on with later, elsewhere, or many times over. Plain arrays; no rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simenv.errors import ConfigError
from simenv.randomness import Purpose, counter_hash
from simenv.record import Page
from simenv.session import Response, Session, Slate, UserState, take_rows
from simenv.slates import DROPS
from simenv.visits import Rows, Visits

_OWN = ("reward", "stop", "answered", "given", "born", "draft", "place", *DROPS)
"""The arrays [B, ...] of Visits that a snapshot copies, besides messages and what is used up."""


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
        return Snapshot(
            take_rows(self.session, row),
            take_rows(self.state, row),
            take_rows(self.slate, row),
            take_rows(self.response, row),
            {name: value[row] for name, value in self.own.items()},
            tuple(self.rng[i] for i in row),
            tuple(self.pages[i] for i in row),
        )

    @property
    def form(self) -> tuple[int, int, int | None]:
        """Places, items and candidates: what must be alike where it is restored."""
        return _form(self.slate, self.session)


def taken(visits: Visits, row: Rows, rng: Sequence[np.random.Generator]) -> Snapshot:
    """Return a copy of the visits at rows [b] and of their generators [b]."""
    own = {name: _own(visits, name)[row] for name in _OWN}
    return Snapshot(
        take_rows(visits.session, row),
        take_rows(visits.state, row),
        take_rows(visits.slate, row),
        take_rows(visits.response, row),
        own | {"use": visits.known.use[row], "left": visits.known.left[row]},
        tuple(r.bit_generator.state for r in rng),
        visits.diary.so_far(visits.visit[row]),
    )


def restore(visits: Visits, row: Rows, snapshot: Snapshot, luck: int | None = None) -> None:
    """Put the visits of a snapshot [b] at rows [b], ascending; in the record they are visits of their own.

    luck: None: all luck to come is that of the original; a number: other luck, its own for each row.

    Raises:
        ConfigError: as many visits are needed as there are rows; or it is of an environment of another form.

    """
    _check(visits, row, snapshot)
    state = snapshot.state
    if luck is not None:
        state = replace(state, key=counter_hash(state.key, luck, np.arange(len(row)), int(Purpose.EPISODE)))
    visits.put(row, snapshot.session, state, snapshot.slate, snapshot.response)
    for name in _OWN:
        _own(visits, name)[row] = snapshot.own[name]
    visits.known.use[row], visits.known.left[row] = snapshot.own["use"], snapshot.own["left"]
    if visits.rules.keep_record:
        visits.visit[row] = visits.diary.branch(snapshot.pages, state.key)


def generator_at(state: Any) -> np.random.Generator:
    """Return a generator in the state that `Snapshot.rng` holds."""
    rng = np.random.Generator(np.random.PCG64())
    rng.bit_generator.state = state
    return rng


def _own(visits: Visits, name: str) -> NDArray[Any]:
    found: NDArray[Any] = visits.dropped[name] if name in DROPS else getattr(visits, name)
    return found


def _form(slate: Slate, session: Session) -> tuple[int, int, int | None]:
    return slate.item.shape[1], session.n_items, None if session.candidate is None else session.candidate.shape[1]


def _check(visits: Visits, row: Rows, snapshot: Snapshot) -> None:
    if len(snapshot) != len(row):
        raise ConfigError(
            f"a snapshot of {len(snapshot)} visits cannot fill {len(row)} rows; "
            "choose with snapshot.take([...]) and rows=[...]."
        )
    mine = _form(visits.slate, visits.session)
    if mine != snapshot.form:
        raise ConfigError(
            f"the snapshot is of another environment: places, items and candidates are {snapshot.form} there and "
            f"{mine} here."
        )
