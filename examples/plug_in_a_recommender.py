"""Put a recommender of your own on trial: a class with `fit`, a class with `recommend`, no base class.

    python examples/plug_in_a_recommender.py

The users here are those of the synthetic world, whose taste is known; any Population takes their place.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simenv import Catalogue, InteractionLog, Session, Slate, play
from simenv.agents.synthetic import true_population
from simenv.datasets import synthetic
from simenv.evaluation.report import Report
from simenv.recommenders import by_name, top


@dataclass(frozen=True)
class GenreFan:
    """Shows films of the genres a user rates above 3.5."""

    name: str = "genre-fan"

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> GenreFanPolicy:
        """Note each film's genres."""
        return GenreFanPolicy(np.array([[g in row for g in catalogue.vocabulary] for row in catalogue.genres], float))


@dataclass(frozen=True)
class GenreFanPolicy:
    """What `fit` returns: ready to rank."""

    genre: NDArray[np.float64]
    """float64[I, G]: 1 where the item is of the genre."""

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return k places for each of B users."""
        weight = np.nan_to_num(session.past_rating - 3.5)  # [B, H]: how much each past item was liked; 0 where padded
        taste = (weight[:, :, None] * self.genre[session.past_item]).sum(axis=1)  # [B, G]
        return top(taste @ self.genre.T, session, k)  # the k best per user, nothing seen before


def main(n_users: int = 200, n_items: int = 300, pages: int = 5, seed: int = 0) -> Report:
    world = synthetic.generate(seed=seed, n_users=n_users, n_items=n_items)
    population = true_population(world)
    records = []
    for recommender in [GenreFan(), *by_name(["random", "popular", "item-knn"])]:
        policy = recommender.fit(world.log, world.catalogue, seed=seed)
        record = play(
            policy,
            population,
            world.log,
            population.member,
            name=recommender.name,
            slate_size=5,
            max_pages=pages,
            leave=False,
            seed=seed,
        )
        records.append(record)
    mine, *others = records
    report = mine.report(baselines=others)
    print(report.to_markdown())
    return report


if __name__ == "__main__":
    main()
