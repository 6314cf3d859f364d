"""The scale against brute force: which answer minimises which loss."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.scale import RatingScale

HALVES = RatingScale(tuple(float(v) for v in np.arange(1, 11) / 2))
scales = st.sampled_from([RatingScale(), HALVES, RatingScale((0.0, 1.0)), RatingScale((-1.5, 0.1, 4.4))])
quick = settings(max_examples=80, deadline=None)


@st.composite
def distributions(draw: st.DrawFn) -> tuple[RatingScale, NDArray[np.float64]]:
    scale = draw(scales)
    weights = draw(st.lists(st.integers(0, 8), min_size=len(scale), max_size=len(scale)).filter(sum))
    return scale, np.array(weights) / sum(weights)


@quick
@given(distributions())
def test_the_mean_minimises_squared_error(case: tuple[RatingScale, NDArray[np.float64]]) -> None:
    scale, p = case

    def loss(x: float) -> float:
        return float((p * (scale.array - x) ** 2).sum())

    mean = float(scale.expectation(p))
    assert all(loss(mean) <= loss(mean + step) + 1e-12 for step in (-0.5, -0.01, 0.01, 0.5))


@quick
@given(distributions())
def test_the_median_minimises_absolute_error(case: tuple[RatingScale, NDArray[np.float64]]) -> None:
    scale, p = case
    loss = [float((p * np.abs(scale.array - v)).sum()) for v in scale.values]
    median = float(scale.median(p))
    assert loss[scale.values.index(median)] == pytest.approx(min(loss))
    reached = [v for v, c in zip(scale.values, np.cumsum(p), strict=True) if c >= 0.5 - 1e-12]
    assert median == reached[0]


@quick
@given(distributions())
def test_sampling_gives_every_answer_its_share(case: tuple[RatingScale, NDArray[np.float64]]) -> None:
    scale, p = case
    u = (np.arange(2000) + 0.5) / 2000
    drawn = scale.sample(np.tile(p, (2000, 1)), u)
    share = [(drawn == v).mean() for v in scale.values]
    assert np.abs(share - p).max() < 2 / 2000
    assert (np.diff(drawn) >= 0).all()  # a quantile function never falls


@quick
@given(scales, st.floats(-10, 10))
def test_round_is_the_nearest_value(scale: RatingScale, x: float) -> None:
    assert abs(float(scale.round(x)) - x) == min(abs(v - x) for v in scale.values)


def test_ties_round_up() -> None:
    assert RatingScale().round([1.5, 2.5, 9.0, -9.0]).tolist() == [2, 3, 5, 1]


@quick
@given(scales)
def test_encode_finds_each_value_also_in_single_precision(scale: RatingScale) -> None:
    places = list(range(len(scale)))
    assert scale.encode(scale.array).tolist() == places
    assert scale.encode(scale.array.astype(np.float32)).tolist() == places


@pytest.mark.parametrize("rating", [0.0, 1.2, 6.0, float("nan"), float("inf")])
def test_a_rating_off_the_scale_is_named(rating: float) -> None:
    with pytest.raises(DataError, match=f"rating {rating:g} is not on the scale"):
        RatingScale().encode([1.0, rating])


@pytest.mark.parametrize(
    ("ratings", "values"),
    [
        ([0, 1], (0.0, 1.0)),
        ([2, 5], (1.0, 2.0, 3.0, 4.0, 5.0)),
        ([0, 5], (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)),
        ([0.5, 4], HALVES.values),
        ([1, 10], (1.0, 10.0)),
        ([-1, 1], (-1.0, 1.0)),
    ],
)
def test_infer_takes_the_narrowest_usual_scale(ratings: list[float], values: tuple[float, ...]) -> None:
    assert RatingScale.infer(ratings).values == values


BAD: list[tuple[Any, str]] = [
    (lambda: RatingScale((1.0,)), "at least two ascending"),
    (lambda: RatingScale((2.0, 1.0)), "at least two ascending"),
    (lambda: RatingScale((1.0, 1.0)), "at least two ascending"),
    (lambda: RatingScale((1.0, 2.0), ("a", "a")), "as many distinct symbols"),
    (lambda: RatingScale((1.0, 2.0), ("a",)), "as many distinct symbols"),
    (lambda: RatingScale.infer(np.arange(40)), "40 different values"),
    (lambda: RatingScale.infer([1.0, float("nan")]), "NaN or infinite"),
]


@pytest.mark.parametrize(("make", "words"), BAD)
def test_bad_scales(make: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        make()


def test_symbols_are_digits_where_they_can_be_else_letters() -> None:
    assert RatingScale().symbols == ("1", "2", "3", "4", "5")
    assert RatingScale().legend() == ""
    assert HALVES.symbols == tuple("ABCDEFGHIJ")
    assert HALVES.legend().startswith("A = 0.5, B = 1,")
    assert RatingScale((0.0, 1.0), ("N", "Y")).legend(["no", "yes"]) == "N = no, Y = yes"
