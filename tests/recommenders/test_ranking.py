"""top: the best available items, ties by number, whatever the scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from simenv.errors import ActionError
from simenv.recommenders.ranking import cold, inner, top
from simenv.session import Session
from simenv.testing.logs import tiny_log

LOG = tiny_log(4, 10)
SESSION = Session.begin(np.arange(4), LOG)
FRESH = Session.begin(np.arange(4), LOG.take(np.zeros(len(LOG), bool)))
values = st.sampled_from([-np.inf, -1.0, -0.0, 0.0, 0.5, 2.0, np.inf, np.nan])


@given(arrays(np.float64, (4, 10), elements=values), st.integers(1, 13), st.booleans())
def test_top_is_the_plain_sort(score: np.ndarray[tuple[int, int], np.dtype[np.float64]], k: int, fresh: bool) -> None:
    session = FRESH if fresh else SESSION
    shown = top(score, session, k).item
    for row, free in enumerate(session.available()):
        allowed = [i for i in np.flatnonzero(free) if score[row, i] > -np.inf]
        plain = sorted(allowed, key=lambda i: (-score[row, i], i))[:k]
        assert shown[row].tolist() == plain + [-1] * (k - len(plain))


def test_equal_scores_come_in_the_order_of_items() -> None:
    assert top(np.zeros((4, 10)), FRESH, 3).item.tolist() == [[0, 1, 2]] * 4


def test_only_candidates_are_shown() -> None:
    candidate = np.array([[7, 3, -1], [9, -1, -1], [-1, -1, -1], [0, 1, 2]])
    shown = top(np.tile(np.arange(10.0), (4, 1)), replace(FRESH, candidate=candidate), 2)
    assert shown.item.tolist() == [[7, 3], [9, -1], [-1, -1], [2, 1]]
    shown.check(10, 2)


def test_no_user_is_no_error() -> None:
    nobody = Session.begin(np.zeros(0, np.int64), LOG)
    assert top(np.zeros((0, 10)), nobody, 3).item.shape == (0, 3)


def test_wrong_shape_is_refused() -> None:
    with pytest.raises(ActionError, match=r"expected scores of shape \[B, I\] = \(4, 10\); got \(10,\)"):
        top(np.zeros(10), FRESH, 3)


def test_no_places_are_refused() -> None:
    with pytest.raises(ActionError, match="at least one place; got k = 0"):
        top(np.zeros((4, 10)), FRESH, 0)


def test_inner_has_the_same_bits_in_any_batch() -> None:
    draw = np.random.default_rng(0)
    user, item = draw.normal(size=(33, 7)).astype(np.float32), draw.normal(size=(101, 7)).astype(np.float32)
    whole = inner(user, item)
    np.testing.assert_allclose(whole, user @ item.T, rtol=1e-4, atol=1e-5)
    for start in (0, 5, 32):
        np.testing.assert_array_equal(inner(user[start : start + 4], item), whole[start : start + 4])


def test_cold_replaces_only_rows_without_evidence() -> None:
    out = cold(np.ones((2, 3)), np.array([True, False]), np.array([3.0, 2.0, 1.0]))
    assert out.tolist() == [[1, 1, 1], [3, 2, 1]]
