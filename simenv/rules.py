"""Rules: the settings of a visit, checked. Knows names of rewards; neither users nor Gymnasium."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from simenv.errors import ConfigError
from simenv.rewards import Reward, by_name
from simenv.session import StopReason
from simenv.slates import Repeats

STOPS = (None, StopReason.LEFT, StopReason.EXHAUSTED, StopReason.PAGE_CAP)
"""What the codes of `Visits.stop` mean; None: the visit goes on."""


@final
@dataclass(frozen=True)
class Rules:
    """How the environment treats what a recommender shows."""

    slate_size: int = 10
    """K, places of a page."""
    max_pages: int = 10
    """Pages after which we end a visit (truncation)."""
    reward: str | Reward = "rating"
    """Name in `simenv.rewards.REWARDS`, or a function (response, slate, scale) -> float64[B]."""
    repeats: Repeats = "drop"
    """What happens to an item shown before in the visit: its place is emptied, or the user answers it again."""
    candidates: int | None = None
    """C, items on offer on each page, drawn evenly among those not seen yet; None: the whole catalogue."""
    name: str = "policy"
    """How the record calls whoever acts."""
    keep_record: bool = True
    """False: pages are forgotten, for training runs of millions of steps (a page keeps about 1 kB per user)."""

    def __post_init__(self) -> None:
        for name in ("slate_size", "max_pages"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if self.repeats not in ("drop", "answer"):
            raise ConfigError(f'repeats must be "drop" or "answer"; got {self.repeats!r}.')
        if self.candidates is not None and self.candidates < self.slate_size:
            raise ConfigError(f"{self.candidates} candidates cannot fill {self.slate_size} places; offer more.")
        by_name(self.reward)
