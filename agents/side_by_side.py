"""Side by side: independent pieces of work on as many cores as torch may use, one core each.

For small models, whose single operations are too short to share out among cores. Knows nothing of models.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from typing import TypeVar

import torch

T = TypeVar("T")
Job = Callable[[], T]


def side_by_side(jobs: Iterable[Job[T]], workers: int) -> Iterator[T]:
    """Yield what jobs return, in their order; at most twice as many as workers are under way.

    One worker or one job: no thread is started. Threads live as long as the call, so that a later fork finds none.
    """
    stream = iter(jobs)
    first = list(islice(stream, 2))
    if workers < 2 or len(first) < 2:
        yield from (job() for job in chain(first, stream))
        return
    with _one_core_each(), ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[T]] = deque()
        for job in chain(first, stream):
            waiting.append(pool.submit(job))
            if len(waiting) == 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextmanager
def _one_core_each() -> Iterator[None]:
    """Let torch use one core in this thread, and in threads started meanwhile: they take over the number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
