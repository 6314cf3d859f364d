"""Side by side: all answers, in order, on other threads only where there is something to share; torch as it was."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from simenv.agents.side_by_side import Job, side_by_side


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def job(n: int) -> Job[tuple[int, int, int]]:
    def work() -> tuple[int, int, int]:
        time.sleep(0.002 * (3 - n % 4))  # later ones are done earlier
        return n, threading.get_ident(), torch.get_num_threads()

    return work


@pytest.mark.parametrize("size", [0, 1, 2, 3, 20])
def test_answers_come_in_order(size: int) -> None:
    assert [n for n, _, _ in side_by_side(map(job, range(size)), 2)] == list(range(size))


def test_several_jobs_run_on_other_threads_with_one_core_each() -> None:
    told = list(side_by_side(map(job, range(8)), 2))
    assert {t for _, t, _ in told}.isdisjoint({threading.get_ident()})
    assert {cores for _, _, cores in told} == {1}
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(("size", "workers"), [(1, 2), (5, 1)])
def test_nothing_to_share_stays_here(size: int, workers: int) -> None:
    assert {t for _, t, _ in side_by_side(map(job, range(size)), workers)} == {threading.get_ident()}


def test_few_wait_at_a_time() -> None:
    begun: list[int] = []

    def jobs() -> Iterator[Job[int]]:
        for n in range(50):
            begun.append(n)
            yield lambda: 0

    next(iter(side_by_side(jobs(), 2)))
    assert len(begun) <= 5


def test_what_a_job_raises_is_raised_and_torch_is_as_before() -> None:
    def bad() -> int:
        raise ZeroDivisionError("a job failed")

    with pytest.raises(ZeroDivisionError, match="a job failed"):
        list(side_by_side([lambda: 1, bad, lambda: 2], 2))
    assert torch.get_num_threads() == 2
