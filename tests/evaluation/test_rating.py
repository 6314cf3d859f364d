from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import pearsonr, wasserstein_distance
from sklearn.metrics import accuracy_score, f1_score, log_loss, mean_absolute_error, root_mean_squared_error

from simenv.errors import ConfigError, DataError
from simenv.evaluation.rating import Prediction, Truth, measures, sample, statistics
from simenv.evaluation.rating_table import measure_all, shares
from simenv.scale import RatingScale

Float = NDArray[np.float64]
HALVES = RatingScale(tuple(np.arange(1, 11) / 2))


def world(seed: int = 0, n: int = 400, scale: RatingScale | None = None) -> tuple[Truth, Float]:
    """Ratings of 20 users drawn from known distributions, in no order of users; and those distributions."""
    rng = np.random.default_rng(seed)
    scale = scale or RatingScale()
    user = rng.integers(20, size=n) * 3 + 5
    p = rng.dirichlet(np.full(len(scale), 0.8), size=n)
    return Truth(user, scale.sample(p, rng.random(n)), scale), p


@pytest.mark.parametrize("scale", [RatingScale(), HALVES])
def test_plain_measures_agree_with_sklearn(scale: RatingScale) -> None:
    truth, p = world(scale=scale)
    other = np.roll(p, 1, axis=0) * 0.3 + p * 0.7
    mean, mode, y = other @ scale.array, scale.array[other.argmax(1)], truth.rating
    found = measures(truth, Prediction.of(other, scale))
    assert found["rmse"] == pytest.approx(root_mean_squared_error(y, mean))
    assert found["mae"] == pytest.approx(mean_absolute_error(y, mean))
    assert found["rmse_rounded"] == pytest.approx(root_mean_squared_error(y, scale.round(mean)))
    assert found["mae_median"] == pytest.approx(mean_absolute_error(y, scale.median(other)))
    assert found["rmse_mode"] == pytest.approx(root_mean_squared_error(y, mode))
    assert found["mae_mode"] == pytest.approx(mean_absolute_error(y, mode))
    assert found["mean_error"] == pytest.approx(float(np.mean(mean - y)))
    assert found["nll"] == pytest.approx(log_loss(scale.encode(y), other, labels=np.arange(len(scale))))
    assert found["accuracy"] == pytest.approx(accuracy_score(scale.encode(y), other.argmax(1)))
    assert found["macro_f1"] == pytest.approx(f1_score(scale.encode(y), other.argmax(1), average="macro"))


def test_macro_f1_counts_the_values_that_are_said_or_given() -> None:
    """Of 1..5 only 3 and 4 are given and 4 and 5 said: F1 of 3, 4, 5 is 0, 4/5, 0; values 1 and 2 do not count."""
    truth = Truth(np.array([0, 0, 1, 1]), np.array([4.0, 4.0, 3.0, 3.0]), RatingScale())
    said = np.eye(5)[[3, 3, 3, 4]]
    found = measures(truth, Prediction.of(said, truth.scale))
    assert found["macro_f1"] == pytest.approx(2 * 2 / (2 + 3) / 3)
    constant = measures(truth, Prediction.of(np.eye(5)[[3, 3, 3, 3]], truth.scale))
    assert constant["macro_f1"] == pytest.approx((2 / 3 + 0) / 2)
    assert constant["accuracy"] == 0.5


def test_probability_scores_agree_with_loops() -> None:
    truth, p = world(1)
    found = measures(truth, Prediction.of(p, truth.scale))
    rps = brier = 0.0
    for row, y in zip(p, truth.rating, strict=True):
        rps += sum((row[:k].sum() - (y <= k)) ** 2 for k in range(1, 5)) / 4
        brier += sum((row[k - 1] - (y == k)) ** 2 for k in range(1, 6))
    assert found["rps"] == pytest.approx(rps / len(p))
    assert found["brier"] == pytest.approx(brier / len(p))


def brute_ece(confidence: Float, hit: NDArray[np.bool_]) -> float:
    total = 0.0
    for b in range(15):
        inside = (confidence >= b / 15) & ((confidence < (b + 1) / 15) | (b == 14))
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - hit[inside].mean())
    return total


def test_calibration_errors_agree_with_loops() -> None:
    truth, p = world(2)
    sharp = p**2 / (p**2).sum(1, keepdims=True)
    found = measures(truth, Prediction.of(sharp, truth.scale))
    hit = sharp.argmax(1) == truth.scale.encode(truth.rating)
    assert found["ece_top"] == pytest.approx(brute_ece(sharp.max(1), hit))
    assert found["ece_like"] == pytest.approx(brute_ece(sharp[:, 3:].sum(1), truth.rating >= 4))
    assert found["ece_top"] > measures(truth, Prediction.of(p, truth.scale))["ece_top"]


