"""Tastes: what members' contexts say about them, computed when somebody is asked, some hundred members at a time.

A population of many is opened at once, and takes the memory of those who answer. Blocks are cut alike whoever is asked
first, and all are padded to the longest history: numbers are those of one large batch, to the bit.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.agents.cues import Taste
from simenv.agents.memory import Memory

Int = NDArray[np.int64]
_ROWS, _CELLS = 256, 100_000
"""Members of a block, and remembered ratings of a block, padding included: whichever is less."""
_KEPT = 64
"""Blocks kept, the least recently used go first."""


@final
@dataclass(frozen=True, eq=False)
class Tastes:
    """Tastes of M members."""

    crowd: Crowd
    memory: Memory
    member: Int
    """int64[M]"""
    _block: OrderedDict[int, Taste] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self.member)

    @cached_property
    def width(self) -> int:
        """H, entries of the longest history among members."""
        return int((self.memory.start[self.member + 1] - self.memory.start[self.member]).max(initial=0))

    def take(self, row: Int) -> Taste:
        """Return the tastes of members at positions [B], in that order."""
        step = max(min(_ROWS, _CELLS // max(self.width, 1)), 1)
        number, place = np.divmod(np.asarray(row, np.int64), step)
        parts = {int(n): self._of(int(n), step) for n in np.unique(number)}
        return _gathered(parts, number, place) if parts else self._of(0, step).take(place)

    def _of(self, number: int, step: int) -> Taste:
        if number not in self._block:
            member = self.member[number * step : (number + 1) * step]
            self._block[number] = Taste.of(self.crowd, *context_of(self.memory, member, self.width))
        self._block.move_to_end(number)
        while len(self._block) > _KEPT:
            self._block.popitem(last=False)
        return self._block[number]


def context_of(memory: Memory, member: Int, width: int | None = None) -> tuple[Int, NDArray[np.float32]]:
    """Return what members [M] are known by: item [M, H] and rating [M, H], padded with -1 and NaN.

    width: H, at least the longest of these histories; None: this.
    """
    entry = memory.entries(member)
    if width is not None:
        entry = np.pad(entry, ((0, 0), (0, width - entry.shape[1])), constant_values=-1)
    if not entry.size:
        return entry, entry.astype(np.float32)
    known = entry >= 0
    item, rating = np.full(entry.shape, -1, np.int64), np.full(entry.shape, np.nan, np.float32)
    item[known], rating[known] = memory.item[entry[known]], memory.rating[entry[known]]
    return item, rating


def _gathered(parts: dict[int, Taste], number: Int, place: Int) -> Taste:
    made = {}
    for name in (f.name for f in fields(Taste)):
        first = getattr(next(iter(parts.values())), name)
        out = np.empty((len(place), *first.shape[1:]), first.dtype)
        for n, block in parts.items():
            own = number == n
            out[own] = getattr(block, name)[place[own]]
        made[name] = out
    return Taste(**made)
