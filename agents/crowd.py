"""Crowd: what the other users' known ratings say about items. Built from rows before every cut, and from nothing else.

Training builds one Crowd per fold of users, without that fold, so that a target never stands in an average, a
similarity or a factor it is predicted from. Knows nothing of prompts or weights.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

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
    similarity_damping: float = 20.0
    """Pseudo-co-ratings that pull an item-item similarity to zero."""
    factors: int = 8
    """Latent dimensions F of the item factors (matrix factorisation of the residuals)."""
    factor_damping: float = 16.0
    """Ridge of the factorisation, in pseudo-ratings per user and item."""
    sweeps: int = 8
    """Alternating least squares sweeps."""
    core: int = 6000
    """Similarities are kept among at most so many of the most rated items (memory grows with the square)."""


@final
@dataclass(frozen=True, eq=False)
class Crowd:
    """Frozen item statistics over I items; F factors, S core items, G genres."""

    mean: float
    """Mean of all known ratings."""
    item_count: Float
    """float32[I]: known ratings of each item."""
    item_offset: Float
    """float32[I]: shrunk offset of the item against mean and user offsets."""
    item_mean: Float
    """float32[I]: shrunk mean rating, as a site would print it."""
    factor: Float
    """float32[I, F]"""
    similarity: Float
    """float32[S, S]: shrunk correlation of residuals among core items; diagonal 0."""
    core: NDArray[np.int64]
    """int64[I]: position among core items, -1: not one."""
    genre: Float
    """float32[I, G]: genres of an item, rows sum to 1 (0 where none is known)."""
    popularity: Float
    """float32[I]: percentile of the count, 0..1."""
    user_damping: float
    factor_damping: float
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
            factor=np.zeros_like(self.factor),
            similarity=np.zeros_like(self.similarity),
            popularity=zero,
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
        seed: int = 0,
    ) -> Crowd:
        """Return the statistics of a log of *known* rows. `without`: numbers of users to leave out; None: nobody.

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
        rank = np.argsort(np.argsort(count, kind="stable"), kind="stable")
        return cls(
            mean,
            count,
            offset,
            (mean + item_sum / (count + settings.item_damping)).astype(np.float32),
            _factorise(matrix, settings, seed),
            _similarity(matrix, core, settings.similarity_damping),
            core,
            _genre(catalogue),
            (rank / max(len(count) - 1, 1)).astype(np.float32),
            settings.user_damping,
            settings.factor_damping,
        )

    def save(self, path: Path) -> None:
        """Write one npz file without pickles."""
        np.savez(path, **{f.name: np.asarray(getattr(self, f.name)) for f in fields(self)})  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: Path) -> Crowd:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as data:
            scalars = ("mean", "user_damping", "factor_damping")
            made: dict[str, Any] = {k: float(data[k]) if k in scalars else data[k] for k in data.files}
            return cls(**made)


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


def _factorise(matrix: csr_matrix, settings: CrowdSettings, seed: int) -> Float:
    """Return item factors [I, F] of the residuals by alternating least squares (Zhou et al. 2008, weighted ridge)."""
    rng = np.random.default_rng(seed)
    item = rng.normal(0, 0.1, (matrix.shape[1], settings.factors))
    by_item = matrix.T.tocsr()
    for _ in range(settings.sweeps):
        user = solve_rows(matrix, item, settings.factor_damping)
        item = solve_rows(by_item, user, settings.factor_damping)
    return item.astype(np.float32)


def solve_rows(matrix: csr_matrix, factor: NDArray[np.floating], damping: float) -> NDArray[np.float64]:
    """Return ridge factors [rows, F] that best give each row of a sparse matrix from column factors [columns, F]."""
    size = factor.shape[1]
    out = np.zeros((matrix.shape[0], size))
    identity = damping * np.eye(size)
    wide = np.asarray(factor, np.float64)
    for row in np.flatnonzero(np.diff(matrix.indptr)):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        known = wide[matrix.indices[span]]
        out[row] = np.linalg.solve(known.T @ known + identity, known.T @ matrix.data[span])
    return out


def _genre(catalogue: Catalogue) -> Float:
    names = {g: n for n, g in enumerate(catalogue.vocabulary)}
    genre = np.zeros((len(catalogue), max(len(names), 1)), np.float32)
    for item, own in enumerate(catalogue.genres):
        for g in own:
            genre[item, names[g]] = 1 / len(own)
    return genre
