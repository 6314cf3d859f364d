"""Cues and tastes: the formulae worked out one user at a time; batches and padding change nothing."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import simenv.agents.cues as module
from simenv.agents.crowd import Crowd, CrowdSettings
from simenv.agents.cues import FEATURE, Taste, cues
from simenv.log import InteractionLog
from simenv.testing.logs import tiny_catalogue, tiny_log

EXPOSURE = [FEATURE.index("genres chosen"), FEATURE.index("genres avoided")]
PAIR_USER = np.array([0, 0, 3, 5, 11, 7, 3], np.int64)
PAIR_ITEM = np.array([4, 9, 0, 28, 13, 29, 17], np.int64)


@pytest.fixture(scope="module")
def log() -> InteractionLog:
    return tiny_log(12, 60)


@pytest.fixture(scope="module")
def crowd(log: InteractionLog) -> Crowd:
    return Crowd.fit(log, tiny_catalogue(log.items), CrowdSettings(factors=3, core=50))


@pytest.fixture(scope="module")
def taste(log: InteractionLog, crowd: Crowd) -> Taste:
    return Taste.of(crowd, *log.padded(np.arange(12)))


def own_residual(log: InteractionLog, crowd: Crowd, user: int) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    item, rating = log.history(user)
    base = rating - crowd.mean - crowd.item_offset[item].astype(float)
    offset = float(base.sum() / (len(item) + crowd.user_damping))
    return item, base - offset, offset


def folded_by_hand(log: InteractionLog, crowd: Crowd, user: int, offset: float) -> NDArray[np.float64]:
    """Bayesian regression of one user's ratings on the items' factors, one rating at a time."""
    left, right = crowd.taste_precision.astype(float), crowd.taste_precision.astype(float) @ crowd.taste_mean
    for i, r in zip(*log.history(user), strict=True):
        bias = float(crowd.item_offset[i] + crowd.factor[i, 0])
        x = np.array([1.0, *crowd.factor[i, 1:]])
        doubt = crowd.factor_covariance[i].astype(float)
        left = left + crowd.noise * (np.outer(x, x) + np.pad(doubt[1:, 1:], ((1, 0), (1, 0))))
        right = right + crowd.noise * (x * (r - crowd.mean - bias) - np.array([0.0, *doubt[1:, 0]]))
    return np.asarray(np.linalg.solve(left, right) - offset * np.eye(len(right))[0])


@pytest.mark.parametrize("user", range(12))
def test_taste_by_hand(log: InteractionLog, crowd: Crowd, taste: Taste, user: int) -> None:
    item, residual, offset = own_residual(log, crowd, user)
    n = len(item)
    assert taste.count[user] == n
    assert taste.offset[user] == pytest.approx(offset, abs=1e-5)
    np.testing.assert_allclose(taste.residual[user, :n], residual, atol=1e-5)
    assert not taste.residual[user, n:].any()
    assert taste.recent[user] == pytest.approx(residual[-10:].sum() / (min(n, 10) + 10), abs=1e-5)
    assert taste.spread[user] == pytest.approx(np.sqrt(((residual**2).sum() + 8.5) / (n + 10)), abs=1e-5)
    np.testing.assert_allclose(taste.factor[user], folded_by_hand(log, crowd, user, offset), atol=1e-4)
    weight = crowd.genre[item].astype(float)
    np.testing.assert_allclose(taste.genre[user], residual @ weight / (weight.sum(axis=0) + 3), atol=1e-5)
    fame = crowd.popularity[item] - crowd.popularity[item].mean()
    assert taste.obscure[user] == pytest.approx(residual @ fame / (fame @ fame + 1), abs=1e-5)


def neighbours_by_hand(log: InteractionLog, crowd: Crowd, user: int, target: int, k: int) -> tuple[float, float]:
    item, residual, _ = own_residual(log, crowd, user)
    found = []
    for i, r in zip(item, residual, strict=True):
        if crowd.core[i] >= 0 and crowd.core[target] >= 0:
            found.append((max(float(crowd.similarity[crowd.core[target], crowd.core[i]]), 0.0), float(r)))
    best = sorted(found, reverse=True)[:k]
    weight = sum(s for s, _ in best)
    return sum(s * r for s, r in best) / (weight + 0.5), weight


def test_neighbours_by_hand(log: InteractionLog, crowd: Crowd, taste: Taste) -> None:
    made = cues(crowd, taste, PAIR_USER, PAIR_ITEM)
    column = FEATURE.index("similar items, 10")
    for n, (user, item) in enumerate(zip(PAIR_USER, PAIR_ITEM, strict=True)):
        near, weight = neighbours_by_hand(log, crowd, int(user), int(item), 40)
        assert made.similar[n] == pytest.approx(near, abs=1e-5)
        assert made.similar_weight[n] == pytest.approx(weight, abs=1e-5)
        nearer, _ = neighbours_by_hand(log, crowd, int(user), int(item), 10)
        assert made.feature[n, column] == pytest.approx(nearer, abs=1e-5)


def test_likeminded_is_what_the_factors_add(crowd: Crowd, taste: Taste) -> None:
    made = cues(crowd, taste, PAIR_USER, PAIR_ITEM)
    for n, (user, item) in enumerate(zip(PAIR_USER, PAIR_ITEM, strict=True)):
        own, other = taste.factor[user], crowd.factor[item]
        assert made.likeminded[n] == pytest.approx(float(own[0] + other[0] + own[1:] @ other[1:]), abs=1e-6)
        assert made.spread[n] == pytest.approx(float(taste.spread[user] * crowd.item_spread[item]), abs=1e-6)
    assert made.feature.shape == (len(PAIR_USER), len(FEATURE))


def test_the_blind_hear_no_likeminded(log: InteractionLog, crowd: Crowd) -> None:
    blind = crowd.without_opinions()
    made = cues(blind, Taste.of(blind, *log.padded(np.arange(12))), PAIR_USER, PAIR_ITEM)
    assert not made.likeminded.any()


def test_an_items_own_rating_is_no_neighbour(log: InteractionLog, crowd: Crowd) -> None:
    """Someone who knows only the item itself has no neighbour for it."""
    item = int(np.argmax(crowd.item_count))
    alone = Taste.of(crowd, np.array([[item]]), np.array([[5.0]], np.float32))
    made = cues(crowd, alone, np.array([0]), np.array([item]))
    assert (made.similar[0], made.similar_weight[0]) == (0.0, 0.0)


def test_nothing_known(crowd: Crowd) -> None:
    for width in (0, 3):
        blank = Taste.of(crowd, np.full((2, width), -1), np.full((2, width), np.nan, np.float32))
        made = cues(crowd, blank, np.array([0, 1]), np.array([4, 5]))
        assert not blank.count.any()
        assert not blank.offset.any()
        assert not made.similar_weight.any()
        assert np.isfinite(made.feature).all()
        np.testing.assert_array_equal(made.item_mean, crowd.item_mean[[4, 5]])


@given(order=st.permutations(range(12)), padding=st.integers(0, 5), cut=st.integers(1, 11))
@settings(max_examples=20, deadline=None)
def test_order_split_and_padding_of_the_batch(order: list[int], padding: int, cut: int) -> None:
    log = tiny_log(12, 60)
    crowd = Crowd.fit(log, tiny_catalogue(log.items), CrowdSettings(factors=3))
    item, rating = log.padded(np.arange(12))
    whole = Taste.of(crowd, item, rating)
    wider = ((0, 0), (0, padding))
    item, rating = np.pad(item, wider, constant_values=-1), np.pad(rating, wider, constant_values=np.nan)
    for part in (order[:cut], order[cut:]):
        some = Taste.of(crowd, item[part], rating[part])
        for f in fields(Taste):
            if f.name not in ("item", "residual"):
                np.testing.assert_allclose(getattr(some, f.name), getattr(whole, f.name)[part], atol=2e-6)
        target = np.arange(len(part), dtype=np.int64)
        one, other = cues(crowd, some, target, target), cues(crowd, whole, np.asarray(part), target)
        np.testing.assert_allclose(one.feature, other.feature, atol=2e-6)


def test_chunks_change_nothing(crowd: Crowd, taste: Taste, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cues(crowd, taste, PAIR_USER, PAIR_ITEM)
    monkeypatch.setattr(module, "_CHUNK", 2 * taste.item.shape[1])
    parts = cues(crowd, taste, PAIR_USER, PAIR_ITEM)
    np.testing.assert_array_equal(whole.feature, parts.feature)
    np.testing.assert_array_equal(whole.similar_weight, parts.similar_weight)


def test_genres_chosen_and_avoided_by_hand(crowd: Crowd, taste: Taste) -> None:
    usual = crowd.genre.sum(axis=0) / crowd.genre.sum()
    made = cues(crowd, taste, PAIR_USER, PAIR_ITEM).feature
    for n, (u, i) in enumerate(zip(PAIR_USER, PAIR_ITEM, strict=True)):
        known = taste.item[u][taste.item[u] >= 0]
        share = (crowd.genre[known].sum(axis=0) + 5 * usual) / (crowd.genre[known].sum() + 5)
        want = sum(w * np.log(s / p) for w, s, p in zip(crowd.genre[i], share, usual, strict=True) if w)
        np.testing.assert_allclose(made[n, EXPOSURE], [max(want, 0), min(want, 0)], atol=1e-5)
    assert (made[:, EXPOSURE] != 0).any(axis=0).all()


def test_no_rating_and_no_opinion_moves_what_was_chosen(log: InteractionLog, crowd: Crowd) -> None:
    item, rating = log.padded(np.arange(12))
    one = cues(crowd, Taste.of(crowd, item, rating), PAIR_USER, PAIR_ITEM).feature
    other = cues(crowd, Taste.of(crowd, item, 6 - rating), PAIR_USER, PAIR_ITEM).feature
    np.testing.assert_array_equal(one[:, EXPOSURE], other[:, EXPOSURE])
    blind = crowd.without_opinions()
    alone = cues(blind, Taste.of(blind, item, rating), PAIR_USER, PAIR_ITEM).feature
    np.testing.assert_array_equal(one[:, EXPOSURE], alone[:, EXPOSURE])


def test_people_alike_by_hand(log: InteractionLog) -> None:
    """Two kinds of people who disagree about genres; the left-out users are still known by their kind."""
    catalogue, settings = tiny_catalogue(log.items), CrowdSettings(factors=3, core=50, people_damping=2.0)
    kind = np.eye(2)[np.arange(log.n_users) % 2]
    out = np.array([3, 4])
    crowd = Crowd.fit(log, catalogue, settings, without=out, people=kind)
    plain = Crowd.fit(log, catalogue, settings, without=out)
    known = log.take(~np.isin(log.user, out))
    residual = known.rating - crowd.mean - crowd.item_offset[known.item]
    sums = np.bincount(known.user, residual, log.n_users)
    base = residual - (sums / (np.bincount(known.user, minlength=log.n_users) + 8))[known.user]
    g, want = crowd.genre[known.item], np.zeros((2, crowd.genre.shape[1]))
    for k in (0, 1):
        own = kind[known.user, k] > 0
        want[k] = np.linalg.solve(g[own].T @ g[own] + 2 * np.eye(g.shape[1]), g[own].T @ base[own])
    np.testing.assert_allclose(crowd.kin, kind @ want, atol=2e-3)  # offsets alternate to within that
    member, (item, rating) = np.arange(12), log.padded(np.arange(12))
    told, untold = Taste.of(crowd, item, rating, member), Taste.of(crowd, item, rating)
    some, none = (cues(crowd, t, PAIR_USER, PAIR_ITEM) for t in (told, untold))
    at = FEATURE.index("people alike")
    np.testing.assert_allclose(some.feature[:, at], (crowd.genre[PAIR_ITEM] * crowd.kin[PAIR_USER]).sum(1), atol=1e-6)
    np.testing.assert_allclose(some.likeminded - none.likeminded, some.feature[:, at], atol=1e-6)
    assert (none.feature[:, at] == 0).all()
    rest = np.arange(len(FEATURE)) != at
    for other in (some, cues(plain, Taste.of(plain, item, rating, member), PAIR_USER, PAIR_ITEM)):
        np.testing.assert_array_equal(other.feature[:, rest], none.feature[:, rest])
    assert len(crowd.without_opinions().kin) == len(plain.kin) == 0
