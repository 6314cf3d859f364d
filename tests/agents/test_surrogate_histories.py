"""Invented users: as long, as popular in their choice and as diverse as the crowd says."""

import numpy as np
import pytest

from simenv.agents.crowd import Crowd
from simenv.agents.surrogate_histories import draw_histories, draw_items
from simenv.datasets.synthetic import generate
from simenv.errors import ConfigError

WORLD = generate(4, n_users=80, n_items=50, median_history=30)
CROWD = Crowd.fit(WORLD.log, WORLD.catalogue)
LENGTH = np.tile([0, 5, 20, 50], 200)


def test_histories_look_like_the_crowd() -> None:
    item, rating = draw_histories(CROWD, WORLD.log.scale, LENGTH)
    assert item.shape == rating.shape == (800, 50)
    known = item >= 0
    np.testing.assert_array_equal(known.sum(axis=1), LENGTH)
    np.testing.assert_array_equal(known, np.isfinite(rating))
    assert set(np.unique(rating[known])) == {1, 2, 3, 4, 5}
    assert all(len(set(row[row >= 0])) == (row >= 0).sum() for row in item)
    short = np.bincount(item[1::4][item[1::4] >= 0], minlength=50)
    assert np.corrcoef(short, CROWD.item_count)[0, 1] > 0.7
    assert rating[known].mean() == pytest.approx(WORLD.log.rating.mean(), abs=0.35)
    real = np.std([WORLD.log.history(u)[1].mean() for u in range(80)])
    assert np.nanmean(rating[3::4], axis=1).std() == pytest.approx(real, rel=0.35)  # users differ as much as real ones


def test_seeds_and_lengths() -> None:
    one, other = (draw_histories(CROWD, WORLD.log.scale, LENGTH, seed=s)[0] for s in (1, 2))
    np.testing.assert_array_equal(one, draw_histories(CROWD, WORLD.log.scale, LENGTH, seed=1)[0])
    assert not np.array_equal(one, other)
    assert draw_histories(CROWD, WORLD.log.scale, np.zeros(3, np.int64))[0].shape == (3, 0)
    for length in (-1, 51):
        with pytest.raises(ConfigError, match=r"lengths must lie in 0\.\.50"):
            draw_histories(CROWD, WORLD.log.scale, np.array([length]))


@pytest.mark.parametrize("k", [2, 4])
def test_items_are_drawn_without_replacement_in_proportion(k: int) -> None:
    """k = 2 of 4 has a known answer; k = 4 takes all, by the other way of drawing where 16 draws miss one."""
    weight = np.array([8.0, 1.0, 0.5, 0.5])
    got = draw_items(weight, 40_000, k, np.random.default_rng(0))
    assert all(len(set(row)) == k for row in got[:500].tolist())
    share = weight / weight.sum()
    np.testing.assert_allclose(np.bincount(got[:, 0], minlength=4) / 40_000, share, atol=0.01)
    second = sum(share[a] * np.where(np.arange(4) == a, 0, share / (1 - share[a])) for a in range(4))
    np.testing.assert_allclose(np.bincount(got[:, 1], minlength=4) / 40_000, second, atol=0.01)
