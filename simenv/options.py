"""Who comes: the options of `reset`, read and checked, and the draw of a visit's user and luck. Knows no Gymnasium."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError, UnknownIdError
from simenv.index import RawId
from simenv.log import InteractionLog
from simenv.protocols import Population
from simenv.session import Session

WHO = ("user_id", "persona", "history")
"""The options that say who comes, in the order of the fields of `Arrival`."""


@final
@dataclass(frozen=True)
class Arrival:
    """What is asked of the user of a new visit; None: anybody, with the past the training log holds."""

    user_id: RawId | None = None
    persona: str | None = None
    """Name of the persona the user is drawn from."""
    history: Mapping[RawId, float] | None = None
    """Ratings by raw item id, oldest first: what the recommender knows of the past instead of the training log."""


ANYBODY = Arrival()


def checked_options(options: Mapping[str, Any] | None, known: tuple[str, ...]) -> dict[str, Any]:
    """Return the reset options as a dict.

    Raises:
        ConfigError: an option that does not exist.

    """
    unknown = set(options or {}) - set(known)
    if unknown:
        raise ConfigError(f"reset option {sorted(unknown)[0]!r} is unknown; options are {', '.join(known)}.")
    return dict(options or {})


def arrivals(options: Mapping[str, Any], n: int) -> list[Arrival]:
    """Return what is asked of each of n rows: each option is one value for all or a sequence with one per row.

    Raises:
        ConfigError: a sequence of another length, or both a user and a persona for one row.

    """
    columns = [_spread(name, options.get(name), n) for name in WHO]
    rows = [Arrival(*row) for row in zip(*columns, strict=True)]
    for row in rows:
        if row.user_id is not None and row.persona is not None:
            raise ConfigError("give user_id or persona, not both: a user has one persona.")
    return rows


def _spread(name: str, value: Any, n: int) -> Sequence[Any]:
    if value is None or isinstance(value, (int, np.integer, str, Mapping)):
        return [value] * n
    if len(value) != n:
        words = {"user_id": "user ids", "persona": "personas", "history": "histories"}
        raise ConfigError(f"expected {n} {words[name]}, one per row, or a single one; got {len(value)}.")
    return list(value)


def drawn(population: Population, rng: np.random.Generator, arrival: Arrival) -> tuple[int, np.uint64]:
    """Return (user number, episode key) of a new visit: the key first, then the user unless given by raw id.

    Raises:
        UnknownIdError: no such user, or one who is not simulated.
        ConfigError: nobody has that persona.

    """
    key, member = rng.integers(2**64, dtype=np.uint64), population.member
    if arrival.user_id is None:
        pool = member if arrival.persona is None else _of_persona(population, arrival.persona)
        return int(pool[rng.integers(len(pool))]), key
    user = int(population.users.encode([arrival.user_id])[0])
    if user not in member:
        some = ", ".join(repr(i) for i in population.users.decode(member[:3]))
        raise UnknownIdError(
            f"user {arrival.user_id!r} is known but not simulated here; {len(member)} are, such as {some}."
        )
    return user, key


def _of_persona(population: Population, name: str) -> NDArray[np.int64]:
    personas: Sequence[str] = getattr(population, "persona", ())
    pool = np.array([u for u in population.member if personas and personas[u] == name], np.int64)
    if not len(pool):
        known = ", ".join(repr(p) for p in sorted({personas[u] for u in population.member} if personas else ()))
        raise ConfigError(f"nobody has the persona {name!r}; {f'personas are {known}' if known else 'there are none'}.")
    return pool


def begun(user: NDArray[np.int64], log: InteractionLog, arrival: Sequence[Arrival]) -> Session:
    """Return the sessions of users [b] before their first page; a history that was given stands for the log's.

    Raises:
        UnknownIdError: the history names an item that does not exist.
        DataError: one of its ratings is not on the scale.

    """
    session = Session.begin(user, log)
    if all(a.history is None for a in arrival):
        return session
    past = [
        log.history(int(u)) if a.history is None else _read(a.history, log) for u, a in zip(user, arrival, strict=True)
    ]
    width = max(len(item) for item, _ in past)
    item, rating = np.full((len(user), width), -1), np.full((len(user), width), np.nan, np.float32)
    for row, (items, ratings) in enumerate(past):
        item[row, : len(items)], rating[row, : len(items)] = items, ratings
    return replace(session, past_item=item, past_rating=rating)


def _read(history: Mapping[RawId, float], log: InteractionLog) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    rating = np.array(list(history.values()), np.float32)
    log.scale.encode(rating)
    return log.items.encode(list(history)), rating
