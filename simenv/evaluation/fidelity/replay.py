"""Replay: a population before the very items its users met; what it says of each, page by page.

Knows populations by protocol only, so that any of them can be measured: it is shown slates, as in a visit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.play import episode_key
from simenv.protocols import Answer, Population
from simenv.session import Slate, take_rows


def replay(
    population: Population, user: NDArray[np.int64], item: NDArray[np.int64], *, width: int = 10, seed: int = 0
) -> Answer:
    """Return what users [N] say of items [N], in the order given; every user stays to the last page.

    width: places of a page. Answers of a stateless rating model do not depend on it.
    seed: the luck of the visits; the distributions do not depend on it.

    Raises:
        DataError: user and item differ in length, or an answer is no distribution.
        UnknownIdError: a user is not a member.

    """
    user, item = np.asarray(user, np.int64), np.asarray(item, np.int64)
    if user.shape != item.shape or user.ndim != 1 or width < 1:
        raise DataError(
            f"replay wants users [N], items [N] and width >= 1; got {user.shape}, {item.shape} and {width}."
        )
    ids, row, place = _places(user)
    shown = np.full((len(ids), int(place.max(initial=-1)) + 1), -1, np.int64)
    shown[row, place] = item
    p = np.full((*shown.shape, len(population.scale)), np.nan, np.float32)
    off, support = np.zeros(shown.shape, np.float32), np.zeros(shown.shape, np.float32)
    state, here = population.begin(ids, episode_key(seed, ids)), np.arange(len(ids))
    for first in range(0, shown.shape[1], width):
        stay = shown[here, first] >= 0
        state, here = take_rows(state, stay), here[stay]
        page = slice(first, first + width)
        response, state = population.respond(state, Slate.certain(shown[here, page]))
        p[here, page], off[here, page], support[here, page] = response.p_rating, response.off_scale, response.support
    answer = Answer(p[row, place], off[row, place], support[row, place])
    _check(answer, user, item)
    return answer


def _places(user: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the users [B], and for each pair [N] its row among them and its place among the user's pairs."""
    ids, row = np.unique(user, return_inverse=True)
    row = np.asarray(row, np.int64).ravel()
    order = np.argsort(row, kind="stable")
    place = np.empty(len(user), np.int64)
    place[order] = np.arange(len(user)) - np.searchsorted(row[order], row[order])
    return ids, row, place


def _check(answer: Answer, user: NDArray[np.int64], item: NDArray[np.int64]) -> None:
    total = answer.p.sum(axis=1)
    bad = np.flatnonzero(~(np.abs(total - 1) < 1e-3) | (answer.p < 0).any(axis=1))
    if len(bad):
        n = bad[0]
        raise DataError(
            f"the population answers user {user[n]}, item {item[n]} (numbers) with {answer.p[n]}, which is no "
            f"distribution ({len(bad)} such of {len(user)}); Response.p_rating must hold one at every filled place."
        )
