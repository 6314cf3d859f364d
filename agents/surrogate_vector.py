"""VectorSpace: users and items as vectors a small network can read, from a crowd, the items' words, and known pasts.

All numbers lie on a grid of 1/128 within -8..8, so that sums of their products with the network's weights are exact in
float32 in whatever order they are taken: a pair's answer does not depend on its batch or on the matrix library.
Knows nothing of networks, language models or populations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv.agents.crowd import Crowd
from simenv.agents.cues import Taste
from simenv.agents.embedding import Embedder, Tfidf
from simenv.errors import DataError

Float = NDArray[np.float32]
GRID = 128.0
LIMIT = 8.0
TEXT = 32
"""Dimensions of the items' words at most."""
INTERACTION = (
    "factors", "genres", "words", "similar items, 10", "similar items, 40", "support", "popularity taste",
    "offset x offset",
)  # fmt: skip
_HEAD = ("offset", "recent", "spread", "popularity taste", "log count")
_ITEM_HEAD = ("offset", "spread", "popularity", "log count")
_DAMPING = 3.0
"""Pseudo-ratings that pull a user's taste for words to zero."""
_NEAR = 8.0
"""What residuals expected from similar items, some tenths of a rating point, are multiplied by."""
_BLOCK = 4096


def on_grid(x: NDArray[np.floating]) -> Float:
    """Return x rounded to 1/128 and held within -8..8."""
    return np.asarray(np.clip(np.rint(np.asarray(x, np.float32) * GRID) / GRID, -LIMIT, LIMIT), np.float32)


