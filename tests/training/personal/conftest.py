"""Two readers who disagree about everything, and tiny bases of both families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from simenv.datasets.annotators import Annotations, Label, of_rows
from simenv.training.personal.base import Base, EmbeddedSettings, Kind, embedded
from simenv.training.world_model import WorldModelSize

WORDS = ("river", "stone", "cloud", "apple", "night", "green", "paper", "music", "horse", "light")
SIZE = WorldModelSize(hidden=32, layers=2, heads=2, vocabulary=420, positions=256)
SMALL = EmbeddedSettings(size=SIZE, steps=2, block=16, batch=2)


def text(number: int) -> str:
    """Return a text of three words that is nobody else's."""
    return f"{WORDS[number % 10]} {WORDS[number // 10 % 10]} {WORDS[(3 * number + 1) % 10]} {number}"


@pytest.fixture(scope="session")
def quarrel() -> Annotations:
    """Users 7 and 9 judge 60 texts, 11 judges 20 of them: 7 always says yes, 9 no, 11 yes; a second label is "warm" for
    all where the text begins with "river"."""
    rows = [
        (user, text(n), (int(user != 9), int(text(n).startswith("river"))))
        for user, count in ((7, 60), (9, 60), (11, 20))
        for n in range(count)
    ]
    return of_rows(rows, [Label("likes"), Label("kind", ("cold", "warm"))], name="quarrel")


@pytest.fixture(scope="session")
def tiny_base(quarrel: Annotations) -> Callable[[Kind], Base]:
    """Return a function that gives the tiny base of a kind."""
    rows = np.arange(len(quarrel))
    kinds: tuple[Kind, ...] = ("decoder", "encoder-decoder")
    made = {kind: embedded(quarrel, rows, replace(SMALL, kind=kind), 0) for kind in kinds}
    return made.__getitem__
