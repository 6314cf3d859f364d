import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simenv.agents.choice import Choice
from simenv.errors import ConfigError


def test_probability_is_position_times_attraction() -> None:
    choice = Choice(position_decay=0.5, intercept=0.0, slope=2.0)
    p = choice.probability(np.array([[3.0, 3.0, 4.0]]), np.array([3.0]))
    np.testing.assert_allclose(p, [[0.5, 0.25, 0.25 / (1 + np.exp(-2.0))]])


def test_consumption_has_that_probability() -> None:
    choice, draw = Choice(), np.random.default_rng(0)
    expected, mean = np.tile([4.5, 2.0, 3.5], (40_000, 1)), np.full(40_000, 3.0)
    taken = choice.consume(expected, mean, draw.random(expected.shape), draw.random(expected.shape))
    np.testing.assert_allclose(taken.mean(axis=0), choice.probability(expected, mean)[0], atol=0.01)


def test_an_empty_place_is_never_taken() -> None:
    choice = Choice(intercept=50.0, position_decay=1.0)
    taken = choice.consume(np.array([[np.nan, 3.0]]), np.array([3.0]), np.full((1, 2), 1e-9), np.full((1, 2), 1e-9))
    assert taken.tolist() == [[False, True]]


@settings(max_examples=50, deadline=None)
@given(st.floats(1, 5), st.floats(0.01, 2), st.floats(1, 5), st.integers(0, 2**32))
def test_a_better_item_is_taken_whenever_a_worse_one_is(worse: float, step: float, mean: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    look, take = draw.random((5, 4)), draw.random((5, 4))
    low = Choice().consume(np.full((5, 4), worse), np.full(5, mean), look, take)
    high = Choice().consume(np.full((5, 4), worse + step), np.full(5, mean), look, take)
    assert (high >= low).all()


def test_a_lower_place_is_examined_less() -> None:
    assert (np.diff(Choice().examined(10)) < 0).all()
    assert Choice().examined(3)[0] == 1


def test_every_number_says_where_it_comes_from() -> None:
    said = Choice(tag={"slope": "fitted"}).assumption
    assert said == {
        "choice.position_decay": "assumed 0.9",
        "choice.intercept": "assumed 0",
        "choice.slope": "fitted 1",
    }


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"position_decay": 0.0}, "position_decay must lie in"),
        ({"position_decay": 1.1}, "position_decay must lie in"),
        ({"slope": np.nan}, "must be finite"),
    ],
)
def test_bad_numbers_are_named(settings_: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Choice(**settings_)  # type: ignore[arg-type]
