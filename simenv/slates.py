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
FREE, PAST, SHOWN, TWIN = np.arange(4, dtype=np.uint8)
"""How `Known` marks an item; TWIN: it stands higher up on the page."""
_NONE = np.zeros(1, np.int64)
_BREAKS = np.array([TWIN, SHOWN, PAST])[:, None, None]
"""The mark by which a place breaks each rule of `DROPS`."""
_RULE = dict(zip([int(TWIN), int(SHOWN), int(PAST)], DROPS, strict=True))
Ragged = TypeVar("Ragged", Session, UserState)


def checked_action(
    action: ArrayLike, shape: tuple[int, ...], n: int, what: str = "item", *, single: bool = False
) -> NDArray[np.int64]:
    """Return the action as int64 of `shape`, with entries in -1..n-1, or raise.

    shape: (K,) or (B, K) for pages; () or (B,) for single choices. n: number of choices. what: "item" or "candidate",
    and single (one choice per user, no page), for the message.

    Raises:
        ActionError: wrong type, wrong shape, or a number that stands for nothing.

    """
    a = np.asarray(action)
    if a.dtype.kind in "iu" and a.shape == shape and _within(a, n):
        return a.astype(np.int64)
    raise ActionError(_complaint(a, shape, n, what, single))


def _within(a: NDArray[Any], n: int) -> bool:
    if a.size > 64:  # below that Python's own minimum is faster
        return bool(a.min() >= -1 and a.max() < n)
    values = a.ravel().tolist()
    return not values or (min(values) >= -1 and max(values) < n)


def _complaint(a: NDArray[Any], shape: tuple[int, ...], n: int, what: str, single: bool) -> str:
    if a.dtype.kind not in "iu":
        page = f"one {what} number per user" if single else f"whole {what} numbers, {shape[-1]} per user"
        return (
            f"an action holds {page}; got dtype {a.dtype}. "
            "Scores must be turned into a ranking first, for instance with np.argsort."
        )
    if a.shape != shape:
        page = f"one {what} number per user" if single else f"{shape[-1]} places per user"
        return f"expected an action of shape {shape}, {page}; got shape {a.shape}."
    at = [int(x) for x in np.argwhere((a < -1) | (a >= n))[0]]
    words = [f"place {at.pop()}"] if not single else []
    where = " of ".join([*words, *(f"row {x}" for x in at)]) or "the action"
    return (
        f"{where} shows {what} number {a[tuple(np.argwhere((a < -1) | (a >= n))[0])]}, but there are 0..{n - 1} "
        "(-1: an empty place). Outside ids become numbers with population.items.encode([...])."
    )


