"""Factors: expectations agree with draws from the posteriors; what was planted is found again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from simenv.agents.factors import Belief, Float, Rows, _squared_error, _update, fit_items, fold_in
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.scale import RatingScale

USERS, ITEMS = 300, 120
NOISE = 0.5


def planted(seed: int = 0) -> tuple[InteractionLog, InteractionLog]:
    """Ratings of a world with biases and one factor and Gaussian noise; two thirds known, one third not."""
    rng = np.random.default_rng(seed)
    user, item = np.nonzero(rng.random((USERS, ITEMS)) < 0.3)
    a, b = rng.normal(0, 0.4, USERS), rng.normal(0, 0.5, ITEMS)
    p, q = rng.normal(0, 1, USERS), rng.normal(0, 0.6, ITEMS)
    rating = 3 + a[user] + b[item] + p[user] * q[item] + rng.normal(0, NOISE, len(user))
    index = Index.of(np.arange(USERS), "user"), Index.of(np.arange(ITEMS), "item")
    log = InteractionLog.of(*index, user, item, rating, None, RatingScale())
    known = rng.random(len(log)) < 2 / 3
    return log.take(known), log.take(~known)


@pytest.fixture(scope="module")
def world() -> tuple[InteractionLog, InteractionLog]:
    return planted()


def test_the_planted_world_is_found_again(world: tuple[InteractionLog, InteractionLog]) -> None:
    known, future = world
    mean = float(known.rating.mean())
    item, belief = fit_items(known, mean, 2, 20, seed=1)
    assert belief.noise == pytest.approx(1 / NOISE**2, rel=0.15)
    user = fold_in(item, belief, *known.padded(np.arange(USERS)), mean)
    own, other = user[future.user], item.mean[future.item]
    expected = mean + own[:, 0] + other[:, 0] + (own[:, 1:] * other[:, 1:]).sum(axis=1)
    error = float(np.sqrt(np.mean((expected - future.rating) ** 2)))
    assert error < 1.25 * NOISE  # biases alone leave the factor's part: about 0.78
    assert error > 0.95 * NOISE  # nobody beats the noise


def test_items_without_ratings_are_like_the_others(world: tuple[InteractionLog, InteractionLog]) -> None:
    known, _ = world
    item, _ = fit_items(known.take(known.item != 7), 3.0, 2, 10, seed=1)
    doubt = np.trace(item.covariance, axis1=1, axis2=2)
    assert doubt[7] > 3 * np.delete(doubt, 7).max()
    assert np.abs(item.mean[7] - np.delete(item.mean, 7, axis=0).mean(axis=0)).max() < 0.1


def test_the_seed_is_all_luck(world: tuple[InteractionLog, InteractionLog]) -> None:
    one, again, other = (fit_items(world[0], 3.0, 2, 2, seed)[0].mean for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3


def some_rows(rng: np.random.Generator, n: int, width: int) -> Rows:
    root = rng.normal(0, 0.4, (n, width, width))
    return Rows(rng.normal(size=(n, width)), root @ np.swapaxes(root, 1, 2))


def draws(rng: np.random.Generator, rows: Rows, size: int) -> Float:
    return np.stack(
        [rng.multivariate_normal(m, c, size) for m, c in zip(rows.mean, rows.covariance, strict=True)], axis=1
    )


def test_sums_are_expectations() -> None:
    """Moments and squared error agree with averages over 100 000 draws of users and items."""
    rng = np.random.default_rng(0)
    of, item = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 0, 1])
    rating = rng.normal(size=5)
    user, items, belief = some_rows(rng, 3, 3), some_rows(rng, 2, 3), Belief(np.zeros(3), np.eye(3), 1.0)
    seen, value = (csr_matrix((v, (item, of)), shape=(2, 3)) for v in (np.ones(5), rating))
    _, gram, moment = _update(seen, value, user, belief)
    u, v = draws(rng, user, 100_000), draws(rng, items, 100_000)
    x = np.concatenate([np.ones((*u.shape[:2], 1)), u[:, :, 1:]], axis=2)
    left = rating - u[:, of, 0]
    for i in range(2):
        own = of[item == i]
        np.testing.assert_allclose(gram[i], np.einsum("sed,sef->df", x[:, own], x[:, own]) / len(x), atol=0.05)
        np.testing.assert_allclose(moment[i], np.einsum("se,sed->d", left[:, item == i], x[:, own]) / len(x), atol=0.05)
    error = left - np.einsum("sed,sed->se", x[:, of], v[:, item])
    found = _squared_error(rating, of, user, items, gram, moment)
    assert found == pytest.approx(float((error**2).sum(axis=1).mean()), rel=0.02)


@given(seed=st.integers(0, 1000), damping=st.floats(0.1, 30))
@settings(max_examples=30, deadline=None)
def test_without_doubt_a_fold_in_is_ridge(seed: int, damping: float) -> None:
    rng = np.random.default_rng(seed)
    item = Rows(rng.normal(size=(6, 3)), np.zeros((6, 3, 3)))
    belief = Belief(np.array([0.2, 0.0, -0.1]), damping * np.eye(3), 1.0)
    rated = np.array([[4, 1, 3, 0], [2, 5, -1, -1], [-1, -1, -1, -1]])
    rating = np.where(rated >= 0, rng.normal(3, 1, rated.shape), np.nan)
    found = fold_in(item, belief, rated, rating, 3.0)
    for row in range(2):
        own = rated[row][rated[row] >= 0]
        x = np.concatenate([np.ones((len(own), 1)), item.mean[own, 1:]], axis=1)
        y = rating[row][: len(own)] - 3 - item.mean[own, 0] - x @ belief.mean
        left = np.concatenate([x, np.sqrt(damping) * np.eye(3)])
        wanted = belief.mean + np.linalg.lstsq(left, np.concatenate([y, np.zeros(3)]), rcond=None)[0]
        np.testing.assert_allclose(found[row], wanted, atol=1e-8)
    np.testing.assert_allclose(found[2], belief.mean)


def test_doubtful_items_tell_less() -> None:
    belief, rated, rating = Belief(np.zeros(2), np.eye(2), 1.0), np.array([[0]]), np.array([[5.0]])
    sure, unsure = (Rows(np.array([[0.0, 1.0]]), np.full((1, 2, 2), c) * np.eye(2)) for c in (0.0, 4.0))
    told, doubted = (fold_in(rows, belief, rated, rating, 3.0)[0, 1] for rows in (sure, unsure))
    assert 0 < doubted < told / 2
