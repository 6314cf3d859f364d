"""VectorSpace: users and items as vectors a small network can read, from a crowd, the items' words, and known pasts.

All numbers lie on a grid of 1/128 within -8..8, so that sums of their products with the network's weights are exact in
float32 in whatever order they are taken: a pair's answer does not depend on its batch or on the matrix library.
Knows nothing of networks, language models or populations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import eigsh

from simenv.agents.crowd import Crowd
from simenv.agents.cues import Taste
from simenv.agents.embedding import Embedder, Tfidf
from simenv.errors import DataError

Float = NDArray[np.float32]
GRID = 128.0
LIMIT = 8.0
TEXT = 32
"""Dimensions of the items' words at most."""
KIN = 16
"""Eigenvectors of the item-item similarity that are kept at most."""
INTERACTION = ("factors", "genres", "words", "similar items", "popularity taste", "offset x offset")
_HEAD = ("offset", "recent", "spread", "popularity taste", "log count")
_ITEM_HEAD = ("offset", "spread", "popularity", "log count")
_DAMPING = 3.0
"""Pseudo-ratings that pull a user's taste for words and kinds of items to zero."""
_BLOCK = 4096


def on_grid(x: NDArray[np.floating]) -> Float:
    """Return x rounded to 1/128 and held within -8..8."""
    return np.asarray(np.clip(np.rint(np.asarray(x, np.float32) * GRID) / GRID, -LIMIT, LIMIT), np.float32)


@final
@dataclass(frozen=True, eq=False)
class VectorSpace:
    """What users' pasts are turned into vectors with, and the I items' own vectors."""

    crowd: Crowd
    """Its similarities are left out: they stand in `content`."""
    content: Float
    """float32[I, T + S]: words and leading eigenvectors of the similarity, times the roots of their eigenvalues."""
    words: int
    """T, of which the words' part is."""
    item: Float
    """float32[I, Q]: head, factors [D], genres [G], content, scaled, on the grid."""
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
        content = np.column_stack([words, _eigen(crowd)]).astype(np.float32)
        own = _item(crowd, content, words.shape[1])
        light = replace(crowd, similarity=np.zeros((0, 0), np.float32), core=np.full_like(crowd.core, -1))
        bare = cls(light, content, words.shape[1], own, np.zeros(0, np.float32), np.zeros(0, np.float32))
        raw = np.concatenate([bare._raw(item[s], rating[s]) for s in _blocks(len(item))])
        centre, size = _scaling(raw, bare.user_block)
        return replace(bare, centre=centre, size=size)

    @property
    def user_block(self) -> dict[str, slice]:
        """The user vector's parts: head, factors, genres, words, similar."""
        return self._parts(len(_HEAD))

    @property
    def item_block(self) -> dict[str, slice]:
        """The item vector's parts, of the same names."""
        return self._parts(len(_ITEM_HEAD))

    @property
    def width(self) -> tuple[int, int, int]:
        """Columns of the network's input that come from the user, from the item, from both."""
        return self.user_block["factors"].stop, self.item.shape[1], len(INTERACTION)

    def users(self, item: NDArray[np.int64], rating: NDArray[np.floating]) -> Float:
        """Return float32[B, P]: vectors of users of whom contexts item, rating [B, H] are known (-1 and NaN padded).

        Nothing else is known of them: they need not be members of any population.
        """
        out = np.empty((len(item), len(self.size)), np.float32)
        for part in _blocks(len(item)):
            out[part] = on_grid((self._raw(item[part], rating[part]) - self.centre) / self.size)
        return out

    def interaction(self, user: Float, item: NDArray[np.int64]) -> Float:
        """Return float32[N, 6]: `INTERACTION` of user vectors [N, P] and items [N], on the grid."""
        other, mine, its = self.item[item], self.user_block, self.item_block
        factor = (mine["factors"].start + 1, its["factors"].start + 1)
        starts = [factor, *[(mine[n].start, its[n].start) for n in ("genres", "words", "similar")]]
        stops = [mine[n].stop for n in ("factors", "genres", "words", "similar")]
        dots = [
            np.einsum("nd,nd->n", user[:, a:stop], other[:, b : b + stop - a]) / np.float32(max(stop - a, 1) ** 0.5)
            for (a, b), stop in zip(starts, stops, strict=True)
        ]
        return on_grid(np.stack([*dots, user[:, 3] * other[:, 2], user[:, 0] * other[:, 0]], axis=1))

    def save(self, folder: Path) -> None:
        """Write crowd.npz and space.npz, without pickles."""
        self.crowd.save(folder / "crowd.npz")
        own: dict[str, Any] = {n: np.asarray(getattr(self, n)) for n in ("content", "words", "item", "centre", "size")}
        np.savez(folder / "space.npz", **own)

    @classmethod
    def load(cls, folder: Path) -> VectorSpace:
        """Read what `save` wrote."""
        with np.load(folder / "space.npz", allow_pickle=False) as d:
            crowd = Crowd.load(folder / "crowd.npz")
            return cls(crowd, d["content"], int(d["words"]), d["item"], d["centre"], d["size"])

    def _parts(self, head: int) -> dict[str, slice]:
        width = {
            "head": head,
            "factors": self.crowd.factor.shape[1],
            "genres": self.crowd.genre.shape[1],
            "words": self.words,
            "similar": self.content.shape[1] - self.words,
        }
        edge = np.concatenate([[0], np.cumsum(list(width.values()))]).tolist()
        return {name: slice(edge[n], edge[n + 1]) for n, name in enumerate(width)}

    def _raw(self, item: NDArray[np.int64], rating: NDArray[np.floating]) -> Float:
        taste = Taste.of(self.crowd, item, rating)
        row = np.nonzero(item >= 0)[0]
        shape = (len(item), len(self.content))
        residual = csr_matrix((taste.residual[item >= 0], (row, item[item >= 0])), shape=shape)
        liking = np.asarray(residual @ self.content, np.float32) / (taste.count[:, None] + _DAMPING)
        head = [taste.offset, taste.recent, taste.spread, taste.obscure, np.log1p(taste.count)]
        return np.column_stack([*head, taste.factor, taste.genre, liking]).astype(np.float32)


