"""How well a judge orders recommenders: answers known by hand, by construction and by symmetry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kendalltau

from simenv.errors import ActionError, DataError
from simenv.evaluation.decision import (
    Decision,
    Estimate,
    TrueOrder,
    decide,
    held_out_decision,
    held_out_values,
    judge_values,
    population_judge,
)
from simenv.evaluation.offline import held_out_rating
from simenv.evaluation.order import tau_b
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.protocols import Policy, Recommender
from simenv.recommenders import Oracle, Random
from simenv.scale import RatingScale
from simenv.session import Session, Slate
from simenv.testing.logs import tiny_catalogue
from tests.evaluation.conftest import ScriptedPopulation

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NAN = float("nan")
RNG = np.random.default_rng(0)
BASE = RNG.normal(0, 1, (60, 1))


def steps(*value: float, noise: float = 0.02) -> Floats:
    """Sixty users whose own level cancels in every pair."""
    return np.asarray(BASE + np.array(value) + noise * np.random.default_rng(1).normal(size=(60, len(value))))


TRUE = steps(1, 2, 3, 4)


def test_the_truth_judges_itself_rightly() -> None:
    found = decide(TRUE, TRUE)
    assert found.pairs == 6
    assert found.pairs_right.mean == found.pairs_right.low == found.pairs_right.high == 1
    assert found.chosen == (3,)
    assert found.regret.mean == 0
    assert found.error_max.high == pytest.approx(0, abs=1e-12)
    assert found.spread.mean == pytest.approx(1)
    assert found.tau.mean == found.tau_ceiling == pytest.approx(1)
    assert found.users == 60


def test_turned_round_all_is_wrong() -> None:
    found = decide(TRUE, -TRUE)
    assert found.pairs_right.mean == 0
    assert found.chosen == (0,)
    assert found.regret.mean == pytest.approx(TRUE[:, 3].mean() - TRUE[:, 0].mean())
    assert found.spread.mean == pytest.approx(-1)
    assert found.tau.mean == -1


def test_pairs_that_do_not_differ_do_not_count() -> None:
    """Columns 1 and 2 differ by chance alone: five pairs are left, and their order is nobody's business."""
    rng = np.random.default_rng(3)
    alike = BASE + np.array([1.0, 2.0, 2.0, 3.0]) + 0.3 * rng.normal(size=(60, 4))
    found = decide(alike, alike.mean(axis=0)[[0, 2, 1, 3]])
    assert found.pairs == 5
    assert found.pairs_right.mean == 1
    assert found.tau.mean == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("judged", "share"),
    [
        ([1, 2, 4, 3], 5 / 6),
        ([2, 2, 3, 4], 5.5 / 6),
        ([7, 7, 7, 7], 0.5),
        ([NAN, 2, 3, 4], (3 + 1.5) / 6),
        ([NAN, NAN, NAN, NAN], 0.5),
    ],
)
def test_ties_and_silence_count_one_half(judged: list[float], share: float) -> None:
    found = decide(TRUE, np.array(judged))
    assert found.pairs_right.mean == pytest.approx(share)


def test_silence_about_some_leaves_the_rest() -> None:
    found = decide(TRUE, np.array([NAN, 2.0, 3.0, 1.0]))
    assert found.chosen == (2,)
    assert found.tau.mean == pytest.approx((1 - 1 - 1) / 3)
    assert np.isnan(found.spread.mean)
    assert np.isnan(found.error_mean.mean)


def test_whoever_is_silent_chooses_by_lot() -> None:
    found = decide(TRUE, np.full(4, NAN))
    mean = TRUE.mean(axis=0)
    assert found.chosen == (0, 1, 2, 3)
    assert found.regret.mean == pytest.approx(mean.max() - mean.mean())
    assert np.isnan(found.tau.mean)


def test_errors_and_spread_by_hand() -> None:
    mean = TRUE.mean(axis=0)
    found = decide(TRUE, 0.25 * mean + 1)
    gap = np.abs(0.25 * mean + 1 - mean)
    assert found.spread.mean == pytest.approx(0.25)
    assert found.error_mean.mean == pytest.approx(gap.mean())
    assert found.error_max.mean == pytest.approx(gap.max())
    assert found.pairs_right.mean == 1
    other = decide(TRUE, 0.25 * mean + 1, same_unit=False)
    assert np.isnan([other.spread.mean, other.error_mean.mean, other.error_max.mean]).all()
    assert other.tau == found.tau


def test_users_without_a_true_value_are_left_out() -> None:
    holes = TRUE.copy()
    holes[:20, 1] = NAN
    judged = TRUE.copy()
    judged[:20] = -1e6 * np.arange(4)
    assert decide(holes, judged) == decide(TRUE[20:], judged[20:])
    assert decide(holes, judged).users == 40


