"""Propensities: recovered where they are known, told from which pairs were rated and from no rating."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simenv.errors import DataError
from simenv.evaluation.propensity import effective_size, inverse_weights, selection_propensity
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.scale import RatingScale

RNG = np.random.default_rng(0)
GROUP, KIND = RNG.integers(2, size=120), RNG.integers(2, size=90)
CHANCE = np.where(GROUP[:, None] == KIND, 0.3, 0.05)
USER, ITEM = np.eye(2)[GROUP], np.eye(2)[KIND]


def chosen() -> InteractionLog:
    user, item = np.nonzero(RNG.random(CHANCE.shape) < CHANCE)
    users, items = Index(tuple(range(120)), "user"), Index(tuple(range(90)), "item")
    return InteractionLog.of(users, items, user, item, RNG.integers(1, 6, len(user)), None, RatingScale())


LOG = chosen()


def test_what_belongs_together_is_found() -> None:
    found = selection_propensity(LOG, USER, ITEM)
    alike = GROUP[:, None] == KIND
    assert found[alike].mean() == pytest.approx(0.3, abs=0.03)
    assert found[~alike].mean() == pytest.approx(0.05, abs=0.02)
    assert found.mean() == pytest.approx(len(LOG) / CHANCE.size, rel=0.02)


def test_items_that_are_rated_more_are_more_likely() -> None:
    often = LOG.take(~((LOG.item < 10) & (np.arange(len(LOG)) % 4 > 0)))
    found = selection_propensity(often, USER, np.zeros((90, 0)))
    assert found[:, :10].mean() < 0.5 * found[:, 10:].mean()


def test_no_rating_is_read() -> None:
    turned = replace(LOG, rating=LOG.rating[::-1].copy())
    np.testing.assert_array_equal(selection_propensity(LOG, USER, ITEM), selection_propensity(turned, USER, ITEM))


def test_weighted_by_the_inverse_the_chosen_stand_for_all() -> None:
    """A value that only the like-minded have is over-represented among what was chosen, and not after weighting."""
    value = (GROUP[LOG.user] == KIND[LOG.item]).astype(float)
    all_pairs = (GROUP[:, None] == KIND).mean()
    weight = inverse_weights(selection_propensity(LOG, USER, ITEM)[LOG.user, LOG.item], share=0.0)
    assert value.mean() > all_pairs + 0.25
    assert np.average(value, weights=weight) == pytest.approx(all_pairs, abs=0.05)


def test_weights_have_mean_one_and_a_ceiling() -> None:
    propensity = np.concatenate([np.full(98, 0.5), [1e-6, 1e-6]])
    weight = inverse_weights(propensity, share=0.05)
    assert weight.mean() == pytest.approx(1)
    assert weight.max() == pytest.approx(1)
    assert inverse_weights(propensity, share=0.0).max() > 40


def test_effective_size_by_hand() -> None:
    assert effective_size(np.array([2.0, 2.0, 2.0])) == 3
    assert effective_size(np.array([1.0, 0.0, 0.0])) == 1
    assert effective_size(np.array([3.0, 1.0])) == pytest.approx(1.6)


def test_features_of_others_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected features of \(120, 90\) users and items; got 90, 120"):
        selection_propensity(LOG, ITEM, USER)