@pytest.mark.parametrize("scale", [RatingScale(), HALVES])
def test_w1_agrees_with_scipy(scale: RatingScale) -> None:
    truth, p = world(3, scale=scale)
    p = np.sort(p, axis=1)
    drawn = sample(p, scale, draws=3, seed=1)
    found = measures(truth, Prediction(scale.expectation(p), p, drawn))
    expected = wasserstein_distance(scale.array, truth.rating, p.mean(0))
    assert found["w1"] == pytest.approx(expected)
    assert found["sampled_w1"] == pytest.approx(np.mean([wasserstein_distance(d, truth.rating) for d in drawn]))


def brute_spread(truth: Truth, answer: Float) -> tuple[float, float]:
    rows = [np.flatnonzero(truth.user == u) for u in np.unique(truth.user)]
    within = [(np.var(answer[r], ddof=1), np.var(truth.rating[r], ddof=1)) for r in rows if len(r) > 1]
    between = [(answer[r].mean(), truth.rating[r].mean()) for r in rows]
    a, b = np.mean(within, axis=0)
    c, d = np.std(between, axis=0)
    return float(a / b), float(c / d)


def test_spread_of_draws_agrees_with_loops_and_expectation_with_many_draws() -> None:
    truth, p = world(4, n=150)
    drawn = sample(p, truth.scale, draws=1500, seed=0)
    found = measures(truth, Prediction(truth.scale.expectation(p), p, drawn))
    one = np.array([brute_spread(truth, d) for d in drawn])
    within, between = one.mean(axis=0)
    assert found["sampled_within_variance_ratio"] == pytest.approx(within)
    assert found["sampled_between_sd_ratio"] == pytest.approx(between)
    assert found["within_variance_ratio"] == pytest.approx(within, rel=0.01)
    assert found["between_sd_ratio"] == pytest.approx(np.sqrt(np.mean(one[:, 1] ** 2)), rel=0.01)
    assert found["rmse_sampled"] == pytest.approx(np.sqrt(np.mean((drawn - truth.rating) ** 2)), rel=0.01)


def test_real_ratings_as_answers_have_ratio_one_and_distance_zero() -> None:
    truth, _ = world(5)
    found = measures(truth, Prediction(truth.rating, draws=truth.rating[None]))
    for name in ("sampled_within_variance_ratio", "sampled_between_sd_ratio", "user_mean_correlation"):
        assert found[name] == pytest.approx(1)
    assert found["point_within_variance_ratio"] == pytest.approx(1)
    assert found["sampled_w1"] == found["rmse"] == 0


def test_user_means_correlate_as_scipy_says_and_a_constant_does_not() -> None:
    truth, p = world(6)
    point = truth.scale.expectation(p)
    users = np.unique(truth.user)
    pairs = np.array([(point[truth.user == u].mean(), truth.rating[truth.user == u].mean()) for u in users])
    assert measures(truth, Prediction(point))["user_mean_correlation"] == pytest.approx(pearsonr(*pairs.T).statistic)
    assert np.isnan(measures(truth, Prediction(np.full(len(point), 3.7)))["user_mean_correlation"])


def test_a_point_prediction_gets_no_measure_of_distributions() -> None:
    truth, p = world()
    names = set(measures(truth, Prediction(truth.scale.expectation(p))))
    assert names.isdisjoint({"nll", "rps", "mae_median", "w1", "within_variance_ratio", "off_scale", "sampled_w1"})


def test_off_scale_mass_and_shares() -> None:
    truth, p = world(7)
    prediction = Prediction.of(p, truth.scale, off_scale=np.linspace(0, 0.02, len(p)), draws=2)
    assert measures(truth, prediction)["off_scale"] == pytest.approx(0.01)
    found = shares(truth, prediction)
    assert found["real"] == pytest.approx([np.mean(truth.rating == k) for k in range(1, 6)])
    assert found["expected"] == pytest.approx(p.mean(0))
    assert all(v.sum() == pytest.approx(1) for v in found.values())
    assert np.abs(found["sampled"] - found["expected"]).max() < 0.05


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_order_of_pairs_and_names_of_users_do_not_matter(seed: int) -> None:
    truth, p = world(seed, n=60)
    order = np.random.default_rng(seed + 1).permutation(60)
    renamed = Truth(1000 - truth.user[order], truth.rating[order], truth.scale)
    first = measures(truth, Prediction.of(p, truth.scale))
    second = measures(renamed, Prediction.of(p[order], truth.scale))
    assert first == pytest.approx(second, nan_ok=True)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_resampling_totals_is_resampling_users(seed: int) -> None:
    truth, p = world(seed, n=80)
    rng = np.random.default_rng(seed)
    users = np.unique(truth.user)
    picked = rng.integers(len(users), size=len(users))
    rows = [np.flatnonzero(truth.user == users[u]) for u in picked]
    label = np.repeat(np.arange(len(picked)), [len(r) for r in rows])
    flat = np.concatenate(rows)
    drawn = sample(p, truth.scale, draws=2, seed=seed)
    literal = measures(
        Truth(label, truth.rating[flat], truth.scale),
        Prediction(p[flat] @ truth.scale.array, p[flat], drawn[:, flat]),
    )
    totals = statistics(truth, Prediction(p @ truth.scale.array, p, drawn))
    weight = np.bincount(picked, minlength=len(users))
    fast = {name: float(s.value(weight @ s.total / len(users))) for name, s in totals.items()}
    assert fast == pytest.approx(literal, nan_ok=True)


