"""Tiny logs and catalogues made in code, for tests: no file, no heavy library, milliseconds.

Knows the nouns of the world and nothing of users or recommenders. Raw ids differ from dense numbers on purpose.
"""

from __future__ import annotations

import numpy as np

from simenv.catalogue import Catalogue
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.protocols import Population
from simenv.randomness import generator
from simenv.scale import RatingScale

_DAY = 86_400
_START = 946_684_800
"""1 January 2000, Unix seconds."""
_GENRES = (("Comedy", "Romance"), ("Horror", "Thriller"))
_WORDS = ("wedding laughter friends summer", "night blood scream murder")


def tiny_log(n_users: int = 12, n_items: int = 30, seed: int = 0) -> InteractionLog:
    """Return a log on the scale 1..5 in which users of even number like items of even number better, with noise.

    Every user rated between a third and two thirds of the items, each at most once, one event a day. User ids are
    integers from 101, item ids are "i000", "i001", ...
    """
    draw = generator(seed, "tiny log")
    users = Index(tuple(101 + u for u in range(n_users)), "user")
    items = Index(tuple(f"i{i:03d}" for i in range(n_items)), "item")
    user, item, rating, day = [], [], [], []
    for u in range(n_users):
        size = int(draw.integers(max(1, n_items // 3), max(1, 2 * n_items // 3) + 1))
        chosen = draw.permutation(n_items)[:size]
        taste = np.where((chosen + u) % 2 == 0, 4.0, 2.0)
        user.append(np.full(size, u))
        item.append(chosen)
        rating.append(np.clip(np.rint(taste + draw.normal(size=size)), 1, 5))
        day.append(np.arange(size))
    when = _START + _DAY * np.concatenate(day)
    stacked = np.concatenate(user), np.concatenate(item), np.concatenate(rating)
    return InteractionLog.of(users, items, *stacked, when, RatingScale())


def log_of(population: Population, seed: int = 0) -> InteractionLog:
    """Return the rows of a `tiny_log` in the indices and on the scale (five values) of a population."""
    p = population
    log = tiny_log(len(p.users), len(p.items), seed)
    rating = p.scale.array[log.scale.encode(log.rating)] if len(p.scale) == 5 else p.scale.round(log.rating)
    return InteractionLog.of(p.users, p.items, log.user, log.item, rating, log.time, p.scale)


def tiny_catalogue(items: Index) -> Catalogue:
    """Return a catalogue with every field filled; items of even number are comedies, the others horror films."""
    side = [i % 2 for i in range(len(items))]
    return Catalogue(
        items,
        title=tuple(f"{'Sunny' if s == 0 else 'Dark'} Story {i}" for i, s in enumerate(side)),
        year=tuple(1980 + i % 40 for i in range(len(items))),
        genres=tuple(_GENRES[s] for s in side),
        cast=tuple((f"Player {s}{i % 3}", f"Guest {i}") for i, s in enumerate(side)),
        director=tuple(f"Director {s}" for s in side),
        summary=tuple(f"A story of {_WORDS[s]}, number {i}." for i, s in enumerate(side)),
        noun="film",
    )


def checkerboard_log(n_users: int = 20, n_items: int = 20) -> InteractionLog:
    """Return a log in which user u gives 5 to items of its own parity and 1 to the others: the right answer is known.

    User u did not rate the items i with (i // 2 + u // 2) % 5 == 0: with 20 items these are two liked and two disliked
    ones, so a recommender that understands the board shows the two unrated items of the user's parity first.
    All items are equally popular up to one rating where n_users is a multiple of 10.
    """
    users = Index(tuple(501 + u for u in range(n_users)), "user")
    items = Index(tuple(f"b{i:03d}" for i in range(n_items)), "item")
    u, i = np.indices((n_users, n_items)).reshape(2, -1)
    rated = (i // 2 + u // 2) % 5 != 0
    u, i = u[rated], i[rated]
    rating = np.where((u + i) % 2 == 0, 5.0, 1.0)
    return InteractionLog.of(users, items, u, i, rating, _START + _DAY * i, RatingScale())
