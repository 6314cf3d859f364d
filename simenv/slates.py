"""From an action to a slate: what is refused with an error, what is dropped and counted. Knows sessions, not users.

B users; K places; C candidates; I items; T places shown so far.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeVar, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simenv.errors import ActionError
from simenv.session import Session, Slate, UserState

Repeats = Literal["drop", "answer"]
DROPS = ("duplicates", "repeats", "masked")
"""Names of the rules a place can break, as counted by `clean`."""
Ragged = TypeVar("Ragged", Session, UserState)


def checked_action(action: ArrayLike, shape: tuple[int, ...], n: int, what: str = "item") -> NDArray[np.int64]:
    """Return the action as int64 of `shape`, (K,) or (B, K), with entries in -1..n-1, or raise.

    n: number of choices. what: "item" or "candidate", for the message.

    Raises:
        ActionError: wrong type, wrong shape, or a number that stands for nothing.

    """
    a = np.asarray(action)
    if a.dtype.kind not in "iu":
        raise ActionError(
            f"an action holds whole {what} numbers, {shape[-1]} per user; got dtype {a.dtype}. "
            "Scores must be turned into a ranking first, for instance with np.argsort."
        )
    if a.shape != shape:
        raise ActionError(f"expected an action of shape {shape}, {shape[-1]} places per user; got shape {a.shape}.")
    if a.min() < -1 or a.max() >= n:
        bad = (a < -1) | (a >= n)
        *row, place = (int(x) for x in np.argwhere(bad)[0])
        where = f"place {place}" + (f" of row {row[0]}" if row else "")
        raise ActionError(
            f"{where} shows {what} number {a[bad][0]}, but there are 0..{n - 1} (-1: an empty place). "
            "Outside ids become numbers with population.items.encode([...])."
        )
    return a.astype(np.int64)


@final
class Known:
    """What B visits have used up: the items of each user's past and those shown in this visit. Mutable.

    Sessions hold the same as lists; here one look-up answers it for a place. Column I stands for the empty place (-1)
    and is never set.
    """

    def __init__(self, n: int, n_items: int) -> None:
        self.past = np.zeros((n, n_items + 1), bool)
        self.shown = np.zeros((n, n_items + 1), bool)
        self.unrated = np.zeros(n, np.int64)
        """int64[B]: items that are not of the past."""
        self.unseen = np.zeros(n, np.int64)
        """int64[B]: items that are neither of the past nor shown."""

    def begin(self, row: NDArray[np.int64], past_item: NDArray[np.int64]) -> None:
        """Forget the visits at rows [b] and note the pasts [b, H] of the users who come instead."""
        past = np.zeros((len(row), self.past.shape[1]), bool)
        past[np.arange(len(row))[:, None], past_item] = True
        past[:, -1] = False
        self.past[row], self.shown[row] = past, False
        self.unrated[row] = self.unseen[row] = past.shape[1] - 1 - np.count_nonzero(past, axis=1)

    def show(self, row: NDArray[np.int64], item: NDArray[np.int64]) -> None:
        """Note pages [b, K] of distinct items, none of the past, shown at rows [b]."""
        place = row[:, None], item
        self.unseen[row] -= ((item >= 0) & ~self.shown[place]).sum(axis=1)
        self.shown[place] = True
        self.shown[row, -1] = False

    def seen(self) -> NDArray[np.bool_]:
        """Return bool[B, I]: of the past or shown, as a new array."""
        return np.asarray(self.past[:, :-1] | self.shown[:, :-1])


def clean(
    action: NDArray[np.int64],
    candidate: NDArray[np.int64] | None,
    row: NDArray[np.int64],
    known: Known,
    repeats: Repeats,
) -> tuple[Slate, dict[str, NDArray[np.int64]]]:
    """Return the slate that actions [b, K] at rows [b] really show, and int64[b] each, how many places broke a rule.

    candidate: int64[b, C], what the actions number; None: they are item numbers.
    A place is counted once, under the first that holds: "duplicates": the same item stands higher up on this page;
    "masked": rated in the past the contestants know, or an empty position among the candidates; "repeats": shown on an
    earlier page of this visit. Such places become empty (-1), except repeats under `repeats="answer"`.
    """
    item = action
    if candidate is not None:
        item = np.where(action >= 0, np.take_along_axis(candidate, np.maximum(action, 0), axis=1), -1)
    filled, place = item >= 0, (row[:, None], item)
    twin = filled & ((item[:, :, None] == item[:, None, :]).argmax(axis=2) < np.arange(item.shape[1]))
    past = known.past[place] & ~twin
    again = known.shown[place] & ~(twin | past)
    masked = past if candidate is None else past | ((action >= 0) & ~filled)
    counts = {name: hit.sum(axis=1) for name, hit in zip(DROPS, (twin, again, masked), strict=True)}
    drop = twin | past | again if repeats == "drop" else twin | past
    return Slate.certain(np.where(drop, -1, item)), counts


def packed(batch: Ragged) -> Ragged:
    """Return the batch with what was shown moved to the front of each row and columns of only -1 cut off.

    Rows of a vector environment begin and end at different times; without this the axis T would grow for ever.
    """
    empty = batch.shown < 0
    order = np.argsort(empty, axis=1, kind="stable")[:, : int((~empty).sum(axis=1).max(initial=0))]
    names = ("shown", "consumed", "rating") if isinstance(batch, Session) else ("shown",)
    changes: dict[str, Any] = {name: np.take_along_axis(getattr(batch, name), order, axis=1) for name in names}
    return replace(batch, **changes)


def recent(session: Session, width: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return (item[B, width], rating[B, width]): the last ratings known, of the past and of this visit.

    Oldest first, padded at the end with -1 and NaN.
    """
    all_items = np.concatenate([session.past_item, session.shown], axis=1)
    ratings = np.concatenate([session.past_rating, session.rating], axis=1)
    item, rating = np.full((len(session), width), -1), np.full((len(session), width), np.nan, np.float32)
    if not ratings.size:
        return item, rating
    rated = ~np.isnan(ratings)
    number = rated.cumsum(axis=1)  # of a rating within its row, from 1
    left_out = np.maximum(number[:, -1:] - width, 0)
    row, column = np.nonzero(rated & (number > left_out))
    place = number[row, column] - 1 - left_out[row, 0]
    item[row, place], rating[row, place] = all_items[row, column], ratings[row, column]
    return item, rating
