from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv import InteractionLog, Response, Session, Slate, UserState, play
from simenv.errors import ActionError
from simenv.index import Index
from simenv.play import episode_key
from simenv.randomness import Purpose, uniform
from simenv.scale import RatingScale
from simenv.testing.logs import tiny_log


@dataclass(frozen=True, eq=False)
class Users:
    """Consume and leave by luck alone."""

    log: InteractionLog
    leaving: float = 0.3

    @property
    def users(self) -> Index:
        return self.log.users

    @property
    def items(self) -> Index:
        return self.log.items

    @property
    def member(self) -> NDArray[np.int64]:
        return np.arange(self.log.n_users)

    @property
    def scale(self) -> RatingScale:
        return self.log.scale

    @property
    def assumption(self) -> dict[str, str]:
        return {}

    def begin(self, user: NDArray[np.int64], key: NDArray[np.uint64]) -> UserState:
        zero, whole = np.zeros(len(user)), np.zeros(len(user), np.int64)
        return UserState(user, key, whole, zero, zero, zero, whole, zero, np.zeros((len(user), 0), np.int64))

    def respond(self, state: UserState, slate: Slate) -> tuple[Response, UserState]:
        luck = uniform(state.key[:, None], slate.item, purpose=Purpose.CONSUME)
        p = np.full((*slate.item.shape, 5), 0.2, np.float32)
        zero = np.zeros(slate.item.shape, np.float32)
        left = uniform(state.key, state.page, purpose=Purpose.EXIT) < self.leaving
        rating = np.where(luck < 0.5, 3.0, np.nan).astype(np.float32)
        answer = Response(luck < 0.5, rating, left, p, zero, np.full(len(left), self.leaving), zero)
        return answer, replace(state, page=state.page + 1)


@dataclass(frozen=True)
class First:
    """Shows the available items of lowest number; notes the sessions it saw."""

    seen: list[Session] = field(default_factory=list)

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        self.seen.append(session)
        order = np.argsort(~session.available(), axis=1, kind="stable")[:, :k]
        free = np.take_along_axis(session.available(), order, axis=1)
        return Slate.certain(np.where(free, order, -1))


@pytest.fixture
def log() -> InteractionLog:
    return tiny_log(8, 30)


def test_nobody_leaves_fixed_pages(log: InteractionLog) -> None:
    record = play(First(), Users(log, 0.9), log, np.arange(8), slate_size=2, max_pages=3, leave=False)
    assert record.shown().pages.tolist() == [3] * 8


def test_those_who_leave_see_no_more_pages(log: InteractionLog) -> None:
    record = play(First(), Users(log), log, np.arange(8), slate_size=2, max_pages=4)
    frame = record.to_frame()
    last = frame.groupby("visit")["page"].max()
    left = frame[frame["exit"]].groupby("visit")["page"].max()
    assert 0 < len(left) < 8
    assert (last[left.index] == left).all()
    assert (last.drop(left.index) == 3).all()


def test_past_items_are_not_shown_and_nothing_twice(log: InteractionLog) -> None:
    frame = play(First(), Users(log), log, np.arange(8), slate_size=2, max_pages=4, leave=False).to_frame()
    past = set(zip(log.users.decode(log.user), log.items.decode(log.item), strict=True))
    shown = list(zip(frame["user"], frame["item"], strict=True))
    assert not past & set(shown)
    assert len(set(shown)) == len(shown)


def test_an_exhausted_catalogue_ends_the_visit(log: InteractionLog) -> None:
    record = play(First(), Users(log), log, np.arange(8), slate_size=10, max_pages=9, leave=False)
    free = 30 - log.count
    assert np.bincount(record.shown().row).tolist() == free.tolist()
    assert record.shown().pages.tolist() == (np.ceil(free / 10).astype(int) + 1).tolist()


def test_batch_order_and_company_do_not_matter(log: InteractionLog) -> None:
    whole = play(First(), Users(log), log, np.arange(8), slate_size=2, max_pages=4).to_frame()
    order = np.array([5, 0, 3])
    part = play(First(), Users(log), log, order, slate_size=2, max_pages=4).to_frame()
    for user in log.users.decode(order):
        a, b = (f[f["user"] == user].drop(columns="visit").reset_index(drop=True) for f in (whole, part))
        assert a.equals(b)


def test_same_seed_same_luck_other_seed_other(log: InteractionLog) -> None:
    frames = [play(First(), Users(log), log, np.arange(8), seed=s).to_frame().drop(columns="seed") for s in (1, 1, 2)]
    assert frames[0].equals(frames[1])
    assert not frames[0].equals(frames[2])
    assert episode_key(1, np.array([3, 5])).tolist() == episode_key(1, np.arange(8))[[3, 5]].tolist()


def test_policies_see_sessions_of_those_still_there(log: InteractionLog) -> None:
    policy = First()
    record = play(policy, Users(log), log, np.arange(8), slate_size=2, max_pages=4)
    assert [len(s) for s in policy.seen] == [len(p.user) for p in record.pages]
    assert [s.shown.shape[1] for s in policy.seen] == [0, 2, 4, 6][: len(policy.seen)]


@pytest.mark.parametrize(("item", "words"), [(99, "items are 0..29"), (-2, "items are 0..29")])
def test_items_that_do_not_exist_are_refused(log: InteractionLog, item: int, words: str) -> None:
    class Wrong:
        def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
            return Slate.certain(np.full((len(session), k), item))

    with pytest.raises(ActionError, match=words):
        play(Wrong(), Users(log), log, np.arange(2))


def test_slates_of_another_size_are_refused(log: InteractionLog) -> None:
    class Short:
        def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
            return Slate.certain(np.zeros((len(session), k - 1), np.int64))

    with pytest.raises(ActionError, match="expected slates of 10 places; got 9"):
        play(Short(), Users(log), log, np.arange(2))
