import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from sklearn.linear_model import Ridge

from simenv.errors import DataError
from simenv.evaluation import factors, ordinal
from simenv.evaluation.ordinal import OrdinalMap, ordinal_map
from simenv.evaluation.yardstick import (
    BayesianMF,
    BiasedMF,
    Constant,
    HoldOut,
    ItemMean,
    Tuned,
    UserItemBias,
    UserMean,
    Yardstick,
    fit_with_distribution,
    standard,
    tuned_bias,
    tuned_mf,
)
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.scale import RatingScale
from simenv.testing.logs import tiny_log

Float = NDArray[np.float64]
LIGHT: list[Yardstick] = [
    *(Constant(), Constant("median"), Constant("mode"), UserMean(), ItemMean(), UserItemBias()),
    BiasedMF(2, sweeps=4),
    BayesianMF(2, burn_in=3, draws=5),
    Tuned([UserItemBias(), ItemMean()], HoldOut(least=5)),
]


def planted_log(n_users: int = 80, n_items: int = 60, noise: float = 0.5) -> InteractionLog:
    """Ratings on a fine scale with one strong taste dimension; 60 % of the cells are known."""
    rng = np.random.default_rng(3)
    user, item = np.nonzero(rng.random((n_users, n_items)) < 0.6)
    taste, side = rng.normal(size=n_users), rng.normal(size=n_items)
    level = 0.4 * rng.normal(size=n_users)[user] + 0.6 * rng.normal(size=n_items)[item] + taste[user] * side[item]
    scale = RatingScale(tuple(np.arange(26) / 2 - 6))
    rating = scale.round(level + noise * rng.normal(size=len(user)))
    users, items = Index(tuple(range(n_users)), "user"), Index(tuple(range(n_items)), "item")
    return InteractionLog.of(users, items, user, item, rating, rng.permutation(len(user)), scale)


def rmse(yardstick: Yardstick, past: InteractionLog, future: InteractionLog, seed: int = 0) -> float:
    error = yardstick.fit(past, seed=seed)(future.user, future.item) - future.rating
    return float(np.sqrt(np.mean(error**2)))


@pytest.mark.parametrize("yardstick", LIGHT, ids=lambda y: type(y).__name__)
def test_contract(yardstick: Yardstick) -> None:
    """Finite, within the scale, one number a pair, repeatable, and unmoved by the other pairs of the call."""
    log = tiny_log()
    known = log.take((log.user != 3) & (log.item != 4))  # a user and an item nobody knows
    user, item = np.arange(log.n_users).repeat(log.n_items), np.tile(np.arange(log.n_items), log.n_users)
    predict = yardstick.fit(known, seed=1)
    out = predict(user, item)
    assert out.shape == user.shape
    assert out.dtype == np.float64
    assert ((out >= 1) & (out <= 5)).all()
    assert np.array_equal(out, yardstick.fit(known, seed=1)(user, item))
    assert np.allclose(out[::-7], predict(user[::-7], item[::-7]), atol=1e-12)


def test_constants() -> None:
    log = tiny_log()
    for rule, expected in (
        ("mean", log.rating.mean()),
        ("median", np.median(log.rating)),
        ("mode", pd.Series(log.rating).mode()[0]),
    ):
        predict = Constant(rule).fit(log)  # type: ignore[arg-type]
        assert predict(log.user[:3], log.item[:3]) == pytest.approx([expected] * 3)


def test_means_agree_with_a_frame() -> None:
    log = tiny_log()
    frame = pd.DataFrame({"user": log.user, "item": log.item, "rating": log.rating.astype(float)})
    mean = frame["rating"].mean()
    for name, yardstick, damping in (("user", UserMean(1.0), 1.0), ("item", ItemMean(5.0), 5.0)):
        group = frame.groupby(name)["rating"]
        expected = (group.transform("sum") + damping * mean) / (group.transform("size") + damping)
        assert np.allclose(yardstick.fit(log, seed=0)(log.user, log.item), expected)


def test_bias_is_the_ridge_solution() -> None:
    log = tiny_log()
    mean, user, item = factors.biases(log, 3.0, 7.0, sweeps=300)
    design = np.hstack([np.eye(log.n_users)[log.user], np.eye(log.n_items)[log.item]])
    penalty = np.diag(np.repeat([3.0, 7.0], [log.n_users, log.n_items]))
    exact = np.linalg.solve(design.T @ design + penalty, design.T @ (log.rating - mean))
    assert np.allclose(np.concatenate([user, item]), exact, atol=1e-6)


def test_least_squares_items_are_ridge_regressions_on_the_users() -> None:
    log = planted_log(30, 20)
    model = factors.least_squares(log, 3, 5.0, 4.0, 5.0, 6, seed=0)
    for item in range(3):
        rows = log.item == item
        user = log.user[rows]
        design = np.hstack([np.ones((len(user), 1)), model.user_factor[user]])
        target = log.rating[rows] - model.mean - model.user_bias[user]
        ridge = Ridge(alpha=5.0, fit_intercept=False).fit(design, target)
        assert np.allclose(ridge.coef_, [model.item_bias[item], *model.item_factor[item]], atol=1e-6)


