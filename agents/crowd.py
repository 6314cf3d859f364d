"""Crowd: what the other users' known ratings say about items. Built from rows before every cut, and from nothing else.

Training builds one Crowd per fold of users, without that fold, so that a target never stands in an average, a
similarity or a factor it is predicted from. Knows nothing of prompts or weights.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv.agents.columns import read, write
from simenv.agents.factors import fit_items
from simenv.catalogue import Catalogue
from simenv.errors import DataError
from simenv.log import InteractionLog

Float = NDArray[np.float32]


@final
@dataclass(frozen=True)
class CrowdSettings:
    """How item statistics are shrunk and how many are kept."""

    item_damping: float = 5.0
    """Pseudo-ratings that pull an item's offset to zero (Koren 2010, regularised baseline)."""
    user_damping: float = 8.0
    """The same for a user's offset."""
    people_damping: float = 20.0
    """Ridge penalty of what kinds of people make of genres (only where something is known of users)."""
    similarity_damping: float = 20.0
    """Pseudo-co-ratings that pull an item-item similarity to zero."""
    factors: int = 8
    """Latent dimensions F of the item factors (variational Bayesian matrix factorisation, agents/factors.py)."""
    sweeps: int = 20
    """Alternations of the factorisation."""
    core: int = 6000
    """Similarities are kept among at most so many of the most rated items (memory grows with the square)."""


