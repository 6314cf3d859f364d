"""Users whose answers are known: those of the synthetic world, and a checkerboard to test with.

The bridge from `simenv.datasets.synthetic` (which knows no agents) to a population. No weights, no prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.choice import Choice
from simenv.agents.exit import ExitHazard, ExitModel
from simenv.agents.population import SimulatedPopulation
from simenv.datasets.synthetic import Behaviour, Truth, World
from simenv.index import Index
from simenv.protocols import Answer
from simenv.scale import RatingScale


@final
@dataclass(frozen=True, eq=False)
class LatentTaste:
    """The true rating distributions of a synthetic world, as a RatingModel."""

    truth: Truth

    @property
    def scale(self) -> RatingScale:
        """The world's scale."""
        return self.truth.scale

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return the true distributions; support is the number of users, since no pair is guessed."""
        support = np.full(len(user), len(self.truth.mean), np.float32)
        return _answer(self.truth.p(user, item), support)


@final
@dataclass(frozen=True, eq=False)
class Checkerboard:
    """Users with an even number like items with an even number, odd ones like odd ones; nearly surely."""

    n_users: int
    scale: RatingScale = RatingScale()  # noqa: RUF009 - frozen
    sure: float = 0.999
    """Probability of the highest value for a liked and of the lowest for a disliked item; the rest is spread evenly."""

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return the distributions; support is the number of users."""
        rest = (1 - self.sure) / (len(self.scale) - 1)
        p = np.full((len(user), len(self.scale)), rest)
        liked = (user + item) % 2 == 0
        p[np.arange(len(user)), np.where(liked, len(self.scale) - 1, 0)] = self.sure
        return _answer(p, np.full(len(user), self.n_users, np.float32))


def true_choice(behaviour: Behaviour) -> Choice:
    """Return the choice model of a synthetic world."""
    return Choice(behaviour.position_decay, behaviour.choice_intercept, behaviour.choice_slope)


def true_exit(behaviour: Behaviour) -> ExitHazard:
    """Return the exit hazard of a synthetic world."""
    names = ("page_logit", "frailty_sd", "slope_utility", "slope_best", "slope_repeat", "slope_activity")
    numbers = {n: getattr(behaviour, n) for n in names}
    return ExitHazard(**numbers, note="declared: the synthetic world's own numbers")


def true_population(world: World, member: NDArray[np.int64] | None = None) -> SimulatedPopulation:
    """Return the world's own users: its true ratings, choice and exit.

    member: int64[M], numbers of the users to simulate; None: all.
    """
    truth, log = world.truth, world.log
    everyone = np.arange(len(log.users)) if member is None else np.asarray(member, np.int64)
    return SimulatedPopulation(
        LatentTaste(truth),
        true_choice(truth.behaviour),
        true_exit(truth.behaviour),
        log.users,
        log.items,
        everyone,
        truth.mean,
        truth.activity,
        decay=truth.behaviour.decay,
    )


def checkerboard(n_users: int = 8, n_items: int = 20, *, exit: ExitModel | None = None) -> SimulatedPopulation:
    """Return a population with known answers, over the ids of `simenv.testing.logs.checkerboard_log` (501.., "b000"..).

    Every place is consumed; even users rate even items 5 and odd items 1, odd users the reverse, nearly surely; every
    user's mean is 3. exit: None: users leave, nearly surely, after a page they dislike, and stay after one they like.
    """
    users = Index(tuple(501 + u for u in range(n_users)), "user")
    items = Index(tuple(f"b{i:03d}" for i in range(n_items)), "item")
    return SimulatedPopulation(
        Checkerboard(n_users),
        Choice(position_decay=1.0, intercept=50.0, slope=0.0),
        exit or ExitHazard(page_logit=(0.0,), frailty_sd=0.0, slope_utility=-20.0, slope_best=0.0, slope_repeat=0.0),
        users,
        items,
        np.arange(n_users),
        np.full(n_users, 3.0),
        np.zeros(n_users),
    )


def _answer(p: NDArray[np.float64], support: NDArray[np.float32]) -> Answer:
    return Answer(p.astype(np.float32), np.zeros(len(p), np.float32), support)