def test_average_predicts_the_average() -> None:
    log = planted_log(30, 20)
    models = [factors.least_squares(log, 3, 5.0, 4.0, 5.0, 2, seed=s) for s in range(3)]
    expected = np.mean([m(log.user, log.item) for m in models], axis=0)
    assert np.allclose(factors.average(models)(log.user, log.item), expected)


def test_hyperparameters_are_drawn_from_their_wishart() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 3)) @ np.array([[1.0, 0.5, 0], [0, 1, 0.3], [0, 0, 0.5]]) + [0.5, 0, -1]
    draws = [factors._draw_hyper(rows, rng) for _ in range(4000)]
    mean = rows.mean(0)
    inverse = np.eye(3) + (rows - mean).T @ (rows - mean) + 2 * 40 / 42 * np.outer(mean, mean)
    expected = (40 + 3) * np.linalg.inv(inverse)
    assert np.allclose(np.mean([p for _, p in draws], axis=0), expected, atol=0.04 * np.abs(expected).max())
    assert np.allclose(np.mean([m for m, _ in draws], axis=0), 40 * mean / 42, atol=0.02)


def test_rows_are_drawn_from_their_gaussian() -> None:
    """With many identical rows the sample mean and covariance must be those of the conditional posterior."""
    rng = np.random.default_rng(1)
    gram, moment = np.array([[4.0, 1], [1, 3]]), np.array([2.0, -1])
    n = 20_000
    old = rng.normal(size=(n, 2))  # hyper draws: centre near 0, precision near identity
    drawn = factors._draw_rows(np.tile(gram, (n, 1, 1)), np.tile(moment, (n, 1)), 2.0, old, rng)
    posterior = 2.0 * gram + np.eye(2)
    assert np.allclose(drawn.mean(0), np.linalg.solve(posterior, 2.0 * moment), atol=0.02)
    assert np.allclose(np.cov(drawn.T), np.linalg.inv(posterior), atol=0.01)


def test_factors_find_a_planted_taste_that_biases_miss() -> None:
    log = planted_log()
    cut = log.split("user_time", 0.7)
    bias = rmse(tuned_bias(), cut.past, cut.future)
    assert bias > 1.0
    assert rmse(BiasedMF(2, 1.0), cut.past, cut.future) < 0.7
    assert rmse(BayesianMF(2, burn_in=10, draws=30), cut.past, cut.future) < 0.65


def test_seeds_matter_to_random_fits_only() -> None:
    log = planted_log(30, 20)
    for yardstick, moves in ((BiasedMF(2, sweeps=2), True), (BayesianMF(2, 2, 3), True), (UserItemBias(), False)):
        first, second = (yardstick.fit(log, seed=s)(log.user, log.item) for s in (0, 1))
        assert np.array_equal(first, second) != moves


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), timed=st.booleans())
def test_hold_out_takes_the_later_part_of_some_users(seed: int, timed: bool) -> None:
    log = tiny_log()
    if not timed:
        log = InteractionLog.of(log.users, log.items, log.user, log.item, log.rating, None, log.scale)
    train, held = HoldOut(share=0.5, least=10).split(log, seed=seed)
    pairs = {(u, i) for part in (train, held) for u, i in zip(part.user, part.item, strict=True)}
    assert len(pairs) == len(train) + len(held) == len(log)
    chosen = np.unique(held.user)
    assert (log.count[chosen] >= 10).all()
    assert len(chosen) == max(1, round(0.5 * (log.count >= 10).sum()))
    assert np.allclose(held.count[chosen] / log.count[chosen], 0.4, atol=0.06)
    if train.time is not None and held.time is not None:
        assert all(train.time[train.user == u].max() < held.time[held.user == u].min() for u in chosen)


def test_hold_out_refuses_a_log_without_histories() -> None:
    with pytest.raises(DataError, match="no user has 20 known ratings"):
        HoldOut().split(tiny_log(4, 20), seed=0)


@dataclass(frozen=True)
class _Spy:
    """Predicts the ratings of a full log plus an error, and remembers which rows it was fitted on."""

    log: InteractionLog
    error: float
    seen: list[int]

    def fit(self, log: InteractionLog, *, seed: int) -> "_Spied":
        self.seen.append(len(log))
        return _Spied(self.log, self.error)


