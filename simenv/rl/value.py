"""Value: what a policy is worth to users it was not trained on, per user, before any population.

The headline is the expected rating per shown place with everyone staying to the last page; visits that may be left give
pages and the sum of what was got. Knows policies and populations by protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.play import play
from simenv.protocols import Policy, Population
from simenv.record import Record, Shown

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Horizon:
    """What every visit of a comparison has in common."""

    slate_size: int = 10
    """Places of a page."""
    max_pages: int = 10
    """Pages of a visit."""

    def __post_init__(self) -> None:
        if min(self.slate_size, self.max_pages) < 1:
            raise ConfigError(f"a visit needs at least one page of one place; got {self}.")

    def record(
        self,
        policy: Policy,
        population: Population,
        log: InteractionLog,
        user: NDArray[np.int64],
        *,
        seed: int,
        leave: bool = False,
    ) -> Record:
        """Return the visits of users [M], one each. One seed means the same luck whatever is shown."""
        return play(
            policy, population, log, user,
            slate_size=self.slate_size, max_pages=self.max_pages, leave=leave, seed=seed,
        )  # fmt: skip


def per_place(shown: Shown) -> Floats:
    """Return float64[M]: mean expected rating per shown place of each visit, in units of the scale.

    Raises:
        ConfigError: a visit without any place.

    """
    value = shown.mean(shown.expected)
    if np.isnan(value).any():
        raise ConfigError(f"{int(np.isnan(value).sum())} users were shown nothing: they have rated everything.")
    return value


def per_visit(shown: Shown, mean: Floats) -> Floats:
    """Return float64[M]: sum over a visit's places of (expected rating - the user's own mean [M]), rating points."""
    total = np.bincount(shown.row, shown.expected, len(shown.user))
    return np.asarray(total - np.bincount(shown.row, minlength=len(shown.user)) * mean, np.float64)
