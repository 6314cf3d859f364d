"""TableRatingModel: the answers of the model behind it, kept exactly but for a stated rounding, and safely."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.agents.synthetic import true_population
from simenv.agents.table import UNIT, TableRatingModel, compile_table, counts
from simenv.datasets.synthetic import generate
from simenv.errors import StoreError, UnknownIdError
from simenv.play import episode_key
from simenv.protocols import Answer, RatingModel
from simenv.scale import RatingScale
from simenv.session import Slate

WORLD = generate(3, n_users=30, n_items=40)
POPULATION = true_population(WORLD)
USER, ITEM = np.array([7, 3, 21]), np.array([5, 0, 39, 12])


@dataclass
class Counting:
    """Counts the users it is asked about, and may break down."""

    inner: RatingModel
    breaks_after: int = 10**9
    asked: list[int] = field(default_factory=list)

    @property
    def scale(self) -> RatingScale:
        return self.inner.scale

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        if len(self.asked) >= self.breaks_after:
            raise KeyboardInterrupt
        self.asked.extend(np.unique(user).tolist())
        return self.inner.rate(user, item)


def pairs() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.repeat(USER, len(ITEM)), np.tile(ITEM, len(USER))


def test_a_table_answers_as_the_model_behind_it(tmp_path: Path) -> None:
    model = POPULATION.rating_model
    table = compile_table(model, USER, ITEM, tmp_path / "t", rows=2)
    got, wanted = table.rate(*pairs()), model.rate(*pairs())
    assert np.abs(got.p - wanted.p).max() < 1 / UNIT + 1e-7
    np.testing.assert_allclose(got.p.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(got.off_scale, wanted.off_scale, atol=1e-3)
    np.testing.assert_array_equal(got.support, wanted.support)


@given(st.lists(st.lists(st.floats(0, 1), min_size=5, max_size=5).filter(lambda p: sum(p) > 0.01), min_size=1))
def test_counts_sum_to_one_and_are_near(p: list[list[float]]) -> None:
    exact = np.array(p) / np.array(p).sum(axis=1, keepdims=True)
    got = counts(np.array(p))
    assert (got.sum(axis=1) == UNIT).all()
    assert np.abs(got / UNIT - exact).max() <= 1 / UNIT + 1e-12


def test_interrupted_work_goes_on_and_asks_nobody_twice(tmp_path: Path) -> None:
    first = Counting(POPULATION.rating_model, breaks_after=2)
    with pytest.raises(KeyboardInterrupt):
        compile_table(first, USER, ITEM, tmp_path, rows=1)
    with pytest.raises(StoreError, match="holds 2 of 3 users; compile again"):
        TableRatingModel.load(tmp_path, first.scale)
    second, seen = Counting(POPULATION.rating_model), []
    table = compile_table(second, USER, ITEM, tmp_path, rows=1, show=lambda done, of: seen.append((done, of)))
    assert (first.asked, second.asked) == ([3, 7], [21])
    assert seen == [(1, 3), (2, 3), (3, 3)]
    whole = compile_table(POPULATION.rating_model, USER, ITEM, tmp_path / "whole")
    np.testing.assert_array_equal(table.rate(*pairs()).p, whole.rate(*pairs()).p)


def test_what_is_not_in_the_table(tmp_path: Path) -> None:
    table = compile_table(POPULATION.rating_model, USER, ITEM, tmp_path)
    assert table.holds(np.array([7, 7, 8]), np.array([5, 6, 5])).tolist() == [True, False, False]
    with pytest.raises(UnknownIdError, match=r"user number 8 is not in the table .* compile with more users"):
        table.rate(np.array([7, 8]), np.array([5, 5]))
    for item in (6, 400, -1):
        with pytest.raises(UnknownIdError, match=f"item number {item} is not in the table"):
            table.rate(np.array([7]), np.array([item]))


@pytest.mark.parametrize(
    ("user", "item", "told", "words"),
    [
        (USER[:2], ITEM, "a", "a table of other users"),
        (USER, ITEM[:2], "a", "a table of other items"),
        (USER, ITEM, "b", "a table of another population"),
    ],
)
def test_a_folder_of_another_table_is_refused(
    tmp_path: Path, user: NDArray[np.int64], item: NDArray[np.int64], told: str, words: str
) -> None:
    compile_table(POPULATION.rating_model, USER, ITEM, tmp_path, told="a")
    with pytest.raises(StoreError, match=words):
        compile_table(POPULATION.rating_model, user, item, tmp_path, told=told)


def test_no_table_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no table of answers"):
        TableRatingModel.load(tmp_path, WORLD.log.scale)


def test_a_compiled_population_plays_the_same_visits(tmp_path: Path) -> None:
    """Ratings are the same draws unless luck falls into the rounding; consumption and exit follow the means."""
    table = POPULATION.compile(tmp_path)
    user = POPULATION.member[:20]
    slate = Slate.certain(np.random.default_rng(0).integers(0, 40, (20, 8)))
    states = [p.begin(user, episode_key(1, user)) for p in (POPULATION, table)]
    one, other = (p.respond(s, slate)[0] for p, s in zip((POPULATION, table), states, strict=True))
    assert np.mean(one.consumed != other.consumed) < 0.01
    both = one.consumed & other.consumed
    assert np.mean(one.rating[both] != other.rating[both]) < 0.01
    np.testing.assert_allclose(one.p_exit, other.p_exit, atol=1e-3)
