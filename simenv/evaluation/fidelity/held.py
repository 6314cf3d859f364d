"""Held-out pairs of the simulated users: what is asked, and what was really answered.

Knows logs and populations by protocol; nothing of who predicts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.errors import ConfigError, DataError
from simenv.evaluation.offline import relevance_threshold
from simenv.evaluation.rating import Truth
from simenv.log import InteractionLog, Split
from simenv.protocols import Population


@final
@dataclass(frozen=True, eq=False)
class Held:
    """N pairs of members after the cut, and the rows before it."""

    known: InteractionLog
    """What simulator and yardsticks may learn from."""
    future: InteractionLog
    """The members' held-out rows."""
    like_from: float
    """Ratings from here on count as a like."""

    @classmethod
    def of(cls, split: Split, population: Population, like_from: float | None = None) -> Held:
        """Return the held-out rows of a population's members.

        like_from: None: the first value three quarters up the scale, 4 of 1..5.

        Raises:
            ConfigError: the population has other users, items or another scale than the log.
            DataError: fewer than two members have held-out rows.

        """
        check(population, split.past)
        future = split.future.of_users(population.member)
        people = len(np.unique(future.user))
        if people < 2:
            raise DataError(
                f"a fidelity card needs held-out ratings of at least two simulated users; {people} of "
                f"{len(population.member)} members have any. Cut the log for these users: log.split(..., users=...)."
            )
        return cls(split.past, future, relevance_threshold(split.past.scale) if like_from is None else like_from)

    @property
    def user(self) -> NDArray[np.int64]:
        """int64[N]: who is asked."""
        return self.future.user

    @property
    def item(self) -> NDArray[np.int64]:
        """int64[N]: about what."""
        return self.future.item

    @cached_property
    def truth(self) -> Truth:
        """The N real ratings."""
        return Truth(self.user, self.future.rating, self.future.scale, self.like_from)


def check(population: Population, log: InteractionLog) -> None:
    """Raise ConfigError unless a population speaks of the users, items and ratings of a log."""
    for name, own, other in (("users", population.users, log.users), ("items", population.items, log.items)):
        if own.fingerprint != other.fingerprint:
            raise ConfigError(
                f"the population has other {name} than the log; make the indices once and cut logs with split, which "
                "keeps them."
            )
    if population.scale.values != log.scale.values:
        raise ConfigError(f"the population answers on {population.scale.values}, the log on {log.scale.values}.")


def before(log: InteractionLog, future: InteractionLog) -> InteractionLog:
    """Return the rows of a log that are not held out; a row is known by user, item and, where there is one, time."""
    names = ("user", "item") if log.time is None or future.time is None else ("user", "item", "time")
    held = pd.MultiIndex.from_arrays([getattr(future, n) for n in names])
    return log.take(~np.asarray(pd.MultiIndex.from_arrays([getattr(log, n) for n in names]).isin(held)))
