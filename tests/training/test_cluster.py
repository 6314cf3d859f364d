"""Clusters: planted blobs are found, the bound on sizes holds, the random arm differs only in its members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.agents.profile import Profiles
from simenv.errors import ConfigError
from simenv.testing.logs import tiny_catalogue, tiny_log
from simenv.training.cluster import ClusterSettings, cluster, features


def blobs(size: Sequence[int], seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(len(size)) / len(size)
    middle = 10 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    truth = np.repeat(np.arange(len(size)), size)
    return (middle[truth] + 0.3 * rng.normal(size=(len(truth), 2))).astype(np.float32)


def settings_of(**changes: Any) -> ClusterSettings:
    return replace(ClusterSettings(min_users=1, min_share=0.0, restarts=3), **changes)


@pytest.mark.parametrize("size", [(30, 20, 10), (25, 20, 15, 10)])
def test_planted_blobs_are_found(size: tuple[int, ...]) -> None:
    made = cluster(blobs(size), settings_of())
    assert made.k == len(size)
    assert made.size.tolist() == list(size)
    np.testing.assert_array_equal(made.label, np.repeat(np.arange(len(size)), size))
    assert f"elbow (farthest from the chord) at K = {len(size)}" in made.note
    best = max(made.curve[1:], key=lambda p: p.silhouette)
    assert best.k == len(size)
    assert np.isnan(made.curve[0].silhouette)
    inertia = [p.inertia for p in made.curve]
    assert inertia == sorted(inertia, reverse=True)
    assert [p.k for p in made.curve] == list(range(1, 11))


def test_centres_are_means() -> None:
    x = blobs((12, 8))
    made = cluster(x, settings_of(k=2))
    np.testing.assert_allclose(made.centre, [x[:12].mean(axis=0), x[12:].mean(axis=0)], rtol=1e-5)


def test_the_order_of_users_does_not_matter_for_clear_groups() -> None:
    x = blobs((30, 20, 10))
    order = np.random.default_rng(1).permutation(60)
    np.testing.assert_array_equal(cluster(x[order], settings_of()).label, cluster(x, settings_of()).label[order])


def test_the_same_seed_gives_the_same_bytes() -> None:
    x = np.random.default_rng(0).normal(size=(80, 5)).astype(np.float32)
    left, right = cluster(x), cluster(x)
    assert left.label.tobytes() == right.label.tobytes()
    assert repr(left.curve) == repr(right.curve)
    other = cluster(x, ClusterSettings(method="random")), cluster(x, ClusterSettings(method="random", seed=1))
    assert other[0].label.tobytes() != other[1].label.tobytes()


def test_elbow_falls_until_clusters_are_large_enough() -> None:
    x = blobs((30, 30, 3))
    assert cluster(x, settings_of()).k == 3
    made = cluster(x, settings_of(min_users=4))
    assert made.k == 2
    assert made.size.min() >= 4
    assert "at K = 3; K fell to 2 because every cluster needs 4 users" in made.note


def test_a_k_asked_for_stays_and_nearest_users_move() -> None:
    x = blobs((30, 30, 3))
    made = cluster(x, settings_of(k=3, min_share=0.1))
    assert made.size.min() == 7
    assert made.size.sum() == 63
    assert "4 users moved so that every cluster has 7" in made.note
    small = made.label[60]
    assert (made.label[60:] == small).all()
    distance = ((x - x[60:].mean(axis=0)) ** 2).sum(axis=1)
    assert set(np.flatnonzero(made.label == small)) == set(np.argsort(distance)[:7])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 6), st.sampled_from(["kmeans", "random"]))
def test_bound_holds_for_any_data(seed: int, k: int, least: int, method: str) -> None:
    x = np.random.default_rng(seed).exponential(size=(30, 2)).astype(np.float32) ** 2
    made = cluster(x, settings_of(k=k, k_max=5, min_users=least, method=method, restarts=1))
    assert made.k == k
    assert made.size.min() >= least
    assert (np.diff(made.size) <= 0).all()


@pytest.mark.parametrize("k", ["elbow", 4])
def test_random_arm_has_the_same_sizes(k: Any) -> None:
    x = blobs((30, 20, 10))
    real, dealt = cluster(x, settings_of(k=k)), cluster(x, settings_of(k=k, method="random"))
    assert dealt.size.tolist() == real.size.tolist()
    assert not np.array_equal(dealt.label, real.label)
    assert repr(dealt.curve) == repr(real.curve)  # repr: NaN equals NaN
    assert "dealt at random" in dealt.note


@pytest.mark.parametrize("users", [1, 2, 6])
def test_few_and_equal_users_make_one_cluster(users: int) -> None:
    made = cluster(np.ones((users, 3), np.float32))
    assert made.k == 1
    assert made.label.tolist() == [0] * users


@pytest.mark.parametrize(
    ("x", "changes", "words"),
    [
        (np.zeros((0, 2)), {}, "at least one user"),
        (np.full((3, 2), np.nan), {}, "finite features"),
        (np.zeros(3), {}, r"shape \(3,\)"),
        (np.zeros((9, 2)), {"k": 2}, "1 distinct"),
        (np.arange(18).reshape(9, 2), {"k": 3, "min_users": 4}, "3 clusters of at least 4 users do not fit 9 users"),
        (np.arange(18).reshape(9, 2), {"k": 0}, "0 clusters"),
        (np.arange(18).reshape(9, 2), {"k_max": 0}, "k_max >= 1"),
        (np.arange(18).reshape(9, 2), {"method": "ward"}, "unknown method 'ward'"),
    ],
)
def test_bad_input(x: NDArray[Any], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        cluster(x.astype(np.float32), settings_of(**changes))


@pytest.fixture(scope="module")
def profiles() -> Profiles:
    log = tiny_log().take(tiny_log().user != 5)  # user 5 has no ratings at all
    catalogue = tiny_catalogue(log.items)
    return Profiles.of_log(log, np.arange(12), Crowd.fit(log, catalogue), catalogue)


@pytest.mark.parametrize("kind", ["text", "numbers", "both"])
def test_features_part_the_two_tastes(profiles: Profiles, kind: Any) -> None:
    x = features(profiles, kind)
    assert x.shape[0] == 12
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    known = np.flatnonzero(np.arange(12) != 5)
    label = cluster(x[known], settings_of(k=2)).label
    even = label[known % 2 == 0]
    odd = label[known % 2 == 1]
    assert (even == even[0]).mean() + (odd == 1 - even[0]).mean() > 1.5


def test_unknown_features_are_refused(profiles: Profiles) -> None:
    with pytest.raises(ConfigError, match="unknown kind of features 'magic'"):
        features(profiles, "magic")  # type: ignore[arg-type]
