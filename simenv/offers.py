"""Offers: the candidates of a page, drawn evenly from what a user has not seen. Knows sessions; no users, no Gymnasium.

B users; C candidates; I items.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simenv.randomness import Purpose, uniform
from simenv.session import Session


def offered(session: Session, key: NDArray[np.uint64], size: int | None) -> Session:
    """Return the session with the candidates of its next page: C unseen items, the same for the same key and page.

    size: C; None: the whole catalogue is on offer, the session stays as it is. Where fewer than C items are left, -1
    fills up.
    """
    if size is None:
        return session
    item = np.arange(session.n_items)
    luck = uniform(key[:, None], session.page[:, None], item, purpose=Purpose.CANDIDATE)
    luck[session.seen()] = 2.0
    chosen = lowest(luck, size)
    chosen = np.where(np.take_along_axis(luck, chosen, axis=1) < 2.0, chosen, -1)
    blank = np.full((len(session), size - chosen.shape[1]), -1)
    return replace(session, candidate=np.concatenate([chosen, blank], axis=1))


def lowest(value: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """Return int64[B, min(n, I)]: where the lowest values [B, I] stand, in ascending order."""
    if n >= value.shape[1]:
        return np.argsort(value, axis=1)
    place = np.argpartition(value, n, axis=1)[:, :n]
    order = np.argsort(np.take_along_axis(value, place, axis=1), axis=1)
    return np.take_along_axis(place, order, axis=1)
