"""Properties of the log: every cut is a partition, time never runs backwards, ids are only names."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.errors import DataError, UnknownIdError
from simenv.index import Index
from simenv.log import InteractionLog, Split, SplitKind
from simenv.scale import RatingScale
from simenv.testing.logs import tiny_log

KINDS: list[SplitKind] = ["user_time", "global_time", "random"]
quick = settings(max_examples=60, deadline=None)


@st.composite
def logs(draw: st.DrawFn) -> InteractionLog:
    """Logs with few distinct times (many ties), users without events, repeated pairs."""
    n_users, n_items = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    n = draw(st.integers(1, 30))

    def column(top: int) -> NDArray[np.int64]:
        return np.array(draw(st.lists(st.integers(0, top), min_size=n, max_size=n)), np.int64)

    return InteractionLog.of(
        Index(tuple(range(10, 10 + n_users)), "user"),
        Index(tuple(f"i{i}" for i in range(n_items)), "item"),
        column(n_users - 1),
        column(n_items - 1),
        column(4) + 1.0,
        column(8) * 100,
        RatingScale(),
    )


def events(log: InteractionLog) -> list[tuple[Any, ...]]:
    assert log.time is not None
    return sorted(zip(*(c.tolist() for c in (log.user, log.item, log.rating, log.time)), strict=True))


def same(a: InteractionLog, b: InteractionLog) -> bool:
    return events(a) == events(b)


fractions = st.sampled_from([0.1, 0.25, 0.5, 0.6, 0.9])


@quick
@given(logs(), st.sampled_from(KINDS), fractions, st.integers(0, 3))
def test_a_split_is_a_partition(log: InteractionLog, kind: SplitKind, fraction: float, seed: int) -> None:
    split = log.split(kind, fraction, seed=seed)
    assert sorted(events(split.past) + events(split.future)) == events(log)
    for part in (split.past, split.future):
        assert part.users is log.users
        assert part.items is log.items
        assert (np.diff(part.user) >= 0).all()


def times_of(log: InteractionLog, user: int) -> NDArray[np.int64]:
    assert log.time is not None
    return np.asarray(log.time[log.user == user])


@quick
@given(logs(), fractions)
def test_user_time_keeps_time_running_forwards_and_ties_together(log: InteractionLog, fraction: float) -> None:
    split = log.split("user_time", fraction)
    assert split.cut is not None
    for user in range(log.n_users):
        past, future = times_of(split.past, user), times_of(split.future, user)
        if len(past) and len(future):
            assert past.max() < future.min()  # strictly: one second never stands on both sides
        assert split.cut[user] == (future.min() if len(future) else np.iinfo(np.int64).max)


@quick
@given(logs(), fractions)
def test_user_time_cuts_as_near_to_the_fraction_as_ties_allow(log: InteractionLog, fraction: float) -> None:
    split = log.split("user_time", fraction)
    for user in np.flatnonzero(log.count):
        time = np.sort(times_of(log, int(user)))
        wanted = round(len(time) * fraction)
        allowed = [n for n in range(len(time) + 1) if n in (0, len(time)) or time[n - 1] < time[n]]
        best = min(abs(n - wanted) for n in allowed)
        assert abs(len(times_of(split.past, int(user))) - wanted) == best


@quick
@given(logs(), fractions)
def test_global_time_has_one_clock_for_all(log: InteractionLog, fraction: float) -> None:
    split = log.split("global_time", fraction)
    assert log.time is not None
    quantile = np.sort(log.time)[int(fraction * (len(log) - 1) + 1e-9)]
    assert len(split.past) == (log.time < quantile).sum()
    assert split.past.time is not None
    assert split.future.time is not None
    if len(split.past) and len(split.future):
        assert split.past.time.max() < split.future.time.min()


@quick
@given(logs(), st.sampled_from(KINDS), fractions, st.sets(st.integers(0, 4)))
def test_users_leaves_all_others_whole(log: InteractionLog, kind: SplitKind, fraction: float, users: set[int]) -> None:
    split = log.split(kind, fraction, users=sorted(users))
    assert set(split.future.user.tolist()) <= users
    whole = log.split(kind, fraction)
    chosen = np.array(sorted(u for u in users if u < log.n_users), np.int64)
    assert same(split.future, whole.future.of_users(chosen))


@quick
@given(logs(), fractions, st.integers(0, 5))
def test_random_is_reproducible(log: InteractionLog, fraction: float, seed: int) -> None:
    one, two = log.split("random", fraction, seed=seed), log.split("random", fraction, seed=seed)
    assert one.past.fingerprint == two.past.fingerprint
    for user in range(log.n_users):
        assert one.past.count[user] == round(int(log.count[user]) * fraction)


def test_random_depends_on_the_seed() -> None:
    log = tiny_log()
    assert log.split("random", seed=0).past.fingerprint != log.split("random", seed=1).past.fingerprint


def test_random_cuts_each_user_in_a_way_of_their_own() -> None:
    index = Index(tuple(range(20)))
    user, item = np.indices((20, 20)).reshape(2, -1)
    past = InteractionLog.of(index, index, user, item, item % 5 + 1.0, None, RatingScale()).split("random").past
    assert len({tuple(past.history(u)[0].tolist()) for u in range(20)}) == 20


def test_random_of_one_user_does_not_depend_on_other_users() -> None:
    log = tiny_log()
    alone = log.of_users([3]).split("random", seed=4)
    assert same(alone.past, log.split("random", seed=4).past.of_users([3]))


@quick
@given(logs(), st.integers(0, 5))
def test_two_worlds_are_disjoint_and_balanced(log: InteractionLog, seed: int) -> None:
    judge, contestants = log.split_worlds(seed)
    assert sorted(events(judge) + events(contestants)) == events(log)
    assert (np.abs(judge.count - contestants.count) <= 1).all()


@quick
@given(logs(), st.sampled_from(KINDS), fractions)
def test_renamed_ids_do_not_change_the_split(log: InteractionLog, kind: SplitKind, fraction: float) -> None:
    users = Index(tuple(f"new {u}" for u in log.users.ids), "user")
    items = Index(tuple(1000 - n for n in range(log.n_items)), "item")
    renamed = replace(log, users=users, items=items)
    a, b = log.split(kind, fraction, seed=2), renamed.split(kind, fraction, seed=2)
    assert events(a.past) == events(b.past)
    assert a.note == b.note


@quick
@given(logs(), fractions, st.randoms(use_true_random=False))
def test_row_order_of_the_source_does_not_matter_where_times_differ(
    log: InteractionLog, fraction: float, random: Any
) -> None:
    spread = replace(log, time=np.arange(len(log), dtype=np.int64))
    frame = spread.to_frame()
    order = list(range(len(frame)))
    random.shuffle(order)
    shuffled = InteractionLog.from_frame(frame.iloc[order], users=log.users, items=log.items, scale=log.scale)
    assert shuffled.fingerprint == spread.fingerprint
    assert same(shuffled.split("user_time", fraction).past, spread.split("user_time", fraction).past)


@quick
@given(logs(), st.data())
def test_any_changed_value_changes_the_fingerprint(log: InteractionLog, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(log) - 1))
    name = data.draw(st.sampled_from(["item", "rating", "time"]))
    column = getattr(log, name).copy()
    column[row] += 1
    assert replace(log, **{name: column}).fingerprint != log.fingerprint


def test_ids_scale_and_missing_times_change_the_fingerprint() -> None:
    log = tiny_log(4, 6)
    others = [
        replace(log, users=Index(tuple(range(4)), "user")),
        replace(log, items=Index(tuple(range(6)), "item")),
        replace(log, scale=RatingScale((1.0, 2.0, 3.0, 4.0, 5.0, 6.0))),
        replace(log, time=None, time_note="none"),
    ]
    assert len({log.fingerprint, *(o.fingerprint for o in others)}) == 5


@quick
@given(logs())
def test_to_frame_and_back(log: InteractionLog) -> None:
    back = InteractionLog.from_frame(log.to_frame(), users=log.users, items=log.items, scale=log.scale)
    assert back.fingerprint == log.fingerprint


def test_events_of_one_time_keep_the_order_of_the_source() -> None:
    frame = pd.DataFrame({"user": [1] * 4, "item": [9, 3, 7, 5], "rating": [1, 2, 3, 4], "time": [5, 5, 1, 5]})
    log = InteractionLog.from_frame(frame)
    assert log.items.decode(log.item) == [7, 9, 3, 5]


@quick
@given(logs())
def test_history_matrix_and_padding_agree(log: InteractionLog) -> None:
    users = np.arange(log.n_users)
    item, rating = log.padded(users)
    for user in users:
        past_item, past_rating = log.history(int(user))
        n = len(past_item)
        assert item[user, :n].tolist() == past_item.tolist()
        assert (item[user, n:] == -1).all()
        assert np.isnan(rating[user, n:]).all()
        last = dict(zip(past_item.tolist(), past_rating.tolist(), strict=True))
        row = log.matrix()[int(user)].toarray().ravel()
        assert {i: v for i, v in enumerate(row.tolist()) if v} == last


def timeless() -> InteractionLog:
    return replace(tiny_log(3, 9), time=None, time_note="none")


@pytest.mark.parametrize("kind", ["user_time", "global_time"])
def test_a_log_without_times_has_no_temporal_split(kind: SplitKind) -> None:
    with pytest.raises(DataError, match=r'has none; use split\("random"'):
        timeless().split(kind)
    assert timeless().split("random").cut is None


@pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0, 2.0, float("nan")])
def test_a_fraction_outside_0_and_1_is_refused(fraction: float) -> None:
    with pytest.raises(DataError, match="fraction must lie between 0 and 1"):
        tiny_log(3, 9).split("random", fraction)


def test_ties_and_approximate_times_are_said() -> None:
    tied = InteractionLog.of(
        Index((1, 2)),
        Index((1, 2, 3)),
        [0, 0, 0, 1, 1],
        [0, 1, 2, 0, 1],
        [1] * 5,
        [1, 1, 1, 1, 2],
        RatingScale(),
        time_note="approximate",
    )
    split = tied.split("user_time", 0.5)
    assert isinstance(split, Split)
    assert "for 1 users" in split.note
    assert "approximate time" in split.note
    assert "approximate" not in tied.split("random").note


BAD: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({"user": [1], "item": [1]}, {}, DataError, "'rating' is missing"),
    ({"user": [1], "item": [1], "rating": [9.0]}, {"scale": RatingScale()}, DataError, "9 is not on the scale"),
    ({"user": [1], "item": [1], "rating": [1]}, {"items": Index((2,), "item")}, UnknownIdError, "unknown item 1"),
    ({"user": [1, "a"], "item": [1, 2], "rating": [1, 1]}, {}, DataError, "got int, str. Convert the column"),
    ({"user": [1], "item": [1], "rating": [float("nan")]}, {}, DataError, "NaN or infinite"),
]


@pytest.mark.parametrize(("columns", "options", "error", "words"), BAD)
def test_bad_frames(columns: dict[str, Any], options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        InteractionLog.from_frame(pd.DataFrame(columns), **options)


def test_unsorted_or_ragged_columns_are_refused() -> None:
    one = np.array([1, 0])
    index, rating = Index((1, 2)), np.ones(2, np.float32)
    with pytest.raises(DataError, match="sorted by user"):
        InteractionLog(index, index, one, one, rating, None, RatingScale())
    with pytest.raises(DataError, match="one length"):
        InteractionLog(index, index, one, one[:1], rating, None, RatingScale())
