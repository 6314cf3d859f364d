"""Refitting in the loop: a recommender that learns anew from what it showed, every few rounds.

The feedback loop of real systems (Chaney, Stewart, Engelhardt 2018, "How algorithmic confounding in recommendation
systems increases homogeneity"). What was played is marked as simulated, row by row and as a log, so that nobody
calibrates users on it. Knows populations by protocol.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.play import play
from simenv.protocols import Policy, Population, Recommender
from simenv.randomness import derive
from simenv.record import Record


@final
@dataclass(frozen=True, eq=False)
class Grown:
    """A log with what was played added to it."""

    log: InteractionLog
    """Marked simulated as soon as one row is: training refuses it."""
    simulated: NDArray[np.bool_]
    """bool[E]: which rows come from a simulated visit."""

    @classmethod
    def of(cls, log: InteractionLog) -> Grown:
        """Return the log with nothing added."""
        return cls(log, np.full(len(log), log.simulated))

    @property
    def real(self) -> InteractionLog:
        """The rows real people gave, marked as such, as they were."""
        return replace(self.log.take(~self.simulated), simulated=False)

    def with_(self, record: Record) -> Grown:
        """Return it with the ratings of a record, each user's after all rows of theirs there are.

        Where the log has times, a round's page p comes p + 1 seconds after the user's last row.
        """
        new, old = record.interactions(), self.log
        if not len(new):
            return self
        time = None if old.time is None or new.time is None else _after(old, new)
        user, item, rating = (np.concatenate([getattr(x, n) for x in (old, new)]) for n in ("user", "item", "rating"))
        tag = np.concatenate([self.simulated, np.ones(len(new), bool)])
        when = None if time is None or old.time is None else np.concatenate([old.time, time])
        order = np.argsort(user, kind="stable") if when is None else np.lexsort((when, user))
        log = InteractionLog.of(
            old.users, old.items, user, item, rating, when, old.scale, time_note=old.time_note, simulated=True
        )
        return Grown(log, tag[order])


@final
@dataclass(frozen=True, eq=False)
class Round:
    """One visit of every user."""

    number: int
    """0, 1, .."""
    refitted: bool
    """The policy was fitted anew before this round."""
    policy: Policy
    record: Record
    grown: Grown
    """All that could be learned from after this round."""


@final
@dataclass(frozen=True)
class RefitLoop:
    """How a recommender lives with its users."""

    rounds: int = 10
    """Visits of each user."""
    every: int = 1
    """N: the recommender is fitted anew before rounds 0, N, 2N, ..; from all real and simulated rows so far."""
    slate_size: int = 10
    """Places of a page."""
    max_pages: int = 1
    """Pages of a visit."""
    leave: bool = True
    """False keeps everyone to the last page."""

    def __post_init__(self) -> None:
        for name in ("rounds", "every", "slate_size", "max_pages"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1; got {getattr(self, name)}.")

    def run(
        self,
        recommender: Recommender,
        population: Population,
        log: InteractionLog,
        catalogue: Catalogue,
        user: NDArray[np.int64],
        *,
        seed: int = 0,
    ) -> tuple[Round, ...]:
        """Return all rounds of users [B]. What was rated in an earlier round is past, and is not shown again.

        log: the contestants' rows. Two recommenders under one seed meet the same luck in each round.
        """
        grown, rounds = Grown.of(log), list[Round]()
        policy = recommender.fit(log, catalogue, seed=derive(seed, "fit", 0))
        for number in range(self.rounds):
            again = number > 0 and number % self.every == 0
            if again:
                policy = recommender.fit(grown.log, catalogue, seed=derive(seed, "fit", number))
            record = play(
                policy,
                population,
                grown.log,
                user,
                name=recommender.name,
                slate_size=self.slate_size,
                max_pages=self.max_pages,
                leave=self.leave,
                seed=derive(seed, "round", number),
            )
            grown = grown.with_(record)
            rounds.append(Round(number, again or number == 0, policy, record, grown))
        return tuple(rounds)


def _after(old: InteractionLog, new: InteractionLog) -> NDArray[np.int64]:
    """Return int64[N]: times of the new rows, page by page after each user's last old one."""
    assert old.time is not None
    assert new.time is not None
    last = np.zeros(old.n_users, np.int64)
    np.maximum.at(last, old.user, old.time)
    return np.asarray(last[new.user] + 1 + new.time % 10_000, np.int64)
