"""Several processes that train one model: who writes, who waits, and the sum of what each found.

    torchrun --nproc-per-node 4 --local-ranks-filter 0 --no-python simenv train DATA FOLDER --base NAME
    accelerate launch --multi_gpu --num_processes 4 --no_python simenv train DATA FOLDER --base NAME

start the same. accelerate joins the processes: NCCL on GPUs, gloo on CPUs. Every one goes through the same steps and
sees the same folder; of each step's lessons it takes its part. Alone, nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, final

import torch
from torch import Tensor

T = TypeVar("T")


@final
@dataclass(frozen=True, eq=False)
class Processes:
    """Those that train together, as one of them sees them."""

    count: int = 1
    rank: int = 0
    """Which of them this is; 0 writes."""
    state: Any = None
    """accelerate's PartialState; None: alone."""

    @classmethod
    def here(cls) -> Processes:
        """Return those that this one was launched with."""
        if int(os.environ.get("WORLD_SIZE", 1)) < 2 or "LOCAL_RANK" not in os.environ:
            return cls()
        from accelerate import PartialState

        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.num_processes, state.process_index, state)

    @property
    def writes(self) -> bool:
        """Whether this is the one that writes files and shows progress."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.state is not None:
            self.state.wait_for_everyone()

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Let one do what is inside, told by True, and the others wait until it is done."""
        yield self.writes
        self.wait()

    @contextmanager
    def first(self) -> Iterator[None]:
        """Let the writing one do what is inside before the others do it."""
        if not self.writes:
            self.wait()
        yield
        if self.writes:
            self.wait()

    def share(self, batch: Sequence[T]) -> Sequence[T]:
        """Return this one's part of a batch that all have; alone, all of it."""
        return batch if self.count == 1 else batch[self.rank :: self.count]

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over all processes, the same in each."""
        if self.state is None:
            return value
        from accelerate.utils import reduce

        made: Tensor = reduce(value, "sum")
        return made

    def add_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Replace each gradient by the sum over all processes; one that has none counts as zero."""
        if self.state is None:
            return
        own = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        added = torch.split(self.total(torch.cat([g.flatten() for g in own])), [g.numel() for g in own])
        for p, g in zip(parameters, added, strict=True):
            p.grad = g.view_as(p).to(p.dtype)
