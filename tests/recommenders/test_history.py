"""What counts as taste: past and visit, the latest rating, zeros included."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from simenv.recommenders import history
from simenv.recommenders.history import Like
from simenv.session import Session

NAN = np.nan


def session() -> Session:
    """Two users, five items: the first rated 0, then 1 twice; in the visit 2 is only shown, 3 unrated, 4 rated."""
    return Session(
        user=np.array([0, 1]),
        past_item=np.array([[0, 1, 1], [-1, -1, -1]]),
        past_rating=np.array([[0, 2, 4], [NAN, NAN, NAN]], np.float32),
        shown=np.array([[2, 3, 4], [0, -1, -1]]),
        consumed=np.array([[False, True, True], [False, False, False]]),
        rating=np.array([[NAN, NAN, 5], [NAN, NAN, NAN]], np.float32),
        page=np.array([1, 1]),
        n_items=5,
    )


def test_ratings_are_the_latest_and_a_zero_is_one() -> None:
    rated = history.ratings(session())
    assert history.count(rated).tolist() == [3, 0]
    assert rated.indices.tolist() == [0, 1, 4]
    assert rated.data.tolist() == [0, 4, 5]


def test_a_rating_of_this_visit_replaces_that_of_the_past() -> None:
    seen = session()
    seen.shown[0, 2] = 1
    assert history.ratings(seen).toarray()[0].tolist() == [0, 5, 0, 0, 0]


def test_mean_shrinks_to_the_prior() -> None:
    rated = history.ratings(session())
    assert history.mean(rated).tolist() == [3, 0]
    assert history.mean(rated, prior=5, weight=1).tolist() == [3.5, 5]


def test_centred_takes_the_shrunk_mean_off() -> None:
    out = history.centred(history.ratings(session()), 5, 1)
    assert out.data.tolist() == [-3.5, 0.5, 1.5]


@pytest.mark.parametrize(("like", "items"), [("own_mean", [1, 4]), ("all", [0, 1, 4]), (5.0, [4]), (6.0, [])])
def test_liked(like: Like, items: list[int]) -> None:
    out = history.liked(history.ratings(session()), like)
    assert out.indices.tolist() == items
    assert (out.data == 1).all()


def test_equal_ratings_are_all_liked() -> None:
    same = csr_matrix(np.full((1, 7), 0.1))
    assert history.count(history.liked(same, "own_mean")).tolist() == [7]
