"""Crowd: every number agrees with its definition worked out by hand; users left out leave no trace."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd, CrowdSettings
from simenv.agents.factors import fit_items
from simenv.errors import DataError
from simenv.log import InteractionLog
from simenv.testing.logs import tiny_catalogue, tiny_log

SETTINGS = CrowdSettings(factors=3, sweeps=3)


def fitted(log: InteractionLog, **how: object) -> Crowd:
    chosen = replace(SETTINGS, **{k: v for k, v in how.items() if k != "without"})  # type: ignore[arg-type]
    return Crowd.fit(log, tiny_catalogue(log.items), chosen, without=how.get("without"))  # type: ignore[arg-type]


def same(a: Crowd, b: Crowd) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(Crowd))


def permuted(log: InteractionLog, users: list[int], seed: int = 0) -> InteractionLog:
    rating = log.rating.copy()
    for user in users:
        own = np.flatnonzero(log.user == user)
        rating[own] = 6 - rating[np.random.default_rng(seed).permutation(own)]
    return replace(log, rating=rating)


def offsets(log: InteractionLog) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Six rounds of damped means, one rating at a time."""
    item, user = np.zeros(log.n_items), np.zeros(log.n_users)
    events = list(zip(log.user, log.item, log.rating - log.rating.mean(), strict=True))
    for _ in range(6):
        for i in range(log.n_items):
            gaps = [r - user[u] for u, j, r in events if j == i]
            item[i] = sum(gaps) / (len(gaps) + SETTINGS.item_damping)
        for v in range(log.n_users):
            gaps = [r - item[i] for u, i, r in events if u == v]
            user[v] = sum(gaps) / (len(gaps) + SETTINGS.user_damping)
    return item, user


def test_means_counts_and_popularity() -> None:
    log = tiny_log()
    crowd = fitted(log)
    assert crowd.mean == pytest.approx(float(log.rating.mean()))
    for i in range(log.n_items):
        own = log.rating[log.item == i]
        assert crowd.item_count[i] == len(own)
        assert crowd.item_mean[i] == pytest.approx((own.sum() + 5 * crowd.mean) / (len(own) + 5), abs=1e-5)
    order = np.argsort(crowd.popularity)
    assert (np.diff(crowd.item_count[order]) >= 0).all()
    assert (crowd.popularity.min(), crowd.popularity.max()) == (0.0, 1.0)


def test_offsets_by_hand() -> None:
    log = tiny_log()
    item, _ = offsets(log)
    np.testing.assert_allclose(fitted(log).item_offset, item, atol=1e-5)


def test_similarity_by_hand() -> None:
    log = tiny_log()
    item, user = offsets(log)
    residual = np.zeros((log.n_users, log.n_items))
    rated = np.zeros_like(residual, dtype=bool)
    for u, i, r in zip(log.user, log.item, log.rating, strict=True):
        residual[u, i], rated[u, i] = r - log.rating.mean() - item[i] - user[u], True
    crowd = fitted(log)
    for i, j in product(range(log.n_items), repeat=2):
        both = float((rated[:, i] & rated[:, j]).sum())
        norm = np.linalg.norm(residual[:, i]) * np.linalg.norm(residual[:, j])
        wanted = 0.0 if i == j else residual[:, i] @ residual[:, j] / norm * both / (both + 20)
        assert crowd.similarity[crowd.core[i], crowd.core[j]] == pytest.approx(wanted, abs=1e-4)


def test_only_the_most_rated_items_are_core() -> None:
    log = tiny_log()
    crowd = fitted(log, core=7)
    assert crowd.similarity.shape == (7, 7)
    inside = crowd.core >= 0
    assert sorted(crowd.core[inside]) == list(range(7))
    assert crowd.item_count[inside].min() >= crowd.item_count[~inside].max()
    both = np.flatnonzero(inside)
    whole = fitted(log)
    np.testing.assert_array_equal(crowd.similarity, whole.similarity[np.ix_(both, both)])


def test_spread_by_hand() -> None:
    log = tiny_log()
    item, user = offsets(log)
    square = (log.rating - log.rating.mean() - item[log.item] - user[log.user]) ** 2
    found = fitted(log).item_spread
    for i in range(log.n_items):
        own = square[log.item == i] / square.mean()
        assert found[i] == pytest.approx(np.sqrt((own.sum() + 10) / (len(own) + 10)), abs=1e-4)


def test_one_opinion_for_all_has_no_spread_to_tell() -> None:
    log = tiny_log()
    crowd = fitted(replace(log, rating=np.full_like(log.rating, 3)))
    np.testing.assert_allclose(crowd.item_spread, np.sqrt(10 / (crowd.item_count + 10)), atol=1e-3)
    assert np.isfinite(crowd.factor).all()


def test_the_blind_crowd_has_no_opinion() -> None:
    crowd = fitted(tiny_log()).without_opinions()
    assert not crowd.factor.any()
    assert not crowd.factor_covariance.any()
    assert (crowd.item_spread == 1).all()


def test_factors_add_up_to_the_bias() -> None:
    """Offset and correction together are the bias that the factorisation found."""
    log = tiny_log()
    rows, belief = fit_items(log, float(log.rating.mean()), 3, 3, 0)
    crowd = fitted(log)
    np.testing.assert_allclose(crowd.factor[:, 0] + crowd.item_offset, rows.mean[:, 0], atol=1e-6)
    np.testing.assert_allclose(crowd.factor[:, 1:], rows.mean[:, 1:], atol=1e-6)
    assert crowd.noise == pytest.approx(belief.noise)


def test_factors_find_the_planted_side() -> None:
    """Users of even number like items of even number: one direction separates the two sides."""
    factor = fitted(tiny_log(40, 30), factors=1, sweeps=20).factor[:, 1]
    even = factor[0::2].mean()
    assert np.mean(np.sign(factor[0::2]) == np.sign(even)) > 0.9
    assert np.mean(np.sign(factor[1::2]) == -np.sign(even)) > 0.9


def test_genres_share_an_item() -> None:
    log = tiny_log()
    crowd, catalogue = fitted(log), tiny_catalogue(log.items)
    np.testing.assert_allclose(crowd.genre.sum(axis=1), 1)
    assert crowd.genre[0, catalogue.vocabulary.index("Comedy")] == pytest.approx(0.5)
    assert crowd.genre[1, catalogue.vocabulary.index("Comedy")] == 0


@given(without=st.lists(st.integers(0, 11), max_size=11, unique=True))
@settings(max_examples=15, deadline=None)
def test_users_left_out_leave_no_trace(without: list[int]) -> None:
    log = tiny_log()
    out = np.array(without, np.int64)
    made = fitted(log, without=out)
    assert same(made, fitted(log.take(~np.isin(log.user, out))))
    assert same(made, fitted(permuted(log, without), without=out))


def test_users_who_stay_do_leave_a_trace() -> None:
    log = tiny_log()
    assert not same(fitted(log), fitted(permuted(log, [3])))


def test_nobody_left() -> None:
    with pytest.raises(DataError, match="no known ratings are left"):
        fitted(tiny_log(), without=np.arange(12))


def test_round_trip(tmp_path: Path) -> None:
    crowd = fitted(tiny_log())
    crowd.save(tmp_path / "crowd")
    back = Crowd.load(tmp_path / "crowd")
    assert same(crowd, back)
    assert isinstance(back.mean, float)
