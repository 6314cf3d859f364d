"""The three traits of Ms as numbers, and the frozen cuts that make levels of them. Knows no words and no prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.errors import DataError

MASS = 0.8
"""Share of a user's genre mass that counts as "most of it" (Agent4Rec, Zhang et al. 2024)."""


@final
@dataclass(frozen=True)
class TraitCuts:
    """Where low, middle and high part, one pair of numbers per trait. Made once from a population, then frozen.

    Percentiles after Agent4Rec (Zhang et al. 2024): activity 60/90, conformity 25/80, diversity 33/66.
    """

    activity: tuple[float, float]
    """Known ratings: above the first regular, above the second devoted."""
    conformity: tuple[float, float]
    """Mean squared gap to the crowd, squared rating points: up to the first crowd-following, above the second
    independent."""
    diversity: tuple[float, float]
    """Genres that hold 80 % of the genre mass: above the first varied, above the second wide-ranging."""

    @classmethod
    def of(cls, trait: NDArray[np.floating]) -> TraitCuts:
        """Return the cuts of trait numbers [B, 3] (`Profiles.trait`). Unknown diversity everywhere: cuts at 0.

        Raises:
            DataError: nobody has a known rating.

        """
        known = trait[trait[:, 0] > 0].astype(np.float64)
        if len(known) == 0:
            raise DataError("trait cuts need at least one user with a known rating; got none.")
        pairs = []
        for column, percent in zip(known.T, ((60, 90), (25, 80), (33, 66)), strict=True):
            found = column[np.isfinite(column)]
            low, high = np.percentile(found, percent) if len(found) else (0.0, 0.0)
            pairs.append((float(low), float(high)))
        return cls(*pairs)

    def level(self, trait: NDArray[np.floating]) -> NDArray[np.int8]:
        """Return levels int8[B, 3] of trait numbers [B, 3]: 0 low, 1 middle, 2 high, -1 unknown (NaN).

        Levels count the trait, not the number: a *small* gap is *high* conformity (2).
        """
        cuts = np.asarray([self.activity, self.conformity, self.diversity])
        above = (trait[:, :, None] > cuts[None]).sum(axis=2)
        above[:, 1] = 2 - above[:, 1]
        return np.where(np.isfinite(trait), above, -1).astype(np.int8)

    def to_dict(self) -> dict[str, list[float]]:
        """Return JSON-able cuts by trait."""
        return {f.name: list(getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Sequence[float]]) -> TraitCuts:
        """Return what `to_dict` gave."""
        return cls(**{f.name: (float(data[f.name][0]), float(data[f.name][1])) for f in fields(cls)})


def conformity(
    crowd: Crowd, item: NDArray[np.int64], rating: NDArray[np.floating], count: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean squared gap [B] between ratings and the crowd's shrunk item means; NaN without ratings."""
    gap = np.where(item >= 0, (rating - crowd.item_mean[item]).astype(np.float64) ** 2, 0.0)
    return np.asarray(gap.sum(axis=1) / np.where(count > 0, count, np.nan))


def diversity(mass: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return how many of the heaviest genres of mass [B, G] hold 80 % of it; NaN where there is none."""
    total = mass.sum(axis=1, dtype=np.float64)
    held = np.cumsum(-np.sort(-mass.astype(np.float64), axis=1), axis=1)
    needed = (held < MASS * total[:, None] - 1e-6).sum(axis=1) + 1
    return np.where(total > 0, needed, np.nan)
