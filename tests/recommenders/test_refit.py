"""Refitting in the loop: what is learned from, how it is marked, and that it does something."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from simenv.agents.crowd import Crowd
from simenv.agents.synthetic import checkerboard, true_population
from simenv.catalogue import Catalogue
from simenv.datasets.synthetic import generate
from simenv.errors import ConfigError, DataError
from simenv.log import InteractionLog
from simenv.play import play
from simenv.recommenders import BiasedMF, Exploring, Popular, Random, RefitLoop
from simenv.recommenders.baseline import ListPolicy, popularity
from simenv.recommenders.refit import Grown
from simenv.training.distil import StatisticalDistiller


@dataclass(frozen=True)
class Counting:
    """Popular, that notes how many rows each of its fits saw."""

    seen: list[int] = field(default_factory=list)
    name: str = "counting"

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> ListPolicy:
        self.seen.append(len(log))
        return ListPolicy(popularity(log))


def board(rows: int = 0, timed: bool = True) -> tuple[Any, InteractionLog, Catalogue]:
    """Checkerboard users, and a log of `rows` ratings of user 0."""
    population = checkerboard(6, 40)
    time = 1000 + np.arange(rows) if timed else None
    log = InteractionLog.of(
        population.users, population.items, np.zeros(rows), np.arange(rows), np.full(rows, 4.0), time, population.scale
    )
    return population, log, Catalogue.bare(population.items)


class TestLoop:
    def test_fits_every_n_rounds_on_all_there_is(self) -> None:
        population, log, catalogue = board(3)
        how, recommender = RefitLoop(rounds=5, every=2, slate_size=2, leave=False), Counting()
        rounds = how.run(recommender, population, log, catalogue, np.arange(6))
        # Every place is consumed and rated: 6 users x 2 places a round.
        assert recommender.seen == [3, 3 + 24, 3 + 48]
        assert [r.refitted for r in rounds] == [True, False, True, False, True]
        assert [len(r.grown.log) for r in rounds] == [3 + 12 * (n + 1) for n in range(5)]

    def test_rated_items_are_past_in_later_rounds(self) -> None:
        population, log, catalogue = board(3)
        rounds = RefitLoop(rounds=4, slate_size=3, leave=False).run(Random(), population, log, catalogue, np.arange(6))
        shown = np.concatenate([r.record.pages[0].slate.item for r in rounds], axis=1)
        for row in shown:
            assert len(set(row)) == 12
        assert not set(shown[0]) & {0, 1, 2}

    def test_learning_from_what_it_showed_helps(self) -> None:
        """Nothing is known at first; two kinds of user with opposite tastes are told apart by what they rated."""
        population = checkerboard(40, 60)
        log = InteractionLog.of(population.users, population.items, [], [], [], None, population.scale)
        recommender = Exploring(BiasedMF(factors=2, regularization=0.5), 0.3)
        rounds = RefitLoop(rounds=5, slate_size=5, leave=False).run(
            recommender, population, log, Catalogue.bare(population.items), np.arange(40), seed=1
        )
        mean = [float(r.record.shown().expected.mean()) for r in rounds]
        assert mean[-1] > mean[0] + 0.5, mean

    def test_one_seed_one_story(self) -> None:
        population, log, catalogue = board(3)
        stories = [
            RefitLoop(rounds=3, slate_size=2).run(Random(), population, log, catalogue, np.arange(6), seed=s)
            for s in (1, 1, 2)
        ]
        prints = [story[-1].grown.log.fingerprint for story in stories]
        assert prints[0] == prints[1] != prints[2]

    @pytest.mark.parametrize("name", ["rounds", "every", "slate_size", "max_pages"])
    def test_bad_settings(self, name: str) -> None:
        with pytest.raises(ConfigError, match=f"{name} must be at least 1"):
            RefitLoop(**{name: 0})  # type: ignore[arg-type]


class TestGrown:
    @pytest.mark.parametrize("timed", [True, False])
    def test_rows_are_tagged_and_real_ones_come_back(self, timed: bool) -> None:
        population, log, catalogue = board(5, timed)
        (done,) = RefitLoop(rounds=1, slate_size=4, max_pages=2, leave=False).run(
            Popular(), population, log, catalogue, np.arange(3)
        )
        grown = done.grown
        assert grown.log.simulated
        assert grown.simulated.sum() == 3 * 8
        assert not grown.simulated[:5].any()
        assert grown.real.fingerprint == log.fingerprint
        assert not grown.real.simulated
        if timed:
            assert grown.log.time is not None
            np.testing.assert_array_equal(grown.log.time[:13], [1000, 1001, 1002, 1003, 1004] + [1005] * 4 + [1006] * 4)

    def test_tags_follow_their_rows(self) -> None:
        world = generate(1, n_users=40, n_items=60, median_history=20)
        policy = Random().fit(world.log, world.catalogue, seed=0)
        record = play(policy, true_population(world), world.log, np.arange(20))
        grown = Grown.of(world.log).with_(record)
        again = grown.with_(record)
        for found in (grown, again):
            real = set(zip(world.log.user.tolist(), world.log.item.tolist(), strict=True))
            pairs = list(zip(found.log.user.tolist(), found.log.item.tolist(), strict=True))
            assert [pair not in real for pair in pairs] == found.simulated.tolist()
        assert again.simulated.sum() == 2 * grown.simulated.sum()

    def test_nothing_played_changes_nothing(self) -> None:
        population, log, _ = board(5)
        nothing = play(ListPolicy(np.full(40, np.nan)), population, log, np.arange(2), max_pages=1)
        assert Grown.of(log).with_(nothing).log is log

    def test_users_are_never_distilled_from_it(self) -> None:
        world = generate(1, n_users=60, n_items=60, median_history=20)
        policy = Random().fit(world.log, world.catalogue, seed=0)
        grown = Grown.of(world.log).with_(play(policy, true_population(world), world.log, np.arange(20)))
        with pytest.raises(DataError, match="simulated"):
            StatisticalDistiller().distil(
                grown.log, world.catalogue, Crowd.fit(world.log, world.catalogue), np.arange(9)
            )
