"""Interval: a number and how sure it is. Knows nothing of where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Interval:
    """An estimate with an interval around it."""

    mean: float
    low: float
    high: float
    level: float = 0.95
    """Coverage the interval aims at."""

    def __format__(self, spec: str) -> str:
        """Return "mean (low..high)", each number in the format `spec` (empty: ".3f").

        >>> f"{Interval(0.12, 0.08, 0.16):+.2f}"
        '+0.12 (+0.08..+0.16)'
        """
        form = spec or ".3f"
        return f"{self.mean:{form}} ({self.low:{form}}..{self.high:{form}})"

    def __str__(self) -> str:
        return format(self)

    @property
    def clear(self) -> bool:
        """True if zero lies outside the interval."""
        return self.low > 0 or self.high < 0
