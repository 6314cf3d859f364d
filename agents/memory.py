"""Memory: Ml, every user's past items with what was thought of them, searchable per user.

Reasons are made from numbers when read, unless a language model wrote them (`notes`). Frozen at the cut; a visit may
grow it (`with_entries`), tagged simulated, and nothing does so by default. Knows no prompts and no weights.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simenv.agents.columns import read, write
from simenv.agents.crowd import Crowd
from simenv.agents.reason import Past
from simenv.agents.retrieval import ItemSpace, nearest
from simenv.agents.written import Notes
from simenv.catalogue import Catalogue
from simenv.errors import DataError, LeakageError, StoreError, UnknownIdError
from simenv.log import InteractionLog

__all__ = ["ItemSpace", "Memory", "nearest"]

Float = NDArray[np.float32]
_KIND = "memory"
_ARRAYS = ("user", "item", "rating", "residual", "simulated", "offset")


@final
@dataclass(frozen=True, eq=False)
class Memory:
    """E entries of U users, sorted by user and, within a user, oldest first. Entry numbers are positions 0..E-1."""

    user: NDArray[np.int64]
    """int64[E]"""
    item: NDArray[np.int64]
    """int64[E]"""
    rating: Float
    """float32[E]"""
    residual: Float
    """float32[E]: rating minus crowd mean, item offset and the user's own offset."""
    simulated: NDArray[np.bool_]
    """bool[E]: remembered from a simulated visit; such entries explain nothing and are recalled like the others."""
    time: NDArray[np.int64] | None
    """int64[E] Unix seconds, the largest int64 for simulated entries; None: the log had no times."""
    offset: Float
    """float32[U]: shrunk severity of each user against the crowd; 0 for users without entries."""
    space: ItemSpace
    crowd: Crowd
    catalogue: Catalogue
    notes: Notes | None = None
    """Reasons that a language model wrote; None: all are made from numbers."""

    @classmethod
    def of(cls, past: InteractionLog, crowd: Crowd, catalogue: Catalogue, space: ItemSpace) -> Memory:
        """Return the memories of all users with rows in a log of *known* rows.

        Raises:
            DataError: log and catalogue number their items differently.

        """
        if past.items != catalogue.items:
            raise DataError("log and catalogue have different item indices; make both with the same items=Index.")
        base = past.rating - crowd.mean - crowd.item_offset[past.item]
        count = np.bincount(past.user, minlength=past.n_users)
        offset = np.bincount(past.user, base, minlength=past.n_users) / (count + crowd.user_damping)
        residual = (base - offset[past.user]).astype(np.float32)
        tag = np.full(len(past), past.simulated)
        return cls(
            past.user,
            past.item,
            past.rating,
            residual,
            tag,
            past.time,
            offset.astype(np.float32),
            space,
            crowd,
            catalogue,
        )

    def __len__(self) -> int:
        return len(self.user)

    @property
    def n_users(self) -> int:
        """Size U of the user index (users without entries count)."""
        return len(self.offset)

    @cached_property
    def start(self) -> NDArray[np.int64]:
        """int64[U+1]: entries of user u stand at start[u]:start[u+1]."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.user, minlength=self.n_users))]).astype(np.int64)

    @cached_property
    def last(self) -> NDArray[np.int64]:
        """int64[U]: time of the latest real entry of each user; the smallest int64 for users without any.

        Raises:
            DataError: the memory has no times.

        """
        if self.time is None:
            raise DataError("this memory has no times.")
        last = np.full(self.n_users, np.iinfo(np.int64).min)
        np.maximum.at(last, self.user[~self.simulated], self.time[~self.simulated])
        return last

    def entries(self, user: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return int64[B, H]: the entries of users [B], oldest first, padded at the end with -1."""
        size = self.start[user + 1] - self.start[user]
        place = np.arange(int(size.max(initial=0)))[None, :]
        return np.where(place < size[:, None], self.start[user][:, None] + place, -1)

    def recall(self, user: NDArray[np.int64], item: NDArray[np.int64], k: int) -> NDArray[np.int64]:
        """Return entry int64[B, K, k]: what users [B] remember at items [B, K], best first, -1: none.

        Never the queried item itself, never another user's entry. Empty places (item -1) recall nothing.

        Raises:
            UnknownIdError: a user or item number does not exist.
            ConfigError: k is below 1.

        """
        user, item = np.asarray(user, np.int64), np.asarray(item, np.int64)
        self._check(user, item)
        own, row = np.unique(user, return_inverse=True)
        entry = self.entries(own)
        context = np.where(entry >= 0, self.item[entry], -1) if entry.size else entry
        place = nearest(self.space, context, np.repeat(row, item.shape[1]), item.reshape(-1), k)
        place = place.reshape(*item.shape, k)
        return np.where(place >= 0, self.start[user][:, None, None] + place, -1)

    def reason(self, entry: int) -> str:
        """Return why the user rated so, from the rest of that user's real past; simulated entries have no reason.

        Raises:
            UnknownIdError: no such entry.

        """
        self._check_entry(entry)
        if self.simulated[entry]:
            return f"I gave it {self.rating[entry]:g} just now."
        if self.written(entry):
            return self.written(entry)
        u = int(self.user[entry])
        return self._past(u).reason(int(entry - self.start[u]))

    def written(self, entry: int) -> str:
        """Return rating and reason as a language model wrote it, "" if it wrote none."""
        note = "" if self.notes is None else self.notes[entry]
        return f"I gave it {self.rating[entry]:g}. {note}" if note else ""

    def text(self, entry: int) -> str:
        """Return item facts and reason on one line: what a prompt shows of an entry."""
        self._check_entry(entry)
        return f"{self.catalogue.describe(int(self.item[entry]))}. {self.reason(entry)}"

    def check(self, cut: NDArray[np.int64] | None) -> None:
        """Refuse a memory that knows the future. cut: int64[U], first forbidden second of each user; None: no times.

        Raises:
            LeakageError: an entry of the log lies at or after its user's cut, or has no time to prove that it does not.

        """
        if cut is None or len(self) == 0:
            return
        if self.time is None:
            raise LeakageError(
                "a cut was given but the memory has no times to prove that it ends there; give cut=None."
            )
        if (self.last >= cut).any():
            late = ~self.simulated & (self.time >= cut[self.user])
            first = int(np.flatnonzero(late)[0])
            raise LeakageError(
                f"{int(late.sum())} memory entries lie at or after their user's cut, first that of user number "
                f"{self.user[first]} at {self.time[first]} (cut {cut[self.user[first]]}); "
                "build memories from split.past."
            )

    def with_entries(self, user: ArrayLike, item: ArrayLike, rating: ArrayLike) -> Memory:
        """Return the memory grown by simulated entries [N], the latest of their users. Entry numbers change.

        Severity, residuals of old entries, reasons and similarities stay as they were frozen.

        Raises:
            UnknownIdError: a user or item number does not exist.
            DataError: a rating is not a number.

        """
        user, item = np.asarray(user, np.int64), np.asarray(item, np.int64)
        rating = np.asarray(rating, np.float32)
        self._check(user, item[:, None])
        if (item < 0).any() or not np.isfinite(rating).all():
            raise DataError("a remembered entry needs an item and a rating; leave out empty places and NaN ratings.")
        residual = rating - self.crowd.mean - self.crowd.item_offset[item] - self.offset[user]
        late = np.full(len(user), np.iinfo(np.int64).max, np.int64)
        new: dict[str, Any] = {
            "user": user, "item": item, "rating": rating, "residual": residual.astype(np.float32),
            "simulated": np.ones(len(user), bool), "time": late,
        }  # fmt: skip
        order = np.argsort(np.concatenate([self.user, user]), kind="stable")
        kept = {n: v for n, v in new.items() if getattr(self, n) is not None}
        grown: dict[str, Any] = {n: np.concatenate([getattr(self, n), v])[order] for n, v in kept.items()}
        notes = None if self.notes is None else self.notes.take(np.where(order < len(self), order, -1))
        return replace(self, **grown, notes=notes)

    def save(self, folder: Path) -> None:
        """Write one file per array into a folder; crowd and catalogue stay outside. Reasons are not stored but made."""
        arrays = {n: getattr(self, n) for n in _ARRAYS} | {"text": self.space.text, "start": self.start}
        arrays |= {} if self.time is None else {"time": self.time, "last": self.last}
        arrays |= {} if self.notes is None else self.notes.pack()
        about = {"mix": self.space.mix, "floor": self.space.floor, "items": self.catalogue.items.fingerprint}
        write(folder, _KIND, arrays, about)

    @classmethod
    def load(cls, folder: Path, crowd: Crowd, catalogue: Catalogue) -> Memory:
        """Open what `save` wrote; entries are read from the file when they are looked at.

        Raises:
            StoreError: not such a folder, or made for other items than the catalogue's.

        """
        data, about = read(folder, _KIND)
        if about["items"] != catalogue.items.fingerprint:
            raise StoreError(
                f"{folder.name} was made for other items than this catalogue's; load the catalogue saved with it."
            )
        space = ItemSpace(data["text"], crowd.similarity, crowd.core, about["mix"], about["floor"])
        notes = Notes.unpack(data) if "note" in data else None
        found: dict[str, Any] = {n: data[n] for n in _ARRAYS}
        made = cls(**found, time=data.get("time"), space=space, crowd=crowd, catalogue=catalogue, notes=notes)
        made.__dict__.update({n: data[n] for n in ("start", "last") if n in data})  # else computed from all entries
        return made

    def _past(self, user: int) -> Past:
        known = self._pasts.get(user)
        if known is None:
            own = slice(self.start[user], self.start[user + 1])
            real = ~self.simulated[own]  # simulated entries stand last, so places stay
            item, rating, residual = self.item[own][real], self.rating[own][real], self.residual[own][real]
            known = Past(self.crowd, self.catalogue, item, rating, residual, float(self.offset[user]))
            self._pasts[user] = known
        return known

    @cached_property
    def _pasts(self) -> dict[int, Past]:
        return {}

    def _check(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> None:
        for name, number, size, low in (("user", user, self.n_users, 0), ("item", item, len(self.catalogue), -1)):
            bad = number[(number < low) | (number >= size)]
            if len(bad):
                raise UnknownIdError(f"{name} number {bad.flat[0]} does not exist; numbers are {low}..{size - 1}.")

    def _check_entry(self, entry: int) -> None:
        if not 0 <= entry < len(self):
            raise UnknownIdError(
                f"entry {entry} does not exist; entries are 0..{len(self) - 1} (-1 means none was recalled)."
            )
