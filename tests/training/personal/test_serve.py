"""A tuned arm as a population: the environment's contract holds, and strangers are strangers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError, UnknownIdError
from simenv.log import InteractionLog
from simenv.protocols import Population, RatingModel
from simenv.session import Slate
from simenv.testing.logs import tiny_catalogue, tiny_log
from simenv.training.personal.arm import ARMS
from simenv.training.personal.base import EmbeddedSettings
from simenv.training.personal.serve import PersonalRatingModel, population, rating_model
from simenv.training.personal.tune import TuneSettings
from simenv.training.world_model import WorldModelSize

OWN = EmbeddedSettings(size=WorldModelSize(hidden=16, layers=1, heads=2, vocabulary=420, positions=256), steps=1)
SHORT = TuneSettings(epochs=1, person_rate=5e-2)


@pytest.fixture(scope="module")
def past() -> tuple[InteractionLog, Catalogue]:
    """A log in which user 3 has no rating."""
    log = tiny_log()
    return log.take(log.user != 3), tiny_catalogue(log.items)


@pytest.fixture(scope="module", params=["CLS-V", "LM-P"])
def served(request: pytest.FixtureRequest, past: tuple[InteractionLog, Catalogue]) -> PersonalRatingModel:
    return rating_model(ARMS[request.param], *past, own=OWN, settings=SHORT)


class TestRatingModel:
    def test_it_is_one_and_the_same_pair_has_one_answer(self, served: PersonalRatingModel) -> None:
        assert isinstance(served, RatingModel)
        user, item = np.array([0, 1, 0, 2]), np.array([4, 5, 6, 4])
        whole = served.rate(user, item)
        assert whole.p.shape == (4, len(served.scale))
        assert np.allclose(whole.p.sum(axis=1), 1, atol=1e-5)
        for n in range(4):
            alone = served.rate(user[n : n + 1], item[n : n + 1])
            assert np.allclose(alone.p[0], whole.p[n], atol=1e-5)
            assert alone.support[0] == whole.support[n]

    def test_a_user_without_a_past_is_a_stranger(
        self, served: PersonalRatingModel, past: tuple[InteractionLog, Catalogue]
    ) -> None:
        assert np.flatnonzero(~served.known).tolist() == [3]
        item = np.arange(past[0].n_items)
        some, none = (served.rate(np.full(len(item), u), item).p for u in (0, 3))
        assert not np.allclose(some, none)

    def test_unknown_numbers_are_refused(self, served: PersonalRatingModel) -> None:
        with pytest.raises(UnknownIdError, match="items are numbers"):
            served.rate(np.array([0]), np.array([999]))
        with pytest.raises(UnknownIdError, match="users are numbers"):
            served.rate(np.array([-1]), np.array([0]))


def test_a_population_of_it_answers_slates(served: PersonalRatingModel, past: tuple[InteractionLog, Catalogue]) -> None:
    log, catalogue = past
    users = population(served, log, catalogue)
    assert isinstance(users, Population)
    assert 3 not in users.member
    state = users.begin(users.member[:2], np.array([5, 6], np.uint64))
    response, after = users.respond(state, Slate.certain(np.array([[0, 1, 2], [3, 4, -1]])))
    assert response.p_rating is not None
    direct = served.rate(np.repeat(users.member[:2], [3, 2]), np.array([0, 1, 2, 3, 4]))
    assert np.allclose(response.p_rating[0], direct.p[:3], atol=1e-5)
    assert np.allclose(response.p_rating[1, :2], direct.p[3:], atol=1e-5)
    assert after.page.tolist() == [1, 1]


def test_ratings_shape_the_answers(past: tuple[InteractionLog, Catalogue]) -> None:
    """A log of ones and a log of fives make different users."""
    log, catalogue = past
    means = []
    for rating in (1.0, 5.0):
        same = replace(log, rating=np.full(len(log), rating, np.float32))
        how = TuneSettings(epochs=3, rate=1e-2)
        model = rating_model(ARMS["CLS"], same, catalogue, own=OWN, settings=how)
        means.append(model.scale.expectation(model.rate(np.zeros(5, np.int64), np.arange(5)).p).mean())
    assert means[0] < 2.0 < 4.0 < means[1]


def test_prompted_arms_cannot_serve(past: tuple[InteractionLog, Catalogue]) -> None:
    with pytest.raises(ConfigError, match="Q-nS shows examples in the prompt and cannot serve"):
        rating_model(ARMS["Q-nS"], *past, own=OWN)
