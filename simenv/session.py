"""One visit: Slate (shown), Response (comes back), Session (public) and UserState (what only users know).

All messages carry a leading axis B (users in the batch); one user is B = 1. K: places of a slate; C: candidates;
R: values of the rating scale; T: places shown so far; H: remembered past.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ActionError
from simenv.log import InteractionLog

Rows = NDArray[np.int64] | NDArray[np.bool_] | slice


class StopReason(Enum):
    """Why a visit ended; `terminated` says whether the world or our clock ended it."""

    LEFT = "left"
    """The user left: terminated."""
    EXHAUSTED = "exhausted"
    """Nothing more to show: terminated."""
    PAGE_CAP = "page_cap"
    """Our cap on pages: truncated."""
    VISIT_CAP = "visit_cap"
    """Our cap on visits or days of a user who would have come again: truncated."""

    @property
    def terminated(self) -> bool:
        """True for the world's own endings, False for our caps."""
        return self not in (StopReason.PAGE_CAP, StopReason.VISIT_CAP)


@final
@dataclass(frozen=True, eq=False)
class Slate:
    """What is shown to B users."""

    item: NDArray[np.int64]
    """int64[B, K]; -1: an empty place."""
    propensity: NDArray[np.float64]
    """float64[B, K]: probability with which the policy put this item here; 1 for a deterministic policy."""

    @classmethod
    def certain(cls, item: NDArray[np.int64]) -> Slate:
        """Return a deterministic policy's slate: propensity 1 everywhere."""
        item = np.asarray(item, np.int64)
        return cls(item, np.ones(item.shape))

    def check(self, n_items: int, size: int | None = None) -> None:
        """Raise ActionError unless item is int64[B, K] with entries in -1..n_items-1 and propensities in (0, 1].

        `size`: the K expected; None: any.
        """
        if self.item.ndim != 2 or self.item.shape != self.propensity.shape:
            raise ActionError(
                "a slate needs item and propensity of one shape [B, K]; "
                f"got {self.item.shape} and {self.propensity.shape}."
            )
        if size is not None and self.item.shape[1] != size:
            raise ActionError(f"expected slates of {size} places; got {self.item.shape[1]}.")
        low, high = _ends(self.item, -1)
        if low < -1 or high >= n_items:
            bad = self.item[(self.item < -1) | (self.item >= n_items)][0]
            raise ActionError(
                f"slate shows item number {bad}, but items are 0..{n_items - 1} (-1: empty place). "
                "Slates hold dense numbers; turn outside ids into them with items.encode([...])."
            )
        low, high = _ends(self.propensity, 1)
        if not (low > 0 and high <= 1):
            raise ActionError("propensities must lie in (0, 1]; use Slate.certain(item) for a deterministic policy.")


def _ends(value: NDArray[Any], initial: float) -> tuple[float, float]:
    """Return the lowest and the highest of value and `initial`; NaN where there is one."""
    if value.size > 64:  # below that Python's own minimum is faster
        return float(value.min(initial=initial)), float(value.max(initial=initial))
    values = [initial, *value.ravel().tolist()]
    if math.isnan(sum(values)):
        return math.nan, math.nan
    return min(values), max(values)


@final
@dataclass(frozen=True, eq=False)
class Response:
    """What B users did with a slate. The first three fields are public; the rest never reach a recommender."""

    consumed: NDArray[np.bool_]
    """bool[B, K]: looked at and taken."""
    rating: NDArray[np.float32]
    """float32[B, K]; NaN: none given."""
    exit: NDArray[np.bool_]
    """bool[B]: the user leaves after this page."""
    p_rating: NDArray[np.float32]
    """Diagnostic float32[B, K, R]: what the rating was, or would have been, drawn from; NaN at empty places."""
    off_scale: NDArray[np.float32]
    """Diagnostic float32[B, K]: probability the language model put outside the scale (0 for other models)."""
    p_exit: NDArray[np.float64]
    """Diagnostic float64[B]: probability of leaving after this page."""
    support: NDArray[np.float32]
    """Diagnostic float32[B, K]: how much the judge's rows say about this item (its number of ratings there)."""


