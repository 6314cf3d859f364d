"""Visits and pages of a log: cut by silence, counted in pages, open where nobody saw the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simenv.errors import ConfigError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.pages import survival, visit_pages, visits
from simenv.scale import RatingScale


def log_of(time: list[int], user: list[int] | None = None) -> InteractionLog:
    n = len(time)
    user = user or [0] * n
    users, items = Index(tuple(range(max(user, default=0) + 1)), "user"), Index(tuple(range(n)), "item")
    return InteractionLog.of(users, items, user, range(n), [3.0] * n, time, RatingScale())


def test_a_visit_ends_with_half_an_hour_of_silence() -> None:
    log = log_of([0, 1800, 3601, 3601, 50, 60], user=[0, 0, 0, 0, 1, 1])
    assert visits(log).tolist() == [0, 0, 1, 1, 2, 2]
    assert visits(log, gap=3600).tolist() == [0, 0, 0, 0, 1, 1]


def test_the_pages_by_hand() -> None:
    table = visit_pages(log_of([0, 1, 2, 5000, 5001, 90_000]), page_size=2)
    assert table.visit.tolist() == [0, 0, 1, 2]
    assert table.page.tolist() == [1, 2, 1, 1]
    assert table.start.tolist() == [0, 2, 3, 5]
    assert table.size.tolist() == [2, 1, 2, 1]
    assert table.left.tolist() == [False, True, True, False]
    assert table.censored.tolist() == [False, False, False, True]
    assert [a.tolist() for a in table.length] == [[2, 1, 0], [False, False, True]]


def test_last_visits_left_or_cut_off() -> None:
    """By the log's own edge, by that of the log it is a part of, for some users, for all."""
    log = log_of([0, 5000, 90_000], user=[0, 0, 1])
    assert visit_pages(log).left.tolist() == [True, True, False]
    assert visit_pages(log, end=99_000).left.tolist() == [True, True, True]
    assert visit_pages(log, end=6000).left.tolist() == [True, False, False]
    assert visit_pages(log, end=99_000, unseen=np.array([True, False])).left.tolist() == [True, False, True]
    assert visit_pages(log, last="censored").left.tolist() == [True, False, False]


def test_without_times_there_are_no_visits() -> None:
    timeless = replace(log_of([0, 1]), time=None, time_note="none")
    for cut in (visits, visit_pages):
        with pytest.raises(ConfigError, match="visits need times and this log has none"):
            cut(timeless)


def test_nobody_came() -> None:
    table = visit_pages(log_of([]))
    assert [len(a) for a in (table.page, table.left, *table.length)] == [0, 0, 0, 0]


@given(step=st.lists(st.integers(0, 4000), max_size=60), page_size=st.integers(1, 7), seed=st.integers(0, 5))
def test_every_rating_is_on_one_page_of_one_visit(step: list[int], page_size: int, seed: int) -> None:
    user = np.sort(np.random.default_rng(seed).integers(3, size=len(step))).tolist()
    log = log_of(np.cumsum(step, dtype=np.int64).tolist(), user)
    table = visit_pages(log, page_size=page_size)
    assert table.size.sum() == len(log)
    np.testing.assert_array_equal(table.start, np.concatenate([[0], np.cumsum(table.size)])[: len(table.start)])
    assert ((table.size >= 1) & (table.size <= page_size)).all()
    ends = table.left | table.censored
    assert (table.size[~ends] == page_size).all()
    assert ends.sum() == len(np.unique(visits(log)))
    assert not (table.left & table.censored).any()


def test_survival_by_hand() -> None:
    curve = survival(np.array([1, 2, 2, 3, 4]), np.array([False, False, True, False, True]))
    np.testing.assert_allclose(curve, [1, 4 / 5, 4 / 5 * 3 / 4, 4 / 5 * 3 / 4 / 2, 4 / 5 * 3 / 4 / 2])