@final
class Known:
    """What B visits have used up: the items of each user's past and those shown in this visit. Mutable.

    Sessions hold the same as lists; here one look-up answers it for a place. Column I stands for the empty place (-1)
    and is always free.
    """

    def __init__(self, n: int, n_items: int, spent: bool) -> None:
        """Set B = n rows up. spent: an item that was shown cannot be shown again, and so counts against `left`."""
        self.spent = spent
        self.use = np.zeros((n, n_items + 1), np.uint8)
        """uint8[B, I+1]: FREE, PAST or SHOWN."""
        self.left = np.full(n, n_items)
        """int64[B]: items that can still be shown."""

    def begin(self, row: NDArray[np.int64], past_item: NDArray[np.int64]) -> None:
        """Forget the visits at rows [b] and note the pasts [b, H] of the users who come instead."""
        self.use[row] = FREE
        self.use[row[:, None], past_item] = PAST
        self.use[row, -1] = FREE
        used = [np.count_nonzero(self.use[i]) for i in row.tolist()]  # with axis=1 NumPy goes another, slower way
        self.left[row] = self.use.shape[1] - 1 - np.array(used)

    def show(self, row: NDArray[np.int64], item: NDArray[np.int64]) -> None:
        """Note pages [b, K] that `clean` let pass, shown at rows [b]."""
        if len(row) == 1:
            use = self.use[row[0]]
            use.put(item, SHOWN)
            use[-1] = FREE
            self.left[row[0]] -= np.count_nonzero(item >= 0) if self.spent else 0
            return
        self.use[row[:, None], item] = SHOWN
        self.use[row, -1] = FREE
        if self.spent:
            self.left[row] -= (item >= 0).sum(axis=1)

    def of(self, row: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return uint8[b, K]: how the items [b, K] are marked at rows [b]."""
        return self.use[row[0]].take(item) if len(row) == 1 else self.use[row[:, None], item]

    def seen(self) -> NDArray[np.bool_]:
        """Return bool[B, I]: of the past or shown, as a new array."""
        return self.use[:, :-1].astype(np.bool_)  # FREE is 0

    def showable(self) -> NDArray[np.bool_]:
        """Return bool[B, I]: items that would fill a place, as a new array."""
        return ~self.seen() if self.spent else np.asarray(self.use[:, :-1] != PAST)


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
    if len(row) == 1:
        return _clean_one(item, action, known.of(row, item), repeats)
    twin = (item[:, :, None] == item[:, None, :]).argmax(axis=2) < np.arange(item.shape[1])
    use = np.where(twin & (item >= 0), TWIN, known.of(row, item))
    broken = use == _BREAKS
    if candidate is not None:
        broken[DROPS.index("masked")] |= (action >= 0) & (item < 0)
    counts = dict(zip(DROPS, broken.sum(axis=2), strict=True))
    drop = use != FREE if repeats == "drop" else (use == TWIN) | (use == PAST)
    return Slate.certain(np.where(drop, -1, item)), counts


def _clean_one(
    item: NDArray[np.int64], action: NDArray[np.int64], use: NDArray[np.uint8], repeats: Repeats
) -> tuple[Slate, dict[str, NDArray[np.int64]]]:
    """Return what `clean` does for one page [1, K] of marked items; by hand, since NumPy takes five times as long."""
    numbers = item[0].tolist()
    if min(numbers) >= 0 and len(set(numbers)) == len(numbers) and not np.count_nonzero(use):
        return Slate.certain(item), dict.fromkeys(DROPS, _NONE)
    kept, above, count = [], set(), dict.fromkeys(DROPS, 0)
    for number, chosen, mark in zip(numbers, action[0].tolist(), use[0].tolist(), strict=True):
        rule = None if number >= 0 or chosen < 0 else "masked"
        if number >= 0:
            rule = "duplicates" if number in above else _RULE.get(mark)
            above.add(number)
        if rule is not None:
            count[rule] += 1
        kept.append(-1 if rule is not None and (rule != "repeats" or repeats == "drop") else number)
    return Slate.certain(np.array([kept])), {name: np.array([n]) for name, n in count.items()}


def trimmed(batch: Ragged) -> Ragged:
    """Return the batch without the leading columns of `shown` in which no row has an item.

    Rows of a vector environment begin at different times, each page is added at the end; without this the axis T would
    grow for ever.
    """
    used = np.asarray((batch.shown >= 0).any(axis=0))
    start = int(used.argmax()) if used.any() else len(used)
    names = ("shown", "consumed", "rating") if isinstance(batch, Session) else ("shown",)
    changes: dict[str, Any] = {name: getattr(batch, name)[:, start:] for name in names}
    return replace(batch, **changes)


def recent(session: Session, width: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return (item[B, width], rating[B, width]): the last ratings known, of the past and of this visit.

    Oldest first, padded at the end with -1 and NaN.
    """
    items = np.concatenate([session.past_item, session.shown], axis=1)
    ratings = np.concatenate([session.past_rating, session.rating], axis=1)
    item, rating = np.empty((len(session), width), np.int64), np.empty((len(session), width), np.float32)
    item.fill(-1)
    rating.fill(np.nan)
    if not ratings.size:
        return item, rating
    if len(session) == 1:
        last = np.flatnonzero(ratings[0] == ratings[0])[-width:]  # NaN is not equal to itself
        item[0, : len(last)], rating[0, : len(last)] = items[0].take(last), ratings[0].take(last)
        return item, rating
    rated = ~np.isnan(ratings)
    number = rated.cumsum(axis=1)  # of a rating within its row, from 1
    before = np.maximum(number[:, -1:] - width, 0)  # ratings that are left out
    chosen = np.flatnonzero(rated & (number > before))
    first = np.arange(len(session))[:, None] * width - before - 1
    place = (number + first).ravel()[chosen]
    item.ravel()[place], rating.ravel()[place] = items.ravel()[chosen], ratings.ravel()[chosen]
    return item, rating
