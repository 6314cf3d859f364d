from __future__ import annotations

import doctest
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata

from simenv import Catalogue, InteractionLog, RatingScale, Record, Session, Slate, play
from simenv.errors import ActionError
from simenv.evaluation import gate, interval, metrics, statistics
from simenv.evaluation.offline import catalogue_ndcg, held_out_rating, relevance_threshold
from simenv.index import Index
from simenv.record import Shown
from simenv.testing.logs import tiny_catalogue


@pytest.mark.parametrize("module", [metrics, statistics, gate, interval])
def test_the_narrated_examples_are_true(module: Any) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.fixture(scope="module")
def record(world: Any) -> Record:
    policy = world.recommenders()[2].fit(world.log, world.catalogue, seed=0)
    return play(policy, world.population(), world.log, np.arange(24), slate_size=4, max_pages=3, leave=False)


def test_per_user_values_agree_with_the_frame(record: Record, world: Any) -> None:
    shown, frame = record.shown(), record.to_frame()
    by = frame.groupby("visit")
    assert metrics.expected_utility(shown) == pytest.approx(by["expected"].mean().to_numpy())
    assert metrics.consumed_share(shown) == pytest.approx(by["consumed"].mean().to_numpy())
    assert metrics.given_rating(shown) == pytest.approx(by["rating"].mean().to_numpy(), nan_ok=True)
    taken = frame[frame["consumed"]].groupby("visit")["expected"].mean()
    assert metrics.satisfaction(shown) == pytest.approx(taken.reindex(range(24)).to_numpy(), nan_ok=True)
    assert metrics.pages(shown).tolist() == [3.0] * 24
    assert metrics.exposure(shown, 60).sum() == len(frame)


def test_diversity_agrees_with_counting_pairs(record: Record, world: Any) -> None:
    frame = record.to_frame()
    number = {raw: n for n, raw in enumerate(world.log.items.ids)}

    def unlike(items: list[object]) -> float:
        sets = [set(world.catalogue.genres[number[i]]) for i in items]
        return float(np.mean([1 - len(a & b) / len(a | b) for a, b in combinations(sets, 2)]))

    slates = frame.groupby(["visit", "page"])["item"].apply(list).map(unlike)
    want = slates.groupby("visit").mean().to_numpy()
    assert metrics.diversity(record.shown(), world.catalogue) == pytest.approx(want, abs=1e-6)


def test_diversity_leaves_unknown_genres_out() -> None:
    items = Index(("a", "b", "c"))
    catalogue = tiny_catalogue(items)
    bare = Catalogue.bare(items)
    shown = _shown(row=[0, 0, 0], item=[0, 1, 2])
    assert metrics.diversity(shown, catalogue)[0] == pytest.approx(2 / 3)
    assert np.isnan(metrics.diversity(shown, bare)[0])


def _shown(row: list[int], item: list[int], places: int | None = None) -> Shown:
    n, visits = len(row), max(row) + 1
    place = np.array([row[:k].count(r) for k, r in enumerate(row)])
    per = np.bincount(row) if places is None else np.full(visits, places)
    return Shown(
        np.array(row), np.zeros(n, np.int64), place, np.array(item), np.ones(n, bool), np.full(n, 3.0), np.full(n, 3.0),
        np.full(n, 9.0), np.arange(visits), np.ones(visits, np.int64), per,
    )  # fmt: skip


def _log(user: list[int], item: list[int], rating: list[float], n_users: int = 3, n_items: int = 4) -> InteractionLog:
    users, items = Index(tuple(range(n_users)), "user"), Index(tuple("abcdefgh"[:n_items]), "item")
    return InteractionLog.of(users, items, user, item, rating, None, RatingScale())


def test_novelty_and_popularity_by_hand() -> None:
    log = _log([0, 1, 2, 0], [0, 0, 0, 1], [5, 5, 5, 5])
    value = metrics.novelty(_shown([0, 0, 1], [0, 1, 3]), log)
    assert value == pytest.approx([(0 + 1) / 2, 2.0])
    count = metrics.popularity(log)
    assert metrics.popularity_percentile(log) == pytest.approx((rankdata(count) - 0.5) / 4)
    bias = metrics.popularity_bias(_shown([0, 0, 1], [0, 1, 3]), log)
    assert bias[0] == pytest.approx(0.0)
    assert bias[1] == pytest.approx(0.25 - 0.875)