def test_table_pairs_predictors_and_tells_better_from_worse() -> None:
    truth, p = world(8, n=1000)
    uniform = np.full_like(p, 0.2)
    table = measure_all(
        truth,
        {
            "truth": Prediction.of(p, truth.scale),
            "twin": Prediction.of(p, truth.scale),
            "flat": Prediction.of(uniform, truth.scale),
        },
        baseline="flat",
        resamples=300,
    )
    assert table.users == 20
    assert table.pairs == 1000
    gap = table.difference["truth"]["nll"]
    assert gap.high < 0
    assert gap.mean == pytest.approx(table.value["truth"]["nll"].mean - np.log(5))
    assert all(table.difference["truth"][m] == table.difference["twin"][m] for m in ("rmse", "rps", "ece_top", "w1"))
    own = table.value["truth"]["nll"]
    assert own.low < own.mean < own.high
    assert own.high - own.low > gap.high - gap.low - 1e-9  # a flat predictor's NLL does not vary
    assert "flat" not in table.difference


def test_intervals_count_users_not_pairs() -> None:
    truth, _ = world(9, n=600)
    point = truth.rating + np.where(truth.user % 2, 1.5, 0.1)  # errors differ between users only
    interval = measure_all(truth, {"a": Prediction(point)}, baseline="a", resamples=500).value["a"]["rmse"]
    iid = np.std((point - truth.rating) ** 2) / np.sqrt(600) / 2 / interval.mean
    assert (interval.high - interval.low) / 3.92 > 2.5 * iid


def test_table_prints_and_serialises() -> None:
    truth, p = world(10, n=100)
    rows = {"model": Prediction.of(p, truth.scale), "constant": Prediction(np.full(100, 4.0))}
    table = measure_all(truth, rows, baseline="constant", resamples=200)
    text = table.to_markdown()
    assert "| model | " in text
    assert "100 pairs of" in text
    data: Any = table.to_json()
    assert data["value"]["constant"]["user_mean_correlation"]["mean"] is None
    assert data["difference"]["model"]["rmse"]["mean"] == table.difference["model"]["rmse"].mean
    assert "nll" not in data["value"]["constant"]
    frame = table.to_frame()
    assert len(frame) == sum(len(r) for r in table.value.values())
    assert table.to_json() == measure_all(truth, rows, baseline="constant", resamples=200).to_json()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"point": np.zeros(3)}, "point must have shape"),
        ({"p": np.full((100, 4), 0.25)}, "p must have shape"),
        ({"p": np.full((100, 5), 0.3)}, "must be a distribution"),
        ({"p": np.full((100, 5), np.nan)}, "must be a distribution"),
        ({"p": np.tile([1.2, -0.2, 0, 0, 0], (100, 1))}, "must be a distribution"),
        ({"off_scale": np.zeros(1)}, "off_scale must have shape"),
        ({"draws": np.ones(100)}, "draws must be"),
        ({"draws": np.full((1, 100), 2.5)}, "2.5 is not on the scale"),
        ({"point": np.full(100, np.nan)}, "100 numbers that are not finite"),
    ],
)
def test_bad_predictions_are_refused(change: dict[str, Float], words: str) -> None:
    truth, _ = world(11, n=100)
    with pytest.raises(DataError, match=words):
        measures(truth, Prediction(**({"point": np.full(100, 3.0)} | change)))


def test_unknown_baseline_is_refused() -> None:
    truth, _ = world(12, n=100)
    with pytest.raises(ConfigError, match="baseline 'MF' is not among the predictors a"):
        measure_all(truth, {"a": Prediction(np.full(100, 3.0))}, baseline="MF")
