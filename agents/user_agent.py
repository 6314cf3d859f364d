"""UserAgent: one simulated user, to look at. Changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from simenv.index import RawId

if TYPE_CHECKING:
    from simenv.agents.population import SimulatedPopulation

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class UserAgent:
    """A read-only view of one user of a population."""

    population: SimulatedPopulation
    raw: RawId
    """The outside id."""
    number: int
    """The dense number."""

    @property
    def mean(self) -> float:
        """The user's own mean rating."""
        return float(self.population.user_mean[self.number])

    @property
    def activity(self) -> float:
        """The standardised activity trait."""
        return float(self.population.activity[self.number])

    def rate(self, items: Sequence[RawId]) -> Floats:
        """Return float64[N, R]: the distribution of this user's rating of items given by raw id."""
        number = self.population.items.encode(items)
        answer = self.population.rating_model.rate(np.full(len(number), self.number, np.int64), number)
        return answer.p.astype(np.float64)

    def expected(self, items: Sequence[RawId]) -> Floats:
        """Return float64[N]: the mean of `rate`."""
        return self.population.scale.expectation(self.rate(items))
