from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv import Index, RatingScale, Record, Response, Slate
from simenv.errors import ConfigError
from simenv.record import Page

USERS = Index((11, 12, 13, 14), "user")
ITEMS = Index(("a", "b", "c"), "item")


def make(policy: str, quality: float, user: NDArray[np.int64] | None = None, pages: int = 2, seed: int = 0) -> Record:
    """Return a record in which the first user leaves after one page; the second place is empty on page 0."""
    record = Record(USERS, ITEMS, RatingScale(), policy, seed)
    user = np.arange(4) if user is None else user
    for page in range(pages):
        rows = np.arange(len(user)) if page == 0 else np.arange(1, len(user))
        size = len(rows)
        item = np.tile([[0, -1] if page == 0 else [1, 2]], (size, 1))
        p = np.zeros((size, 2, 5), np.float32)
        like = quality - 0.1 * user[rows]
        p[..., 4], p[..., 0] = like[:, None], 1 - like[:, None]
        p[item < 0] = np.nan
        rating = np.where(item == 0, 4.0, np.nan).astype(np.float32)
        zero = np.zeros((size, 2), np.float32)
        exits = rows == 0
        response = Response(item == 0, rating, exits, p, zero, np.full(size, 0.1), zero + 7)
        record = record.with_page(Page(user[rows], rows, np.full(size, page), Slate.certain(item), response))
    return record


def test_flat_columns_hold_what_the_frame_holds() -> None:
    record = make("x", 0.9)
    shown, frame = record.shown(), record.to_frame()
    assert len(frame) == len(shown.item) == 4 + 6
    assert [ITEMS.ids[i] for i in shown.item] == frame["item"].tolist()
    assert [USERS.ids[u] for u in shown.user[shown.row]] == frame["user"].tolist()
    assert shown.expected == pytest.approx(frame["expected"].to_numpy())
    assert shown.pages.tolist() == [1, 2, 2, 2]
    assert shown.places.tolist() == [2, 4, 4, 4]


def test_visits_of_one_user_stay_apart() -> None:
    shown = make("x", 0.9, np.array([2, 2, 1, 1])).shown()
    assert shown.user.tolist() == [2, 2, 1, 1]
    assert np.bincount(shown.row).tolist() == [1, 3, 3, 3]


def test_an_empty_record_has_no_columns_but_the_right_types() -> None:
    shown = Record(USERS, ITEMS, RatingScale(), "x", 0).shown()
    assert len(shown.user) == len(shown.item) == 0
    assert shown.consumed.dtype == bool
    assert shown.mean(shown.expected).shape == (0,)


def test_mean_leaves_unknown_out() -> None:
    shown = make("x", 0.9).shown()
    assert shown.mean(shown.rating).tolist() == [4.0] * 4
    assert np.isnan(shown.mean(np.full(len(shown.item), np.nan))).all()


def test_interactions_are_what_was_rated() -> None:
    log = make("x", 0.9).interactions()
    assert log.simulated
    assert log.to_frame()[["user", "item"]].to_numpy().tolist() == [[u, "a"] for u in USERS.ids]


def test_report_names_the_better_one_and_by_how_much() -> None:
    report = make("mine", 0.9).report([make("base", 0.8)])
    assert (
        report.verdict
        == "mine serves these users best: +0.40 (+0.40..+0.40) expected rating per shown place over base."
    )
    against = report.sections[1].rows[0]
    assert against["against"] == "base"
    assert against["pages"].mean == 0.0  # type: ignore[union-attr]
    assert report.sections[0].rows[0]["pages"].mean == pytest.approx(1.75)  # type: ignore[union-attr]
    assert "mine: 0, base: 0" in report.provenance["seeds"]


def test_report_alone_and_against_itself() -> None:
    record = make("mine", 0.9)
    assert "nothing to compare" in record.report().verdict
    twice = record.report([record])
    assert twice.verdict.startswith("Tie between mine and mine #2")
    assert "<svg" in twice.to_html()


def test_users_may_stand_in_another_order() -> None:
    one, two = make("a", 0.9), make("b", 0.9, np.array([3, 2, 1, 0]))
    assert one.report([two]).verdict.startswith("Tie between a and b")


def test_unlike_records_are_not_compared() -> None:
    one = make("mine", 0.9)
    with pytest.raises(ConfigError, match="4 users and base with 2, 2 of them in both"):
        one.report([make("base", 0.9, np.array([0, 1]))])
    with pytest.raises(ConfigError, match="other users, items or scales"):
        one.report([replace(make("base", 0.9), items=Index(("a", "b", "z"), "item"))])
    with pytest.raises(ConfigError, match="record of base is empty"):
        one.report([Record(USERS, ITEMS, RatingScale(), "base", 0)])
    with pytest.raises(ConfigError, match="at least two users"):
        make("mine", 0.9, np.array([1])).report()
