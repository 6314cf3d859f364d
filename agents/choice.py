"""Choice: which places of a slate a user looks at and takes.

Position bias times attraction, the position-based model of clicks (Craswell et al. 2008, "An experimental comparison of
click position-bias models"). Knows numbers only: nothing of rating models, items or text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from simenv.errors import ConfigError

Tag = str
"""Where a number comes from: "measured", "fitted" or "assumed"."""


@final
@dataclass(frozen=True)
class Choice:
    """A place is consumed when it is examined and attracts. No log with only ratings can fit these numbers."""

    position_decay: float = 0.9
    """gamma in (0, 1]: probability of examining place k (0 is the top) is gamma**k; 1: every place is examined."""
    intercept: float = 0.0
    """Logit of taking an examined item whose expected rating is the user's own mean."""
    slope: float = 1.0
    """Logits per rating point of (expected rating - user mean)."""
    tag: Mapping[str, Tag] = field(default_factory=dict)
    """Origin of each number by field name; a field that is not named is "assumed"."""

    def __post_init__(self) -> None:
        if not 0 < self.position_decay <= 1:
            raise ConfigError(f"position_decay must lie in (0, 1]; got {self.position_decay}. 1 switches the bias off.")
        if not np.isfinite([self.intercept, self.slope]).all():
            raise ConfigError(f"intercept and slope must be finite; got {self.intercept} and {self.slope}.")

    def probability(self, expected: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the probability float64[B, K] that each place is consumed (NaN where `expected` is NaN).

        expected: float64[B, K], mean of the rating distribution. mean: float64[B], the users' own mean ratings.
        """
        return np.asarray(self.examined(expected.shape[1]) * self._attraction(expected, mean))

    def consume(
        self,
        expected: NDArray[np.float64],
        mean: NDArray[np.float64],
        u_examine: NDArray[np.float64],
        u_consume: NDArray[np.float64],
    ) -> NDArray[np.bool_]:
        """Return bool[B, K]: which places are looked at and taken; False where `expected` is NaN (an empty place).

        expected: float64[B, K]. mean: float64[B]. u_examine, u_consume: uniforms float64[B, K].
        """
        looked = u_examine < self.examined(expected.shape[1])
        return np.asarray(looked & (u_consume < self._attraction(expected, mean)))

    def examined(self, n_places: int) -> NDArray[np.float64]:
        """Return float64[K]: the probability of looking at each place."""
        return _examined(self.position_decay, n_places)

    def _attraction(self, expected: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(expit(self.intercept + self.slope * (expected - mean[:, None])))

    @property
    def assumption(self) -> dict[str, str]:
        """Each number by name with its tag, for reports."""
        names = ("position_decay", "intercept", "slope")
        return {f"choice.{n}": f"{self.tag.get(n, 'assumed')} {getattr(self, n):g}" for n in names}


@cache
def _examined(decay: float, n_places: int) -> NDArray[np.float64]:
    share = decay ** np.arange(n_places, dtype=np.float64)
    share.flags.writeable = False
    return share
