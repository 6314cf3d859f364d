"""Tastes made when asked for are those of one large batch, to the bit, whoever asks first."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

import simenv.agents.tastes as module
from simenv.agents.columns import read, write
from simenv.agents.cues import Cues, Taste, cues
from simenv.agents.tastes import Tastes, context_of
from simenv.errors import StoreError


@pytest.fixture
def mind(tiny_population: Any) -> Any:
    return tiny_population.rating_model.inner.mind


@pytest.fixture
def tastes(mind: Any, monkeypatch: pytest.MonkeyPatch) -> Tastes:
    """In blocks of five of twelve members, two of them kept."""
    monkeypatch.setattr(module, "_ROWS", 5)
    monkeypatch.setattr(module, "_KEPT", 2)
    return Tastes(mind.crowd, mind.memory, np.arange(12))


def whole(mind: Any) -> Taste:
    return Taste.of(mind.crowd, *context_of(mind.memory, np.arange(12)))


@pytest.mark.parametrize("row", [[0], [11, 0, 4, 5, 4], [*range(12)], []])
def test_blocks_are_cut_from_one_batch(mind: Any, tastes: Tastes, row: list[int]) -> None:
    rows = np.array(row, np.int64)
    wanted, made = whole(mind).take(rows), tastes.take(rows)
    for f in fields(Taste):
        np.testing.assert_array_equal(getattr(made, f.name), getattr(wanted, f.name), err_msg=f.name)
    assert len(tastes._block) <= 2


def test_cues_are_the_same_in_any_company(mind: Any, tastes: Tastes) -> None:
    rng = np.random.default_rng(0)
    row, item = rng.integers(12, size=200), rng.integers(60, size=200)
    together, batch = cues(mind.crowd, tastes, row, item), cues(mind.crowd, whole(mind), row, item)
    for name in (f.name for f in fields(Cues)):
        np.testing.assert_array_equal(getattr(together, name), getattr(batch, name), err_msg=name)
    alone = [cues(mind.crowd, tastes, row[n : n + 1], item[n : n + 1]).feature[0] for n in range(0, 200, 9)]
    np.testing.assert_array_equal(alone, together.feature[::9])


def test_long_histories_make_small_blocks(mind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CELLS", 40)
    tastes = Tastes(mind.crowd, mind.memory, np.arange(12))
    assert 13 < tastes.width <= 40
    tastes.take(np.array([0, 11]))
    assert {len(block) for block in tastes._block.values()} == {40 // tastes.width}


def test_columns_come_back_mapped_and_narrow(tmp_path: Any) -> None:
    arrays = {"a": np.arange(5), "b": np.array([2**40]), "c": np.zeros((0, 3), np.float32), "d": np.array([True])}
    write(tmp_path / "x", "thing", arrays, {"n": 0.1})
    again, about = read(tmp_path / "x", "thing")
    assert about["n"] == 0.1
    assert {n: a.dtype.name for n, a in again.items()} == {"a": "int32", "b": "int64", "c": "float32", "d": "bool"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
    with pytest.raises(ValueError, match="read-only"):
        again["a"][0] = 1
    write(tmp_path / "x", "thing", {"a": np.arange(9)}, {})
    assert again["a"].tolist() == [0, 1, 2, 3, 4], "who has the old file mapped, keeps it"
    with pytest.raises(StoreError, match="holds no other"):
        read(tmp_path / "x", "other")
    (tmp_path / "x" / "a.npy").unlink()
    with pytest.raises(StoreError, match="damaged or missing"):
        read(tmp_path / "x", "thing")


def test_latest_times_refuse_the_future(mind: Any) -> None:
    memory = mind.memory
    latest = [memory.time[memory.user == u].max() if (memory.user == u).any() else None for u in range(memory.n_users)]
    for u, t in enumerate(latest):
        assert memory.last[u] == (np.iinfo(np.int64).min if t is None else t)
    assert memory.start[-1] == len(memory)
