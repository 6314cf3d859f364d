"""The story on one page: ask the policy, ask the population, move on. Benchmark, fidelity and examples all use this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.protocols import Policy, Population, Returning
from simenv.randomness import Purpose, counter_hash, derive
from simenv.record import Page, Record
from simenv.session import Session, Slate, UserState, put_rows, take_rows

Rows = NDArray[np.int64]
Batch = TypeVar("Batch", Session, UserState)


def episode_key(seed: int, user: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return uint64[B], the luck of users [B] under a seed: the same whatever is recommended and in whatever order."""
    return counter_hash(np.uint64(derive(seed, "episode")), user, int(Purpose.EPISODE))


def play(
    policy: Policy,
    population: Population,
    log: InteractionLog,
    user: NDArray[np.int64],
    *,
    name: str = "policy",
    slate_size: int = 10,
    max_pages: int = 10,
    leave: bool = True,
    seed: int = 0,
    key: NDArray[np.uint64] | None = None,
    offer: Callable[[Session, NDArray[np.uint64]], Session] | None = None,
    visits: int = 1,
    days: float | None = None,
) -> Record:
    """Show `max_pages` slates to users [B] and return what happened.

    log: what the policy may know of the users' past (contestants' rows); past items are not shown again.
    leave: False keeps everyone to the last page (fixed pages: the headline of a benchmark); True lets users exit.
    key: uint64[B], the luck of each visit, to play visits of an environment again; None: `episode_key(seed, user)`.
    offer: given session and keys before each page, returns the session with its candidates; None: the whole catalogue.
    visits: how often users may come, of their own accord; above 1 the population must be one whose users return. Then
        number n of row b is visit n * B + b of the record. A policy knows what was rated in earlier visits as the past.
        A visit that the last page ends counts as one that the user ended.
    days: no visit that begins later is played; None: however long it takes.

    Raises:
        ConfigError: users shall come again, or on a day, and the population does not know when.

    """
    user = np.asarray(user, np.int64)
    luck = episode_key(seed, user) if key is None else key
    session, state = Session.begin(user, log), population.begin(user, luck)
    row = np.arange(len(user))
    if days is not None:
        session, state, row = _in_time(session, state, row, days)
    round_ = _Round(policy, population, slate_size, max_pages, leave, seed, offer)
    record = Record(population.users, population.items, population.scale, name, seed)
    for number in range(visits):
        record, session, state = round_.visit(record, session, state, row + number * len(user), number, visits)
        if number == visits - 1 or not len(row):
            break
        session, state, row = _back(population, session, state, row)
        if days is not None:
            session, state, row = _in_time(session, state, row, days)
    return record


@final
@dataclass(frozen=True)
class _Round:
    """One visit of everybody who is there."""

    policy: Policy
    population: Population
    slate_size: int
    max_pages: int
    leave: bool
    seed: int
    offer: Callable[[Session, NDArray[np.uint64]], Session] | None

    def visit(
        self, record: Record, session: Session, state: UserState, visit: Rows, number: int, visits: int
    ) -> tuple[Record, Session, UserState]:
        """Return the record with a visit of all users [B], and how session and state stand at the end of it.

        number: which visit of theirs it is, of so many. After the last one nobody asks how they stand.
        """
        there, last = np.arange(len(visit)), number == visits - 1
        all_session, all_state = session, state
        for page in range(self.max_pages if len(visit) else 0):
            luck = derive(self.seed, "policy", page) if number == 0 else derive(self.seed, "policy", page, number)
            session = session if self.offer is None else self.offer(session, state.key)
            slate = self.policy.recommend(session, self.slate_size, seed=luck)
            slate.check(len(self.population.items), self.slate_size)
            response, state = self.population.respond(state, slate)
            candidate, day = session.candidate, state.day
            record = record.with_page(Page(session.user, visit[there], session.page, slate, response, candidate, day))
            session = session.after(slate, response)
            if not last:
                all_session, all_state = _kept(all_session, there, session), _kept(all_state, there, state)
            stay = ~_gone(response.exit, slate, self.leave)
            if not stay.any():
                break
            session, state, there = take_rows(session, stay), take_rows(state, stay), there[stay]
        return record, all_session, all_state


def _kept(whole: Batch, row: Rows, part: Batch) -> Batch:
    """Return all users as they stand, those at `row` newly so."""
    return part if len(row) == len(whole.user) else put_rows(whole, row, part)


def _back(population: Population, session: Session, state: UserState, row: Rows) -> tuple[Session, UserState, Rows]:
    """Return those users [b] who come again, before the first page of their next visit."""
    if not isinstance(population, Returning):
        raise ConfigError("visits > 1 needs users who come back: a population with return_visit (protocol Returning).")
    state, away = population.return_visit(state)
    back = np.isfinite(away)
    return take_rows(session.again(), back), take_rows(state, back), row[back]


def _in_time(session: Session, state: UserState, row: Rows, days: float) -> tuple[Session, UserState, Rows]:
    if state.day is None:
        raise ConfigError("days=... needs visits with dates, and these users were not told when to come back.")
    there = state.day <= days
    return take_rows(session, there), take_rows(state, there), row[there]


def _gone(left: NDArray[np.bool_], slate: Slate, leave: bool) -> NDArray[np.bool_]:
    exhausted = np.asarray((slate.item < 0).all(axis=1))
    return exhausted | left if leave else exhausted
