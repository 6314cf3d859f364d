"""What a surrogate learns from and how its bound is set."""

from __future__ import annotations

import numpy as np
import pytest

from simenv.agents.crowd import Crowd
from simenv.agents.surrogate_vector import VectorSpace
from simenv.agents.synthetic import LatentTaste
from simenv.datasets.synthetic import generate
from simenv.errors import ConfigError
from simenv.training.distil_surrogate import SurrogateSettings, conformal_factor, distil, draw_pairs, gaps

WORLD = generate(2, n_users=30, n_items=40)


def test_pairs_are_unknown_items_popular_ones_more_often() -> None:
    known = np.array([[0, 1, 2], [3, -1, -1]])
    count = np.where(np.arange(200) < 100, 0.0, 30.0)
    user, item = draw_pairs(np.array([4, 9]), known, count, 60, 0)
    assert np.bincount(user)[[4, 9]].tolist() == [60, 60]
    assert len(np.unique(np.stack([user, item]), axis=1).T) == 120
    assert not np.isin(item[user == 4], [0, 1, 2]).any()
    assert 3 not in item[user == 9]
    assert 0.62 < (item >= 100).mean() < 0.85  # three quarters without replacement's pull to the middle


def test_few_items_are_all_asked_and_a_user_alone_is_asked_the_same() -> None:
    known = np.array([[0, 1], [2, -1]])
    user, _ = draw_pairs(np.array([0, 1]), known, np.ones(10), 99, 3)
    assert np.bincount(user).tolist() == [8, 9]
    _, alone = draw_pairs(np.array([1]), known[1:], np.ones(300), 20, 3)
    both, everyone = draw_pairs(np.array([0, 1]), known, np.ones(300), 20, 3)
    np.testing.assert_array_equal(everyone[both == 1], alone)


def test_gaps_by_hand() -> None:
    p, q = np.array([[0.5, 0.5, 0.0]]), np.array([[0.25, 0.25, 0.5]])
    gap, far = gaps(p, q, np.array([1.0, 2.0, 3.0]))
    assert (gap.item(), far.item()) == (0.75, 0.5)


def test_the_factor_counts_users_not_pairs() -> None:
    """Nine users with scores 1..9, the first a thousand times: the 0.8 quantile with 1/10 each is 8."""
    score = np.concatenate([np.full(1000, 1.0), np.arange(2.0, 10.0)])
    user = np.concatenate([np.zeros(1000, int), np.arange(1, 9)])
    assert conformal_factor(score, user, 0.8) == 8
    assert conformal_factor(score, user, 0.9) == 9
    with pytest.raises(ConfigError, match=r"9 users are too few for a bound with coverage 0\.95"):
        conformal_factor(score, user, 0.95)


def test_the_factor_covers_new_users_as_often_as_it_says() -> None:
    """Users differ in how wrong one is about them; pairs of a user are far from independent."""
    rng, covered = np.random.default_rng(0), []
    for _ in range(400):
        level = rng.lognormal(0, 1, 21)
        score = level[:, None] * rng.random((21, 6))
        factor = conformal_factor(score[:20].ravel(), np.repeat(np.arange(20), 6), 0.8)
        covered.append((score[20] <= factor).mean())
    assert 0.78 < np.mean(covered) < 0.88


def test_settings_that_cannot_work() -> None:
    with pytest.raises(ConfigError, match="at least 2 networks"):
        SurrogateSettings(networks=1)
    with pytest.raises(ConfigError, match="sizes must be 1 or more"):
        SurrogateSettings(coverage=1.0)
    crowd, context = Crowd.fit(WORLD.log, WORLD.catalogue), WORLD.log.padded(np.arange(30))
    space = VectorSpace.of(crowd, [WORLD.catalogue.describe(i) for i in range(40)], *context)
    with pytest.raises(ConfigError, match="needs at least 9 users to calibrate on"):
        distil(LatentTaste(WORLD.truth), space, np.arange(30), *context, SurrogateSettings(pairs=2, steps=1))
