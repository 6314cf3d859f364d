"""Batches of lessons without end: epochs are drawn anew, and the next one is written while the last one is learned.

What comes at a place depends on seed and place alone, whatever thread wrote it, so that learning can go on from there.
Knows no weights.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import NamedTuple, final

import numpy as np

from simenv.errors import ConfigError
from simenv.training.examples import Lesson

Epoch = Callable[[int], list[Lesson]]
"""Draws the lessons of an epoch, given its number; the same ones each time."""


class Place(NamedTuple):
    """Which batch."""

    epoch: int = 0
    batch: int = 0
    """Batches of the epoch before it."""


@final
class Batches:
    """An endless iterator over batches of `size` lessons, from freshly drawn and shuffled epochs."""

    def __init__(self, epoch: Epoch, size: int, seed: int) -> None:
        """Take how an epoch is drawn, lessons per batch, and the seed of the shuffling."""
        self.epoch, self.size, self.seed = epoch, size, seed
        self.place = Place()
        """Of the batch that comes next."""
        self._open: list[list[Lesson]] = []
        self._coming: tuple[int, Future[list[list[Lesson]]]] | None = None
        self._wanted = 0

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> list[Lesson]:
        """Return the next batch.

        Raises:
            ConfigError: an epoch is empty.

        """
        number, batch = self.place
        if not self._open:
            self._open = self._drawn(number)
        self._look_ahead(number + 1, len(self._open) - batch)
        made, self._wanted = self._open[batch], self._wanted - 1
        over = batch + 1 == len(self._open)
        self.place = Place(number + 1) if over else Place(number, batch + 1)
        if over:
            self._open = []
        return made

    def seek(self, place: Place) -> None:
        """Go to a place; epochs before it are not drawn."""
        self.place, self._open = place, []

    def expect(self, batches: int) -> None:
        """Say how many more batches will be asked for: as far as these go, epochs are written ahead in a thread.

        Only where a second core is at hand. Nothing that comes changes by it.
        """
        self._wanted = batches if _cores() > 1 else 0

    def _look_ahead(self, number: int, left: int) -> None:
        if self._coming is None and self._wanted > left:
            future: Future[list[list[Lesson]]] = Future()
            self._coming = number, future
            Thread(target=self._fulfil, args=(number, future), daemon=True).start()

    def _fulfil(self, number: int, future: Future[list[list[Lesson]]]) -> None:
        try:
            future.set_result(self._cut(number))
        except BaseException as error:  # handed to whoever asks for the epoch
            future.set_exception(error)

    def _drawn(self, number: int) -> list[list[Lesson]]:
        coming, self._coming = self._coming, None
        return coming[1].result() if coming is not None and coming[0] == number else self._cut(number)

    def _cut(self, number: int) -> list[list[Lesson]]:
        """Draw, shuffle and cut an epoch; what is left of it after whole batches is dropped, except of a small one."""
        lessons = self.epoch(number)
        if not lessons:
            raise ConfigError("no training examples could be drawn: users need at least three known ratings each.")
        order, size = np.random.default_rng((self.seed, number)).permutation(len(lessons)), self.size
        starts = range(0, max(len(order) - size + 1, 1), size)
        return [[lessons[n] for n in order[start : start + size]] for start in starts]


def batches(epoch: Epoch, size: int, seed: int) -> Batches:
    """Return batches of `size` lessons for ever, from freshly drawn and shuffled epochs."""
    return Batches(epoch, size, seed)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
