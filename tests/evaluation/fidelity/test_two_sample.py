from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from simenv.errors import ConfigError, DataError
from simenv.evaluation.fidelity.two_sample import _context, _profile, _weighted, c2st, session_c2st
from simenv.evaluation.interval import Interval
from simenv.evaluation.ordinal import OrdinalMap
from simenv.evaluation.rating import Truth, sample
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.scale import RatingScale

Float = NDArray[np.float64]
SCALE = RatingScale()


@final
@dataclass(frozen=True, eq=False)
class World:
    truth: Truth
    item: NDArray[np.int64]
    p: Float
    known: InteractionLog

    def told(self, test: Callable[..., Interval], p: Float, *, draws: int = 1, seed: int = 0) -> Interval:
        drawn = sample(p, SCALE, draws=draws, seed=seed + 77)
        return test(self.truth, self.item, drawn, self.known, resamples=200, seed=seed)


def world(seed: int = 0, users: int = 60, per: int = 40) -> World:
    """Half of the ratings of an ordinal model with user and item effects are known, the other half held out."""
    rng = np.random.default_rng(seed)
    user, item = np.repeat(np.arange(users), per), rng.integers(50, size=users * per)
    score = 0.6 * (rng.normal(size=users)[user] + rng.normal(size=50)[item])
    p = OrdinalMap(1.7, np.array([-2.6, -1.5, -0.2, 1.4]))(score)
    y, old = SCALE.sample(p, rng.random(len(user))), rng.random(len(user)) < 0.5
    index = Index.of(range(users), "user"), Index.of(range(50), "item")
    known = InteractionLog.of(*index, user[old], item[old], y[old], None, SCALE)
    return World(Truth(user[~old], y[~old], SCALE), item[~old], p[~old], known)


def marginal(p: Float) -> Float:
    return np.tile(p.mean(axis=0), (len(p), 1))


def narrow(p: Float) -> Float:
    return np.asarray(p**3 / (p**3).sum(axis=1, keepdims=True))


def shifted(p: Float) -> Float:
    up = np.roll(p, 1, axis=1)
    up[:, -1] += up[:, 0]
    up[:, 0] = 0
    return 0.4 * p + 0.6 * up


def constant(p: Float) -> Float:
    return np.asarray(np.eye(5)[np.full(len(p), 3)])


@pytest.mark.parametrize(("test", "near"), [(c2st, 0.02), (session_c2st, 0.05)])
def test_draws_from_the_truth_cannot_be_told(test: Callable[..., Interval], near: float) -> None:
    found = [w.told(test, w.p, seed=s) for s, w in ((s, world(s)) for s in range(6))]
    assert np.mean([f.mean for f in found]) == pytest.approx(0.5, abs=near)
    assert sum(f.low < 0.5 < f.high for f in found) >= 5


@pytest.mark.parametrize(
    ("test", "wrong", "least"),
    [
        (c2st, constant, 0.8),
        (c2st, marginal, 0.57),
        (c2st, narrow, 0.55),
        (c2st, shifted, 0.57),
        (session_c2st, constant, 0.99),
        (session_c2st, marginal, 0.8),
        (session_c2st, narrow, 0.85),
        (session_c2st, shifted, 0.65),
    ],
)
def test_wrong_draws_are_told(test: Callable[..., Interval], wrong: Callable[[Float], Float], least: float) -> None:
    w = world(7)
    found = w.told(test, wrong(w.p), draws=2)
    assert found.mean > least
    assert found.low > 0.5


def test_users_who_are_too_much_alike_are_told_though_their_average_is_right() -> None:
    """Real users differ in their mean; the sampler gives all of them the same items' answers of the average user."""
    rng = np.random.default_rng(0)
    user = np.repeat(np.arange(120), 30)
    own = np.clip(3 + rng.normal(size=120), 1.2, 4.8)
    p = np.zeros((3600, 5))
    for k in range(5):
        p[:, k] = np.exp(-((k + 1 - own[user]) ** 2))
    p /= p.sum(axis=1, keepdims=True)
    y = SCALE.sample(p, rng.random(3600))
    index = Index.of(range(120), "user"), Index.of(range(10), "item")
    known = InteractionLog.of(*index, user, user % 10, y, None, SCALE)
    w = World(Truth(user, y, SCALE), rng.integers(10, size=3600), p, known)
    assert w.told(session_c2st, marginal(p)).low > 0.7