@final
@dataclass(frozen=True, eq=False)
class Crowd:
    """Frozen item statistics over I items; D = 1 + F for bias and factors, S core items, G genres."""

    mean: float
    """Mean of all known ratings."""
    item_count: Float
    """float32[I]: known ratings of each item."""
    item_offset: Float
    """float32[I]: shrunk offset of the item against mean and user offsets."""
    item_mean: Float
    """float32[I]: shrunk mean rating, as a site would print it."""
    item_spread: Float
    """float32[I]: root mean square residual of an item, shrunk, against that of all items: about 1; above it, opinions
    differ."""
    factor: Float
    """float32[I, D]: what to add to `item_offset` for the item's bias, then its factors; expectations."""
    factor_covariance: Float
    """float32[I, D, D]: their uncertainty."""
    taste_mean: Float
    """float32[D]: bias and factors of a user of whom nothing is known,"""
    taste_precision: Float
    """float32[D, D]: and the inverse of their covariance between users."""
    similarity: Float
    """float32[S, S]: shrunk correlation of residuals among core items; diagonal 0."""
    core: NDArray[np.int64]
    """int64[I]: position among core items, -1: not one."""
    genre: Float
    """float32[I, G]: genres of an item, rows sum to 1 (0 where none is known)."""
    popularity: Float
    """float32[I]: percentile of the count, 0..1."""
    kin: Float
    """float32[U, G]: residual that people of a user's kind give each genre; U = 0: nothing is known of users."""
    user_damping: float
    noise: float
    """Precision of a rating around what the factors expect."""
    blind: bool = False
    """True: other users' opinions are left out (`without_opinions`)."""

    def without_opinions(self) -> Crowd:
        """Return a crowd that knows genres and the overall mean, and nothing else of what others rated.

        What is built on it (traits, likes, cues, prior) rests on the user's own ratings and on content alone. Counts
        stay for `support`, but no cue reads them.
        """
        zero = np.zeros_like(self.item_offset)
        return replace(
            self,
            item_offset=zero,
            item_mean=np.full_like(self.item_mean, self.mean),
            item_spread=np.ones_like(self.item_spread),
            factor=np.zeros_like(self.factor),
            factor_covariance=np.zeros_like(self.factor_covariance),
            taste_mean=np.zeros_like(self.taste_mean),
            similarity=np.zeros_like(self.similarity),
            popularity=zero,
            kin=self.kin[:0],
            blind=True,
        )

    @classmethod
    def fit(
        cls,
        log: InteractionLog,
        catalogue: Catalogue,
        settings: CrowdSettings | None = None,
        *,
        without: NDArray[np.int64] | None = None,
        people: NDArray[np.floating] | None = None,
        seed: int = 0,
    ) -> Crowd:
        """Return the statistics of a log of *known* rows.

        without: numbers of users to leave out; None: nobody. people: [U, P], features of users such as one-hot
        demographics; None: nothing is known of them but ratings.

        Raises:
            DataError: no rows are left.

        """
        settings = settings or CrowdSettings()
        known = log if without is None else log.take(~np.isin(log.user, without))
        if len(known) == 0:
            raise DataError("no known ratings are left to describe items with; keep more users or an earlier cut.")
        mean = float(known.rating.mean())
        count = np.bincount(known.item, minlength=log.n_items).astype(np.float32)
        offset, residual = _residuals(known, mean, settings)
        item_sum = np.bincount(known.item, known.rating - mean, minlength=log.n_items)
        core = _core(count, settings.core)
        matrix = csr_matrix((residual, (known.user, known.item)), shape=(log.n_users, log.n_items), dtype=np.float32)
        genre = _genre(catalogue)
        rows, belief = fit_items(known, mean, settings.factors, settings.sweeps, seed)
        rank = np.argsort(np.argsort(count, kind="stable"), kind="stable")
        return cls(
            mean,
            count,
            offset,
            (mean + item_sum / (count + settings.item_damping)).astype(np.float32),
            _spread(known, residual),
            np.column_stack([rows.mean[:, 0] - offset, rows.mean[:, 1:]]).astype(np.float32),
            rows.covariance.astype(np.float32),
            belief.mean.astype(np.float32),
            belief.precision.astype(np.float32),
            _similarity(matrix, core, settings.similarity_damping),
            core,
            genre,
            (rank / max(len(count) - 1, 1)).astype(np.float32),
            genre[:0] if people is None else _kin(known, residual, genre, people, settings.people_damping),
            settings.user_damping,
            belief.noise,
        )

    def save(self, folder: Path) -> None:
        """Write one file per array into a folder."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NUMBERS}
        write(folder, "crowd", arrays, {n: getattr(self, n) for n in _NUMBERS})

    @classmethod
    def load(cls, folder: Path) -> Crowd:
        """Open what `save` wrote; similarities are read from the file when they are looked at.

        Raises:
            StoreError: not such a folder.

        """
        arrays, about = read(folder, "crowd")
        return cls(**arrays, **{n: about[n] for n in _NUMBERS})


_NUMBERS = ("mean", "user_damping", "noise", "blind")


def _residuals(log: InteractionLog, mean: float, settings: CrowdSettings) -> tuple[Float, Float]:
    """Return item offsets [I] and what ratings [E] keep after mean, item and user offsets."""
    rating = log.rating - mean
    user, item = np.zeros(log.n_users), np.zeros(log.n_items)
    n_item = np.bincount(log.item, minlength=log.n_items) + settings.item_damping
    n_user = np.bincount(log.user, minlength=log.n_users) + settings.user_damping
    for _ in range(6):
        item = np.bincount(log.item, rating - user[log.user], minlength=log.n_items) / n_item
        user = np.bincount(log.user, rating - item[log.item], minlength=log.n_users) / n_user
    return item.astype(np.float32), (rating - item[log.item] - user[log.user]).astype(np.float32)


def _core(count: Float, size: int) -> NDArray[np.int64]:
    chosen = np.sort(np.argsort(-count, kind="stable")[:size])
    core = np.full(len(count), -1, np.int64)
    core[chosen] = np.arange(len(chosen))
    return core


def _similarity(matrix: csr_matrix, core: NDArray[np.int64], damping: float) -> Float:
    kept = matrix[:, core >= 0]
    mask = kept.copy()
    mask.data = np.ones_like(mask.data)
    dot = np.asarray((kept.T @ kept).toarray(), np.float32)
    common = np.asarray((mask.T @ mask).toarray(), np.float32)
    norm = np.sqrt(np.maximum(np.diag(dot), 1e-6))
    similarity = dot / norm[:, None] / norm[None, :] * (common / (common + damping))
    np.fill_diagonal(similarity, 0.0)
    return similarity.astype(np.float32)


def _spread(log: InteractionLog, residual: Float, damping: float = 10.0) -> Float:
    """Return each item's root mean square residual against that of all ratings; damping: pseudo-ratings at 1."""
    square = residual.astype(np.float64) ** 2
    count = np.bincount(log.item, minlength=log.n_items)
    relative = np.bincount(log.item, square / max(square.mean(), 1e-9), minlength=log.n_items)
    return np.asarray(np.sqrt((relative + damping) / (count + damping)), np.float32)


def _kin(log: InteractionLog, residual: Float, genre: Float, people: NDArray[np.floating], damping: float) -> Float:
    """Return float32[U, G]: a user's features times the ridge weights of (feature, genre) pairs on residuals [E]."""
    x, g = np.asarray(people, np.float64), genre.astype(np.float64)
    both = (x[log.user][:, :, None] * g[log.item][:, None, :]).reshape(len(log), -1)
    gram = both.T @ both + damping * np.eye(both.shape[1])
    weight = np.linalg.solve(gram, both.T @ residual.astype(np.float64))
    return np.asarray(x @ weight.reshape(x.shape[1], g.shape[1]), np.float32)


def _genre(catalogue: Catalogue) -> Float:
    names = {g: n for n, g in enumerate(catalogue.vocabulary)}
    genre = np.zeros((len(catalogue), max(len(names), 1)), np.float32)
    for item, own in enumerate(catalogue.genres):
        for g in own:
            genre[item, names[g]] = 1 / len(own)
    return genre
