"""Prior: ridge and cut points are found again where they were planted."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit

from simenv.agents.prior import Prior
from simenv.scale import RatingScale

WEIGHT = np.array([0.8, -0.4, 0.1])
CUT = np.array([1.6, 2.4, 3.1, 4.2])
SCALE = RatingScale()


@pytest.fixture(scope="module")
def world() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Features, spreads and ratings: ordered logit around 3.3 + features @ WEIGHT with slope 2 / spread."""
    rng = np.random.default_rng(0)
    feature, spread = rng.normal(size=(20_000, 3)), rng.uniform(0.5, 1.5, 20_000)
    below = expit((2 / spread)[:, None] * (CUT - (3.3 + feature @ WEIGHT)[:, None]))
    return feature, spread, SCALE.array[(rng.random(len(spread))[:, None] > below).sum(axis=1)]


@pytest.fixture(scope="module")
def prior(world: tuple[NDArray[np.float64], ...]) -> Prior:
    feature, spread, rating = world
    return Prior.fit(feature, spread, rating, 3.0, SCALE)


def test_expected_is_ridge(world: tuple[NDArray[np.float64], ...], prior: Prior) -> None:
    feature, _, rating = world
    x = np.concatenate([feature, np.ones((len(feature), 1))], axis=1)
    left = np.concatenate([x, np.sqrt(10) * np.eye(4)])
    wanted = np.linalg.lstsq(left, np.concatenate([rating - 3.0, np.zeros(4)]), rcond=None)[0]
    np.testing.assert_allclose(prior.weight, wanted, atol=1e-8)
    np.testing.assert_allclose(prior.expected(feature, 3.0), np.clip(x @ wanted + 3.0, 1, 5))
    assert prior.expected(np.full((1, 3), 99.0) * WEIGHT, 3.0)[0] == 5.0
    assert prior.expected(np.full((1, 3), -99.0) * WEIGHT, 3.0)[0] == 1.0


def test_cuts_and_slopes_are_found_again(world: tuple[NDArray[np.float64], ...]) -> None:
    """With features that give the planted location itself, the planted cuts and slope come back."""
    feature, spread, rating = world
    located = (feature @ WEIGHT)[:, None]
    prior = Prior.fit(located, spread, rating, 3.3, SCALE)
    shown = prior.distribution(prior.expected(located, 3.3), spread)
    below = np.cumsum(shown, axis=1)[:, :-1]
    planted = expit((2 / spread)[:, None] * (CUT - (3.3 + feature @ WEIGHT)[:, None]))
    assert np.abs(below - planted).mean() < 0.015
    assert prior.steepness[1] == pytest.approx(-1.0, abs=0.15)


def test_shares_are_those_of_the_data(world: tuple[NDArray[np.float64], ...], prior: Prior) -> None:
    feature, spread, rating = world
    p = prior.distribution(prior.expected(feature, 3.0), spread)
    share = np.bincount(SCALE.encode(rating), minlength=5) / len(rating)
    np.testing.assert_allclose(p.mean(axis=0), share, atol=0.01)


@given(low=st.floats(1, 5), high=st.floats(1, 5), spread=st.floats(0.3, 2))
@settings(max_examples=60, deadline=None)
def test_distributions(low: float, high: float, spread: float) -> None:
    """They are distributions, and a higher expectation moves all cumulative shares down."""
    prior = Prior(np.zeros(4), CUT, np.array([0.7, -1.0]), 1.0, 5.0)
    p = prior.distribution(np.array(sorted((low, high))), np.full(2, spread))
    assert (p > 0).all()
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=2e-5)
    assert (np.cumsum(p[1])[:-1] <= np.cumsum(p[0])[:-1] + 1e-5).all()


def test_two_values_need_one_cut() -> None:
    rng = np.random.default_rng(1)
    feature = rng.normal(size=(4000, 1))
    rating = (rng.random(4000) < expit(2 * feature[:, 0])).astype(float)
    scale = RatingScale((0.0, 1.0))
    prior = Prior.fit(feature, np.ones(4000), rating, 0.5, scale)
    assert prior.cut.shape == (1,)
    p = prior.distribution(prior.expected(feature, 0.5), np.ones(4000))[:, 1]
    for chosen in (feature[:, 0] < -1, feature[:, 0] > 1):
        assert p[chosen].mean() == pytest.approx(rating[chosen].mean(), abs=0.06)


def test_round_trip(prior: Prior, tmp_path: Path) -> None:
    prior.save(tmp_path / "prior.npz")
    back = Prior.load(tmp_path / "prior.npz")
    for f in fields(Prior):
        np.testing.assert_array_equal(getattr(back, f.name), getattr(prior, f.name))