@pytest.mark.parametrize("test", [c2st, session_c2st])
def test_copies_of_the_real_ratings_are_exactly_even(test: Callable[..., Interval]) -> None:
    """Fails as soon as a user's real and drawn rows meet different classifiers, or differ in numeric precision."""
    w, tenths = world(3, users=20), RatingScale((1.1, 2.1, 3.1, 4.1, 5.1))
    copy = w.truth.rating + 0.1
    truth = Truth(w.truth.user, copy.astype(np.float32), tenths)
    assert test(truth, w.item, copy[None], w.known, resamples=50).mean == pytest.approx(0.5, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_weighted_auc_is_that_of_repeated_users(seed: int) -> None:
    rng = np.random.default_rng(seed)
    row, score = rng.integers(6, size=40), rng.integers(8, size=80) / 8  # many ties
    times = rng.integers(3, size=6).astype(float)
    times[row[0]] = 1
    label = np.arange(80) < 40
    found = _weighted(score, row, np.zeros(40, np.int64), np.vstack([np.ones(6), times]))
    repeat = np.repeat(np.arange(80), times[np.tile(row, 2)].astype(int))
    assert found[0] == pytest.approx(roc_auc_score(label, score))
    assert found[1] == pytest.approx(roc_auc_score(label[repeat], score[repeat]))


def test_pairs_of_two_folds_are_not_compared() -> None:
    row, fold = np.arange(4), np.array([0, 0, 1, 1])
    score = np.array([0.2, 0.2, 0.9, 0.9, 0.1, 0.1, 0.8, 0.8])  # the second fold's scores lie higher throughout
    assert _weighted(score, row, fold, np.ones((1, 4))).tolist() == [1.0]


def test_context_comes_from_the_known_log_and_gaps_stay_gaps() -> None:
    index = Index.of(range(3), "user"), Index.of(range(3), "item")
    known = InteractionLog.of(*index, [0, 0, 1], [0, 1, 0], [5, 3, 2], None, SCALE)
    truth = Truth(np.array([0, 1, 2]), np.array([1.0, 1.0, 1.0]), SCALE)
    expected = [[3.5, np.log(3), 4, np.log(3)], [3, np.log(2), 2, np.log(2)], [np.nan, 0, np.nan, 0]]
    np.testing.assert_allclose(_context(truth, np.array([0, 1, 2]), known), expected, rtol=1e-6)


def test_the_profile_of_a_user() -> None:
    truth = Truth(np.array([0, 0, 0, 1, 1]), np.array([1.0, 3.0, 5.0, 4.0, 4.0]), SCALE)
    crowd = np.array([2.0, 3.0, np.nan, 3.0, 4.0])
    found = _profile(truth, truth.user, truth.rating, crowd)
    third = 1 / 3
    expected = [[3, np.sqrt(8 / 3), third, 0, third, 0, third, 1, 1], [4, 0, 0, 0, 0, 1, 0, 0, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_results_repeat_and_do_not_hang_on_the_order_of_pairs() -> None:
    w = world(4, users=20)
    drawn = sample(marginal(w.p), SCALE, draws=1, seed=0)
    order = np.random.default_rng(0).permutation(len(w.item))
    again = Truth(w.truth.user[order], w.truth.rating[order], SCALE)
    first = session_c2st(w.truth, w.item, drawn, w.known, resamples=50)
    second = session_c2st(again, w.item[order], drawn[:, order], w.known, resamples=50)
    assert (first.mean, first.low, first.high) == pytest.approx((second.mean, second.low, second.high), abs=1e-6)
    one, two = (c2st(w.truth, w.item, drawn, w.known, resamples=50) for _ in range(2))
    assert one == two
    assert 0 <= one.low < one.mean < one.high <= 1


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda w: {"draws": np.full(len(w.item), 3.0)}, DataError, r"draws must be \[D, "),
        (lambda w: {"draws": np.ones((0, len(w.item)))}, DataError, r"draws must be \[D, "),
        (lambda w: {"draws": np.full((1, len(w.item)), 2.5)}, DataError, "2.5 is not on the scale"),
        (lambda w: {"item": w.item + 50}, DataError, "item must be .* numbers below 50"),
        (lambda w: {"truth": Truth(w.truth.user + 1, w.truth.rating, SCALE)}, DataError, "user must be .* below 4"),
        (lambda w: {"folds": 1}, ConfigError, "folds must be 2 or more"),
        (lambda w: {"level": 95}, ConfigError, "level must lie between"),
    ],
)
@pytest.mark.parametrize("test", [c2st, session_c2st])
def test_bad_input_is_refused(
    test: Callable[..., Interval], change: Callable[[World], dict[str, Any]], error: type[Exception], words: str
) -> None:
    w = world(5, users=4)
    good = {"truth": w.truth, "item": w.item, "draws": np.full((1, len(w.item)), 3.0), "known": w.known}
    with pytest.raises(error, match=words):
        test(**(good | change(w)))