@final
@dataclass(frozen=True, eq=False)
class Session:
    """What a recommender may know of B users in mid-visit. Policies read history here, never from the simulator."""

    user: NDArray[np.int64]
    """int64[B]"""
    past_item: NDArray[np.int64]
    """int64[B, H], oldest first, -1 padded at the end: the contestants' rows of this user."""
    past_rating: NDArray[np.float32]
    """float32[B, H], NaN where past_item is -1."""
    shown: NDArray[np.int64]
    """int64[B, T], -1 padded: items shown in this visit."""
    consumed: NDArray[np.bool_]
    """bool[B, T]"""
    rating: NDArray[np.float32]
    """float32[B, T], NaN: none given."""
    page: NDArray[np.int64]
    """int64[B]: pages answered so far."""
    n_items: int
    candidate: NDArray[np.int64] | None = None
    """int64[B, C], -1 padded: the only items that may be shown now; None: the whole catalogue."""

    @classmethod
    def begin(cls, user: NDArray[np.int64], log: InteractionLog, candidate: NDArray[np.int64] | None = None) -> Session:
        """Return B users before their first page, remembering their rows of `log` (the contestants' training log)."""
        user = np.asarray(user, np.int64)
        item, rating = log.padded(user)
        empty = np.zeros((len(user), 0))
        return cls(
            user,
            item,
            rating,
            empty.astype(np.int64),
            empty.astype(bool),
            empty.astype(np.float32),
            np.zeros(len(user), np.int64),
            log.n_items,
            candidate,
        )

    def __len__(self) -> int:
        return len(self.user)

    def after(self, slate: Slate, response: Response) -> Session:
        """Return the session one page later; never un-sees anything."""
        return Session(
            user=self.user,
            past_item=self.past_item,
            past_rating=self.past_rating,
            shown=np.concatenate([self.shown, slate.item], axis=1),
            consumed=np.concatenate([self.consumed, response.consumed], axis=1),
            rating=np.concatenate([self.rating, response.rating], axis=1),
            page=self.page + 1,
            n_items=self.n_items,
            candidate=self.candidate,
        )

    def again(self) -> Session:
        """Return the session of the next visit: what was rated is of the past now, the rest was never shown."""
        item = np.concatenate([self.past_item, np.where(np.isnan(self.rating), -1, self.shown)], axis=1)
        rating = np.concatenate([self.past_rating, self.rating], axis=1)
        order = np.argsort(item < 0, axis=1, kind="stable")
        width = int((item >= 0).sum(axis=1).max(initial=0))
        none = np.zeros((len(self), 0))
        return Session(
            self.user,
            np.take_along_axis(item, order, axis=1)[:, :width],
            np.take_along_axis(rating, order, axis=1)[:, :width],
            none.astype(np.int64),
            none.astype(bool),
            none.astype(np.float32),
            np.zeros(len(self), np.int64),
            self.n_items,
        )

    def seen(self) -> NDArray[np.bool_]:
        """Return bool[B, I]: rated in the past or shown in this visit."""
        seen = np.zeros((len(self), self.n_items + 1), bool)
        rows = np.arange(len(self))[:, None]
        seen[rows, self.past_item] = True
        seen[rows, self.shown] = True
        return seen[:, :-1]

    def available(self) -> NDArray[np.bool_]:
        """Return bool[B, I]: not seen and, where there are candidates, among them."""
        free = ~self.seen()
        if self.candidate is None:
            return free
        allowed = np.zeros((len(self), self.n_items + 1), bool)
        allowed[np.arange(len(self))[:, None], self.candidate] = True
        return free & allowed[:, :-1]