@dataclass(frozen=True)
class _Spied:
    log: InteractionLog
    error: float

    def __call__(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Float:
        return np.asarray(self.log.matrix()[user, item], np.float64).ravel() + self.error


def test_tuning_takes_the_lowest_validation_error_and_refits_on_all_rows() -> None:
    log, seen = tiny_log(), list[int]()
    tuned = Tuned([_Spy(log, e, seen) for e in (0.5, -0.1, 0.3)], HoldOut(least=5))
    assert tuned.validate(log, seed=0) == pytest.approx([0.5, 0.1, 0.3], abs=1e-6)
    assert max(seen) < len(log)
    predict = tuned.fit(log, seed=0)
    assert seen[-1] == len(log)
    assert predict(log.user, log.item) - log.rating == pytest.approx(np.full(len(log), -0.1), abs=1e-6)


def test_tuned_mf_refits_with_more_starts() -> None:
    best = tuned_mf(factors=(1, 2), damping=(1, 100), starts=2).choose(planted_log(), seed=0)
    assert isinstance(best, BiasedMF)
    assert (best.damping, best.starts) == (1, 2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_ordinal_gradient(seed: int) -> None:
    rng = np.random.default_rng(seed)
    free = np.concatenate([[rng.normal(), -2.0], rng.normal(0, 0.5, 3)])
    x, target, weight = rng.normal(size=40), rng.integers(5, size=40), rng.random(40)

    def value(f: Float) -> float:
        return ordinal._loss(f, x, target, weight)[0]

    numeric = approx_fprime(free, value, 1e-7)
    assert np.allclose(ordinal._loss(free, x, target, weight)[1], numeric, atol=1e-5)


def test_ordinal_map_recovers_the_map_it_was_drawn_from() -> None:
    rng = np.random.default_rng(0)
    true = OrdinalMap(1.7, np.array([1.0, 2.5, 5.0, 7.5]))
    score, scale = rng.normal(3.5, 0.8, 20_000), RatingScale()
    y = scale.sample(true(score), rng.random(20_000))
    found = ordinal_map(score, y, scale)
    assert found.slope == pytest.approx(1.7, rel=0.05)
    assert found.cut == pytest.approx(true.cut, abs=0.25)
    assert np.abs(found(score) - true(score)).max() < 0.02


def test_ordinal_map_of_a_constant_is_the_marginal() -> None:
    y = np.repeat([1, 2, 3, 4, 5], [5, 10, 25, 40, 20])
    p = ordinal_map(np.full(100, 3.6), y, RatingScale())(np.full(2, 3.6))
    assert p[0] == pytest.approx([0.05, 0.1, 0.25, 0.4, 0.2], abs=0.01)


def test_ordinal_map_gives_proper_distributions_even_for_values_never_seen() -> None:
    y = np.tile([2, 3, 4], 30)
    p = ordinal_map(y + np.sin(np.arange(90)), y, RatingScale())(np.linspace(-2, 9, 50))
    assert p.sum(1) == pytest.approx(np.ones(50))
    assert (p > 0).all()
    assert (np.diff(p.cumsum(1)[:, :-1], axis=0) <= 0).all()  # a higher score moves all mass up


@pytest.mark.parametrize(("score", "y"), [(np.zeros(3), np.ones(2)), (np.zeros(0), np.zeros(0))])
def test_ordinal_map_refuses_odd_lengths(score: Float, y: Float) -> None:
    with pytest.raises(DataError, match="N > 0"):
        ordinal_map(score, y, RatingScale())


def test_a_yardstick_with_its_distribution() -> None:
    log = planted_log()
    cut = log.split("user_time", 0.7)
    place = log.scale.encode(cut.future.rating)

    def nll(yardstick: Yardstick) -> float:
        fitted = fit_with_distribution(yardstick, cut.past, seed=0)
        p = fitted.to_distribution(fitted.predict(cut.future.user, cut.future.item))
        return -float(np.log(p[np.arange(len(p)), place]).mean())

    assert nll(BiasedMF(2, 1.0)) < nll(UserItemBias()) - 0.3 < nll(Constant()) - 0.4
    assert fit_with_distribution(tuned_bias(), cut.past, seed=0).settings.startswith("UserItemBias(")


def test_the_standard_set_is_complete() -> None:
    assert list(standard()) == [
        *("global mean", "constant", "user mean", "item mean", "user+item bias", "biased MF", "Bayesian MF")
    ]


@pytest.mark.data
def test_on_movielens_100k_each_yardstick_beats_the_simpler_one() -> None:
    folder = Path(os.environ.get("SIMENV_DATA", Path(__file__).parents[3] / "shared" / "data"))
    archive = folder / "ml-100k" / "ml-100k.zip"
    if not archive.exists():
        pytest.skip("MovieLens 100K is not at hand")
    with zipfile.ZipFile(archive) as packed:
        text = io.BytesIO(packed.read("ml-100k/u.data"))
    log = InteractionLog.from_frame(pd.read_csv(text, sep="\t", names=["user", "item", "rating", "time"]))
    eligible = np.flatnonzero((log.count >= 100) & (log.count <= 200))
    cut = log.split("user_time", 0.6, users=eligible)
    future = cut.future.of_users(np.sort(np.random.default_rng(0).permutation(eligible)[:108]))
    row: list[Yardstick] = [ItemMean(), UserItemBias(16, 1), BiasedMF(8, 8.0), BayesianMF(8, 15, 30)]
    found = [rmse(y, cut.past, future) for y in row]
    assert found == pytest.approx([1.022, 0.962, 0.937, 0.929], abs=0.004)
