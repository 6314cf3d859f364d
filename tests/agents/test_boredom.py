import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simenv.agents.boredom import Boredom, kinds_of
from simenv.errors import ConfigError
from simenv.index import Index
from simenv.testing.logs import tiny_catalogue

KINDS = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [np.sqrt(0.5), np.sqrt(0.5)], [0.0, 0.0]])
"""Two items of kind A, one of B, one of both, one of none."""
none = np.zeros((1, 2))


def test_kinds_are_unit_rows_and_their_product_a_cosine() -> None:
    catalogue = tiny_catalogue(Index(("a", "b", "c"), "item"))
    kinds = kinds_of(catalogue)
    assert kinds.shape == (3, 4)
    np.testing.assert_allclose(kinds @ kinds.T, [[1, 0, 1], [0, 1, 0], [1, 0, 1]], atol=1e-12)


def test_places_above_count_as_shown_just_before() -> None:
    boredom = Boredom(repeat=0.0, kind=2.0, keep=0.5)
    lost, after = boredom.loss(np.array([[0, 1, 2, 3]]), KINDS, none, np.zeros((1, 4)))
    # Exposure before each place: (0, 0), (.5, 0), (.75, 0), (.375, .5)
    np.testing.assert_allclose(lost, [[0, 2 * 0.5, 0, 2 * np.sqrt(0.5) * 0.875]])
    np.testing.assert_allclose(after, [[0.1875 + np.sqrt(0.125), 0.25 + np.sqrt(0.125)]])


def test_an_empty_place_and_an_item_without_genres() -> None:
    boredom = Boredom(repeat=1.0, kind=1.0, keep=0.5)
    start = np.array([[0.8, 0.2]])
    lost, after = boredom.loss(np.array([[-1, 4]]), KINDS, start, np.array([[1.0, 0.0]]))
    assert lost.tolist() == [[0, 0]]
    np.testing.assert_allclose(after, start / 2)  # the item of no kind is a break, the empty place is none


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-1, 4), min_size=1, max_size=12), st.floats(0, 0.99), st.integers(1, 11))
def test_one_page_of_many_places_equals_many_pages(items: list[int], keep: float, cut: int) -> None:
    boredom, item = Boredom(repeat=0.3, kind=1.0, keep=keep), np.array([items])
    fresh = np.linspace(0, 1, len(items))[None]
    whole, after = boredom.loss(item, KINDS, none, fresh)
    one, mid = boredom.loss(item[:, :cut], KINDS, none, fresh[:, :cut])
    two, end = boredom.loss(item[:, cut:], KINDS, mid, fresh[:, cut:])
    np.testing.assert_allclose(np.concatenate([one, two], axis=1), whole)
    np.testing.assert_allclose(end, after)
    assert (whole >= 0).all()
    assert (whole <= 0.3 + 1.0 + 1e-12).all()


def test_freshness_by_visit() -> None:
    boredom = Boredom(half_life=2.0)
    item = np.array([[7, 8, 9, 7, -1]])
    shown = np.concatenate([np.array([[9, 5]]), item], axis=1)
    seen, age = np.array([[-1, 8, 8]]), np.array([[0.0, 4.0, 2.0]])
    fresh = boredom.fresh(item, shown, seen, age)
    assert fresh.tolist() == [[0.0, 0.5, 1.0, 1.0, 0.0]]
    nothing = boredom.fresh(item[:, :2], item[:, :2], np.zeros((1, 0), np.int64), np.zeros((1, 0)))
    assert nothing.tolist() == [[0, 0]]


def test_the_sweep_scales_both_losses_and_nothing_else() -> None:
    half = Boredom(repeat=0.5, kind=0.4).scaled(0.5)
    assert half == Boredom(repeat=0.25, kind=0.2)
    assert Boredom(tag={"kind": "measured"}).assumption["boredom.kind"] == "measured 0.2"
    assert Boredom().assumption["boredom.repeat"] == "assumed 0.5"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": np.inf}, "finite"),
        ({"keep": 1.0}, r"keep in \[0, 1\)"),
        ({"half_life": 0.0}, "half_life > 0"),
        ({"capacity": 0}, "capacity >= 1"),
    ],
)
def test_bad_numbers_are_named(changes: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Boredom(**changes)  # type: ignore[arg-type]
