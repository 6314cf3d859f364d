"""Protocols: which users of a data set are simulated and where their histories are cut. Knows logs only.

Eligible are users with 100 to 200 ratings, as in Thakur et al. 2025; the first 60 % of each one's history in time is
known, of all other users every row (the `world` arm).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simenv import InteractionLog, Split
from simenv.randomness import generator

FRACTION = 0.6
"""Share of a history that is known; in a global cut, share of all rows."""
KNOWN, ASKED = 20, 5
"""Rows a user needs on either side of a global cut."""


@final
@dataclass(frozen=True, eq=False)
class Protocol:
    """Who is simulated, and what is known."""

    split: Split
    """Its future rows are the members' alone."""
    member: NDArray[np.int64]
    note: str


def eligible(log: InteractionLog) -> NDArray[np.int64]:
    """Return the users with 100 to 200 ratings."""
    return np.flatnonzero((log.count >= 100) & (log.count <= 200))


def development_half(log: InteractionLog) -> NDArray[np.int64]:
    """Return the half of the eligible users of MovieLens-100K that recipes are developed on."""
    users = eligible(log)
    return np.sort(np.random.default_rng(0).permutation(users)[: len(users) // 2])


def untouched_half(log: InteractionLog) -> Protocol:
    """Return the other half. All eligible users are cut, so that no later row of the first half is known either."""
    users = eligible(log)
    member = np.setdiff1d(users, development_half(log))
    note = f"the {len(member)} users of {len(users)} with 100-200 ratings that no recipe was developed on"
    return cut_for(log, users, member, note)


def drawn(log: InteractionLog, size: int | None) -> Protocol:
    """Return `size` eligible users drawn with seed 0; None: all."""
    users = eligible(log)
    member = users if size is None else np.sort(np.random.default_rng(0).permutation(users)[:size])
    note = f"{len(member)} of {len(users)} users with 100-200 ratings"
    return cut_for(log, member, member, note)


def cut_for(log: InteractionLog, users: NDArray[np.int64], member: NDArray[np.int64], note: str) -> Protocol:
    """Return the protocol in which `users` are cut and `member`, some of them, are simulated."""
    split = log.split("user_time", FRACTION, users=users)
    split = replace(split, future=split.future.of_users(member))
    return Protocol(split, member, f"{note}; {split.note}; other users' rows of any time are known")


def around_one_moment(log: InteractionLog, without: ArrayLike = ()) -> tuple[Protocol, Protocol]:
    """Return (world, global cut): the same users and held-out rows, after one moment for everybody.

    Users with at least 20 rows before and 5 after the moment at which 60 % of all rows are given; few are, since most
    users come once. world: other users' later rows are known. global cut: nobody's are. The difference is what other
    users' future is worth. without: users who are left out.
    """
    cut = log.split("global_time", FRACTION)
    able = np.flatnonzero((cut.past.count >= KNOWN) & (cut.future.count >= ASKED))
    member = np.setdiff1d(able, np.asarray(without, np.int64))
    future = cut.future.of_users(member)
    assert cut.cut is not None
    assert log.time is not None
    later = np.isin(log.user, member) & (log.time >= cut.cut[log.user])
    moments = np.where(np.isin(np.arange(log.n_users), member), cut.cut, np.iinfo(np.int64).max)
    world = Split(
        log.take(~later), future, "global_time", f"{cut.note}; other users' rows of any time are known", moments
    )
    strict = replace(cut, future=future, note=f"{cut.note}; no row of anybody after it is known")
    note = f"{len(member)} users with at least {KNOWN} ratings before and {ASKED} after one moment"
    return Protocol(world, member, f"{note}; {world.note}"), Protocol(strict, member, f"{note}; {strict.note}")


def first_users(protocol: Protocol, size: int) -> Protocol:
    """Return the protocol with `size` of its members, for pilots."""
    member = np.sort(generator(0, "pilot").permutation(protocol.member)[:size])
    split = replace(protocol.split, future=protocol.split.future.of_users(member))
    return Protocol(split, member, f"pilot: {size} users; {protocol.note}")
