import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve

from simenv.errors import ConfigError, DataError
from simenv.evaluation.fidelity.reliability import Bin, equal_mass, figure, reliability, top_reliability
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Truth
from simenv.scale import RatingScale

Float = NDArray[np.float64]
SCALE = RatingScale()


def world(seed: int = 0, n: int = 2000, users: int = 40) -> tuple[Truth, Float]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(5, 0.7), size=n)
    return Truth(rng.integers(users, size=n) * 3, SCALE.sample(p, rng.random(n)), SCALE), p


def test_bins_agree_with_sklearn() -> None:
    truth, p = world()
    found = reliability(truth, p, resamples=50)
    observed, predicted = calibration_curve(truth.rating >= 4, p[:, 3:].sum(axis=1), n_bins=10, strategy="quantile")
    assert [b.predicted for b in found] == pytest.approx(predicted.tolist())
    assert [b.observed.mean for b in found] == pytest.approx(observed.tolist())
    assert [b.pairs for b in found] == [200] * 10
    top = top_reliability(truth, p, bins=5, resamples=50)
    hit = p.argmax(axis=1) == truth.scale.encode(truth.rating)
    observed, predicted = calibration_curve(hit, p.max(axis=1), n_bins=5, strategy="quantile")
    assert [b.predicted for b in top] == pytest.approx(predicted.tolist())
    assert [b.observed.mean for b in top] == pytest.approx(observed.tolist())


def test_true_distributions_lie_on_the_line_and_overconfident_ones_do_not() -> None:
    inside = []
    for seed in range(5):
        truth, p = world(seed)
        inside += [b.observed.low <= b.predicted <= b.observed.high for b in reliability(truth, p, resamples=300)]
    assert np.mean(inside) > 0.84
    sharp = p**3 / (p**3).sum(axis=1, keepdims=True)
    found = reliability(truth, sharp, resamples=300)
    assert found[1].observed.low > found[1].predicted
    assert found[-2].observed.high < found[-2].predicted
    assert top_reliability(truth, sharp, resamples=300)[-1].observed.high < 0.99


def test_intervals_count_users() -> None:
    """Half of the users like everything, the others nothing: of a hundred ratings each, users are what is uncertain."""
    user = np.repeat(np.arange(20), 100)
    truth = Truth(user, np.where(user % 2, 5.0, 1.0), SCALE)
    found = reliability(truth, np.full((2000, 5), 0.2), resamples=500)
    assert len(found) == 1
    assert (found[0].pairs, found[0].users) == (2000, 20)
    assert found[0].observed.mean == 0.5
    assert found[0].observed.high - found[0].observed.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(20), rel=0.15)


def test_a_bin_of_one_user_has_no_interval() -> None:
    p = np.tile([0.2, 0.2, 0.2, 0.2, 0.2], (6, 1))
    p[:2] = [0, 0, 0, 0, 1]
    truth = Truth(np.array([0, 0, 1, 1, 2, 2]), np.array([5.0, 1, 1, 4, 4, 1]), SCALE)
    low, high = reliability(truth, p, resamples=100)
    assert (low.users, high.users) == (2, 1)
    assert (low.predicted, high.predicted, high.observed.mean) == pytest.approx((0.4, 1, 0.5))
    assert np.isnan([high.observed.low, high.observed.high]).all()
    assert np.isfinite([low.observed.low, low.observed.high]).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 10))
def test_groups_ascend_without_gaps_and_never_part_ties(value: list[int], bins: int) -> None:
    array = np.array(value)
    group = equal_mass(array, bins)
    assert sorted(set(group.tolist())) == list(range(group.max() + 1))
    assert group.max() < bins
    assert all(len(set(group[array == v].tolist())) == 1 for v in value)
    assert (np.diff(group[np.argsort(array, kind="stable")]) >= 0).all()


def test_distinct_values_are_cut_evenly() -> None:
    group = equal_mass(np.random.default_rng(0).permutation(100), 10)
    assert np.bincount(group).tolist() == [10] * 10


def test_the_diagram_is_drawn_of_the_bins_and_copes_with_missing_ends() -> None:
    bins = (Bin(0.2, Interval(0.3, 0.2, 0.4), 10, 5), Bin(0.8, Interval(0.7, np.nan, np.nan), 9, 1))
    found = figure("said and seen", {"simulator": bins, "user mean": bins[:1]})
    assert found.caption == "said and seen"
    assert all(word in found.svg for word in ("predicted probability", "observed share", "simulator", "user mean"))
    assert found.svg == figure("said and seen", {"simulator": bins, "user mean": bins[:1]}).svg
    moved = figure("said and seen", {"simulator": bins[:1], "user mean": bins[:1]})
    assert re.sub(r"\s", "", moved.svg) != re.sub(r"\s", "", found.svg)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"p": np.full((4, 4), 0.25)}, DataError, "p must be"),
        ({"p": np.full((4, 5), 0.3)}, DataError, "rows that sum to 1"),
        ({"p": np.full((4, 5), np.nan)}, DataError, "rows that sum to 1"),
        ({"bins": 0}, ConfigError, "bins must be 1 or more; got 0"),
        ({"level": 95}, ConfigError, "level must lie between"),
        ({"truth": Truth(np.zeros(4, np.int64), np.full(4, 3.0), SCALE)}, DataError, "at least 2 users"),
    ],
)
@pytest.mark.parametrize("measure", [reliability, top_reliability])
def test_bad_input_is_refused(measure: Any, change: dict[str, Any], error: type[Exception], words: str) -> None:
    good: dict[str, Any] = {"truth": Truth(np.arange(4), np.full(4, 3.0), SCALE), "p": np.full((4, 5), 0.2)}
    with pytest.raises(error, match=words):
        measure(**(good | change))
