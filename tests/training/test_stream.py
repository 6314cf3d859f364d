"""Batches: every epoch, any place, written ahead or not, always the same."""

from __future__ import annotations

import threading
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simenv.errors import ConfigError
from simenv.training import stream
from simenv.training.examples import Lesson
from simenv.training.stream import Batches, Place, batches


def numbered(n: int, epoch: int = 0) -> list[Lesson]:
    nothing = np.zeros(0, np.float32)
    return [Lesson((f"{epoch} {i}",), [], np.zeros(0, np.int64), nothing) for i in range(n)]


def names(drawn: list[list[Lesson]]) -> list[list[str]]:
    return [[le.prefix[0] for le in batch] for batch in drawn]


def test_batches_go_through_every_epoch() -> None:
    drawn: list[int] = []

    def epoch(number: int) -> list[Lesson]:
        drawn.append(number)
        return numbered(7)

    made = list(islice(batches(epoch, 3, 0), 4))
    assert drawn == [0, 1]
    assert [len(b) for b in made] == [3, 3, 3, 3]  # what is left of an epoch is dropped
    for first, second in (made[:2], made[2:]):
        assert len({le.prefix for le in first + second}) == 6
    again = list(islice(batches(lambda n: numbered(7), 3, 0), 4))
    assert names(made) == names(again)
    assert names(made) != names(list(islice(batches(lambda n: numbered(7), 3, 1), 4)))


def test_an_epoch_smaller_than_a_batch_is_used_whole() -> None:
    assert len(next(batches(lambda n: numbered(2), 8, 0))) == 2


def sizes(number: int) -> list[Lesson]:
    """Epochs of different length."""
    return numbered(3 + number % 4, number)


@given(start=st.integers(0, 12), size=st.integers(1, 8), ahead=st.booleans())
def test_from_any_place_on_the_same_comes(start: int, size: int, ahead: bool) -> None:
    whole, other = Batches(sizes, size, 5), Batches(sizes, size, 5)
    list(islice(whole, start))
    other.seek(whole.place)
    if ahead:
        other.expect(9)
    assert names(list(islice(other, 9))) == names(list(islice(whole, 9)))
    assert other.place == whole.place


def test_epochs_before_a_place_are_not_drawn() -> None:
    drawn: list[int] = []

    def epoch(number: int) -> list[Lesson]:
        drawn.append(number)
        return numbered(4)

    made = Batches(epoch, 2, 0)
    made.seek(Place(3, 1))
    next(made)
    assert drawn == [3]
    assert made.place == Place(4, 0)


def test_the_next_epoch_is_written_meanwhile_and_none_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_cores", lambda: 2)
    drawn: dict[int, str] = {}
    written = threading.Event()

    def epoch(number: int) -> list[Lesson]:
        drawn[number] = threading.current_thread().name
        if number == 1:
            written.set()
        return numbered(4)

    made = Batches(epoch, 2, 0)
    made.expect(4)
    next(made)
    assert written.wait(5)  # while the first epoch still has a batch to give
    for _ in range(3):
        next(made)
    assert set(drawn) == {0, 1}
    assert drawn[0] == threading.main_thread().name != drawn[1]


def test_one_core_writes_nothing_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_cores", lambda: 1)
    drawn: list[int] = []
    made = Batches(lambda n: drawn.append(n) or numbered(4), 2, 0)  # type: ignore[func-returns-value]
    made.expect(9)
    next(made)
    assert drawn == [0]


@pytest.mark.parametrize("ahead", [False, True])
def test_an_empty_epoch(ahead: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_cores", lambda: 2)
    made = Batches(lambda n: numbered(2) if n == 0 else [], 2, 0)
    if ahead:
        made.expect(5)
    next(made)
    with pytest.raises(ConfigError, match="no training examples could be drawn"):
        next(made)
