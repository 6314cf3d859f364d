"""LinUCB, Thompson sampling and the contextual greedy: the contract, known answers, and what exploring is for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.agents.synthetic import true_population
from simenv.datasets.synthetic import World, generate
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.play import play
from simenv.protocols import Recommender
from simenv.recommenders import ALS, BiasedMF, ContextualGreedy, LinUCB, Popular, Random, Thompson, by_name
from simenv.recommenders.bandit import LinUCBPolicy, ThompsonPolicy, believed
from simenv.recommenders.bandit_belief import Belief, Space
from simenv.recommenders.contextual import ContextualGreedyPolicy
from simenv.recommenders.pair_features import CONTEXT, FEATURES, PairFeatureSettings
from simenv.session import Session
from simenv.testing.logs import tiny_catalogue, tiny_log
from simenv.testing.recommender import RecommenderContract

SMALL = PairFeatureSettings(pool=10, factors=3, text_factors=2)


class TestLinUCB(RecommenderContract):
    def recommender(self) -> Recommender:
        return LinUCB(factors=3)


class TestThompson(RecommenderContract):
    def recommender(self) -> Recommender:
        return Thompson(factors=3, draws=3)


class TestContextualGreedy(RecommenderContract):
    def recommender(self) -> Recommender:
        return ContextualGreedy(SMALL)


def space(vector: list[list[float]], base: float = 3.0, penalty: float = 2.0, noise: float = 0.5) -> Space:
    items = np.array(vector)
    return Space(np.full(len(items), base), items, penalty, noise)


def visit(user: list[int], n_items: int) -> Session:
    """Users without a past, before their first page."""
    b = len(user)
    none, empty = np.empty((b, 0), np.int64), np.empty((b, 0), np.float32)
    zero = np.zeros(b, np.int64)
    return Session(np.array(user), none, empty, none, none.astype(bool), empty, zero, n_items)


class TestBelief:
    def test_one_rating_by_hand(self) -> None:
        """One weight, one rating 2 above the base: mean 2 / (1 + 2), variance .25 / 3."""
        s = space([[1.0], [2.0]])
        belief = s.belief(s.evidence(np.array([[0]]), np.array([[5.0]])))
        assert belief.mean == pytest.approx(np.array([[2 / 3]]))
        assert belief.covariance == pytest.approx(np.array([[[0.25 / 3]]]))
        expected, doubt = s.at(belief, np.array([[1]]))
        assert (expected[0, 0], doubt[0, 0]) == pytest.approx((3 + 4 / 3, 2 * 0.5 / np.sqrt(3)))
        assert s.expected(belief)[0, 1] == pytest.approx(expected[0, 0])

    def test_is_the_ridge_of_biased_mf(self) -> None:
        log = tiny_log()
        how = BiasedMF(factors=3)
        s = Space.fit(log, tiny_catalogue(log.items), how, seed=4)
        session = Session.begin(np.arange(log.n_users), log)
        policy = how.fit(log, tiny_catalogue(log.items), seed=4)
        np.testing.assert_allclose(s.expected(believed(s, session)), policy.score(session), atol=1e-9)

    def test_noise_is_what_ratings_were_drawn_with(self) -> None:
        """Ratings of 300 users: two known weights each and noise of sd .7, rounded to no scale."""
        rng = np.random.default_rng(0)
        log = tiny_log(300, 40)
        vector = np.column_stack([np.ones(40), rng.normal(size=40)])
        weight = rng.normal(size=(300, 2)) * [0.5, 1.0]
        rating = 3 + (vector[log.item] * weight[log.user]).sum(axis=1) + rng.normal(0, 0.7, len(log))
        told = replace(log, rating=rating.astype(np.float32))
        from simenv.recommenders.bandit_belief import _noise

        assert _noise(space(vector.tolist(), penalty=0.5), told) == pytest.approx(0.7, rel=0.05)

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 5), st.floats(1, 5)), min_size=1, max_size=8), st.randoms())
    def test_evidence_adds_up_in_any_order(self, rated: list[tuple[int, float]], luck: Any) -> None:
        s = space([[1.0, float(np.sin(i))] for i in range(6)])

        def told(pairs: list[tuple[int, float]]) -> Belief:
            item, rating = (np.array([[p[k] for p in pairs]]) for k in (0, 1))
            return s.belief(s.evidence(item.astype(np.int64), rating))

        cut = len(rated) // 2
        item, rating = (np.array([[p[k] for p in rated]]) for k in (0, 1))
        item = item.astype(np.int64)
        halves = s.evidence(item[:, :cut], rating[:, :cut]) + s.evidence(item[:, cut:], rating[:, cut:])
        whole, shuffled = told(rated), list(rated)
        luck.shuffle(shuffled)
        for other in (told(shuffled), s.belief(halves)):
            np.testing.assert_allclose(whole.mean, other.mean, atol=1e-9)
            np.testing.assert_allclose(whole.covariance, other.covariance, atol=1e-9)

    def test_more_ratings_less_doubt(self) -> None:
        s = space([[1.0, x] for x in (-1.0, 0.0, 1.0)])
        item = np.array([[0, -1, -1], [0, 1, 2]])
        belief = s.belief(s.evidence(item, np.full((2, 3), 3.0)))
        _, doubt = s.at(belief, np.tile(np.arange(3), (2, 1)))
        assert (doubt[1] < doubt[0]).all()


class TestLinUCBKnown:
    S = space([[1.0, 0.0], [1.0, 1.0], [1.0, 3.0]])

    def test_nothing_known_is_ranked_by_doubt(self) -> None:
        policy = LinUCBPolicy(self.S, 1.0)
        assert policy.recommend(visit([0], 3), 3, seed=0).item.tolist() == [[2, 1, 0]]
        assert LinUCBPolicy(self.S, 0.0).recommend(visit([0], 3), 3, seed=0).item.tolist() == [[0, 1, 2]]

    def test_bound_by_hand(self) -> None:
        """Prior variance .25 / 2 per weight: item 2 has sd .5 * sqrt((1 + 9) / 2)."""
        score = LinUCBPolicy(self.S, 2.0).score(visit([0], 3))
        assert score[0, 2] == pytest.approx(3 + 2 * 0.5 * np.sqrt(5))

    def test_ratings_of_this_visit_count(self) -> None:
        start = visit([0, 1], 3)
        shown = replace(
            start,
            shown=np.array([[2], [2]]),
            consumed=np.ones((2, 1), bool),
            rating=np.array([[5.0], [1.0]], np.float32),
            page=np.array([1, 1]),
        )
        score = LinUCBPolicy(self.S, 0.0).score(shown)
        assert score[0, 1] > 3 > score[1, 1]
        skipped = replace(shown, consumed=np.zeros((2, 1), bool), rating=np.full((2, 1), np.nan, np.float32))
        assert LinUCBPolicy(self.S, 0.0).score(skipped).tolist() == [[3.0] * 3] * 2

    def test_width_0_is_biased_mf(self) -> None:
        log, catalogue = tiny_log(), tiny_catalogue(tiny_log().items)
        session = Session.begin(np.arange(log.n_users), log)
        ours = LinUCB(width=0.0, factors=4).fit(log, catalogue, seed=1).recommend(session, 5, seed=0)
        plain = BiasedMF(factors=4).fit(log, catalogue, seed=1).recommend(session, 5, seed=0)
        np.testing.assert_array_equal(ours.item, plain.item)


class TestThompsonKnown:
    def test_shares_are_those_of_the_belief(self) -> None:
        """Two items, weights (0, +-1) on a prior: each is first for half of the users."""
        policy = ThompsonPolicy(space([[1.0, 1.0], [1.0, -1.0]]), 1.0, 1, 0)
        first = policy.recommend(visit(list(range(4000)), 2), 1, seed=0).item[:, 0]
        assert first.mean() == pytest.approx(0.5, abs=0.03)

    def test_sure_of_one_item(self) -> None:
        s = space([[1.0, 1.0], [1.0, -1.0]], noise=1e-6)
        liked = replace(visit([0], 2), past_item=np.array([[0]]), past_rating=np.array([[5.0]], np.float32), n_items=2)
        policy = ThompsonPolicy(s, 1.0, 9, 0)
        belief = believed(s, liked)
        assert belief.mean[0, 1] > 0
        slate = policy.recommend(replace(liked, past_item=np.array([[-1]])), 2, seed=3)
        assert slate.propensity.min() >= 0.1

    def test_propensity_is_the_share_of_pages(self) -> None:
        """P(item first) is .5: the shares of 100 pages average to that, plus half a page for the one shown."""
        policy = ThompsonPolicy(space([[1.0, 1.0], [1.0, -1.0]]), 1.0, 99, 0)
        slate = policy.recommend(visit(list(range(200)), 2), 1, seed=0)
        assert slate.propensity.mean() == pytest.approx(0.5 + 0.5 / 100, abs=0.02)

    def test_spread_0_is_certain(self) -> None:
        log, catalogue = tiny_log(), tiny_catalogue(tiny_log().items)
        session = Session.begin(np.arange(log.n_users), log)
        slate = Thompson(spread=0.0, draws=2, factors=4).fit(log, catalogue, seed=1).recommend(session, 5, seed=0)
        plain = BiasedMF(factors=4).fit(log, catalogue, seed=1).recommend(session, 5, seed=0)
        np.testing.assert_array_equal(slate.item, plain.item)
        assert (slate.propensity == 1).all()

    def test_other_pages_other_draws(self) -> None:
        policy = ThompsonPolicy(space([[1.0, float(np.cos(i)), float(np.sin(i))] for i in range(20)]), 1.0, 1, 0)
        session = visit([0] * 1, 20)
        later = replace(session, page=np.array([1]))
        pages = [policy.recommend(x, 5, seed=s).item.tolist() for x, s in ((session, 0), (later, 0), (session, 1))]
        assert pages[0] != pages[1]
        assert pages[0] != pages[2]


@pytest.fixture(scope="module")
def world() -> World:
    return generate(3, n_users=200, n_items=120, median_history=40)


def true_value(world: World, recommender: Recommender, log: InteractionLog, user: NDArray[np.int64]) -> float:
    policy = recommender.fit(log, world.catalogue, seed=0)
    shown = play(policy, true_population(world), log, user, slate_size=5, max_pages=4, leave=False).shown()
    return float(shown.expected.mean())


class TestInAWorld:
    def test_they_serve_true_users_better_than_the_plain(self, world: World) -> None:
        log, user = world.log.split("random", 0.4, seed=0).past, np.arange(0, 200, 2)
        contestants: list[Recommender] = [Random(), Popular(), LinUCB(), Thompson(draws=1), ContextualGreedy()]
        value = {r.name: true_value(world, r, log, user) for r in contestants}
        assert min(value[n] for n in ("linucb", "thompson", "contextual")) > value["popular"] > value["random"], value

    def test_the_weights_have_their_signs(self, world: World) -> None:
        policy = ContextualGreedy(SMALL).fit(world.log, world.catalogue, seed=0)
        assert isinstance(policy, ContextualGreedyPolicy)
        weight = dict(zip(FEATURES, policy.weight, strict=True))
        assert weight["mean"] > 0.02
        assert weight["rating"] > 0.02
        assert weight["visit"] == weight["last page"] == 0

    def test_ratings_at_random_give_no_weights(self, world: World) -> None:
        rng = np.random.default_rng(1)
        log = replace(world.log, rating=rng.permutation(world.log.rating))
        weight = ContextualGreedy(SMALL).fit(log, world.catalogue, seed=0).weight
        assert np.abs(weight).max() < 0.05


class TestPairFeatures:
    def test_standardised_over_what_is_left(self, world: World) -> None:
        features = SMALL.fit(world.log, world.catalogue, seed=0)
        session = Session.begin(np.arange(6), world.log)
        start = features.start(session)
        view = features.view(start, session, 5)
        assert view.feature.shape == (6, 10, len(FEATURES))
        assert view.left.all()
        for n in (0, 1, 2, 4, 5):
            np.testing.assert_allclose(view.feature[:, :, n].mean(axis=1), 0, atol=1e-9)
            np.testing.assert_allclose(view.feature[:, :, n].std(axis=1), 1, atol=1e-9)
        assert not view.feature[:, :, FEATURES.index("visit")].any()  # nothing was shown yet
        assert view.context.shape == (6, len(CONTEXT))

    def test_a_liked_item_pulls_its_like(self, world: World) -> None:
        features = PairFeatureSettings(pool=100).fit(world.log, world.catalogue, seed=0)
        session = Session.begin(np.array([0]), world.log)
        start = features.start(session)
        item = int(start.item[0, 0])
        place, found = FEATURES.index("visit"), []
        for rating in (5.0, 1.0):
            seen = replace(
                session, shown=np.array([[item]]), consumed=np.ones((1, 1), bool),
                rating=np.array([[rating]], np.float32), page=np.array([1]),
            )  # fmt: skip
            view = features.view(start, seen, 1)
            assert not view.left[0, 0]
            likeness = features.text[start.item[0]] @ features.text[item]
            left = view.left[0]
            found.append(np.corrcoef(view.feature[0, left, place], likeness[left])[0, 1])
        assert found == pytest.approx([1.0, -1.0])

    def test_candidates_outside_the_pool_fill_up(self, world: World) -> None:
        features = SMALL.fit(world.log, world.catalogue, seed=0)
        session = Session.begin(np.arange(3), world.log)
        start = features.start(session)
        view = features.view(start, session, 25)
        slate = view.slate(session, start, np.ones((3, len(FEATURES))), 25)
        assert (slate.item >= 0).all()
        for shown, pool in zip(slate.item, start.item, strict=True):
            assert set(shown[:10]) == set(pool)

    def test_other_users_do_not_matter(self, world: World) -> None:
        features = SMALL.fit(world.log, world.catalogue, seed=0)
        everyone = Session.begin(np.arange(20), world.log)
        whole = features.view(features.start(everyone), everyone, 5)
        for user in (0, 7, 19):
            alone = Session.begin(np.array([user]), world.log)
            view = features.view(features.start(alone), alone, 5)
            np.testing.assert_array_equal(view.item[0], whole.item[user])
            np.testing.assert_allclose(view.feature[0], whole.feature[user], atol=1e-12)
            np.testing.assert_allclose(view.context[0], whole.context[user], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LinUCB(width=-1.0), "not negative"),
        (lambda: LinUCB(width=float("nan")), "not negative"),
        (lambda: Thompson(spread=-0.1), "not be negative"),
        (lambda: Thompson(draws=0), "at least 1"),
        (lambda: ContextualGreedy(penalty=0.0), "must be positive"),
        (lambda: PairFeatureSettings(pool=0), "at least 1"),
    ],
)
def test_bad_settings(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()


def test_by_name() -> None:
    assert [type(r) for r in by_name(["linucb", "thompson", "contextual", "als"])] == [
        LinUCB, Thompson, ContextualGreedy, ALS,
    ]  # fmt: skip
