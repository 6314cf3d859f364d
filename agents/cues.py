"""Cues: what the crowd and the user's own past say about a user and an item, as numbers.

One function makes them for training and for serving. A *context* is what may be known of B users: item int64[B, H] and
rating float32[B, H], oldest first, padded with -1 and NaN.
Knows nothing of prompts; agents/prompt.py turns cues into words, agents/prior.py into an expected rating.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.agents.factors import Belief, Rows, fold_in

Float = NDArray[np.float32]
_CHUNK = 4_000_000


@final
@dataclass(frozen=True, eq=False)
class Taste:
    """What B users' contexts say about them, against a Crowd."""

    item: NDArray[np.int64]
    """int64[B, H], -1 padded."""
    residual: Float
    """float32[B, H]: rating minus mean, item offset and the user's offset; 0 at padding."""
    count: Float
    """float32[B]: known ratings."""
    offset: Float
    """float32[B]: shrunk severity against the crowd (negative: harsher)."""
    recent: Float
    """float32[B]: mean residual of the last ten ratings, shrunk: has the user become milder?"""
    spread: Float
    """float32[B]: root mean square residual, shrunk to the crowd's."""
    factor: Float
    """float32[B, D]: what to add to `offset` for the user's bias, then factors: expectations given the crowd's item
    factors (agents/factors.py). 0 where others' opinions are left out."""
    genre: Float
    """float32[B, G]: shrunk mean residual per genre."""
    genre_count: Float
    """float32[B, G]: known ratings per genre (shares of a film's genres)."""
    obscure: Float
    """float32[B]: slope of the residual on item popularity, shrunk; positive: likes the well known."""
    kin: Float
    """float32[B, G]: residual that people of the user's kind give each genre; 0 where nothing is known of them."""

    @classmethod
    def of(
        cls,
        crowd: Crowd,
        item: NDArray[np.int64],
        rating: NDArray[np.floating],
        user: NDArray[np.int64] | None = None,
    ) -> Taste:
        """Return the tastes of B contexts; user: int64[B], whose they are; None: nobody the crowd knows of."""
        known = item >= 0
        count = known.sum(axis=1).astype(np.float32)
        base = np.where(known, rating - crowd.mean - crowd.item_offset[item], 0.0)
        offset = base.sum(axis=1) / (count + crowd.user_damping)
        residual = np.where(known, base - offset[:, None], 0.0).astype(np.float32)
        genre = crowd.genre[item] * known[:, :, None]
        genre_count = genre.sum(axis=1)
        late = np.arange(item.shape[1])[None, :] >= (count[:, None] - 10)
        pop = np.where(known, crowd.popularity[item], 0.0)
        pop = np.where(known, pop - (pop.sum(axis=1) / np.maximum(count, 1))[:, None], 0.0)
        return cls(
            item,
            residual,
            count,
            offset.astype(np.float32),
            ((residual * late).sum(axis=1) / (np.minimum(count, 10) + 10)).astype(np.float32),
            np.sqrt(((residual**2).sum(axis=1) + 10 * 0.85) / (count + 10)).astype(np.float32),
            _fold_in(crowd, item, rating, offset),
            np.asarray(np.einsum("bh,bhg->bg", residual, genre) / (genre_count + 3), np.float32),
            genre_count.astype(np.float32),
            ((residual * pop).sum(axis=1) / ((pop**2).sum(axis=1) + 1)).astype(np.float32),
            crowd.kin[user] if user is not None and len(crowd.kin) else np.zeros_like(genre_count, np.float32),
        )

    def __len__(self) -> int:
        return len(self.item)

    def take(self, row: NDArray[np.int64]) -> Taste:
        """Return the tastes of users at positions [N], in that order."""
        return Taste(**{f.name: getattr(self, f.name)[row] for f in fields(self)})


class Tasting(Protocol):
    """Tastes of B users, made when asked for (agents/tastes.py)."""

    def take(self, row: NDArray[np.int64]) -> Taste:
        """Return the tastes of users at positions [N], in that order."""
        ...


def _fold_in(
    crowd: Crowd, item: NDArray[np.int64], rating: NDArray[np.floating], offset: NDArray[np.floating]
) -> Float:
    if crowd.blind:
        return np.zeros((len(item), crowd.factor.shape[1]), np.float32)
    mean = crowd.factor.astype(np.float64)
    mean[:, 0] += crowd.item_offset
    belief = Belief(crowd.taste_mean.astype(np.float64), crowd.taste_precision.astype(np.float64), crowd.noise)
    folded = fold_in(Rows(mean, crowd.factor_covariance.astype(np.float64)), belief, item, rating, crowd.mean)
    folded[:, 0] -= offset
    return folded.astype(np.float32)


