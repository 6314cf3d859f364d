"""Many prompts to one server: in runs that share a prefix, some requests at a time, and what fails once more alone.

Knows neither what is asked nor the wire; `ask` is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from threading import Event
from typing import NamedTuple, final

from simenv.agents.remote_client import RefusedError, UnansweredError
from simenv.agents.remote_dialect import Asked, Options, Reading
from simenv.errors import RemoteError


class Job(NamedTuple):
    """One prompt."""

    place: int
    """Position in the call."""
    model: str
    options: Options
    prefix: tuple[str, ...]
    """What neighbours may share, by which jobs are put in order."""
    asked: Asked
    length: int
    """Tokens."""


Ask = Callable[[Sequence[Job]], list[Reading]]
"""Puts jobs of one model and the same options to the server in one request; raises RemoteError."""


@final
@dataclass
class Outcome:
    """What became of a call."""

    found: dict[int, Reading] = field(default_factory=dict)
    """By place."""
    failed: list[str] = field(default_factory=list)
    """What was said of each prompt that stayed without an answer."""
    again: int = 0
    """Prompts asked once more."""


def gather(jobs: Sequence[Job], ask: Ask, *, batch: int, concurrency: int, rounds: int) -> Outcome:
    """Ask all jobs, up to `batch` in a request and `concurrency` requests at a time.

    Prompts of a failed request are asked again one by one, up to `rounds` times in all: one bad prompt costs its
    neighbours nothing. A refusal of a single prompt is final. A server that answers nothing at all is given up early.
    """
    out = Outcome()
    left = sorted(jobs, key=lambda job: (job.model, job.prefix, job.place))
    size = min(batch, math.ceil(len(jobs) / concurrency))
    for number in range(rounds):
        out.again += len(left) if number else 0
        before = len(out.found)
        failed = _round(cut(left, size), ask, concurrency, out.found)
        refused = [(part, e) for part, e in failed if isinstance(e, RefusedError) and len(part) == 1]
        out.failed += [str(error) for _, error in refused]
        failed = [pair for pair in failed if pair not in refused]
        left, size = [job for part, _ in failed for job in part], 1
        dead = all(len(part) == 1 and isinstance(error, UnansweredError) for part, error in failed)
        if not left or (dead and len(out.found) == before):
            break
    out.failed += [str(error) for part, error in failed for _ in part]
    return out


def cut(jobs: Sequence[Job], size: int) -> list[list[Job]]:
    """Return runs of at most `size` neighbours that may share a request: one model, the same options."""
    parts: list[list[Job]] = []
    for job in jobs:
        last = parts[-1][0] if parts else None
        if last is not None and len(parts[-1]) < size and (last.model, last.options) == (job.model, job.options):
            parts[-1].append(job)
        else:
            parts.append([job])
    return parts


def _round(
    parts: Sequence[Sequence[Job]], ask: Ask, concurrency: int, found: dict[int, Reading]
) -> list[tuple[Sequence[Job], RemoteError]]:
    """Ask each part once, put what comes into `found`, and return the parts that failed, each with its reason.

    When as many requests as may be under way stayed without any answer, and none got one, the others are not asked.
    """
    failed: list[tuple[Sequence[Job], RemoteError]] = []
    before, hopeless = len(found), Event()

    def unless_hopeless(part: Sequence[Job]) -> list[Reading]:
        if hopeless.is_set():
            raise UnansweredError(f"not asked any more: {failed[0][1]}")
        return ask(part)

    with ThreadPoolExecutor(max(min(concurrency, len(parts)), 1)) as pool:
        under_way: dict[Future[list[Reading]], Sequence[Job]] = {pool.submit(unless_hopeless, p): p for p in parts}
        for done in as_completed(under_way):
            part = under_way[done]
            try:
                found |= {job.place: reading for job, reading in zip(part, done.result(), strict=True)}
            except RemoteError as error:
                failed.append((part, error))
                silent = sum(isinstance(e, UnansweredError) for _, e in failed)
                if len(found) == before and silent >= concurrency:
                    hopeless.set()
    return failed
