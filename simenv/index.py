"""Outside ids to dense numbers and back. Made once, before any split, and shared by log, catalogue and population."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.errors import DataError, UnknownIdError

RawId = int | str


@final
@dataclass(frozen=True)
class Index:
    """A frozen bijection between raw ids and 0..n-1, in the order given."""

    ids: tuple[RawId, ...]
    """Raw ids: all int or all str, no repeats."""
    name: str = "id"
    """What one id stands for, for messages: "user" or "item"."""

    def __post_init__(self) -> None:
        kinds = {type(i) for i in self.ids}
        if kinds - {int, str} or len(kinds) > 1:
            found = ", ".join(sorted(k.__name__ for k in kinds))
            raise DataError(f"{self.name} ids must be all int or all str; got {found}. Convert the column first.")
        if len(set(self.ids)) != len(self.ids):
            raise DataError(f"{self.name} ids repeat; an Index needs each id once.")

    @classmethod
    def of(cls, values: Iterable[object], name: str = "id") -> Index:
        """Return the Index of the distinct values, sorted; NumPy scalars become Python ones."""
        unique = {v.item() if isinstance(v, np.generic) else v for v in values}
        if len({type(v) for v in unique}) > 1:
            return cls(tuple(unique), name)  # type: ignore[arg-type]  # raises: what cannot be sorted has no order
        return cls(tuple(sorted(unique)), name)  # type: ignore[arg-type]

    @cached_property
    def _lookup(self) -> pd.Index:
        return pd.Index(list(self.ids))

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, raw: object) -> bool:
        return raw in self._lookup

    def encode(self, raw: Sequence[RawId] | NDArray[np.generic]) -> NDArray[np.int64]:
        """Return int64[N] numbers of raw ids [N].

        Raises:
            UnknownIdError: some ids are not in the index; the message names the first three.

        """
        number = self._lookup.get_indexer(pd.Index(list(raw))).astype(np.int64)
        if (number < 0).any():
            values = np.asarray(raw, dtype=object).tolist()
            unknown = [values[i] for i in np.flatnonzero(number < 0)[:3]]
            raise UnknownIdError(
                f"unknown {self.name} {', '.join(map(repr, unknown))} ({int((number < 0).sum())} in all); "
                f"known are {len(self)} such as {', '.join(map(repr, self.ids[:3]))} (type {self.kind})."
            )
        return number

    def decode(self, number: NDArray[np.int64]) -> list[RawId]:
        """Return the raw ids of numbers [N]."""
        return [self.ids[int(n)] for n in number]

    @property
    def kind(self) -> str:
        """The type of the raw ids: "int", "str", or "none" for an empty index."""
        return type(self.ids[0]).__name__ if self.ids else "none"

    def parse(self, text: str) -> RawId:
        """Return the raw id that a person typed (a command line gives strings for integer ids too).

        Raises:
            UnknownIdError: no such id.

        """
        raw: RawId = int(text) if self.kind == "int" and text.lstrip("-").isdigit() else text
        self.encode([raw])
        return raw

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when any id or the order changes."""
        return hashlib.blake2b(repr(self.ids).encode(), digest_size=8).hexdigest()
