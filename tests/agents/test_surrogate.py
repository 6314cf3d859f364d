"""A surrogate of users whose truth is known: near it, exact in any batch, bounded, safe on disk."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simenv.agents.crowd import Crowd
from simenv.agents.cues import FEATURE, Taste, cues
from simenv.agents.prior import Prior
from simenv.agents.routed import ROUTE, RoutedRatingModel
from simenv.agents.surrogate import SurrogateRatingModel
from simenv.agents.surrogate_network import Ensemble
from simenv.agents.surrogate_vector import UserVectors, VectorSpace, on_grid
from simenv.agents.synthetic import Checkerboard
from simenv.agents.table import compile_table
from simenv.datasets.synthetic import generate
from simenv.errors import ConfigError, DataError, StoreError, UnknownIdError
from simenv.protocols import Answer
from simenv.scale import RatingScale
from simenv.training.distil_surrogate import SurrogateSettings, distil

WORLD = generate(1, n_users=90, n_items=60, median_history=30)
LEARNED, NEW = np.arange(70), np.arange(70, 90)
TEXT = [WORLD.catalogue.describe(i) for i in range(60)]
CROWD = Crowd.fit(WORLD.log.of_users(LEARNED), WORLD.catalogue)


@dataclass(frozen=True)
class FromThePast:
    """Answers from the users' known ratings, as persona models do, by a fixed rule."""

    taste: Taste
    scale: RatingScale = WORLD.log.scale

    def rate(self, user: np.ndarray, item: np.ndarray) -> Answer:
        known = cues(CROWD, self.taste, user, item)
        weight = np.zeros(len(FEATURE) + 1)
        weight[:8] = 1, 1, 0.3, 0.2, 0.2, 0.8, 1, 0.3
        rule = Prior(weight, np.array([1.8, 2.6, 3.4, 4.2]), np.array([0.7, 0.0]), 1.0, 5.0)
        p = rule.distribution(rule.expected(known.feature, CROWD.mean), known.spread)
        return Answer(p / p.sum(axis=1, keepdims=True), np.zeros(len(p), np.float32), CROWD.item_count[item])


TRUTH = FromThePast(Taste.of(CROWD, *WORLD.log.padded(np.arange(90))))


@pytest.fixture(scope="module")
def model() -> SurrogateRatingModel:
    context = WORLD.log.padded(LEARNED)
    space = VectorSpace.of(CROWD, TEXT, *context)
    brief = SurrogateSettings(pairs=30, steps=250, hidden=(24, 12), networks=3)
    return distil(TRUTH, space, LEARNED, *context, brief, told="this one")