@final
@dataclass(frozen=True, eq=False)
class UserVectors:
    """What a surrogate knows of V users, in memory or memory-mapped."""

    vector: Float
    """float32[V, P]: head, factors, genres, words; on the grid."""
    past: NDArray[np.int32]
    """int32[V, H]: positions of rated items among the crowd's core items, -1: none."""
    residual: Float
    """float32[V, H]: how much better than expected each was rated; 0 where none."""

    def __len__(self) -> int:
        return len(self.vector)

    def take(self, row: NDArray[np.int64]) -> UserVectors:
        """Return some users, in memory."""
        return self._each(lambda a: np.asarray(a[row]))

    def save(self, folder: Path) -> None:
        """Write vector.npy, past.npy and residual.npy."""
        for name in _USER_FILES:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> UserVectors:
        """Open what `save` wrote, memory-mapped."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in _USER_FILES))

    @classmethod
    def collect(
        cls, folder: Path, size: int, length: int, part: Callable[[slice], UserVectors], rows: int
    ) -> UserVectors:
        """Return `size` users made `rows` at a time by part(slice), kept in a folder's files, memory-mapped.

        length: known ratings at most.
        """
        first, open_ = part(slice(0, min(rows, size))), np.lib.format.open_memmap
        shape = {"vector": (size, first.vector.shape[1]), "past": (size, length), "residual": (size, length)}
        kind = {"vector": np.float32, "past": np.int32, "residual": np.float32}
        files = [open_(folder / f"{n}.npy", mode="w+", dtype=kind[n], shape=shape[n]) for n in _USER_FILES]
        for start in range(0, size, rows):
            here = slice(start, min(start + rows, size))
            made = first if start == 0 else part(here)
            for file, value, empty in zip(files, made._fields(), (0, -1, 0), strict=True):
                file[here], file[here, : value.shape[1]] = empty, value
        for file in files:
            file.flush()
        return cls.load(folder)

    def _fields(self) -> tuple[NDArray[Any], ...]:
        return self.vector, self.past, self.residual

    def _each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> UserVectors:
        return UserVectors(*(change(a) for a in self._fields()))


_USER_FILES = ("vector", "past", "residual")


@final
@dataclass(frozen=True, eq=False)
class VectorSpace:
    """What users' pasts are turned into vectors with, and the I items' own vectors."""

    crowd: Crowd
    words: Float
    """float32[I, T]: what the items' texts say."""
    item: Float
    """float32[I, Q]: head, factors [D], genres [G], words, scaled, on the grid."""
    centre: Float
    """float32[P]: subtracted from users' raw vectors; 0 in blocks whose products with items' count."""
    size: Float
    """float32[P]: what they are then divided by."""

    @classmethod
    def of(
        cls,
        crowd: Crowd,
        text: list[str],
        item: NDArray[np.int64],
        rating: NDArray[np.floating],
        *,
        embedder: Embedder | None = None,
    ) -> VectorSpace:
        """Return the space of a crowd and its items' texts [I], scaled on the contexts item, rating [B, H] of users.

        embedder: None: `Tfidf` of 32 dimensions.

        Raises:
            DataError: not one text per item, or no user to scale on.

        """
        if len(text) != len(crowd.item_count) or len(item) == 0:
            raise DataError(
                f"one text for each of {len(crowd.item_count)} items and at least one user are needed; "
                f"got {len(text)} texts and {len(item)} users."
            )
        words = _narrow((embedder or Tfidf(TEXT)).embed(text), TEXT)
        bare = cls(crowd, words, _item(crowd, words), np.zeros(0, np.float32), np.zeros(0, np.float32))
        raw = np.concatenate([bare._raw(Taste.of(crowd, item[s], rating[s])) for s in _blocks(len(item))])
        centre, size = _scaling(raw, bare.user_block)
        return replace(bare, centre=centre, size=size)

    @property
    def user_block(self) -> dict[str, slice]:
        """The user vector's parts: head, factors, genres, words."""
        return _parts(len(_HEAD), self.crowd, self.words)

    @property
    def item_block(self) -> dict[str, slice]:
        """The item vector's parts, of the same names."""
        return _parts(len(_ITEM_HEAD), self.crowd, self.words)

    @property
    def width(self) -> tuple[int, int, int]:
        """Columns of the network's input that come from the user, from the item, from both."""
        return self.user_block["factors"].stop, self.item.shape[1], len(INTERACTION)

    def users(self, item: NDArray[np.int64], rating: NDArray[np.floating]) -> UserVectors:
        """Return users [B] of whom contexts item, rating [B, H] are known (-1 and NaN padded).

        Nothing else is known of them: they need not be members of any population.
        """
        vector, residual = np.empty((len(item), len(self.size)), np.float32), np.empty(item.shape, np.float32)
        for part in _blocks(len(item)):
            taste = Taste.of(self.crowd, item[part], rating[part])
            vector[part], residual[part] = on_grid((self._raw(taste) - self.centre) / self.size), taste.residual
        return UserVectors(vector, np.where(item >= 0, self.crowd.core[item], -1).astype(np.int32), residual)

    def interaction(self, users: UserVectors, row: NDArray[np.int64], item: NDArray[np.int64]) -> Float:
        """Return float32[N, 8]: `INTERACTION` of pairs (users at positions row [N], item [N]), on the grid."""
        user, other, mine, its = users.vector[row], self.item[item], self.user_block, self.item_block
        factor = (mine["factors"].start + 1, its["factors"].start + 1)
        starts = [factor, *[(mine[n].start, its[n].start) for n in ("genres", "words")]]
        stops = [mine[n].stop for n in ("factors", "genres", "words")]
        dots = [
            np.einsum("nd,nd->n", user[:, a:stop], other[:, b : b + stop - a]) / np.float32(max(stop - a, 1) ** 0.5)
            for (a, b), stop in zip(starts, stops, strict=True)
        ]
        near = _near(self.crowd, users.past[row], users.residual[row], item)
        return on_grid(np.stack([*dots, *near, user[:, 3] * other[:, 2], user[:, 0] * other[:, 0]], axis=1))

    def save(self, folder: Path) -> None:
        """Write crowd/ and space.npz, without pickles."""
        self.crowd.save(folder / "crowd")
        own: dict[str, Any] = {n: np.asarray(getattr(self, n)) for n in ("words", "item", "centre", "size")}
        np.savez(folder / "space.npz", **own)

    @classmethod
    def load(cls, folder: Path) -> VectorSpace:
        """Read what `save` wrote."""
        with np.load(folder / "space.npz", allow_pickle=False) as d:
            crowd = Crowd.load(folder / "crowd")
            return cls(crowd, d["words"], d["item"], d["centre"], d["size"])

    def _raw(self, taste: Taste) -> Float:
        row, own = np.nonzero(taste.item >= 0)[0], taste.item >= 0
        residual = csr_matrix((taste.residual[own], (row, taste.item[own])), shape=(len(taste), len(self.words)))
        liking = np.asarray(residual @ self.words, np.float32) / (taste.count[:, None] + _DAMPING)
        head = [taste.offset, taste.recent, taste.spread, taste.obscure, np.log1p(taste.count)]
        return np.column_stack([*head, taste.factor, taste.genre, liking]).astype(np.float32)


