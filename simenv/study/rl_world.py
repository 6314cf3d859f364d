"""An invented world to prove learners in: a biased log, populations built from that log alone, and the true users.

The truth answers visits of held-out users and nothing else: replicas learn from the judge's rows, learners and rivals
from the contestants' rows and from the replicas.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.population import SimulatedPopulation
from simenv.agents.synthetic import true_population
from simenv.catalogue import Catalogue
from simenv.datasets.synthetic import World, generate
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.protocols import Policy
from simenv.randomness import derive, generator
from simenv.recommenders import Oracle
from simenv.rl.replicas import Proving, expected_table
from simenv.study.dose_unit import recipe
from simenv.training.pipeline import TrainSettings, train

Rows = NDArray[np.int64]
Say = Callable[[str], None]
"""Told what comes next."""
EXPLOITER = "exploiter"


@final
@dataclass(frozen=True)
class ReplicaSettings:
    """How many replicas there are and how each is made."""

    train: int = 2
    """Replicas that learners learn in."""
    test: int = 2
    """Replicas they are tried on."""
    share: float = 0.5
    """Share of the users who are not simulated that each replica learns from, drawn anew (half-samples vary as
    bootstrap samples do, McCarthy 1969)."""
    recipe: TrainSettings = field(default_factory=lambda: recipe())
    """All but the seed."""

    def __post_init__(self) -> None:
        if min(self.train, self.test) < 1 or not 0 < self.share <= 1:
            raise ConfigError(
                f"replicas to train on, replicas to test on (one or more of each) and a share above 0 are needed; got "
                f"{self.train}, {self.test} and {self.share:g}."
            )

    def build(
        self,
        log: InteractionLog,
        catalogue: Catalogue,
        member: Rows,
        cut: Rows | None,
        folder: Path,
        *,
        seed: int,
        say: Say = lambda text: None,
    ) -> tuple[tuple[SimulatedPopulation, ...], tuple[SimulatedPopulation, ...]]:
        """Return replicas to train on and to test on, each learned anew and compiled; finished ones are loaded.

        log: the judge's rows. folder: one folder a replica, with its table.
        """
        made = []
        for number in range(self.train + self.test):
            say(f"replica {number + 1} of {self.train + self.test}")
            rows = resampled(log, member, self.share, derive(seed, "replica", number))
            how = replace(self.recipe, seed=derive(seed, "replica", number) % 2**31)
            home = folder / f"replica-{number}"
            population = train(
                rows, catalogue, member, home / "population", how, cut=cut,
                provenance={"population": f"replica {number} of seed {seed}"},
            )  # fmt: skip
            made.append(population.compile(home / "table"))
        return tuple(made[: self.train]), tuple(made[self.train :])


def resampled(log: InteractionLog, member: Rows, share: float, seed: int) -> InteractionLog:
    """Return the rows of the members and of a random share of the other users with rows."""
    other = np.setdiff1d(np.flatnonzero(log.count > 0), member)
    kept = generator(seed, "users").choice(other, round(len(other) * share), replace=False)
    return log.of_users(np.concatenate([member, kept]))


@final
@dataclass(frozen=True)
class RLWorld:
    """How large an invented world is, how its log is cut, and how its users are built again."""

    n_users: int = 800
    n_items: int = 400
    median_history: float = 100.0
    selection: float = 1.0
    """How much users choose what they will like; see `simenv.datasets.synthetic.generate`."""
    selection_popularity: float = 1.0
    """How much they choose what is popular."""
    members: int = 100
    """Users who visit, drawn by the world's seed; every other one trains learners, the rest are held out."""
    min_ratings: int = 40
    """Members have at least so many ratings."""
    share: float = 0.5
    """Share of the rows that replicas are built from; learners and rivals know the rest. None is held out: the truth
    of every pair is known."""
    replicas: ReplicaSettings = field(default_factory=ReplicaSettings)

    def proving(self, seed: int, folder: Path, say: Say = lambda text: None) -> Proving:
        """Return the proving ground of the world of a seed; replicas that were built before are loaded.

        Raises:
            ConfigError: fewer users have `min_ratings` than are wanted.

        """
        world, member = self.world(seed)
        judge, contestants = world.log.split_worlds(derive(seed, "worlds"), self.share)
        never = np.full(world.log.n_users, np.iinfo(np.int64).max, np.int64)
        made = self.replicas.build(judge, world.catalogue, member, never, folder, seed=seed, say=say)
        learner, held_out = halves(member)
        return Proving(*made, learner, held_out, contestants, world.catalogue, true_population(world, member))

    def world(self, seed: int) -> tuple[World, Rows]:
        """Return the world of a seed and its members."""
        world = generate(
            seed,
            n_users=self.n_users,
            n_items=self.n_items,
            median_history=self.median_history,
            selection=self.selection,
            selection_popularity=self.selection_popularity,
        )
        # Who rated most of the catalogue could not be shown pages that differ.
        able = np.flatnonzero((world.log.count >= self.min_ratings) & (world.log.count <= self.n_items // 2))
        if len(able) < self.members:
            raise ConfigError(
                f"{len(able)} users of {world.name} have {self.min_ratings} ratings; want {self.members}."
            )
        return world, np.sort(generator(seed, "members").choice(able, self.members, replace=False))


def halves(member: Rows) -> tuple[Rows, Rows]:
    """Return the users who train and those held out: members in turn."""
    return member[::2], member[1::2]


def exploiter(proving: Proving) -> dict[str, Policy]:
    """Return a control that knows what the training replicas answer, and shows what they promise most on average.

    More than that no agent can get out of them: the room between it and held-out replicas, or the truth, is what
    exploiting a simulator would look like.
    """
    user = np.concatenate([proving.learner, proving.held_out])
    table = np.full((proving.log.n_users, proving.log.n_items), np.nan)
    table[user] = np.mean([expected_table(p, user) for p in proving.train], axis=0)
    return {EXPLOITER: Oracle(table).fit(proving.log, proving.catalogue, seed=0)}