def test_a_judge_without_a_word_on_some_users_is_the_mean_over_the_others() -> None:
    judged = TRUE.copy()
    judged[::2] = NAN
    got = Estimate.of(judged).value()
    np.testing.assert_allclose(got, TRUE[1::2].mean(axis=0))


def test_a_sum_of_ratios_by_hand() -> None:
    top, bottom = np.array([[1.0, 0.0], [3.0, 0.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    both = Estimate(((top, bottom),)) + Estimate.of(np.array([[1.0, 1.0], [2.0, NAN]]))
    np.testing.assert_allclose(both.value(), [2 + 1.5, NAN])
    drawn = both.resampled(500, 0)
    assert np.isnan(drawn[:, 1]).all()
    assert set(np.round(drawn[:, 0], 6)) == {2.0, 3.5, 5.0}, "both parts must meet the same users"


def test_the_interval_of_the_share_is_about_the_judges_own_noise() -> None:
    """A judge who sees a difference of one noise unit in sixty users errs in some resamples, a sure one never."""
    rng = np.random.default_rng(5)
    shaky = np.array([1.0, 2.0, 3.0, 4.0]) * 0.02 + rng.normal(0, 1, (60, 4))
    unsure, sure = decide(TRUE, shaky).pairs_right, decide(TRUE, 10 * TRUE).pairs_right
    assert unsure.high - unsure.low > 0.3
    assert sure.high == sure.low == 1


def test_right_drawn_is_paired_between_judges() -> None:
    order = TrueOrder.of(TRUE, resamples=300)
    rng = np.random.default_rng(6)
    judged = 0.1 * TRUE + rng.normal(0, 1, TRUE.shape)
    gap = order.right_drawn(judged) - order.right_drawn(3 * judged + 7)
    assert (gap == 0).all()
    assert order.right_drawn(judged).std() > 0


def test_the_ceiling_is_what_a_second_measurement_reaches() -> None:
    """Truth of eight values plus noise of users: tau between two independent measurements of 80 users each."""
    rng = np.random.default_rng(7)
    got, said = [], []
    for _ in range(60):
        value = rng.normal(0, 0.15, 12)
        one, other = (value + rng.normal(0, 1, (80, 12)) for _ in range(2))
        got.append(tau_b(one.mean(axis=0)[None], other.mean(axis=0)[None])[0])
        said.append(TrueOrder.of(one).ceiling)
    assert 0.4 < np.mean(got) < 0.8
    assert np.mean(said) == pytest.approx(np.mean(got), abs=0.06)


def test_a_truth_that_is_nothing_but_noise_has_no_ceiling() -> None:
    noise = np.random.default_rng(8).normal(size=(30, 6))
    found = decide(noise - noise.mean(axis=0), np.arange(6.0))
    assert found.pairs == 0
    assert np.isnan(found.pairs_right.mean)
    assert found.tau_ceiling == 0
    assert np.isnan(found.tau_of_ceiling.mean)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=9))
def test_tau_is_that_of_scipy(pair: list[tuple[int, int]]) -> None:
    one, other = np.array(pair, float).T
    want = kendalltau(one, other, variant="b").statistic
    np.testing.assert_allclose(tau_b(one[None], other[None])[0], want, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)), st.integers(0, 2**32 - 1))
