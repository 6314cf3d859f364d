"""Rules: the settings of a visit, checked. Knows names of rewards; neither users nor Gymnasium."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from simenv.errors import ConfigError
from simenv.rewards import Reward, by_name
from simenv.session import StopReason
from simenv.slates import Repeats

STOPS = (None, StopReason.LEFT, StopReason.EXHAUSTED, StopReason.PAGE_CAP, StopReason.VISIT_CAP)
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
    visits: int = 1
    """Visits of an episode; above 1 an episode goes on with the user's next visit, and users must be such as return."""
    days: float | None = None
    """Days after which no visit of an episode begins; None: however long it takes."""
    day_discount: float = 1.0
    """What a reward is worth one day later, in (0, 1]: a page counts day_discount ** (days since the episode began)."""
    keep_record: bool = True
    """False: pages are forgotten, for training runs of millions of steps (a page keeps about 1 kB per user)."""

    def __post_init__(self) -> None:
        for name in ("slate_size", "max_pages", "visits"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if self.repeats not in ("drop", "answer"):
            raise ConfigError(f'repeats must be "drop" or "answer"; got {self.repeats!r}.')
        if self.candidates is not None and self.candidates < self.slate_size:
            raise ConfigError(f"{self.candidates} candidates cannot fill {self.slate_size} places; offer more.")
        if not 0 < self.day_discount <= 1 or (self.days is not None and not self.days > 0):
            raise ConfigError(
                f"day_discount must lie in (0, 1] and days above 0; got {self.day_discount} and {self.days}."
            )
        by_name(self.reward)
