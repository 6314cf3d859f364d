"""What a language model wrote about users: Ms stage by stage, reasons of Ml; packed for files without pickles.

Holds words and which of a user's rows they were written from. Knows no model, no prompt and no numbers of a profile.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue

Bytes = NDArray[np.uint8]


@final
@dataclass(frozen=True)
class Stage:
    """A user's Ms as it stood after some of the known rows."""

    known: int
    """The user's first so many rows: all that it was written from."""
    level: tuple[int, int, int]
    """Activity, conformity, diversity: 0 low, 1 middle, 2 high."""
    description: str
    """In the first person, at most 2,000 words, on one line."""


@final
@dataclass(frozen=True, eq=False)
class Notes:
    """Written reasons of E memory entries."""

    text: tuple[str, ...]
    place: NDArray[np.int64]
    """int64[E]: position of each entry's reason in `text`; -1: none was written."""

    def take(self, entry: NDArray[np.int64]) -> Notes:
        """Return the notes of entries [N], in that order; -1 stands for an entry without one."""
        return Notes(self.text, np.where(entry >= 0, self.place[entry], -1))

    def __getitem__(self, entry: int) -> str:
        """Return what was written of an entry, "" if nothing."""
        place = int(self.place[entry])
        return self.text[place] if place >= 0 else ""

    def map(self, change: Callable[[int, str], str]) -> Notes:
        """Return the notes with each entry's text changed; change: (entry, text) -> text."""
        text = list(self.text)
        for entry in np.flatnonzero(self.place >= 0).tolist():
            text[self.place[entry]] = change(entry, self[entry])
        return replace(self, text=tuple(text))

    def pack(self) -> dict[str, Any]:
        """Return arrays for an npz file."""
        return {"note": self.place, "notes": _bytes(list(self.text))}

    @classmethod
    def unpack(cls, data: Mapping[str, Any]) -> Notes:
        """Return what `pack` gave."""
        return cls(tuple(_read(data["notes"])), data["note"])


def pack(stages: Sequence[Sequence[Stage]]) -> Bytes:
    """Return the stages of B users as bytes."""
    return _bytes([[(s.known, s.level, s.description) for s in own] for own in stages])


def unpack(data: Bytes) -> tuple[tuple[Stage, ...], ...]:
    """Return what `pack` was given."""
    return tuple(tuple(Stage(int(k), _three(v), str(d)) for k, v, d in own) for own in _read(data))


def renamer(catalogue: Catalogue, other: Catalogue, item: Sequence[int]) -> Callable[[str], str]:
    """Return what gives titles and people of items, wherever a text says them, the names of another catalogue."""
    name: dict[str, str] = {}
    for i in item:
        old, new = ((c.title[i], c.director[i], *c.cast[i]) for c in (catalogue, other))
        name |= {a: b for a, b in zip(old, new, strict=True) if a}
    if not name:
        return lambda text: text
    longest_first = sorted(name, key=lambda n: (-len(n), n))
    found = re.compile(rf"(?<!\w)(?:{'|'.join(re.escape(n) for n in longest_first)})(?!\w)")
    return lambda text: found.sub(lambda m: name[m.group()], text)


def _three(level: Sequence[int]) -> tuple[int, int, int]:
    a, c, d = level
    return int(a), int(c), int(d)


def _bytes(content: object) -> Bytes:
    return np.frombuffer(json.dumps(content, ensure_ascii=False).encode(), np.uint8)


def _read(data: Bytes) -> Any:
    return json.loads(np.asarray(data, np.uint8).tobytes().decode())