def _near(
    crowd: Crowd, past: NDArray[np.int32], residual: Float, item: NDArray[np.int64]
) -> tuple[Float, Float, Float]:
    """Return what the 10 and the 40 most similar known items let expect [N], scaled, and how much there is to go by.

    As the cues of agents/cues.py, from pasts [N, H] of core items.
    """
    target = crowd.core[item]
    if not crowd.similarity.size or not past.shape[1]:
        return (np.zeros(len(item), np.float32),) * 3
    alike = np.where((past >= 0) & (target >= 0)[:, None], crowd.similarity[target[:, None], past], np.float32(0))
    alike = np.maximum(alike, np.float32(0))
    wide, weight, alike, residual = _expected(alike, residual, 40)
    narrow, _, _, _ = _expected(alike, residual, 10)
    return narrow, wide, 4 * weight / (1 + weight)


def _expected(alike: Float, residual: Float, k: int) -> tuple[Float, Float, Float, Float]:
    if alike.shape[1] > k:
        top = np.argpartition(-alike, k - 1, axis=1)[:, :k]
        alike, residual = np.take_along_axis(alike, top, 1), np.take_along_axis(residual, top, 1)
    weight = alike.sum(axis=1)
    return np.float32(_NEAR) * (alike * residual).sum(axis=1) / (weight + np.float32(0.5)), weight, alike, residual


def _parts(head: int, crowd: Crowd, words: Float) -> dict[str, slice]:
    width = {"head": head, "factors": crowd.factor.shape[1], "genres": crowd.genre.shape[1], "words": words.shape[1]}
    edge = np.concatenate([[0], np.cumsum(list(width.values()))]).tolist()
    return {name: slice(edge[n], edge[n + 1]) for n, name in enumerate(width)}


def _item(crowd: Crowd, words: Float) -> Float:
    count = np.zeros_like(crowd.item_count) if crowd.blind else crowd.item_count
    head = [crowd.item_offset, crowd.item_spread, crowd.popularity, np.log1p(count)]
    raw = np.column_stack([*head, crowd.factor, crowd.genre, words]).astype(np.float32)
    centre, size = _scaling(raw, _parts(len(head), crowd, words))
    return on_grid((raw - centre) / size)


def _scaling(raw: Float, block: dict[str, slice]) -> tuple[Float, Float]:
    """Return what to subtract and to divide by: the head by column; a bias and a block by their root mean square."""
    centre, size = np.zeros(raw.shape[1]), np.ones(raw.shape[1])
    head, bias = block["head"], block["factors"].start
    centre[head], size[head] = raw[:, head].mean(axis=0), raw[:, head].std(axis=0)
    size[bias] = np.sqrt((raw[:, bias] ** 2).mean())
    for part in (slice(bias + 1, block["factors"].stop), block["genres"], block["words"]):
        size[part] = np.sqrt((raw[:, part].astype(np.float64) ** 2).mean()) if part.stop > part.start else 1.0
    return centre.astype(np.float32), np.where(size > 1e-6, size, 1.0).astype(np.float32)


def _narrow(rows: Float, size: int) -> Float:
    if rows.shape[1] <= size:
        return rows
    u, s, _ = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(u[:, :size] * s[:size], np.float32)


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + _BLOCK) for start in range(0, n, _BLOCK)]
