"""What a page is worth, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from simenv.errors import ConfigError
from simenv.rewards import REWARDS, LongTerm, by_name, consumed, expected, rating, retention, satisfaction
from simenv.scale import RatingScale
from simenv.session import Response, Slate

NAN = np.nan
SCALE = RatingScale((1.0, 2.0, 5.0))


def page() -> tuple[Response, Slate]:
    """Return two users: one took 5 and 2 and skipped one of three, one was shown nothing."""
    p = np.full((2, 4, 3), NAN, np.float32)
    p[0, 0], p[0, 1], p[0, 3] = (0, 0, 1), (0.5, 0.5, 0), (1, 0, 0)
    given = np.array([[5, 2, NAN, NAN], [NAN] * 4], np.float32)
    took = np.array([[True, True, False, False], [False] * 4])
    zero = np.zeros((2, 4), np.float32)
    return Response(took, given, np.zeros(2, bool), p, zero, np.zeros(2), zero), Slate.certain(
        np.array([[7, 3, -1, 5], [-1, -1, -1, -1]])
    )


def test_rewards_by_hand() -> None:
    response, slate = page()
    np.testing.assert_allclose(rating(response, slate, SCALE), [3.5, 0])
    np.testing.assert_allclose(expected(response, slate, SCALE), [(5 + 1.5 + 1) / 3, 0])
    np.testing.assert_allclose(consumed(response, slate, SCALE), [2 / 3, 0])
    np.testing.assert_allclose(satisfaction(response, slate, SCALE), [(1 - 0.5 + 0) / 3, 0])
    np.testing.assert_allclose(retention(response, slate, SCALE), [1, 0])
    np.testing.assert_allclose(LongTerm()(response, slate, SCALE), [(1 - 0.5 + 0) / 3, 0])


@pytest.mark.parametrize("name", REWARDS)
def test_order_of_users_and_places_does_not_matter(name: str) -> None:
    response, slate = page()
    order = [3, 1, 0, 2]
    turned = Response(
        response.consumed[::-1, order],
        response.rating[::-1, order],
        response.exit,
        response.p_rating[::-1, order],
        response.off_scale,
        response.p_exit,
        response.support,
    )
    want = REWARDS[name](response, slate, SCALE)
    got = REWARDS[name](turned, Slate.certain(slate.item[::-1, order]), SCALE)
    np.testing.assert_allclose(got, want[::-1])
    assert got.dtype == np.float64


def test_taken_but_not_rated_counts_as_taken_only() -> None:
    response, slate = page()
    response.rating[0, 1] = NAN
    np.testing.assert_allclose(rating(response, slate, SCALE), [5, 0])
    np.testing.assert_allclose(consumed(response, slate, SCALE), [2 / 3, 0])


def test_unknown_names_are_told_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="reward 'click' is unknown; names are rating, expected, consumed, satisf"):
        by_name("click")
    assert by_name("rating") is rating
    assert by_name(consumed) is consumed
