"""Recommenders that are wrong on purpose: the contract holds, and they are wrong in the way their names say."""

from __future__ import annotations

import numpy as np
import pytest

from simenv.errors import ConfigError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.protocols import Recommender
from simenv.recommenders import BiasedMF, InvertedMF, NoisyMF, PopularTimesMean, TasteMF
from simenv.scale import RatingScale
from simenv.session import Session, take_rows
from simenv.testing.logs import checkerboard_log, tiny_catalogue, tiny_log
from simenv.testing.recommender import RecommenderContract

LOG = tiny_log(20, 30, seed=3)
CATALOGUE = tiny_catalogue(LOG.items)
SESSION = Session.begin(np.arange(LOG.n_users), LOG)
SMALL = BiasedMF(factors=3, iterations=3)


class TestInverted(RecommenderContract):
    def recommender(self) -> Recommender:
        return InvertedMF(SMALL)


class TestNoisy(RecommenderContract):
    def recommender(self) -> Recommender:
        return NoisyMF(0.7, SMALL)


class TestTaste(RecommenderContract):
    def recommender(self) -> Recommender:
        return TasteMF(SMALL)


class TestPopularTimesMean(RecommenderContract):
    def recommender(self) -> Recommender:
        return PopularTimesMean()


def test_inverted_shows_last_what_matrix_factorisation_shows_first() -> None:
    free = int(SESSION.available().sum(axis=1).min())
    right = SMALL.fit(LOG, CATALOGUE, seed=2).recommend(SESSION, free, seed=0).item
    wrong = InvertedMF(SMALL).fit(LOG, CATALOGUE, seed=2).recommend(SESSION, LOG.n_items, seed=0).item
    for row in range(len(SESSION)):
        filled = wrong[row][wrong[row] >= 0]
        np.testing.assert_array_equal(filled[::-1][:free], right[row])


def test_inverted_takes_the_wrong_side_of_the_checkerboard() -> None:
    board = checkerboard_log()
    user = np.arange(board.n_users)
    recommender = InvertedMF(BiasedMF(factors=2, regularization=0.5))
    shown = recommender.fit(board, tiny_catalogue(board.items), seed=0).recommend(Session.begin(user, board), 2, seed=0)
    assert ((shown.item + user[:, None]) % 2 == 1).all()


def test_the_error_of_noisy_has_the_size_it_says_and_stays() -> None:
    plain = SMALL.fit(LOG, CATALOGUE, seed=0).score(SESSION)
    policy = NoisyMF(0.5, SMALL).fit(LOG, CATALOGUE, seed=0)
    error = policy.score(SESSION) - plain
    assert abs(error.std() - 0.5) < 0.05
    assert abs(error.mean()) < 0.05
    turned = np.arange(len(SESSION))[::-1]
    np.testing.assert_array_equal(policy.score(take_rows(SESSION, turned)), policy.score(SESSION)[turned])
    other = NoisyMF(0.5, SMALL).fit(LOG, CATALOGUE, seed=1).score(SESSION) - SMALL.fit(LOG, CATALOGUE, seed=1).score(
        SESSION
    )
    assert abs(np.corrcoef(error.ravel(), other.ravel())[0, 1]) < 0.2
    np.testing.assert_allclose(NoisyMF(0.0, SMALL).fit(LOG, CATALOGUE, seed=0).score(SESSION), plain)


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf")])
def test_a_noise_that_is_none_is_refused(noise: float) -> None:
    with pytest.raises(ConfigError, match="noise is a standard deviation in rating points"):
        NoisyMF(noise)


def test_taste_is_what_is_left_of_the_prediction_without_biases() -> None:
    full = SMALL.fit(LOG, CATALOGUE, seed=0)
    taste = TasteMF(SMALL).fit(LOG, CATALOGUE, seed=0).score(SESSION)
    rest = full.score(SESSION) - taste - full.item[:, 0]
    np.testing.assert_allclose(rest, np.broadcast_to(rest[:, :1], rest.shape), atol=1e-12)
    assert np.ptp(full.item[:, 0]) > 0


def test_popular_times_mean_by_hand() -> None:
    """Item 0: 5, 5; item 1: 4, 4, 4; item 2: 1; with no shrinking 10, 12 and 1."""
    users, items = Index((1, 2, 3), "user"), Index((10, 11, 12, 13), "item")
    events = [0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 1, 2], [5, 4, 5, 4, 4, 1]
    log = InteractionLog.of(users, items, *events, None, RatingScale())
    score = PopularTimesMean(weight=0).fit(log, tiny_catalogue(items), seed=0).score
    np.testing.assert_allclose(score, [10, 12, 1, 0])
