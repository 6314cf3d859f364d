"""A visit page by page: nothing is un-seen, rows can be taken out and put back."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simenv.errors import ActionError
from simenv.session import Response, Session, Slate, StopReason, UserState, put_rows, take_rows
from simenv.testing.logs import tiny_log

LOG = tiny_log(6, 20)
quick = settings(max_examples=50, deadline=None)


def answer(slate: Slate) -> Response:
    b, k = slate.item.shape
    rated = np.where(slate.item % 2 == 0, 3.0, np.nan).astype(np.float32)
    p = np.full((b, k, 5), 0.2, np.float32)
    zero = np.zeros((b, k), np.float32)
    return Response(slate.item % 2 == 0, rated, np.zeros(b, bool), p, zero, np.zeros(b), zero)


@st.composite
def slates(draw: st.DrawFn) -> list[Slate]:
    users, places = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    page = st.lists(st.lists(st.integers(-1, 19), min_size=places, max_size=places), min_size=users, max_size=users)
    return [Slate.certain(np.array(p)) for p in draw(st.lists(page, min_size=1, max_size=4))]


@quick
@given(slates())
def test_after_never_unsees(pages: list[Slate]) -> None:
    users = np.arange(len(pages[0].item))
    session = Session.begin(users, LOG)
    for number, slate in enumerate(pages, start=1):
        before = session.seen()
        session = session.after(slate, answer(slate))
        seen = session.seen()
        assert (seen >= before).all()
        for row in range(len(users)):
            new = set(np.flatnonzero(seen[row] & ~before[row]))
            assert new == {int(i) for i in slate.item[row] if i >= 0 and not before[row, i]}
        assert (session.page == number).all()
    assert session.shown.shape == session.consumed.shape == session.rating.shape


def test_seen_begins_with_the_past() -> None:
    session = Session.begin(np.array([4, 1]), LOG)
    for row, user in enumerate((4, 1)):
        assert set(np.flatnonzero(session.seen()[row])) == set(LOG.history(user)[0].tolist())
    assert (session.available() == ~session.seen()).all()


@quick
@given(st.lists(st.integers(-1, 19), min_size=1, max_size=8))
def test_available_is_unseen_and_a_candidate(candidate: list[int]) -> None:
    session = Session.begin(np.array([2]), LOG, np.array([candidate]))
    expected = {c for c in candidate if c >= 0} - set(LOG.history(2)[0].tolist())
    assert set(np.flatnonzero(session.available()[0])) == expected


def equal(a: object, b: object) -> bool:
    return all(
        np.array_equal(x, y, equal_nan=np.asarray(x).dtype.kind == "f") if isinstance(x, np.ndarray) else x == y
        for x, y in ((getattr(a, f.name), getattr(b, f.name)) for f in fields(a))  # type: ignore[arg-type]
    )


def visit(users: list[int], pages: int, places: int = 2) -> Session:
    session = Session.begin(np.array(users), LOG, np.tile(np.arange(10), (len(users), 1)))
    for page in range(pages):
        slate = Slate.certain(np.tile(np.arange(places) + places * page, (len(users), 1)))
        session = session.after(slate, answer(slate))
    return session


@quick
@given(st.sets(st.integers(0, 4), min_size=1))
def test_rows_taken_out_and_put_back_change_nothing(rows: set[int]) -> None:
    batch, place = visit([0, 1, 2, 3, 4], 2), np.array(sorted(rows))
    assert equal(put_rows(batch, place, take_rows(batch, place)), batch)
    level = np.arange(5) / 3.0
    state = UserState(
        user=np.arange(5),
        key=np.arange(5).astype(np.uint64),
        page=np.ones(5, np.int64),
        utility=level,
        best=level + 1,
        repeat=level / 2,
        fatigue=np.arange(5),
        frailty=-level,
        shown=np.arange(10).reshape(5, 2),
    )
    assert equal(put_rows(state, place, take_rows(state, place)), state)


def test_a_fresh_visit_replaces_a_long_one_and_leaves_no_trace() -> None:
    batch = visit([0, 1, 2], 3)
    merged = put_rows(batch, np.array([1]), visit([5], 0))
    assert merged.user.tolist() == [0, 5, 2]
    assert merged.page.tolist() == [3, 0, 3]
    assert (merged.shown[1] == -1).all()
    assert np.isnan(merged.rating[1]).all()
    assert not merged.consumed[1].any()
    assert (merged.seen()[1] == Session.begin(np.array([5]), LOG).seen()[0]).all()
    others = np.array([0, 2])
    for name in ("user", "page", "shown", "consumed", "candidate"):
        assert (getattr(merged, name)[others] == getattr(batch, name)[others]).all()
    assert (merged.seen()[others] == batch.seen()[others]).all()


def test_a_longer_row_widens_the_batch() -> None:
    merged = put_rows(visit([0, 1], 1), np.array([0]), visit([3], 3))
    assert merged.shown.shape == (2, 6)
    assert merged.shown[1].tolist() == [0, 1, -1, -1, -1, -1]


@pytest.mark.parametrize(
    ("item", "propensity", "size", "words"),
    [
        ([[0, 20]], [[1, 1]], None, "item number 20, but items are 0..19"),
        ([[0, -2]], [[1, 1]], None, "item number -2"),
        ([[0, 1]], [[1, 1]], 3, "expected slates of 3 places; got 2"),
        ([0, 1], [1, 1], None, "one shape"),
        ([[0, 1]], [[1]], None, "one shape"),
        ([[0, 1]], [[0, 1]], None, "propensities must lie in"),
        ([[0, 1]], [[1, 1.5]], None, "propensities must lie in"),
        ([[0, 1]], [[1, float("nan")]], None, "propensities must lie in"),
    ],
)
def test_bad_slates(item: list[int], propensity: list[float], size: int | None, words: str) -> None:
    with pytest.raises(ActionError, match=words):
        Slate(np.array(item), np.array(propensity, float)).check(20, size)


def test_only_our_own_caps_truncate() -> None:
    assert [r for r in StopReason if not r.terminated] == [StopReason.PAGE_CAP, StopReason.VISIT_CAP]
