"""What is known of visits, place by place and as a history, against the plainest way to say it."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.session import Response, Session, Slate
from simenv.slates import FREE, PAST, Known, recent, trimmed
from simenv.testing.logs import tiny_log

LOG = tiny_log(6, 20)
quick = settings(max_examples=40, deadline=None)


def answered(session: Session, item: NDArray[np.int64], rated: NDArray[np.bool_]) -> Session:
    zero, b = np.zeros(item.shape, np.float32), len(item)
    rating = np.where(rated & (item >= 0), item % 5 + 1, np.nan).astype(np.float32)
    p = np.zeros((*item.shape, 5), np.float32)
    response = Response(rated, rating, np.zeros(b, bool), p, zero, np.zeros(b), zero)
    return session.after(Slate.certain(item), response)


@st.composite
def visits(draw: st.DrawFn) -> Session:
    user = np.array(draw(st.lists(st.integers(0, 5), min_size=1, max_size=4)))
    session, seed = Session.begin(user, LOG), draw(st.integers(0, 99))
    rng = np.random.default_rng(seed)
    for _ in range(draw(st.integers(0, 3))):
        session = answered(session, rng.integers(-1, 20, (len(user), 3)), rng.random((len(user), 3)) < 0.5)
    return session


@quick
@given(visits(), st.integers(1, 12))
def test_recent_are_the_last_ratings(session: Session, width: int) -> None:
    item, rating = recent(session, width)
    assert item.shape == rating.shape == (len(session), width)
    for row in range(len(session)):
        past = zip(session.past_item[row].tolist(), session.past_rating[row].tolist(), strict=True)
        here = zip(session.shown[row].tolist(), session.rating[row].tolist(), strict=True)
        wanted = [(i, r) for i, r in [*past, *here] if not np.isnan(r)][-width:]
        n = len(wanted)
        assert list(zip(item[row, :n].tolist(), rating[row, :n].tolist(), strict=True)) == wanted
        assert (item[row, n:] == -1).all()
        assert np.isnan(rating[row, n:]).all()


@quick
@given(st.integers(0, 99))
def test_known_is_what_the_sessions_say(seed: int) -> None:
    rng = np.random.default_rng(seed)
    user, rows = np.array([0, 3, 5]), np.arange(3)
    session, known = Session.begin(user, LOG), Known(3, LOG.n_items, spent=True)
    known.begin(rows, session.past_item)
    past = session.seen()
    for _ in range(3):
        item = np.array([rng.permutation(20)[:4] for _ in user])
        item[session.seen()[rows[:, None], item]] = -1
        session = answered(session, item, item >= 0)
        known.show(rows, item)
        assert (known.seen() == session.seen()).all()
        assert (known.showable() == ~session.seen()).all()
        assert (known.left == (~session.seen()).sum(axis=1)).all()
        assert ((known.use == PAST)[:, :-1] == past).all()
        assert (known.use[:, -1] == FREE).all()
    known.begin(np.array([1]), Session.begin(np.array([4]), LOG).past_item)
    assert (known.seen()[1] == Session.begin(np.array([4]), LOG).seen()[0]).all()
    assert (known.seen()[[0, 2]] == session.seen()[[0, 2]]).all()


def test_where_repeats_are_answered_only_the_past_is_used_up() -> None:
    session, known, row = Session.begin(np.array([2]), LOG), Known(1, LOG.n_items, spent=False), np.arange(1)
    known.begin(row, session.past_item)
    free = np.flatnonzero(known.showable()[0])
    known.show(row, free[None, :3])
    assert np.flatnonzero(known.showable()[0]).tolist() == free.tolist()
    assert known.left.tolist() == [len(free)]
    assert known.seen()[0, free[:3]].all()


def test_columns_before_the_first_item_of_all_are_trimmed() -> None:
    session = Session.begin(np.array([0, 1]), LOG)
    for page in ([[-1, -1], [-1, -1]], [[-1, -1], [-1, 3]], [[4, -1], [5, 6]]):
        session = answered(session, np.array(page), np.ones((2, 2), bool))
    short = trimmed(session)
    assert short.shown.tolist() == [[-1, 4, -1], [3, 5, 6]]
    np.testing.assert_array_equal(short.rating, session.rating[:, 3:])
    assert short.consumed.shape == (2, 3)
    assert (short.seen() == session.seen()).all()
    assert trimmed(Session.begin(np.array([0]), LOG)).shown.shape == (1, 0)
