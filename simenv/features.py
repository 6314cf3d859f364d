"""Features: users and items as numbers in -1..1, from the contestants' log and the catalogue alone.

What a recommender's observation and a proto-action are measured in. Knows nothing of populations, visits or Gymnasium.
U users; I items; R scale values; G genres (at most MAX_GENRES); B rows.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.randomness import generator
from simenv.scale import RatingScale

MAX_GENRES = 32
"""Genres that have a feature: the most common of the catalogue."""
FACTORS = 8
"""Collaborative factors of an item."""
SHRINK = 10.0
"""Ratings of the overall mean that an item's mean is shrunk by; assumed."""
GRID = 1024.0
"""Item features are multiples of 1 / 1024: distances are exact, so that nearest items never depend on the batch."""


@final
class Features:
    """Users and items of a log as vectors."""

    def __init__(
        self, log: InteractionLog, catalogue: Catalogue, item_feature: NDArray[np.floating] | None = None
    ) -> None:
        """Take the log and, if given, item features float[I, F] of one's own in -1..1 (rounded to the grid).

        Raises:
            ConfigError: features of another number of items, or outside -1..1.

        """
        self.log, self.catalogue = log, catalogue
        self._own = None if item_feature is None else _checked(item_feature, log.n_items)

    @cached_property
    def genre(self) -> NDArray[np.float64]:
        """float64[I, G]: 1 where an item is of the genre."""
        count = Counter(g for row in self.catalogue.genres for g in set(row))
        place = {g: n for n, g in enumerate(sorted(count, key=lambda g: (-count[g], g))[:MAX_GENRES])}
        table = np.zeros((len(self.catalogue), len(place)))
        for item, row in enumerate(self.catalogue.genres):
            table[item, [place[g] for g in row if g in place]] = 1.0
        return table

    @property
    def user_width(self) -> int:
        """D, numbers of a user's embedding."""
        return int(3 + len(self.log.scale) + 2 * self.genre.shape[1])

    @property
    def item_width(self) -> int:
        """F, numbers of an item."""
        return int(2 + self.genre.shape[1] + FACTORS if self._own is None else self._own.shape[1])

    @cached_property
    def user(self) -> NDArray[np.float32]:
        """float32[U, D]: habits of rating, then tastes in genres.

        Columns: log(1 + number of ratings) / 10; mean and standard deviation of the ratings on 0..1; the share of each
        of the R values; then per genre its share of the user's ratings and how far their mean lies from the user's
        mean. Zeros where there is no rating.
        """
        return self._embedding(self.log.user, self.log.item, self.log.rating, self.log.n_users)

    def of_history(self, item: NDArray[np.int64], rating: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return float32[B, D]: the embedding of users with histories [B, H], -1 and NaN padded."""
        row, place = np.nonzero(item >= 0)
        return self._embedding(row, item[row, place], rating[row, place], len(item))

    def _embedding(
        self, user: NDArray[np.int64], item: NDArray[np.int64], rating: NDArray[np.float32], n: int
    ) -> NDArray[np.float32]:
        unit, scale = unit_rating(rating, self.log.scale), self.log.scale
        number = np.bincount(user, minlength=n)
        count = np.maximum(number, 1)
        mean = np.bincount(user, unit, n) / count
        spread = np.sqrt(np.bincount(user, (unit - mean[user]) ** 2, n) / count)
        one = np.ones(len(user))
        value = csr_matrix((one, (user, scale.encode(rating))), (n, len(scale))).toarray()
        habits = np.column_stack([np.log1p(number) / 10, mean, spread, value / count[:, None]])
        shape = (n, self.log.n_items)
        seen = np.asarray(csr_matrix((one, (user, item)), shape) @ self.genre)
        above = np.asarray(csr_matrix((unit - mean[user], (user, item)), shape) @ self.genre)
        tastes = [seen / count[:, None], above / np.maximum(seen, 1)]
        return np.asarray(np.clip(np.column_stack([habits, *tastes]), -1, 1), dtype=np.float32)

    @cached_property
    def item(self) -> NDArray[np.float32]:
        """float32[I, F]: quality, popularity, genres, collaborative factors; or the features that were given.

        Columns: mean rating, shrunk towards the log's mean by SHRINK ratings and moved to -1..1 (worst to best of the
        scale); log(1 + number of ratings) over its largest; 1 per genre; the first FACTORS singular vectors of (rating
        - item mean), each times its singular value, all over the largest entry. Without ratings these are 0.
        """
        if self._own is not None:
            return self._own
        log = self.log
        count = np.bincount(log.item, minlength=log.n_items).astype(np.float64)
        unit = np.asarray(unit_rating(log.rating, log.scale), np.float64) * 2 - 1
        overall = unit.mean() if len(log) else 0.0
        quality = (np.bincount(log.item, unit, log.n_items) + SHRINK * overall) / (count + SHRINK)
        popularity = np.log1p(count) / max(np.log1p(count.max(initial=0)), 1.0)
        return on_grid(np.column_stack([quality, popularity, self.genre, self._factors(unit, count)])).astype(
            np.float32
        )

    def _factors(self, unit: NDArray[np.float64], count: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return float64[I, FACTORS] in -1..1; columns are 0 where the log has not so many."""
        log = self.log
        mean = np.bincount(log.item, unit, log.n_items) / np.maximum(count, 1)
        table = csr_matrix((unit - mean[log.item], (log.user, log.item)), (log.n_users, log.n_items))
        k, out = min(FACTORS, min(table.shape) - 1), np.zeros((log.n_items, FACTORS))
        if k < 1 or not np.abs(table.data).max(initial=0.0) > 0:
            return out
        start = generator(0, "item factors").standard_normal(min(table.shape))
        _, size, axis = svds(table, k=k, v0=start)
        order = np.argsort(-size)
        side = (size[:, None] * axis)[order].T
        side *= np.sign(side[np.abs(side).argmax(axis=0), np.arange(k)])
        out[:, :k] = side / max(np.abs(side).max(), 1e-12)
        return out

    @cached_property
    def item_or_none(self) -> NDArray[np.float32]:
        """float32[I + 1, F]: `item` and a row of zeros, so that -1 looks up nothing."""
        return np.concatenate([self.item, np.zeros((1, self.item.shape[1]), np.float32)])


def unit_rating(rating: NDArray[np.float32], scale: RatingScale) -> NDArray[np.float32]:
    """Return ratings moved to 0..1 (worst to best), as a new array; -1 where there is none."""
    low, high = scale.values[0], scale.values[-1]
    unit = (rating - low) / (high - low)
    return np.asarray(np.fmax(unit, np.float32(-1)), np.float32)  # fmax takes the number where the other is none


def on_grid(value: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the nearest multiples of 1 / GRID."""
    return np.asarray(np.rint(np.asarray(value, np.float64) * GRID) / GRID)


def _checked(feature: NDArray[np.floating], n_items: int) -> NDArray[np.float32]:
    feature = np.asarray(feature, np.float64)
    if feature.ndim != 2 or len(feature) != n_items or not feature.shape[1]:
        raise ConfigError(f"item_feature must be [I, F] with a row for each of {n_items} items; got {feature.shape}.")
    if not (np.abs(feature) <= 1).all():
        raise ConfigError("item_feature must lie in -1..1 without NaN; scale its columns.")
    return on_grid(feature).astype(np.float32)