def pairs(user: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(user, 60), np.tile(np.arange(60), len(user))


def expected(user: np.ndarray) -> np.ndarray:
    return WORLD.log.scale.expectation(TRUTH.rate(*pairs(user)).p).reshape(len(user), 60)


def test_users_it_never_met_are_answered_from_their_past(model: SurrogateRatingModel) -> None:
    """Much nearer than what the items alone tell, or another user's answers."""
    other = model.of_histories(*WORLD.log.padded(NEW))
    user, item = pairs(np.arange(20))
    truth = expected(NEW)
    got = WORLD.log.scale.expectation(other.rate(user, item).p).reshape(20, 60)
    crowd = np.broadcast_to(expected(LEARNED).mean(axis=0), truth.shape)
    error, plain, shuffled = (np.abs(x - truth).mean() for x in (got, crowd, got[::-1]))
    assert error < 0.4 * plain
    assert error < 0.4 * shuffled


def test_answers_are_distributions_and_carry_the_items_support(model: SurrogateRatingModel) -> None:
    said, bound = model.told_apart(*pairs(LEARNED[:5]))
    np.testing.assert_allclose(said.p.sum(axis=1), 1, atol=1e-6)
    assert (said.p > 0).all()
    np.testing.assert_array_equal(said.support[:60], model.space.crowd.item_count)
    assert not said.off_scale.any()
    assert (bound.expected > 0).all()
    assert ((bound.variation > 0) & (bound.variation <= 1)).all()


@given(st.lists(st.tuples(st.integers(0, 69), st.integers(0, 59)), min_size=1, max_size=40), st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_the_same_pair_in_any_batch(model: SurrogateRatingModel, asked: list[tuple[int, int]], padding: int) -> None:
    """To the last bit, or routes would differ."""
    user, item = np.array(asked, np.int64).T
    alone = [model.told_apart(user[n : n + 1], item[n : n + 1]) for n in range(len(user))]
    more = np.random.default_rng(padding)
    said, bound = model.told_apart(
        np.concatenate([more.integers(0, 70, padding), user]), np.concatenate([more.integers(0, 60, padding), item])
    )
    np.testing.assert_array_equal(said.p[padding:], np.concatenate([a.p for a, _ in alone]))
    np.testing.assert_array_equal(bound.expected[padding:], np.concatenate([b.expected for _, b in alone]))


def test_the_bound_holds_for_users_it_never_met(model: SurrogateRatingModel) -> None:
    other = model.of_histories(*WORLD.log.padded(NEW))
    user, item = pairs(np.arange(20))
    said, bound = other.told_apart(user, item)
    gap = np.abs(WORLD.log.scale.expectation(said.p) - expected(NEW).ravel())
    far = np.abs(said.p - TRUTH.rate(NEW[user], item).p).sum(axis=1) / 2
    assert (gap <= bound.expected).mean() > 0.85
    assert (far <= bound.variation).mean() > 0.85
    assert (gap <= bound.expected / 3).mean() < 0.85  # nor is it so wide that it says nothing


def test_order_of_users_does_not_matter(model: SurrogateRatingModel) -> None:
    item, rating = WORLD.log.padded(NEW)
    straight, turned = model.space.users(item, rating), model.space.users(item[::-1], rating[::-1])
    for name in ("vector", "past", "residual"):
        np.testing.assert_array_equal(getattr(straight, name), getattr(turned, name)[::-1])


def test_saved_and_loaded_it_answers_the_same(model: SurrogateRatingModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    again = SurrogateRatingModel.load(tmp_path, told="this one")
    for a, b in zip(model.told_apart(*pairs(LEARNED)), again.told_apart(*pairs(LEARNED)), strict=True):
        for name in vars(a):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert again.margin == model.margin
    other = again.of_histories(*WORLD.log.padded(NEW))  # the crowd came along
    assert len(other.rate(*pairs(np.arange(20))).p) == 1200
    with pytest.raises(StoreError, match="from another population"):
        SurrogateRatingModel.load(tmp_path, told="that one")
    (tmp_path / "ensemble.npz").write_bytes(b"no")
    with pytest.raises(StoreError, match="is damaged"):
        SurrogateRatingModel.load(tmp_path)
    with pytest.raises(StoreError, match="holds no surrogate"):
        SurrogateRatingModel.load(tmp_path / "nowhere")


def test_vectors_may_lie_on_disk(model: SurrogateRatingModel, tmp_path: Path) -> None:
    item, rating = WORLD.log.padded(NEW)
    users = model.space.users(item, rating)
    in_parts = UserVectors.collect(
        tmp_path, 20, item.shape[1] + 3, lambda s: model.space.users(*WORLD.log.padded(NEW[s])), rows=7
    )
    assert isinstance(in_parts.vector, np.memmap)
    assert in_parts.past.shape == (20, item.shape[1] + 3)
    mapped, whole = model.of_users(in_parts), model.of_users(users)
    np.testing.assert_allclose(mapped.rate(*pairs(np.arange(20))).p, whole.rate(*pairs(np.arange(20))).p, atol=5e-3)
    np.testing.assert_array_equal(in_parts.vector, users.vector)
    with pytest.raises(ConfigError, match=r"columns here; got shape \(20, 3\)"):
        model.of_users(replace(users, vector=users.vector[:, :3]))


def test_similar_items_are_those_of_the_cues(model: SurrogateRatingModel) -> None:
    user, item = pairs(LEARNED)
    mine = model.space.interaction(model.users, user, item)
    known = cues(CROWD, TRUTH.taste, user, item)
    np.testing.assert_allclose(mine[:, 3] / 8, known.feature[:, 3], atol=1 / 1024 + 1e-6)
    np.testing.assert_allclose(mine[:, 4] / 8, known.feature[:, 4], atol=1 / 1024 + 1e-6)
    np.testing.assert_allclose(mine[:, 5] / 4, known.feature[:, 13], atol=1 / 512 + 1e-6)


@pytest.mark.parametrize(
    ("user", "item", "words"),
    [
        (70, 0, "user number 70 has no vector"),
        (-1, 0, "user number -1"),
        (0, 60, r"0\.\.59; got 60"),
        (0, -1, "got -1"),
    ],
)
def test_who_is_not_known(model: SurrogateRatingModel, user: int, item: int, words: str) -> None:
    with pytest.raises(UnknownIdError, match=words):
        model.rate(np.array([user]), np.array([item]))


def test_a_space_needs_a_text_of_each_item() -> None:
    with pytest.raises(DataError, match="one text for each of 60 items"):
        VectorSpace.of(CROWD, TEXT[:3], *WORLD.log.padded(LEARNED))


def test_weights_that_reach_too_far_are_drawn_in() -> None:
    """Sums stay exact: a value computed in float64 in another order is the same."""
    rng = np.random.default_rng(0)
    shape = [(4, 2, 8), (5, 2, 8), (6, 2, 8), (2, 8), (2, 8, 6), (2, 6), (2, 6, 5), (2, 5)]
    wild = Ensemble.rounded(*[rng.normal(0, 20, s) for s in shape])
    user, item = on_grid(rng.normal(0, 9, (50, 4))), on_grid(rng.normal(0, 9, (50, 5)))
    share = wild.of_users(user) + wild.of_items(item)
    exact = user.astype(float)[:, ::-1] @ wild.user.reshape(4, -1)[::-1].astype(float)
    exact = exact + item.astype(float) @ wild.item.reshape(5, -1) + wild.first.reshape(-1)
    np.testing.assert_array_equal(share, exact)
    assert wild.inputs == (4, 5, 6)


def routed(model: SurrogateRatingModel, limit: float, folder: Path | None = None) -> RoutedRatingModel:
    table = compile_table(TRUTH, LEARNED[:2], np.arange(30), folder) if folder else None
    return RoutedRatingModel(model, TRUTH, limit, table)


def test_each_pair_takes_its_route_in_any_batch(model: SurrogateRatingModel, tmp_path: Path) -> None:
    user, item = pairs(LEARNED[:6])
    unsure = model.uncertainty(user, item)
    limit = float(np.median(unsure))
    both = routed(model, limit, tmp_path / "t")
    route = both.route(user, item)
    held = (user < 2) & (item < 30)
    np.testing.assert_array_equal(route, np.where(held, 0, np.where(unsure > limit, 2, 1)))
    assert both.count == dict.fromkeys(ROUTE, 0)
    got = both.rate(user, item)
    assert both.count == dict(zip(ROUTE, np.bincount(route).tolist(), strict=True))
    assert all(both.count.values())
    np.testing.assert_array_equal(got.p[route == 1], model.rate(user, item).p[route == 1])
    np.testing.assert_array_equal(got.p[route == 2], TRUTH.rate(user, item).p[route == 2])
    np.testing.assert_allclose(got.p[route == 0], TRUTH.rate(user, item).p[route == 0], atol=2e-5)
    order = np.random.default_rng(0).permutation(len(user))
    again = np.concatenate([both.route(user[s], item[s]) for s in np.array_split(order, 29)])
    np.testing.assert_array_equal(again, route[order])


def test_limits_at_both_ends(model: SurrogateRatingModel) -> None:
    user, item = pairs(LEARNED[:3])
    assert (routed(model, 0.0).route(user, item) == 2).all()
    assert (routed(model, float("inf")).route(user, item) == 1).all()
    np.testing.assert_array_equal(routed(model, 0.0).rate(user, item).p, TRUTH.rate(user, item).p)


def test_routes_need_one_scale_and_a_limit(model: SurrogateRatingModel) -> None:
    with pytest.raises(ConfigError, match="share one rating scale"):
        RoutedRatingModel(model, Checkerboard(4, RatingScale((0.0, 1.0))), 0.1)
    for limit in (-0.1, float("nan")):
        with pytest.raises(ConfigError, match="limit must be 0 or more"):
            RoutedRatingModel(model, TRUTH, limit)


def test_routing_to_a_model_that_does_not_know_the_user_says_so(model: SurrogateRatingModel, tmp_path: Path) -> None:
    table = compile_table(TRUTH, LEARNED[:2], np.arange(30), tmp_path)
    with pytest.raises(UnknownIdError, match="user number 5 is not in the table"):
        RoutedRatingModel(model, table, 0.0).rate(np.array([5]), np.array([1]))