def _item(crowd: Crowd, content: Float, words: int) -> Float:
    count = np.zeros_like(crowd.item_count) if crowd.blind else crowd.item_count
    head = [crowd.item_offset, crowd.item_spread, crowd.popularity, np.log1p(count)]
    raw = np.column_stack([*head, crowd.factor, crowd.genre, content])
    edge = np.cumsum([0, len(head), crowd.factor.shape[1], crowd.genre.shape[1], words, content.shape[1] - words])
    names = ("head", "factors", "genres", "words", "similar")
    block = {name: slice(int(edge[n]), int(edge[n + 1])) for n, name in enumerate(names)}
    centre, size = _scaling(raw.astype(np.float32), block)
    return on_grid((raw - centre) / size)


def _scaling(raw: Float, block: dict[str, slice]) -> tuple[Float, Float]:
    """Return what to subtract and to divide by: the head by column; a bias and a block by their root mean square."""
    centre, size = np.zeros(raw.shape[1]), np.ones(raw.shape[1])
    head, bias = block["head"], block["factors"].start
    centre[head], size[head] = raw[:, head].mean(axis=0), raw[:, head].std(axis=0)
    size[bias] = np.sqrt((raw[:, bias] ** 2).mean())
    for part in (slice(bias + 1, block["factors"].stop), block["genres"], block["words"], block["similar"]):
        size[part] = np.sqrt((raw[:, part].astype(np.float64) ** 2).mean()) if part.stop > part.start else 1.0
    return centre.astype(np.float32), np.where(size > 1e-6, size, 1.0).astype(np.float32)


def _eigen(crowd: Crowd) -> Float:
    """Return float32[I, S]: items along the similarity's leading eigenvectors; 0 for items outside the core."""
    n = len(crowd.similarity)
    k = min(KIN, n - 1)
    out = np.zeros((len(crowd.core), max(k, 0)), np.float32)
    if k > 0 and crowd.similarity.any():
        value, vector = eigsh(crowd.similarity.astype(np.float64), k=k, which="LA", v0=np.ones(n))
        rows = vector * np.sqrt(np.maximum(value, 0.0))
        out[crowd.core >= 0] = rows[crowd.core[crowd.core >= 0]]
    return out


def _narrow(rows: Float, size: int) -> Float:
    if rows.shape[1] <= size:
        return rows
    u, s, _ = np.linalg.svd(rows, full_matrices=False)
    return np.asarray(u[:, :size] * s[:size], np.float32)


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + _BLOCK) for start in range(0, n, _BLOCK)]
