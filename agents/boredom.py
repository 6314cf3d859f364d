"""Boredom: what an item loses where it, or its like, was shown just before. Off unless a population is given one.

Felt, not rated: what users take and how satisfied they are is lowered, their ratings are not. Every number is assumed;
what a log of ratings shows of it is measured by `simenv.training.satiation`. Knows arrays and the kinds of items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@final
@dataclass(frozen=True)
class Boredom:
    """loss = repeat * (how lately this item was shown) + kind * (share of its kind among what was shown lately)."""

    repeat: float = 0.5
    """Rating points an item loses that was shown before in this visit; of earlier visits less, see `half_life`."""
    kind: float = 0.2
    """Rating points an item loses where all that was shown lately was of its very kind; about what the order of ratings
    in MovieLens 100K lets expect at most (`benchmarks/results/return-visits.json`)."""
    keep: float = 0.9
    """In [0, 1): weight of the past in "lately", per place shown: 0.9 looks back over about ten places."""
    half_life: float = 7.0
    """Days between visits in which half of it is forgotten."""
    capacity: int = 200
    """Places of earlier visits that are remembered as shown."""
    tag: Mapping[str, str] = field(default_factory=dict)
    """"measured" or "assumed" for each field by name; a field that is not named is "assumed"."""

    def __post_init__(self) -> None:
        if not np.isfinite([self.repeat, self.kind]).all():
            raise ConfigError(f"repeat and kind must be finite; got {self.repeat} and {self.kind}.")
        if not 0 <= self.keep < 1 or self.half_life <= 0 or self.capacity < 1:
            raise ConfigError(
                "expected keep in [0, 1), half_life > 0 and capacity >= 1; "
                f"got {self.keep}, {self.half_life} and {self.capacity}."
            )

    def loss(self, item: Ints, kinds: Floats, exposure: Floats, fresh: Floats) -> tuple[Floats, Floats]:
        """Return (rating points lost [B, K], exposure [B, G] after the page); 0 at empty places.

        item: int64[B, K], -1: empty, which bores nobody and is no break either. kinds: see `kinds_of`. exposure: before
        the page; places higher up on the page count as shown just before. fresh: float64[B, K], 1: shown in this visit.
        """
        lost = self.repeat * fresh
        for place in range(item.shape[1]):
            filled = item[:, place] >= 0
            kind = kinds[item[:, place]] * filled[:, None]
            lost[:, place] += self.kind * (kind * exposure).sum(axis=1)
            moved = self.keep * exposure + (1 - self.keep) * kind
            exposure = np.where(filled[:, None], moved, exposure)
        return np.where(item >= 0, lost, 0.0), exposure

    def fade(self, days: Floats) -> Floats:
        """Return what is left after `days` away, of 1."""
        return np.asarray(0.5 ** (days / self.half_life), np.float64)

    def fresh(self, item: Ints, shown: Ints, seen_item: Ints, age: Floats) -> Floats:
        """Return float64[B, K], how freshly each item was shown before: 1 in this visit, less before, 0 never.

        shown: int64[B, T + K], items of this visit, the page [B, K] itself at the end. seen_item: int64[B, S], those of
        earlier visits, -1 padded. age: float64[B, S], days since then.
        """
        earlier = (item[:, :, None] == seen_item[:, None, :]) * self.fade(age)[:, None, :]
        level = earlier.max(axis=2, initial=0.0)
        first = (item[:, :, None] == shown[:, None, :]).argmax(axis=2) if item.size else item
        again = first < np.arange(shown.shape[1] - item.shape[1], shown.shape[1])
        return np.where(item < 0, 0.0, np.where(again, 1.0, level))

    def scaled(self, factor: float) -> Boredom:
        """Return it with both losses multiplied, for a sweep (0: nobody is ever bored)."""
        return replace(self, repeat=self.repeat * factor, kind=self.kind * factor)

    @property
    def assumption(self) -> dict[str, str]:
        """Each number by name with its tag, for reports."""
        names = ("repeat", "kind", "keep", "half_life", "capacity")
        return {f"boredom.{n}": f"{self.tag.get(n, 'assumed')} {getattr(self, n):g}" for n in names}


def kinds_of(catalogue: Catalogue) -> Floats:
    """Return float64[I, G]: genres of each item as rows of length 1 (0 where it has none).

    The product of two rows is the cosine: 1 for the same genres, 0 for no genre in common.
    """
    names = sorted({g for genres in catalogue.genres for g in genres})
    column = {g: n for n, g in enumerate(names)}
    has = np.zeros((len(catalogue), len(names)))
    for row, genres in enumerate(catalogue.genres):
        has[row, [column[g] for g in genres]] = 1.0
    return np.asarray(has / np.maximum(np.linalg.norm(has, axis=1, keepdims=True), 1.0), np.float64)
