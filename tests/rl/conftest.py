"""A small invented world and replicas of it that need no training: the truth, each with errors of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv.agents.population import SimulatedPopulation
from simenv.agents.synthetic import LatentTaste, true_population
from simenv.datasets.synthetic import World, generate
from simenv.protocols import Answer
from simenv.randomness import Purpose, uniform
from simenv.recommenders import RankerForm
from simenv.recommenders.pair_features import PairFeatureSettings
from simenv.rl.learner import PPORanker
from simenv.rl.replicas import Proving
from simenv.scale import RatingScale


@pytest.fixture(scope="session")
def quick() -> PPORanker:
    """PPO in two seconds."""
    return PPORanker(
    steps=2048, rows=32, pages_per_update=16, epochs=4, batch=128, learning_rate=3e-3, hidden=(8,), slate_size=5,
    max_pages=4, looks=2, leave=False, form=RankerForm(PairFeatureSettings(pool=40, factors=4, text_factors=4)),
)  # fmt: skip


@dataclass(frozen=True)
class Erring:
    """The true tastes seen through errors: `share` of each distribution is that of another item."""

    taste: LatentTaste
    seed: int
    share: float

    @property
    def scale(self) -> RatingScale:
        return self.taste.scale

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        n_items = self.taste.truth.mu.shape[1]
        other = uniform(np.full(len(item), self.seed, np.uint64), user, item, purpose=Purpose.MOOD) * n_items
        said, wrong = self.taste.rate(user, item), self.taste.rate(user, other.astype(np.int64))
        p = (1 - self.share) * said.p + self.share * wrong.p
        return Answer(p.astype(np.float32), said.off_scale, said.support)


def replica(world: World, member: NDArray[np.int64], seed: int, share: float = 0.7) -> SimulatedPopulation:
    return true_population(world, member).with_(rating_model=Erring(LatentTaste(world.truth), seed, share))


@pytest.fixture(scope="session")
def small_world() -> World:
    return generate(5, n_users=80, n_items=100, median_history=35)


@pytest.fixture(scope="session")
def proving(small_world: World) -> Proving:
    """Two replicas to train on, two to test on, 20 and 20 users, the truth."""
    member = np.arange(40)
    log = small_world.log.split("random", 0.5, seed=0).past
    made: list[Any] = [replica(small_world, member, seed) for seed in range(4)]
    truth = true_population(small_world, member)
    return Proving(tuple(made[:2]), tuple(made[2:]), member[::2], member[1::2], log, small_world.catalogue, truth)
