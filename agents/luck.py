"""Luck: all draws of one page at once. Knows keys, users and items as numbers; nothing of what the draws decide.

The draws are those of `simenv.randomness.uniform`, bit for bit; what their counters have in common is mixed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.randomness import Purpose, absorb, pair, quantile, word
from simenv.session import UserState

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class PageLuck:
    """Uniforms in (0, 1) for one page of B users."""

    rating: Floats
    """float64[B, K], of (key, user, item): where in its distribution each rating is drawn."""
    take: Floats
    """float64[B, K], of (key, user, item): whether an item that is looked at is taken."""
    look: Floats
    """float64[B, K], of (key, user, page, place): whether a place is looked at."""
    leave: Floats
    """float64[B], of (key, user, page answered): whether the user leaves."""
    mood: Floats
    """float64[B], of (key, user): what the ratings of one visit share."""


def page_luck(state: UserState, item: NDArray[np.int64]) -> PageLuck:
    """Return the draws of users [B] for a page of items [B, K], -1 for empty places."""
    k = item.shape[1]
    counter = np.empty((len(item), k + 3), np.uint64)
    counter[:, :-3] = item
    counter[:, -3], counter[:, -2], counter[:, -1] = state.page, state.page + 1, Purpose.MOOD
    place, last, look = _plan(k)
    third = absorb(pair(state.key, state.user)[:, None], word(counter))
    bits = absorb(third.take(place, axis=1), last)
    bits[:, 2 * k : -1] = absorb(bits[:, 2 * k : -1], look)
    u = quantile(bits)
    return PageLuck(u[:, :k], u[:, k : 2 * k], u[:, 2 * k : -1], u[:, -1], quantile(third[:, -1]))


@cache
def _plan(k: int) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint64]]:
    """Return, for the 3 K + 1 draws of a page, where each one's third counter stands, and the words that follow it.

    In this order: ratings, taking, looking (which has one word more), leaving.
    """
    items = np.arange(k)
    place = np.concatenate([items, items, np.full(k, k), [k + 1]])
    last = np.concatenate([np.full(k, Purpose.RATING), np.full(k, Purpose.CONSUME), items, [Purpose.EXIT]])
    return place, word(last), word([int(Purpose.EXAMINE)])