def test_popularity_bias_of_a_user_without_rows_is_unknown() -> None:
    log = _log([0, 0], [0, 1], [5, 5])
    assert np.isnan(metrics.popularity_bias(_shown([0, 1], [0, 1]), log)[1])


@pytest.mark.parametrize("count", [[3, 1, 0, 4], [5, 5, 5], [0, 0, 9, 1, 1]])
def test_gini_is_half_the_relative_mean_difference(count: list[int]) -> None:
    x = np.array(count, float)
    want = np.abs(x[:, None] - x).mean() / 2 / x.mean()
    assert metrics.gini(count) == pytest.approx(want)


def test_nothing_shown_has_no_gini_and_no_coverage() -> None:
    assert np.isnan(metrics.gini([0, 0]))
    assert metrics.coverage([0, 0]) == 0.0
    assert metrics.coverage([0, 3]) == 0.5


def test_ndcg_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(0)
    relevant, score = rng.random((6, 12)) < 0.3, rng.random((6, 12))
    relevant[0] = False
    ranked = np.argsort(-score, axis=1)[:, :5]
    value = metrics.ndcg(ranked, relevant)
    assert np.isnan(value[0])
    for row in range(1, 6):
        assert value[row] == pytest.approx(ndcg_score(relevant[None, row], score[None, row], k=5))


def test_an_empty_place_is_no_hit() -> None:
    relevant = np.array([[False, False, True]])
    assert metrics.ndcg(np.array([[-1, -1]]), relevant)[0] == 0.0


@dataclass(frozen=True, eq=False)
class Fixed:
    """Shows what it was told, whatever the session says."""

    item: NDArray[np.int64]

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        return Slate.certain(self.item[session.user, :k])


def test_held_out_numbers_by_hand() -> None:
    past = _log([0], [0], [5])
    future = _log([0, 0, 0, 1, 2, 2], [1, 2, 3, 0, 0, 1], [5, 1, 4, 5, 2, 2])
    policy = Fixed(np.array([[3, 2], [1, 0], [0, 1]]))
    user = np.arange(3)
    rank = catalogue_ndcg(policy, past, future, user, k=2, relevant=4.0, seed=0)
    best = 1 + 1 / np.log2(3)
    assert rank == pytest.approx([1 / best, 1 / np.log2(3), np.nan], nan_ok=True)
    rated = held_out_rating(policy, past, future, user, k=2, seed=0)
    assert rated == pytest.approx([2.5, np.nan, np.nan], nan_ok=True)


def test_items_of_the_past_count_in_neither_number() -> None:
    past, future = _log([0], [1], [5]), _log([0, 0, 0, 0], [1, 0, 2, 3], [5, 4, 1, 3])
    policy = Fixed(np.array([[0, 3], [0, 0], [0, 0]]))
    assert catalogue_ndcg(policy, past, future, np.array([0]), k=2, relevant=4.0, seed=0)[0] == 1.0
    assert held_out_rating(policy, past, future, np.array([0]), k=2, seed=0)[0] == pytest.approx(3.5)


def test_ranking_outside_the_candidates_is_refused() -> None:
    future = _log([0, 0, 0], [0, 1, 2], [5, 4, 3])
    with pytest.raises(ActionError, match=r"session\.candidate"):
        held_out_rating(Fixed(np.array([[3, 0]])), _log([], [], []), future, np.array([0]), k=2, seed=0)


@pytest.mark.parametrize(("values", "want"), [((1, 2, 3, 4, 5), 4), ((0, 1), 1), ((0.5, 1, 2, 3, 3.5, 4, 4.5, 5), 4)])
def test_relevance_of_usual_scales(values: tuple[float, ...], want: float) -> None:
    assert relevance_threshold(RatingScale(tuple(float(v) for v in values))) == want
