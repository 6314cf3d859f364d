"""Memory: what is recalled, never what must not be; reasons from the past alone; nothing of the future."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import simenv.agents.retrieval as retrieval
from simenv.agents.crowd import Crowd
from simenv.agents.cues import Taste
from simenv.agents.embedding import Tfidf
from simenv.agents.memory import ItemSpace, Memory, nearest
from simenv.agents.reason import Past, stem
from simenv.agents.retrieval import on_grid
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError, DataError, LeakageError, StoreError, UnknownIdError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.testing.logs import tiny_catalogue, tiny_log


def built(log: InteractionLog, mix: float = 0.5, floor: float | None = None) -> Memory:
    catalogue = tiny_catalogue(log.items)
    crowd = Crowd.fit(log, catalogue)
    return Memory.of(log, crowd, catalogue, ItemSpace.of(crowd, catalogue, Tfidf(), mix=mix, floor=floor))


@pytest.fixture(scope="module")
def memory() -> Memory:
    return built(tiny_log())


def random_space(seed: int, n: int, mix: float, floor: float | None) -> ItemSpace:
    rng = np.random.default_rng(seed)
    text = rng.normal(size=(n, 3)).round(0)  # coarse, so that ties occur
    text /= np.maximum(np.linalg.norm(text, axis=1, keepdims=True), 1)
    core = np.full(n, -1, np.int64)
    core[: n // 2] = np.arange(n // 2)
    similarity = rng.uniform(-1, 1, (n // 2, n // 2)).round(1).astype(np.float32)
    return ItemSpace(on_grid(text), similarity, core, mix, floor)


def by_hand(space: ItemSpace, past: NDArray[np.int64], item: int, k: int) -> list[int]:
    """Sort (affinity, place), best and latest first; one pair at a time, in double precision."""
    scored = []
    for place, other in enumerate(past.tolist()):
        if other < 0 or other == item or item < 0:
            continue
        together = 0.0
        if space.core[item] >= 0 and space.core[other] >= 0:
            together = float(space.similarity[space.core[item], space.core[other]])
        dot = np.float32(space.text[item].astype(float) @ space.text[other].astype(float))
        score = (
            dot if space.mix == 1 else np.float32(space.mix) * dot + np.float32(1 - space.mix) * np.float32(together)
        )
        if space.floor is None or score > np.float32(space.floor):
            scored.append((float(score), place))
    best = [p for _, p in sorted(scored, reverse=True)[:k]]
    return best + [-1] * (k - len(best))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    width=st.integers(0, 9),
    k=st.integers(1, 6),
    mix=st.sampled_from([0.0, 0.3, 1.0]),
    floor=st.sampled_from([None, 0.0, 0.4]),
)
def test_nearest_is_brute_force(seed: int, width: int, k: int, mix: float, floor: float | None) -> None:
    space = random_space(seed, 12, mix, floor)
    rng = np.random.default_rng(seed + 1)
    context = rng.integers(-1, 12, (4, width))
    row, item = rng.integers(0, 4, 15), rng.integers(-1, 12, 15)
    expected = [by_hand(space, context[r], i, k) for r, i in zip(row, item, strict=True)]
    assert nearest(space, context, row, item, k).tolist() == expected


@pytest.mark.parametrize("mix", [0.0, 0.4, 1.0])
def test_table_chunks_and_plain_agree(mix: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    text = rng.normal(size=(80, 40))
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    similarity = rng.uniform(-1, 1, (80, 80)).astype(np.float32)
    context, row, item = rng.integers(-1, 80, (9, 30)), rng.integers(0, 9, 200), rng.integers(0, 80, 200)
    found = []
    for table, chunk in ((4096, 2_000_000), (4096, 100), (0, 2_000_000), (0, 1000)):
        monkeypatch.setattr(retrieval, "_TABLE", table)
        monkeypatch.setattr(retrieval, "_CHUNK", chunk)
        space = ItemSpace(on_grid(text), similarity, np.arange(80), mix, None)
        found.append(nearest(space, context, row, item, 7))
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_nearest_is_fast() -> None:
    rng = np.random.default_rng(0)
    space = random_space(0, 1600, 0.5, 0.0)
    context, row, item = rng.integers(0, 1600, (700, 100)), rng.integers(0, 700, 21_000), rng.integers(0, 1600, 21_000)
    begin = time.process_time()
    nearest(space, context, row, item, 5)
    assert time.process_time() - begin < 1.0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_recall_never_gives_the_item_or_a_stranger(seed: int, k: int) -> None:
    memory = built_once()
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 12, 5), rng.integers(-1, 30, (5, 4))
    entry = memory.recall(user, item, k)
    assert entry.shape == (5, 4, k)
    row, place, _ = np.nonzero(entry >= 0)
    own = entry[entry >= 0]
    assert (memory.user[own] == user[row]).all()
    assert (memory.item[own] != item[row, place]).all()
    assert (item[row, place] >= 0).all()
    for found in entry.reshape(-1, k):
        real = found[found >= 0]
        assert len(set(real.tolist())) == len(real)
        assert (found[len(real) :] == -1).all()


_BUILT: list[Memory] = []


def built_once() -> Memory:
    if not _BUILT:
        _BUILT.append(built(tiny_log()))
    return _BUILT[0]


def test_recall_gives_everything_when_asked_for_more(memory: Memory) -> None:
    entry = memory.recall(np.array([3]), np.array([[0]]), 40)[0, 0]
    own = np.flatnonzero((memory.user == 3) & (memory.item != 0))
    assert sorted(entry[entry >= 0].tolist()) == own.tolist()


def test_recall_does_not_depend_on_the_batch(memory: Memory) -> None:
    rng = np.random.default_rng(5)
    user, item = rng.integers(0, 12, 8), rng.integers(0, 30, (8, 3))
    whole = memory.recall(user, item, 4)
    order = rng.permutation(8)
    np.testing.assert_array_equal(memory.recall(user[order], item[order], 4), whole[order])
    for n in range(8):
        np.testing.assert_array_equal(memory.recall(user[[n]], item[[n]], 4), whole[[n]])


def test_text_only_recall_finds_the_like_kind() -> None:
    memory = built(tiny_log(), mix=1.0)
    entry = memory.recall(np.arange(12), np.full((12, 1), 4), 3)
    found = memory.item[entry[entry >= 0]]
    assert len(found) == 36
    assert (found % 2 == 0).all()  # comedies like item 4


def test_residuals_are_those_of_taste(memory: Memory) -> None:
    log = tiny_log()
    item, rating = log.padded(np.arange(12))
    taste = Taste.of(memory.crowd, item, rating)
    np.testing.assert_allclose(memory.residual, taste.residual[item >= 0], atol=1e-5)
    np.testing.assert_allclose(memory.offset, taste.offset, atol=1e-6)


def test_reason_by_hand() -> None:
    items = Index((1, 2, 3, 4), "item")
    catalogue = Catalogue(
        items,
        ("Quiet Days", "Loud Nights", "Storm", "Storm: Part II"),
        (0,) * 4,
        (("Drama",), ("Drama",), ("Drama",), ("War",)),
        (("Ann",), ("Bob",), (), ("Bob",)),
        ("", "", "Eve", ""),
        ("",) * 4,
    )
    log = tiny_log(4, 4)
    crowd = replace(
        Crowd.fit(log, tiny_catalogue(log.items)), mean=3.0, item_offset=np.array([0.5, -0.5, 0, 0.5], np.float32)
    )
    past = Past(
        crowd, catalogue, np.arange(4), np.array([5, 5, 4, 2], np.float32), np.array([2, 1, 1, -1], np.float32), 0.0
    )
    # Drama without the entry itself: (1 + 1) / (2 + 3) = .4; the first item is liked by the crowd
    assert (
        past.reason(0)
        == "I gave it 5 because it counts as Drama, which I rate 0.4 above my usual; the crowd likes it too."
    )
    # Drama (2 + 1) / 5 = .6; Bob without this one: -1 / 4 speaks against
    assert past.reason(1) == (
        "I gave it 5 because it counts as Drama, which I rate 0.6 above my usual; the crowd dislikes it more than I do."
    )
    # Eve has nothing else; the crowd is indifferent
    assert past.reason(2) == "I gave it 4 because it counts as Drama, which I rate 0.6 above my usual."
    # War stands alone; Storm was liked (series, opposed), Bob 1 / 4 (opposed): nothing speaks for a 2
    assert past.reason(3) == "I gave it 2 although I had given Storm 4; the crowd likes it more than I do."
    assert [m.code for m in past.motives(3)] == ["series", "people"]


def test_reason_ignores_the_rating_it_explains() -> None:
    rng = np.random.default_rng(0)
    memory = built_once()
    past = memory._past(2)
    for place in rng.integers(0, len(past.item), 5).tolist():
        changed = past.residual.copy()
        changed[place] += 3
        other = replace(past, residual=changed)
        for left, right in zip(past.motives(place), other.motives(place), strict=True):
            assert left.code == right.code
            assert left.deviation == pytest.approx(right.deviation, abs=1e-6)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("The Storm", "Storm: Part II", True),
        ("Godfather, The", "Godfather: Part II, The", True),
        ("Alien 3", "Alien", True),
        ("Rocky IV", "Rocky II", True),
        ("Quiet Days", "Loud Days", False),
    ],
)
def test_series(left: str, right: str, same: bool) -> None:
    assert (stem(left) == stem(right)) is same


def test_every_entry_has_a_text(memory: Memory) -> None:
    for entry in range(len(memory)):
        text = memory.text(entry)
        assert memory.catalogue.title[int(memory.item[entry])] in text
        assert f"I gave it {memory.rating[entry]:g}" in text
        assert "nan" not in text


def test_a_user_with_one_or_no_rating() -> None:
    log = tiny_log()
    some = log.take((log.user > 1) | (np.arange(len(log)) == 0))  # user 0 keeps one row, user 1 none
    memory = built(some)
    entry = memory.recall(np.array([0, 1]), np.array([[int(some.item[0]), 5], [0, 5]]), 3)
    assert entry[0, 0].tolist() == [-1, -1, -1]
    assert entry[0, 1].tolist() == [0, -1, -1]
    assert (entry[1] == -1).all()
    assert memory.reason(0).startswith("I gave it")


def test_permuting_the_future_changes_no_byte() -> None:
    log = tiny_log(seed=3)
    split = log.split("user_time")
    rng = np.random.default_rng(1)
    rating, late = log.rating.copy(), ~np.isin(np.arange(len(log)), past_rows(log, split.past))
    rating[late] = rng.permutation(6 - rating[late])
    other = replace(log, rating=rating).split("user_time")
    assert not np.array_equal(split.future.rating, other.future.rating)
    left, right = built(split.past), built(other.past)
    for name in ("user", "item", "rating", "residual", "offset", "time"):
        assert getattr(left, name).tobytes() == getattr(right, name).tobytes()
    assert left.space.text.tobytes() == right.space.text.tobytes()
    assert [left.text(e) for e in range(len(left))] == [right.text(e) for e in range(len(right))]


def past_rows(log: InteractionLog, past: InteractionLog) -> NDArray[np.int64]:
    kept = [log.indptr[u] + np.arange(n) for u, n in enumerate(past.count)]
    return np.concatenate(kept)


def test_check_refuses_the_future() -> None:
    log = tiny_log()
    split = log.split("user_time")
    assert split.cut is not None
    built(split.past).check(split.cut)
    built(log).check(None)
    with pytest.raises(LeakageError, match="at or after their user's cut"):
        built(log).check(split.cut)
    timeless = replace(log, time=None, time_note="none")
    with pytest.raises(LeakageError, match="no times to prove"):
        built(timeless).check(split.cut)


def test_grown_memory() -> None:
    log = tiny_log()
    split = log.split("user_time")
    memory = built(split.past)
    taken = int(np.setdiff1d(np.arange(30), split.past.history(4)[0])[0])
    grown = memory.with_entries([4, 4], [taken, taken], [1.0, 5.0])
    assert len(grown) == len(memory) + 2
    assert grown.simulated.sum() == 2
    assert not memory.simulated.any()
    new = np.flatnonzero(grown.simulated)
    assert grown.user[new].tolist() == [4, 4]
    assert grown.rating[new].tolist() == [1, 5]
    assert grown.reason(int(new[0])) == "I gave it 1 just now."
    old = np.flatnonzero(~grown.simulated)
    assert [grown.text(int(e)) for e in old] == [memory.text(e) for e in range(len(memory))]
    assert set(new.tolist()) <= set(grown.recall(np.array([4]), np.array([[(taken + 2) % 30]]), 40).ravel().tolist())
    assert not set(new.tolist()) & set(grown.recall(np.array([3]), np.array([[0]]), 40).ravel().tolist())
    grown.check(split.cut)  # simulated entries are nobody's future


def test_save_and_load(tmp_path: Path, memory: Memory) -> None:
    memory.save(tmp_path / "memory")
    again = Memory.load(tmp_path / "memory", memory.crowd, memory.catalogue)
    query = np.arange(12), np.tile(np.arange(5), (12, 1))
    np.testing.assert_array_equal(again.recall(*query, 3), memory.recall(*query, 3))
    assert again.text(7) == memory.text(7)
    assert again.space.floor is None
    np.testing.assert_array_equal(again.time, memory.time)
    with pytest.raises(StoreError, match="other items"):
        Memory.load(tmp_path / "memory", memory.crowd, tiny_catalogue(tiny_log(n_items=7).items))
    np.savez(tmp_path / "foreign.npz", x=np.zeros(1))
    with pytest.raises(StoreError, match="holds no memory"):
        Memory.load(tmp_path / "foreign.npz", memory.crowd, memory.catalogue)


def test_bad_questions(memory: Memory) -> None:
    one = np.array([0])
    with pytest.raises(ConfigError, match="k=0"):
        memory.recall(one, one[:, None], 0)
    with pytest.raises(UnknownIdError, match="user number 12 does not exist"):
        memory.recall(np.array([12]), one[:, None], 1)
    with pytest.raises(UnknownIdError, match="item number 30 does not exist"):
        memory.recall(one, np.array([[30]]), 1)
    with pytest.raises(UnknownIdError, match="entry -1 does not exist"):
        memory.reason(-1)
    with pytest.raises(DataError, match="NaN ratings"):
        memory.with_entries([0], [1], [float("nan")])
    with pytest.raises(ConfigError, match=r"between 0 and 1; got 1\.5"):
        replace(memory.space, mix=1.5)
    other = tiny_log(n_items=7)
    with pytest.raises(DataError, match="different item indices"):
        Memory.of(other, memory.crowd, memory.catalogue, memory.space)
