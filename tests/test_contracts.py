"""The contracts people test their own plug-ins with: two lines are enough, and each can fail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import pytest

import simenv.testing
from simenv.catalogue import Catalogue
from simenv.log import InteractionLog
from simenv.randomness import Purpose, uniform
from simenv.recommenders.baseline import Popular
from simenv.session import Response, Session, Slate, UserState
from simenv.testing import EnvironmentContract, RecommenderContract, VectorEqualsSingles
from simenv.testing.population import ScriptedPopulation


class TestTwoLinesForUsers(VectorEqualsSingles):
    population = ScriptedPopulation()


class TestTwoLinesForARecommender(RecommenderContract):
    recommender = Popular


@final
@dataclass(frozen=True, eq=False)
class Crowded:
    """Users who answer by their place in the batch: what a vector environment must never be."""

    inner: ScriptedPopulation

    def __getattr__(self, name: str) -> Any:
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def respond(self, state: UserState, slate: Slate) -> tuple[Response, UserState]:
        response, after = self.inner.respond(state, slate)
        moody = uniform(np.arange(len(slate.item)), purpose=Purpose.EXIT) < 0.5
        return replace(response, exit=moody), after


@final
@dataclass(frozen=True, eq=False)
class Forgetful:
    """Users whose luck is their own and not the episode's, so that nothing can be repeated."""

    inner: ScriptedPopulation
    draw: np.random.Generator

    def __getattr__(self, name: str) -> Any:
        if name in ("inner", "draw"):
            raise AttributeError(name)
        return getattr(self.inner, name)

    def respond(self, state: UserState, slate: Slate) -> tuple[Response, UserState]:
        response, after = self.inner.respond(state, slate)
        return replace(response, exit=self.draw.random(len(slate.item)) < 0.5), after


@final
@dataclass(frozen=True)
class Repeater:
    """A recommender that shows one item everywhere."""

    name: str = "repeater"

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> Repeater:
        return self

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        return Slate.certain(np.zeros((len(session), k), np.int64))


def test_users_who_answer_by_place_are_found_out() -> None:
    class Broken(VectorEqualsSingles):
        population = Crowded(ScriptedPopulation())

    with pytest.raises(AssertionError, match="step"):
        Broken().test_vector_equals_singles_next_step()


def test_users_with_luck_of_their_own_are_found_out() -> None:
    class Broken(EnvironmentContract):
        population = Forgetful(ScriptedPopulation(), np.random.default_rng(0))

    with pytest.raises(AssertionError):
        Broken().test_a_snapshot_is_gone_on_with_bit_for_bit()
    with pytest.raises(AssertionError):
        Broken().test_same_seed_and_actions_give_the_same_episodes()


def test_a_recommender_that_repeats_itself_is_found_out() -> None:
    class Broken(RecommenderContract):
        recommender = Repeater

    with pytest.raises(AssertionError, match="an item stands twice"):
        Broken().test_shows_k_distinct_items_that_were_not_seen()


def test_a_contract_without_users_says_what_to_write() -> None:
    with pytest.raises(NotImplementedError, match="write `population = "):
        EnvironmentContract().test_observations_and_infos_keep_their_form()
    with pytest.raises(AttributeError, match=r"simenv\.testing has no 'Contract'; it has CountingPopulation"):
        simenv.testing.Contract