@final
@dataclass(frozen=True, eq=False)
class UserState:
    """What only the B users know in mid-visit. Owned by the population; all arrays, so a snapshot is a copy."""

    user: NDArray[np.int64]
    """int64[B]"""
    key: NDArray[np.uint64]
    """uint64[B]: the episode key all draws hash from."""
    page: NDArray[np.int64]
    """int64[B]: pages answered so far."""
    utility: NDArray[np.float64]
    """float64[B]: running satisfaction, a moving average of (expected rating - the user's mean)."""
    best: NDArray[np.float64]
    """float64[B]: the same for the best place of the last page."""
    repeat: NDArray[np.float64]
    """float64[B]: share of the last page that was shown before in this visit."""
    fatigue: NDArray[np.int64]
    """int64[B]: places shown so far."""
    frailty: NDArray[np.float64]
    """float64[B]: this visit's own readiness to leave, on the logit scale."""
    shown: NDArray[np.int64]
    """int64[B, T], -1 padded: items shown in this visit, for repeats."""
    visit: NDArray[np.int64] | None = None
    """int64[B]: number of the visit in this life, 0 for the first; None: users do not come back."""
    day: NDArray[np.float64] | None = None
    """float64[B]: days since the world began, when this visit began; None as `visit`."""
    loyalty: NDArray[np.float64] | None = None
    """float64[B]: how many times the usual rate at which this user comes back; None as `visit`."""
    exposure: NDArray[np.float64] | None = None
    """float64[B, G]: kinds of what was shown lately; None: nobody is ever bored."""
    seen_item: NDArray[np.int64] | None = None
    """int64[B, S], -1 padded at the front: items shown in earlier visits; None: not kept."""
    seen_day: NDArray[np.float64] | None = None
    """float64[B, S]: the days on which those visits began."""
    memory_item: NDArray[np.int64] | None = None
    """int64[B, M], -1 padded at the front, newest last: what was rated in simulated visits; None: not remembered."""
    memory_rating: NDArray[np.float32] | None = None
    """float32[B, M]: the ratings given; all of them simulated."""


Batch = TypeVar("Batch", Session, UserState, Slate, Response)


def changed(batch: Batch, **fields: NDArray[Any]) -> Batch:
    """Return a message with some fields replaced: `dataclasses.replace` at a third of its time, for every page."""
    new = object.__new__(type(batch))
    vars(new).update(vars(batch), **fields)
    return new


def take_rows(batch: Batch, rows: Rows) -> Batch:
    """Return the chosen users of a Session, UserState, Slate or Response."""
    numbers = isinstance(rows, np.ndarray) and rows.dtype.kind == "i"
    return changed(
        batch,
        **{
            name: value.take(np.asarray(rows), axis=0) if numbers else value[rows]
            for name, value in vars(batch).items()
            if isinstance(value, np.ndarray)
        },
    )


def put_rows(batch: Batch, rows: NDArray[np.int64], new: Batch) -> Batch:
    """Return `batch` with the users at `rows` replaced by those of `new`; ragged axes are padded at the end."""
    changes: dict[str, Any] = {}
    for name, old in vars(batch).items():
        fresh = getattr(new, name)
        if isinstance(old, np.ndarray) and isinstance(fresh, np.ndarray):
            changes[name] = _merged(old, rows, fresh)
    return replace(batch, **changes)


def _merged(old: NDArray[Any], rows: NDArray[np.int64], fresh: NDArray[Any]) -> NDArray[Any]:
    if old.shape[1:] == fresh.shape[1:]:
        out = old.copy()
        out[rows] = fresh
        return out
    width = max(old.shape[1], fresh.shape[1])
    blank = np.nan if old.dtype.kind == "f" else False if old.dtype.kind == "b" else -1
    out = np.empty((len(old), width, *old.shape[2:]), old.dtype)
    out[:, : old.shape[1]], out[:, old.shape[1] :] = old, blank
    out[rows, : fresh.shape[1]], out[rows, fresh.shape[1] :] = fresh, blank
    return out
