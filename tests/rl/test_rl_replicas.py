"""Replicas: who may train where, what they disagree on, and promises that are lowered by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simenv.agents.synthetic import checkerboard, true_population
from simenv.datasets.synthetic import World
from simenv.errors import ConfigError
from simenv.protocols import Population
from simenv.rewards import expected
from simenv.rl.replicas import Disagreement, Pessimistic, Proving, expected_table, lowered
from simenv.scale import RatingScale
from simenv.session import Slate

KEY = np.zeros(2, np.uint64)


class TestExpectedTable:
    def test_is_what_the_truth_expects(self, small_world: World) -> None:
        user = np.array([3, 1, 30])
        table = expected_table(true_population(small_world), user)
        np.testing.assert_allclose(table, small_world.truth.expected[user], atol=1e-5)


class TestProving:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"test": ()}, "some replicas and tested on others; got 2 and 0"),
            ({"train": ()}, "got 0 and 2"),
            ({"held_out": np.array([0, 2])}, "different people; got 20 and 2, 2 of them the same"),
            ({"held_out": np.array([1])}, "at least two held-out users"),
            ({"learner": np.array([], np.int64)}, "got 0 and 20"),
        ],
    )
    def test_who_trains_is_not_tested(self, proving: Proving, change: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            replace(proving, **change)

    def test_one_replica_on_both_sides(self, proving: Proving) -> None:
        with pytest.raises(ConfigError, match="among those to train on and those to test on"):
            replace(proving, test=(proving.train[0],))

    def test_other_items(self, proving: Proving) -> None:
        with pytest.raises(ConfigError, match="numbers its items unlike the log"):
            replace(proving, test=(checkerboard(),))


class TestDisagreement:
    def test_equal_replicas_agree(self, proving: Proving) -> None:
        found = Disagreement.of([proving.train[0], proving.train[0]], proving.learner)
        assert np.abs(found.deviation).max() < 1e-9

    def test_by_hand(self, proving: Proving) -> None:
        user = np.array([4, 2])
        found = Disagreement.of(proving.train, user)
        table = [expected_table(p, np.array([2, 4])) for p in proving.train]
        gap = (table[0] - table[0].mean(1, keepdims=True)) - (table[1] - table[1].mean(1, keepdims=True))
        np.testing.assert_allclose(found.deviation, np.abs(gap) / np.sqrt(2))
        np.testing.assert_array_equal(
            found.at(user, np.array([[5, -1], [7, 8]]))[:, 0], found.deviation[[1, 0], [5, 7]]
        )
        assert found.at(user, np.array([[5, -1], [7, 8]]))[0, 1] == 0

    def test_a_stricter_user_is_no_disagreement(self, proving: Proving) -> None:
        one = proving.train[0]

        class Stricter:
            scale = RatingScale(tuple(v - 0.5 for v in one.scale.values), one.scale.symbols)

            def __getattr__(self, name: str) -> Any:
                return getattr(one, name)

        found = Disagreement.of([one, Stricter()], proving.learner)
        assert np.abs(found.deviation).max() < 1e-6

    def test_a_user_not_asked_about(self, proving: Proving) -> None:
        found = Disagreement.of(proving.train, np.array([2, 4]))
        for user in (0, 3, 9):
            with pytest.raises(ConfigError, match="not asked about"):
                found.at(np.array([user]), np.array([[0]]))

    def test_one_replica(self, proving: Proving) -> None:
        with pytest.raises(ConfigError, match="two replicas or more; got 1"):
            Disagreement.of(proving.train[:1], proving.learner)


class TestPessimistic:
    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.floats(0.01, 1), min_size=5, max_size=5), st.floats(0, 6))
    def test_the_mean_falls_by_that_much_and_not_below_the_scale(self, weight: list[float], by: float) -> None:
        scale = RatingScale()
        p = np.array([[weight]]) / sum(weight)
        less = lowered(p, np.array([[by]]), scale)
        assert less.sum() == pytest.approx(1, abs=1e-5)
        assert less.min() >= 0
        mean = scale.expectation(p)[0, 0]
        assert scale.expectation(less)[0, 0] == pytest.approx(max(mean - by, 1.0), abs=1e-4)

    def test_only_promises_fall(self, proving: Proving) -> None:
        population, user = proving.train[0], proving.learner[:2]
        dispute = Disagreement.of(proving.train, proving.learner)
        slate = Slate.certain(np.array([[1, 2, 3], [4, 5, -1]]))
        plain, after = population.respond(population.begin(user, KEY), slate)
        gloomy = Pessimistic(population, dispute, 0.3)
        assert isinstance(gloomy, Population)
        found, later = gloomy.respond(gloomy.begin(user, KEY), slate)
        np.testing.assert_array_equal(found.rating, plain.rating)
        np.testing.assert_array_equal(found.exit, plain.exit)
        np.testing.assert_array_equal(later.utility, after.utility)
        fall = expected(plain, slate, population.scale) - expected(found, slate, population.scale)
        wanted = 0.3 * dispute.at(user, slate.item).sum(axis=1) / [3, 2]
        np.testing.assert_allclose(fall, wanted, atol=1e-5)
        assert gloomy.assumption["rl.pessimism"] == "assumed 0.3"

    def test_negative_weight(self, proving: Proving) -> None:
        with pytest.raises(ConfigError, match="not negative"):
            Pessimistic(proving.train[0], Disagreement.of(proving.train, proving.learner), -1.0)
