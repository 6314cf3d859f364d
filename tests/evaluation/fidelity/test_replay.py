"""Replay: the held-out pairs before the users, in any order and on pages of any width."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.agents.synthetic import checkerboard, true_population
from simenv.datasets.synthetic import World, generate
from simenv.errors import DataError, UnknownIdError
from simenv.evaluation.fidelity.replay import replay
from simenv.session import Response, Slate, UserState


@pytest.fixture(scope="module")
def small() -> World:
    return generate(3, n_users=30, n_items=40, median_history=25)


def test_the_answers_are_the_rating_models_in_the_order_given(small: World) -> None:
    order = np.random.default_rng(0).permutation(len(small.log))[:200]
    user, item = small.log.user[order], small.log.item[order]
    said = replay(true_population(small), user, item)
    assert np.allclose(said.p, small.truth.p(user, item), atol=1e-6)
    assert (said.support == 30).all()
    assert (said.off_scale == 0).all()


@given(st.integers(1, 30), st.integers(0, 5))
def test_width_and_luck_change_nothing(width: int, seed: int) -> None:
    user, item = np.array([3, 0, 3, 3, 1, 0, 3]), np.array([4, 4, 5, 6, 1, 2, 4])  # user 3 meets item 4 twice
    said = replay(checkerboard(), user, item, width=width, seed=seed)
    liked = (user + item) % 2 == 0
    assert (said.p.argmax(axis=1) == np.where(liked, 4, 0)).all()


def test_nobody_is_asked_about_empty_places_alone() -> None:
    pages: list[NDArray[np.int64]] = []
    replay(_watched(checkerboard(), pages), np.array([0, 1, 1, 1]), np.array([9, 8, 7, 6]), width=2)
    assert [p.tolist() for p in pages] == [[[9, -1], [8, 7]], [[6]]]


def test_no_pairs_at_all() -> None:
    said = replay(checkerboard(), np.empty(0, np.int64), np.empty(0, np.int64))
    assert said.p.shape == (0, 5)


def test_strangers_are_refused() -> None:
    with pytest.raises(UnknownIdError, match="not simulated here"):
        replay(checkerboard().with_(member=np.array([0, 1])), np.array([2]), np.array([0]))


@pytest.mark.parametrize(("user", "width"), [([0, 1], 1), ([0], 0)])
def test_what_cannot_be_shown(user: list[int], width: int) -> None:
    with pytest.raises(DataError, match=r"replay wants users \[N\]"):
        replay(checkerboard(), np.array(user), np.array([1]), width=width)


@pytest.mark.parametrize("spoil", [np.nan, 0.5, -1.0])
def test_an_answer_that_is_no_distribution(spoil: float) -> None:
    with pytest.raises(DataError, match="no distribution"):
        replay(_watched(checkerboard(), [], spoil), np.array([0]), np.array([1]))


@dataclass(frozen=True)
class _Watched:
    inner: Any
    pages: list[NDArray[np.int64]]
    spoil: float | None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def respond(self, state: UserState, slate: Slate) -> tuple[Response, UserState]:
        self.pages.append(slate.item)
        response, after = self.inner.respond(state, slate)
        if self.spoil is not None:
            p = response.p_rating.copy()
            p[:, 0, 0] = self.spoil
            response = replace(response, p_rating=p)
        return response, after


def _watched(inner: Any, pages: list[NDArray[np.int64]], spoil: float | None = None) -> Any:
    return _Watched(inner, pages, spoil)
