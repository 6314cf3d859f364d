"""InteractionLog: what users did with items, in time order; and the honest ways to cut it.

Knows nothing of files (simenv.datasets reads them), prompts or recommenders.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from simenv.errors import DataError
from simenv.index import Index
from simenv.randomness import generator
from simenv.scale import RatingScale

SplitKind = Literal["user_time", "global_time", "random"]
TimeNote = Literal["exact", "approximate", "none"]


@final
@dataclass(frozen=True, eq=False)
class InteractionLog:
    """E events, sorted by user and, within a user, by time (ties keep the order of the source)."""

    users: Index
    items: Index
    user: NDArray[np.int64]
    """int64[E], dense numbers into `users`."""
    item: NDArray[np.int64]
    """int64[E], dense numbers into `items`."""
    rating: NDArray[np.float32]
    """float32[E], values of `scale`."""
    time: NDArray[np.int64] | None
    """int64[E] Unix seconds, or None: then temporal splits raise."""
    scale: RatingScale
    time_note: TimeNote = "exact"
    """"approximate": times were rebuilt; every figure that depends on them must say so."""
    simulated: bool = False
    """True: these answers came from a simulator; never calibrate users on them."""

    def __post_init__(self) -> None:
        sizes = {len(self.user), len(self.item), len(self.rating)} | (
            {len(self.time)} if self.time is not None else set()
        )
        if len(sizes) != 1:
            raise DataError(f"user, item, rating and time must have one length; got {sorted(sizes)}.")
        if len(self.user) and (np.diff(self.user) < 0).any():
            raise DataError("events must be sorted by user; make logs with InteractionLog.of or from_frame.")

    @classmethod
    def of(
        cls,
        users: Index,
        items: Index,
        user: ArrayLike,
        item: ArrayLike,
        rating: ArrayLike,
        time: ArrayLike | None,
        scale: RatingScale,
        *,
        time_note: TimeNote = "exact",
        simulated: bool = False,
    ) -> InteractionLog:
        """Return a log of dense numbers [E] in any order: sorts them, stable in ties."""
        user, item = np.asarray(user, np.int64), np.asarray(item, np.int64)
        rating = np.asarray(rating, np.float32)
        when = None if time is None else np.asarray(time, np.int64)
        order = np.argsort(user, kind="stable") if when is None else np.lexsort((when, user))
        note: TimeNote = "none" if when is None else time_note
        return cls(
            users,
            items,
            user[order],
            item[order],
            rating[order],
            None if when is None else when[order],
            scale,
            note,
            simulated,
        )

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        users: Index | None = None,
        items: Index | None = None,
        scale: RatingScale | None = None,
        time_note: TimeNote = "exact",
    ) -> InteractionLog:
        """Return the log of a clean frame with columns user, item, rating and, if known, time (Unix seconds).

        `users`, `items`: indices to use; None: those of the frame. `scale` None: inferred.
        For files, and for frames of unknown cleanliness, use `simenv.datasets.frames.load`.

        Raises:
            DataError: a column is missing or a rating is off the scale.
            UnknownIdError: an id is not in the given index.

        """
        missing = [c for c in ("user", "item", "rating") if c not in frame]
        if missing:
            raise DataError(f"column {missing[0]!r} is missing; the frame has {list(frame.columns)}. Rename it first.")
        users = users or Index.of(frame["user"], "user")
        items = items or Index.of(frame["item"], "item")
        scale = scale or RatingScale.infer(frame["rating"].to_numpy())
        scale.encode(frame["rating"].to_numpy())
        time = frame["time"].to_numpy() if "time" in frame else None
        user = users.encode(frame["user"].to_numpy())
        item = items.encode(frame["item"].to_numpy())
        return cls.of(users, items, user, item, frame["rating"].to_numpy(), time, scale, time_note=time_note)

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        """Size of the user index (users without events count)."""
        return len(self.users)

    @property
    def n_items(self) -> int:
        """Size of the item index."""
        return len(self.items)

    @cached_property
    def indptr(self) -> NDArray[np.int64]:
        """int64[U+1]: events of user u stand at indptr[u]:indptr[u+1]."""
        counts = np.bincount(self.user, minlength=self.n_users)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @property
    def count(self) -> NDArray[np.int64]:
        """int64[U]: events per user."""
        return np.diff(self.indptr)

    def history(self, user: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return (item[H], rating[H]) of one user, oldest first."""
        rows = slice(self.indptr[user], self.indptr[user + 1])
        return self.item[rows], self.rating[rows]

    def padded(self, user: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return (item[B, H], rating[B, H]) of users [B], oldest first, padded at the end with -1 and NaN."""
        if len(user) == 1:
            one = self.history(int(user[0]))
            return one[0][None].copy(), one[1][None].copy()
        start, end = self.indptr[user], self.indptr[user + 1]
        event = start[:, None] + np.arange((end - start).max(initial=0))
        item, rating = np.full(event.shape, -1, np.int64), np.full(event.shape, np.nan, np.float32)
        held = event < end[:, None]
        item[held], rating[held] = self.item[event[held]], self.rating[event[held]]
        return item, rating

    def matrix(self) -> csr_matrix:
        """Return csr float32[U, I] of ratings (the last one where a user rated an item twice)."""
        keep = ~pd.DataFrame({"u": self.user, "i": self.item}).duplicated(keep="last").to_numpy()
        shape = (self.n_users, self.n_items)
        return csr_matrix((self.rating[keep], (self.user[keep], self.item[keep])), shape=shape, dtype=np.float32)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> InteractionLog:
        """Return the events chosen by a mask bool[E] or by ascending row numbers; indices are kept."""
        time = None if self.time is None else self.time[rows]
        return replace(self, user=self.user[rows], item=self.item[rows], rating=self.rating[rows], time=time)

    def of_users(self, user: ArrayLike) -> InteractionLog:
        """Return the events of the users given by number."""
        return self.take(np.isin(self.user, np.asarray(user)))

    def to_frame(self) -> pd.DataFrame:
        """Return columns user, item (raw ids), rating and, where known, time."""
        frame = pd.DataFrame(
            {
                "user": self.users.decode(self.user),
                "item": self.items.decode(self.item),
                "rating": self.rating,
            }
        )
        return frame if self.time is None else frame.assign(time=self.time)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits of ids, events and times: the data version that reports name."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update((self.users.fingerprint + self.items.fingerprint + repr(self.scale.values)).encode())
        for array in (self.user, self.item, self.rating, self.time):
            digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def split(self, kind: SplitKind, fraction: float = 0.6, *, seed: int = 0, users: ArrayLike | None = None) -> Split:
        """Cut the log into past and future.

        kind:
            "user_time": the first `fraction` of each user's events are past. Events of one user at the same second
                are never separated: the cut moves to the nearer end of the tied block.
            "global_time": events before the `fraction` quantile of all times are past, for every user alike.
            "random": a random `fraction` of each user's events is past (seeded).
        users: numbers of the users to cut; events of all others stay in the past whole (the `world` arm:
            other users' events of any time may be known). None: cut every user.

        Raises:
            DataError: a temporal split of a log without times, or a fraction outside (0, 1).

        """
        if not 0 < fraction < 1:
            raise DataError(f"fraction must lie between 0 and 1; got {fraction}.")
        if kind != "random" and self.time is None:
            raise DataError(f'split("{kind}") needs times and this log has none; use split("random", seed=...).')
        chosen = np.ones(self.n_users, bool)
        if users is not None:
            chosen = np.isin(np.arange(self.n_users), np.asarray(users))
        past, moved = self._past_mask(kind, fraction, seed)
        past |= ~chosen[self.user]
        note = f"{kind} {fraction:g}"
        if kind == "user_time":
            note += f"; the cut moved to keep events of one second together for {int(moved[chosen].sum())} users"
        if self.time_note == "approximate" and kind != "random":
            note += "; approximate time"
        return Split(self.take(past), self.take(~past), kind, note, None if kind == "random" else self._cuts(past))

    def _past_mask(self, kind: SplitKind, fraction: float, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        past = np.zeros(len(self), bool)
        moved = np.zeros(self.n_users, bool)
        if kind == "global_time":
            assert self.time is not None
            return self.time < np.quantile(self.time, fraction, method="lower"), moved
        for user in np.flatnonzero(self.count):
            start, end = int(self.indptr[user]), int(self.indptr[user + 1])
            n_past = round((end - start) * fraction)
            if kind == "random":
                order = generator(seed, "split", int(user)).permutation(end - start)
                past[start + order[:n_past]] = True
            else:
                assert self.time is not None
                cut = _untied(self.time[start:end], n_past)
                moved[user] = cut != n_past
                past[start : start + cut] = True
        return past, moved

    def _cuts(self, past: NDArray[np.bool_]) -> NDArray[np.int64] | None:
        if self.time is None:
            return None
        cut = np.full(self.n_users, np.iinfo(np.int64).max, np.int64)
        np.minimum.at(cut, self.user[~past], self.time[~past])
        return cut

    def split_worlds(self, seed: int, share: float = 0.5) -> tuple[InteractionLog, InteractionLog]:
        """Return (judge's rows, contestants' rows): disjoint, per user a random `share` goes to the judge.

        Simulator and recommenders that learn from the same rows flatter each other; benchmarks use this by default.
        """
        judge = self.split("random", share, seed=seed)
        return judge.past, judge.future


def _untied(time: NDArray[np.int64], n_past: int) -> int:
    """Return the cut nearest to n_past that leaves no tied block on both sides (the lower one when equally near)."""
    edges = np.concatenate([[0], np.flatnonzero(np.diff(time)) + 1, [len(time)]])
    return int(edges[np.argmin(np.abs(edges - n_past))])


@final
@dataclass(frozen=True, eq=False)
class Split:
    """A log cut in two. Nothing of `future` may reach what is built from `past`."""

    past: InteractionLog
    future: InteractionLog
    kind: SplitKind
    note: str
    """How it was cut, ties and approximate times included; for reports."""
    cut: NDArray[np.int64] | None
    """int64[U]: time of each user's first future event (the largest int64 where there is none); None without times, and
    for random splits, where past and future overlap in time."""
