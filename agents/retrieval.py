"""Which past items are nearest to a new one: text and collaborative similarity mixed. Knows no users and no words.

No search index (faiss) is used: a query looks only among one user's own entries, some hundreds, where a dense
comparison is exact, instant and free of ties decided by chance; an index pays from about a million candidates on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.agents.embedding import Embedder
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError

Float = NDArray[np.float32]
_CHUNK = 2_000_000
"""Pairs compared at once."""
_TABLE = 4096
"""Up to so many items all affinities are kept as one table (64 MB)."""
_GRID = 2048.0
_NONE = np.iinfo(np.int64).min


@final
@dataclass(frozen=True, eq=False)
class ItemSpace:
    """How like each other I items are. D text dimensions, S core items.

    Text vectors lie on a grid of 1/2048, so that every dot product is exact in float32 in whatever order it is summed:
    what is recalled does not depend on batch size, matrix library or machine.
    """

    text: Float
    """float32[I, D], unit rows or zero rows, on the grid."""
    similarity: Float
    """float32[S, S]: the crowd's similarity of core items."""
    core: NDArray[np.int64]
    """int64[I]: position among core items, -1: not one (collaborative similarity 0)."""
    mix: float = 0.05
    """Weight of text against collaborative similarity, in [0, 1]; 1: text only."""
    floor: float | None = 0.0
    """Items whose affinity is not above this are no memory of each other; None: anything may be recalled."""

    def __post_init__(self) -> None:
        if not 0 <= self.mix <= 1:
            raise ConfigError(f"mix is the weight of text, between 0 and 1; got {self.mix}.")

    @classmethod
    def of(
        cls, crowd: Crowd, catalogue: Catalogue, embedder: Embedder, *, mix: float = 0.05, floor: float | None = 0.0
    ) -> ItemSpace:
        """Return the space of a catalogue: facts and summary embedded, similarities from the crowd."""
        words = [f"{catalogue.describe(i)} {catalogue.summary[i]}" for i in range(len(catalogue))]
        return cls(on_grid(embedder.embed(words)), crowd.similarity, crowd.core, mix, floor)

    def affinity(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> Float:
        """Return float32[N, H]: affinity of items left[N] with items right[N, H] (at negative numbers: meaningless)."""
        if len(self.text) <= _TABLE:
            return self._table[left[:, None], right]
        dot = np.matmul(self.text[right], self.text[left][:, :, None])[:, :, 0]
        return self._mixed(dot, self.core[left][:, None], self.core[right])

    @cached_property
    def _table(self) -> Float:
        core = self.core
        return self._mixed(self.text @ self.text.T, core[:, None], core[None, :])

    def _mixed(self, dot: Float, left: NDArray[np.int64], right: NDArray[np.int64]) -> Float:
        if self.mix == 1:
            return dot
        together = np.where((left >= 0) & (right >= 0), self.similarity[left, right], np.float32(0))
        return np.asarray(np.float32(self.mix) * dot + np.float32(1 - self.mix) * together, np.float32)


def on_grid(text: NDArray[np.floating]) -> Float:
    """Return vectors rounded to 1/2048."""
    return (np.rint(np.asarray(text, np.float64) * _GRID) / _GRID).astype(np.float32)


def nearest(
    space: ItemSpace, context_item: NDArray[np.int64], row: NDArray[np.int64], item: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Return place int64[N, k]: positions, in context row[N] of context_item [B, H], of what is nearest to item [N].

    Best first; of equals the later (more recent) position comes first; -1: none. The item itself is never found,
    however often it stands in the context; nor is padding (-1), nor anything not above `space.floor`.

    Raises:
        ConfigError: k is below 1.

    """
    if k < 1:
        raise ConfigError(f"at least one memory must be asked for; got k={k}.")
    out = np.full((len(item), k), -1, np.int64)
    width = context_item.shape[1]
    cost = width * (1 if len(space.text) <= _TABLE else max(space.text.shape[1] // 4, 1))
    step = max(_CHUNK // max(cost, 1), 1)
    for start in range(0, len(item) if width else 0, step):
        part = slice(start, start + step)
        found = _best(space, context_item[row[part]], item[part], k)
        out[part, : found.shape[1]] = found
    return out


def _best(space: ItemSpace, past: NDArray[np.int64], item: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    score = space.affinity(item, past)
    allowed = (past >= 0) & (item >= 0)[:, None] & (past != item[:, None])
    if space.floor is not None:
        allowed &= score > np.float32(space.floor)
    key = np.where(allowed, _sortable(score), _NONE)
    if key.shape[1] > k:
        key = np.partition(key, key.shape[1] - k, axis=1)[:, -k:]
    key = np.sort(key, axis=1)[:, ::-1]
    return np.where(key == _NONE, -1, key & 0xFFFFFFFF)


def _sortable(score: Float) -> NDArray[np.int64]:
    """Return int64[N, H] keys, all different in a row, that rise with score and then with position (low 32 bits)."""
    bits = (np.ascontiguousarray(score) + np.float32(0)).view(np.int32)  # + 0 turns -0.0 into 0.0
    rising = np.where(bits < 0, bits ^ np.int32(0x7FFFFFFF), bits).astype(np.int64)
    return (rising << 32) | np.arange(score.shape[1], dtype=np.int64)
