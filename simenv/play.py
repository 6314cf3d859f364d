"""The story on one page: ask the policy, ask the population, move on. Benchmark, fidelity and examples all use this."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from simenv.log import InteractionLog
from simenv.protocols import Policy, Population
from simenv.randomness import Purpose, counter_hash, derive
from simenv.record import Page, Record
from simenv.session import Session, Slate, take_rows


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
) -> Record:
    """Show `max_pages` slates to users [B] and return what happened.

    log: what the policy may know of the users' past (contestants' rows); past items are not shown again.
    leave: False keeps everyone to the last page (fixed pages: the headline of a benchmark); True lets users exit.
    key: uint64[B], the luck of each visit, to play visits of an environment again; None: `episode_key(seed, user)`.
    offer: given session and keys before each page, returns the session with its candidates; None: the whole catalogue.
    """
    user = np.asarray(user, np.int64)
    luck = episode_key(seed, user) if key is None else key
    session, state = Session.begin(user, log), population.begin(user, luck)
    record = Record(population.users, population.items, population.scale, name, seed)
    visit = np.arange(len(user))
    for page in range(max_pages):
        session = session if offer is None else offer(session, state.key)
        slate = policy.recommend(session, slate_size, seed=derive(seed, "policy", page))
        slate.check(len(population.items), slate_size)
        response, state = population.respond(state, slate)
        record = record.with_page(Page(session.user, visit, session.page, slate, response, session.candidate))
        session = session.after(slate, response)
        stay = ~_gone(response.exit, slate, leave)
        if not stay.any():
            break
        session, state, visit = take_rows(session, stay), take_rows(state, stay), visit[stay]
    return record


def _gone(left: NDArray[np.bool_], slate: Slate, leave: bool) -> NDArray[np.bool_]:
    exhausted = np.asarray((slate.item < 0).all(axis=1))
    return exhausted | left if leave else exhausted