@final
@dataclass(frozen=True, eq=False)
class Cues:
    """What is known about N (user, item) pairs."""

    item_mean: Float
    """float32[N]: shrunk crowd average."""
    item_count: Float
    """float32[N]: ratings behind it."""
    similar: Float
    """float32[N]: residual expected from the user's ratings of similar items (item k-nearest neighbours)."""
    similar_weight: Float
    """float32[N]: summed similarity behind it; 0: no neighbour, and `similar` means nothing."""
    likeminded: Float
    """float32[N]: residual expected by matrix factorisation, i.e. from people of like taste, and from those of the
    user's kind."""
    spread: Float
    """float32[N]: expected size of what is left to chance, in rating points: the user's spread times the item's."""
    feature: Float
    """float32[N, D]: all cues as numbers for a linear model; see FEATURE."""


FEATURE = (
    "item offset", "user offset", "recent residual", "similar items, 10", "similar items, 40", "factors", "genres",
    "popularity taste", "user offset x few ratings", "item offset x spread", "log count", "log known", "spread",
    "support", "genres chosen", "genres avoided", "people alike",
)  # fmt: skip


def cues(crowd: Crowd, taste: Taste | Tasting, row: NDArray[np.int64], item: NDArray[np.int64]) -> Cues:
    """Return the cues of pairs (user at position row[N] of `taste`, item[N])."""
    if not isinstance(taste, Taste):
        own, place = np.unique(row, return_inverse=True)
        taste, row = taste.take(own), place.ravel()
    near10, _ = _neighbours(crowd, taste, row, item, 10)
    near40, weight = _neighbours(crowd, taste, row, item, 40)
    factors = _likeminded(crowd, taste, row, item)
    genre = np.einsum("ng,ng->n", crowd.genre[item], taste.genre[row]).astype(np.float32)
    count, known = np.where(crowd.blind, np.float32(0), crowd.item_count[item]), taste.count[row]
    popular = taste.obscure[row] * (crowd.popularity[item] - 0.5)
    chosen = exposure(crowd, taste, row, item)
    kin = np.einsum("ng,ng->n", crowd.genre[item], taste.kin[row]).astype(np.float32)
    columns = [
        crowd.item_offset[item], taste.offset[row], taste.recent[row], near10, near40, factors, genre,
        popular, taste.offset[row] / np.sqrt(known + 1), crowd.item_offset[item] * (taste.spread[row] - 0.9),
        np.log1p(count) / 5, np.log1p(known) / 5, taste.spread[row] - 0.9, weight / (1 + weight),
        np.maximum(chosen, 0), np.minimum(chosen, 0), kin,
    ]  # fmt: skip
    feature = np.stack(columns, axis=1).astype(np.float32)
    spread = taste.spread[row] * crowd.item_spread[item]
    return Cues(crowd.item_mean[item], count, near40, weight, factors + kin, spread, feature)


def _likeminded(crowd: Crowd, taste: Taste, row: NDArray[np.int64], item: NDArray[np.int64]) -> Float:
    """Return what the factorisation expects [N] beyond the offsets that stand in cues of their own."""
    own, other = taste.factor[row], crowd.factor[item]
    return np.asarray(own[:, 0] + other[:, 0] + np.einsum("nf,nf->n", own[:, 1:], other[:, 1:]), np.float32)


def exposure(
    crowd: Crowd, taste: Taste, row: NDArray[np.int64], item: NDArray[np.int64], damping: float = 5.0
) -> Float:
    """Return how much more often than by chance users chose the genres of items, float32[N]: log of the ratio.

    A user's share of each genre, shrunk to the catalogue's by `damping` items; averaged over the item's genres. Needs
    no rating: a user who never chose a genre is told from one who did (missing not at random; Schnabel et al. 2016).
    """
    usual = crowd.genre.sum(axis=0, dtype=np.float64) + 1e-9
    usual /= usual.sum()
    own = (taste.genre_count + damping * usual) / (taste.genre_count.sum(axis=1, keepdims=True) + damping)
    return np.asarray(np.einsum("ng,ng->n", crowd.genre[item], np.log(own / usual)[row]), np.float32)


def _neighbours(
    crowd: Crowd, taste: Taste, row: NDArray[np.int64], item: NDArray[np.int64], k: int
) -> tuple[Float, Float]:
    """Return the similarity-weighted mean residual [N] of the k most similar known items, and the weight behind it."""
    expected, weight = np.zeros(len(row), np.float32), np.zeros(len(row), np.float32)
    width = max(taste.item.shape[1], 1)
    own = np.where(taste.item >= 0, crowd.core[taste.item], -1)
    step = max(_CHUNK // width, 1)
    for start in range(0, len(row), step):
        part = slice(start, start + step)
        column, target = own[row[part]], crowd.core[item[part]]
        s = np.where((column >= 0) & (target >= 0)[:, None], crowd.similarity[target[:, None], column], 0.0)
        s = np.maximum(s, 0.0)
        residual = taste.residual[row[part]]
        if width > k:
            top = np.argpartition(-s, k - 1, axis=1)[:, :k]
            s, residual = np.take_along_axis(s, top, 1), np.take_along_axis(residual, top, 1)
        weight[part] = s.sum(axis=1)
        expected[part] = (s * residual).sum(axis=1) / (weight[part] + 0.5)
    return expected, weight
