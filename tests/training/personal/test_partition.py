"""Nobody's test labels, and no held-out text, stand in training; order is kept where there is one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simenv.datasets.annotators import Annotations, Label, of_rows
from simenv.errors import DataError
from simenv.training.personal.partition import Partition, PartitionSettings, partition

PARTS = ("train", "valid", "test", "context", "new")


def made(users: int, texts: int, seed: int, *, timed: bool) -> Annotations:
    rng = np.random.default_rng(seed)
    rows = [
        (int(u), f"t{t}", (int(rng.integers(2)),)) for u in range(users) for t in range(texts) if rng.random() < 0.7
    ]
    time = [int(t) for t in rng.integers(0, 40, len(rows))] if timed else None
    return of_rows(rows, [Label("x")], name="made", time=time)


def rows_of(parts: Partition) -> dict[str, set[int]]:
    return {name: set(getattr(parts, name).tolist()) for name in PARTS}


class TestPartition:
    @given(users=st.integers(5, 12), texts=st.integers(20, 40), seed=st.integers(0, 99), timed=st.booleans())
    @settings(max_examples=40, deadline=None)
    def test_parts_are_disjoint_and_new_users_unknown(self, users: int, texts: int, seed: int, timed: bool) -> None:
        data = made(users, texts, seed, timed=timed)
        parts = partition(data, PartitionSettings(context=4), seed)
        rows = rows_of(parts)
        assert sum(map(len, rows.values())) == len(set.union(*rows.values()))
        who = {name: set(data.user[sorted(r)].tolist()) for name, r in rows.items()}
        assert who["test"] | who["valid"] <= who["train"]
        assert not (who["train"] | who["valid"]) & (who["context"] | who["new"])
        assert np.bincount(data.user[parts.context], minlength=1).max(initial=0) <= 4

    @given(users=st.integers(5, 12), texts=st.integers(20, 40), seed=st.integers(0, 99))
    @settings(max_examples=25, deadline=None)
    def test_without_times_no_text_is_learned_and_tested(self, users: int, texts: int, seed: int) -> None:
        data = made(users, texts, seed, timed=False)
        parts = partition(data, PartitionSettings(), seed)
        tested = set(data.item[np.concatenate([parts.test, parts.new])].tolist())
        learned = set(data.item[np.concatenate([parts.train, parts.valid, parts.context])].tolist())
        assert not tested & learned
        assert not set(data.item[parts.train].tolist()) & set(data.item[parts.valid].tolist())
        assert parts.text_disjoint
        assert parts.late is None

    @given(users=st.integers(5, 12), texts=st.integers(20, 40), seed=st.integers(0, 99))
    @settings(max_examples=25, deadline=None)
    def test_with_times_each_user_is_tested_on_later_rows(self, users: int, texts: int, seed: int) -> None:
        data = made(users, texts, seed, timed=True)
        assert data.time is not None
        parts = partition(data, PartitionSettings(), seed)
        assert parts.late is not None
        for user in np.unique(data.user[parts.test]):
            train, valid, test = (data.time[r[data.user[r] == user]] for r in (parts.train, parts.valid, parts.test))
            assert train.max() < test.min()
            assert len(valid) == 0 or (train.max() < valid.min() and valid.max() < test.min())
            late = parts.late[data.user[parts.test] == user]
            assert not late.any() or late.all() or test[~late].max() < test[late].min()

    def test_rows_of_one_moment_stay_together(self) -> None:
        rows = [(0, f"t{n}", (0,)) for n in range(10)]
        data = of_rows(rows, [Label("x")], name="tied", time=[0, 1, 2, 3, 3, 5, 6, 7, 7, 9])
        parts = partition(data, PartitionSettings(test=0.2, valid=0.4, new_users=0.0), 0)
        assert rows_of(parts)["test"] == {7, 8, 9}  # two of ten were asked for, and 7 has the time of 8
        assert rows_of(parts)["valid"] == {3, 4, 5, 6}  # three of seven were asked for, and 4 has the time of 3

    def test_the_official_split_goes_before_shares(self) -> None:
        rows = [(u, f"t{t}", (0,)) for u in range(4) for t in range(20)]
        official = {f"t{t}": "test" if t >= 15 else "train" for t in range(20)}
        data = of_rows(rows, [Label("x")], name="official", official=official)  # type: ignore[arg-type]
        parts = partition(data, PartitionSettings(test=0.9, new_users=0.25, context=3), 0)
        assert set(data.item[parts.test].tolist()) == set(range(15, 20))
        assert len(parts.test) == 15
        assert len(parts.new) == 5
        assert len(parts.context) == 3

    def test_users_who_stand_in_the_test_part_alone_are_new(self) -> None:
        rows = [(u, f"t{t}", (0,)) for u in range(4) for t in range(20)] + [(9, "t19", (1,))]
        official = {f"t{t}": "test" if t >= 15 else "train" for t in range(20)}
        data = of_rows(rows, [Label("x")], name="official", official=official)  # type: ignore[arg-type]
        parts = partition(data, PartitionSettings(new_users=0.0), 0)
        assert data.users.decode(data.user[parts.new]) == [9]

    def test_test_labels_have_no_say(self) -> None:
        data = made(8, 30, 3, timed=False)
        parts = partition(data, PartitionSettings(), 0)
        other = data.value.copy()
        other[parts.test] = 1 - other[parts.test]
        assert rows_of(partition(replace(data, value=other), PartitionSettings(), 0)) == rows_of(parts)

    def test_an_empty_part_is_named(self) -> None:
        with pytest.raises(DataError, match="no row is left for test"):
            partition(made(6, 20, 0, timed=False), PartitionSettings(test=0.0), 0)

    def test_shares_lie_below_one(self) -> None:
        with pytest.raises(DataError, match="valid is a share"):
            PartitionSettings(valid=1.0)