def test_the_order_of_recommenders_does_not_matter(order: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = BASE[:20] + np.arange(5) / 2 + rng.normal(0, 0.5, (20, 5))
    judged = true + rng.normal(0, 1, (20, 5))
    one, other = (decide(x, y, resamples=50) for x, y in ((true, judged), (true[:, order], judged[:, order])))
    assert one.pairs == other.pairs
    for name in ("pairs_right", "regret", "error_mean", "error_max", "spread", "tau"):
        np.testing.assert_allclose(getattr(one, name).mean, getattr(other, name).mean, atol=1e-9, err_msg=name)
    assert {order[n] for n in other.chosen} == set(one.chosen)


@pytest.mark.parametrize(
    ("true", "judged", "words"),
    [
        (np.zeros(5), np.zeros(5), r"true values \[users, recommenders\] of two of each at least; got \(5,\)"),
        (np.zeros((5, 1)), np.zeros((5, 1)), r"got \(5, 1\)"),
        (np.full((5, 3), NAN), np.zeros((5, 3)), "0 users with a value for every recommender"),
        (TRUE, np.zeros(3), r"one value for each of 4 recommenders, or \[60 users, 4\]; got \(3,\)"),
        (TRUE, np.zeros((59, 4)), r"\[60 users, 4\]; got \(59, 4\)"),
    ],
)
def test_shapes_that_do_not_fit(true: Floats, judged: Floats, words: str) -> None:
    with pytest.raises(DataError, match=words):
        decide(true, judged)


# On held-out rows -----------------------------------------------------------------------------------------------------

USERS, ITEMS = Index((1, 2, 3), "user"), Index(tuple("abcdefg"), "item")
QUALITY = np.array([[0, 1, 2, 3, 4, 2, 2], [4, 3, 2, 1, 0, 2, 2], [2, 2, 2, 2, 2, 2, 2]]) / 4
CATALOGUE = tiny_catalogue(ITEMS)


def log(user: list[int], item: list[int]) -> InteractionLog:
    rating = 1 + 4 * QUALITY[user, item]
    return InteractionLog.of(USERS, ITEMS, user, item, rating, None, RatingScale())


PAST = log([0, 1, 2], [5, 5, 5])
FUTURE = log([0] * 4 + [1] * 3 + [2], [1, 2, 3, 4, 0, 1, 4, 0])
EVERYBODY = np.arange(3)


def policies() -> dict[str, Policy]:
    return {n: Oracle(q).fit(PAST, CATALOGUE, seed=0) for n, q in (("best", QUALITY), ("worst", -QUALITY))}


def test_what_is_shown_and_what_it_is_worth() -> None:
    true, shown = held_out_values(policies(), PAST, FUTURE, EVERYBODY, k=2)
    assert shown.tolist() == [[[4, 3], [0, 1], [-1, -1]], [[1, 2], [4, 1], [-1, -1]]]
    np.testing.assert_allclose(true, [[4.5, 2.5], [4.5, 2.5], [NAN, NAN]])
    for column, policy in enumerate(policies().values()):
        same = held_out_rating(policy, PAST, FUTURE, EVERYBODY, k=2, seed=0)
        np.testing.assert_allclose(true[:, column], same)


def test_a_judge_is_asked_about_what_was_shown_each_pair_once() -> None:
    shown = np.array([[[4, 3], [0, -1]], [[4, 1], [-1, -1]]])
    asked: list[tuple[int, int]] = []

    def judge(user: Ints, item: Ints) -> Floats:
        asked.extend(zip(user.tolist(), item.tolist(), strict=True))
        return np.asarray(100.0 * user + item)

    value = judge_values(judge, np.array([2, 7]), shown)
    np.testing.assert_allclose(value, [[203.5, 202.5], [700.0, NAN]])
    assert sorted(asked) == [(2, 1), (2, 3), (2, 4), (7, 0)]


def test_a_judge_that_says_nothing_of_an_item_says_nothing_of_the_slate() -> None:
    value = judge_values(lambda u, i: np.where(i == 3, NAN, 1.0), np.array([0]), np.array([[[4, 3]], [[1, 2]]]))
    np.testing.assert_allclose(value, [[NAN, 1.0]])


def test_the_true_users_order_rightly_and_users_turned_round_wrongly() -> None:
    rng = np.random.default_rng(0)
    users, items = Index(tuple(range(40)), "user"), Index(tuple(range(30)), "item")
    quality = rng.random((40, 30))
    u, i = np.indices((40, 30)).reshape(2, -1)
    rating = np.round(1 + 4 * quality[u, i])
    every = InteractionLog.of(users, items, u, i, rating, None, RatingScale())
    halves = every.split("random", 0.5, seed=0)
    past, future = halves.past, halves.future
    exact = (rating.reshape(40, 30) - 1) / 4
    made: dict[str, Recommender] = {"best": Oracle(exact), "random": Random(), "worst": Oracle(-exact, name="worst")}
    fitted = {n: r.fit(past, tiny_catalogue(items), seed=0) for n, r in made.items()}
    right, wrong = (population_judge(ScriptedPopulation(users, items, q)) for q in (exact, 1 - exact))
    judges = {"true": right, "wrong": wrong, "silent": lambda user, item: np.full(len(user), NAN)}
    found: dict[str, Decision] = held_out_decision(fitted, past, future, np.arange(40), judges)
    assert {n: (d.pairs_right.mean, d.pairs, d.chosen) for n, d in found.items()} == {
        "true": (1.0, 3, (0,)),
        "wrong": (0.0, 3, (2,)),
        "silent": (0.5, 3, (0, 1, 2)),
    }
    assert found["true"].error_max.mean == pytest.approx(0, abs=1e-6)
    assert found["true"].spread.mean == pytest.approx(1)


def test_a_policy_that_shows_what_was_not_asked_is_refused() -> None:
    class Stubborn:
        def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
            return Slate.certain(np.full((len(session), k), 6))

    with pytest.raises(ActionError, match=r"must rank the items of session\.candidate"):
        held_out_values({"stubborn": Stubborn()}, PAST, FUTURE, EVERYBODY, k=2)
