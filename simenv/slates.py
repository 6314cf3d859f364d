"""From an action to a slate: what is refused with an error, what is dropped and counted. Knows sessions, not users.

B users; K places; C candidates; I items; T places shown so far.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, TypeVar

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
    bad = (a < -1) | (a >= n)
    if bad.any():
        *row, place = (int(x) for x in np.argwhere(bad)[0])
        where = f"place {place}" + (f" of row {row[0]}" if row else "")
        raise ActionError(
            f"{where} shows {what} number {a[bad][0]}, but there are 0..{n - 1} (-1: an empty place). "
            "Outside ids become numbers with population.items.encode([...])."
        )
    return a.astype(np.int64)


def clean(action: NDArray[np.int64], session: Session, repeats: Repeats) -> tuple[Slate, dict[str, NDArray[np.int64]]]:
    """Return the slate that actions [B, K] really show, and how many places broke which rule, int64[B] each.

    A place is counted once, under the first that holds: "duplicates": the same item stands higher up on this page;
    "masked": rated in the past the contestants know, or an empty position among the candidates; "repeats": shown on an
    earlier page of this visit. Such places become empty (-1), except repeats under `repeats="answer"`.
    """
    item = action
    if session.candidate is not None:
        item = np.where(action >= 0, np.take_along_axis(session.candidate, np.maximum(action, 0), axis=1), -1)
    filled = item >= 0
    above = (item[:, :, None] == item[:, None, :]) & np.tri(item.shape[1], k=-1, dtype=bool)
    twin = filled & above.any(axis=2)
    past = filled & ~twin & _among(session.past_item, item, session.n_items)
    again = filled & ~twin & ~past & _among(session.shown, item, session.n_items)
    drop = twin | past | (again & (repeats == "drop"))
    masked = past | ((action >= 0) & ~filled)
    counts = {name: hit.sum(axis=1) for name, hit in zip(DROPS, (twin, again, masked), strict=True)}
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


def _among(ids: NDArray[np.int64], item: NDArray[np.int64], n_items: int) -> NDArray[np.bool_]:
    """Return bool[B, K]: whether item [B, K] stands among ids [B, T] (-1 padded) of its row; -1 is undefined."""
    table = np.zeros((len(ids), n_items + 1), bool)
    table[np.arange(len(ids))[:, None], ids] = True
    return np.take_along_axis(table, item % (n_items + 1), axis=1)


def showable(session: Session, repeats: Repeats) -> NDArray[np.bool_]:
    """Return bool[B, I]: items that would fill a place."""
    if repeats == "drop":
        return ~session.seen()
    return ~replace(session, shown=session.shown[:, :0]).seen()


def recent(session: Session, width: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return (item[B, width], rating[B, width]): the last ratings known, of the past and of this visit.

    Oldest first, padded at the end with -1 and NaN.
    """
    blank = np.full((len(session), width), -1)
    item = np.concatenate([session.past_item, session.shown, blank], axis=1)
    rating = np.concatenate([session.past_rating, session.rating, blank.astype(np.float32) * np.nan], axis=1)
    rated = ~np.isnan(rating)
    order = np.argsort(~rated, axis=1, kind="stable")
    start = np.maximum(rated.sum(axis=1) - width, 0)
    chosen = np.take_along_axis(order, start[:, None] + np.arange(width), axis=1)
    item, rating = np.take_along_axis(item, chosen, axis=1), np.take_along_axis(rating, chosen, axis=1)
    return np.where(np.isnan(rating), -1, item), rating
