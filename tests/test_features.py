"""Users and items as numbers: known answers, and what must not matter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.features import FACTORS, GRID, Features
from simenv.log import InteractionLog
from simenv.scale import RatingScale
from simenv.testing.logs import checkerboard_log, tiny_catalogue, tiny_log

LOG = tiny_log(12, 30)
CATALOGUE = tiny_catalogue(LOG.items)


def test_a_history_is_embedded_as_the_log_is() -> None:
    features, user = Features(LOG, CATALOGUE), np.array([3, 0, 11])
    np.testing.assert_allclose(features.of_history(*LOG.padded(user)), features.user[user], atol=1e-6)
    assert features.user.shape == (12, features.user_width)
    nothing = features.of_history(np.full((1, 2), -1), np.full((1, 2), np.nan, np.float32))
    assert not nothing.any()


def test_habits_by_hand() -> None:
    log = InteractionLog.of(LOG.users, LOG.items, [0, 0, 1], [0, 1, 2], [5, 1, 3], None, RatingScale())
    user = Features(log, CATALOGUE).user
    np.testing.assert_allclose(user[0, :8], [np.log(3) / 10, 0.5, 0.5, 0.5, 0, 0, 0, 0.5], atol=1e-6)
    # items 0 and 2 are Comedy and Romance, item 1 is Horror and Thriller: sorted by number, then name
    np.testing.assert_allclose(user[0, 8:], [0.5, 0.5, 0.5, 0.5, 0.5, -0.5, 0.5, -0.5], atol=1e-6)
    np.testing.assert_allclose(user[1, [1, 2, 5]], [0.5, 0, 1], atol=1e-6)


def test_quality_and_popularity_by_hand() -> None:
    log = InteractionLog.of(LOG.users, LOG.items, [0, 1, 0], [0, 0, 1], [5, 5, 1], None, RatingScale())
    item = Features(log, CATALOGUE).item
    overall = 1 / 3
    np.testing.assert_allclose(item[:3, 0], [(2 + 10 * overall) / 12, (-1 + 10 * overall) / 11, overall], atol=1e-3)
    np.testing.assert_allclose(item[:3, 1], [1, np.log(2) / np.log(3), 0], atol=1e-3)
    assert item[0, 2:6].tolist() == [1, 0, 1, 0] or item[0, 2:6].tolist() == [1, 1, 0, 0]


def test_factors_part_the_checkerboard() -> None:
    log = checkerboard_log()
    item = Features(log, Catalogue.bare(log.items)).item
    first = item[:, 2]
    assert item.shape == (20, 2 + FACTORS)
    assert set(np.sign(first[::2])) != set(np.sign(first[1::2]))
    assert np.abs(first).min() > 0.5, "the first factor is the parity, for every item"


def test_features_lie_on_the_grid_in_the_box() -> None:
    item = Features(LOG, CATALOGUE).item.astype(np.float64)
    assert np.abs(item).max() <= 1
    np.testing.assert_array_equal(item * GRID, np.rint(item * GRID))
    assert np.linalg.matrix_rank(item[:, -FACTORS:]) == FACTORS


def test_the_order_of_the_rows_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(len(LOG))
    turned = InteractionLog.of(
        LOG.users, LOG.items, LOG.user[order], LOG.item[order], LOG.rating[order], None, LOG.scale
    )
    np.testing.assert_allclose(Features(turned, CATALOGUE).item, Features(LOG, CATALOGUE).item, atol=2 / GRID)
    np.testing.assert_allclose(Features(turned, CATALOGUE).user, Features(LOG, CATALOGUE).user, atol=1e-6)


def test_what_the_agent_may_not_know_changes_nothing() -> None:
    """Features rest on the contestants' rows: a log with more rows gives others, the same rows the same."""
    half = LOG.take(np.arange(0, len(LOG), 2))
    assert not np.allclose(Features(half, CATALOGUE).item, Features(LOG, CATALOGUE).item)
    again = LOG.take(np.arange(0, len(LOG), 2))
    np.testing.assert_array_equal(Features(half, CATALOGUE).item, Features(again, CATALOGUE).item)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_hardly_any_ratings_are_no_trouble(rows: int) -> None:
    log = LOG.take(np.arange(rows))
    item = Features(log, replace(CATALOGUE)).item
    assert np.isfinite(item).all()
    assert not item[:, -FACTORS:].any(), "a rating that is its item's mean says nothing of taste"


def test_own_features_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"must be \[I, F\] with a row for each of 30 items; got \(30,\)"):
        Features(LOG, CATALOGUE, np.zeros(30))
    with pytest.raises(ConfigError, match="without NaN"):
        Features(LOG, CATALOGUE, np.full((30, 1), np.nan))
