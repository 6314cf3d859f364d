"""Who learns from which judgements: known users and new ones, texts seen and not seen, early and late.

Where times are known a user's test part is their latest; else whole texts are held out, so that no text of the test
part stands in training, by anyone. Some users are held out entirely. Knows no models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.datasets.annotators import Annotations
from simenv.errors import DataError
from simenv.randomness import generator

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@final
@dataclass(frozen=True)
class PartitionSettings:
    """Sizes of the parts."""

    test: float = 0.3
    """Share of the texts, or of each user's judgements in time, that is tested on; an official split goes before it."""
    valid: float = 0.1
    """Share of the rest on which epochs and decision rules are chosen."""
    new_users: float = 0.2
    """Share of the users of whom nothing is learned; users whose labels all stand in the test part are new as well."""
    context: int = 10
    """Labels of a new user that an arm may be shown; taken from the part that is not tested on, the earliest first."""

    def __post_init__(self) -> None:
        for name in ("test", "valid", "new_users"):
            if not 0 <= getattr(self, name) < 1:
                raise DataError(f"{name} is a share in [0, 1); got {getattr(self, name)}.")


@final
@dataclass(frozen=True, eq=False)
class Partition:
    """Row numbers of `Annotations`, ascending and disjoint."""

    train: Ints
    valid: Ints
    """Of users of `train`."""
    test: Ints
    """Of users of `train`."""
    context: Ints
    """Of new users: may be shown or fitted to, never tested."""
    new: Ints
    """Of new users, to be predicted."""
    late: Bools | None
    """bool[len(test)]: in the later half of the user's test rows; None: there is no order."""
    text_disjoint: bool
    """Whether no text of `test` and `new` stands in `train`, `valid` or `context`."""
    kind: str
    """The rule in words."""


def partition(data: Annotations, settings: PartitionSettings, seed: int) -> Partition:
    """Return the parts; all draws are seeded.

    Raises:
        DataError: a part that is needed (train, valid, test) would be empty.

    """
    held, kind = _held(data, settings, seed)
    fresh = _new_users(data, held, settings, seed)[data.user]
    early = ~held & ~fresh
    valid = held_back(data, early, settings.valid, seed)
    train = early & ~valid
    known = np.bincount(data.user[train], minlength=len(data.users)) > 0
    valid &= known[data.user]
    test = held & ~fresh & known[data.user]
    rows = {name: np.flatnonzero(mask) for name, mask in (("train", train), ("valid", valid), ("test", test))}
    for name, row in rows.items():
        if not len(row):
            raise DataError(f"{data.name}: no row is left for {name}. Give more data, or other shares.")
    new = held & (fresh | ~known[data.user])
    context = _first(data, np.flatnonzero(~held & fresh), settings.context, seed)
    learned = np.concatenate([rows["train"], rows["valid"], context])
    apart = not np.isin(data.item[held & (test | new)], data.item[learned]).any()
    return Partition(
        rows["train"], rows["valid"], rows["test"], context, np.flatnonzero(new), _late(data, rows["test"]), apart, kind
    )


def held_back(data: Annotations, among: Bools, share: float, seed: int) -> Bools:
    """Return bool[N]: among some rows, those to choose epochs on: the latest of each user, else of drawn texts."""
    if data.time is not None:
        return _latest(data, among, share)
    return among & _drawn(data, among, share, seed, "valid texts")[data.item]


def _held(data: Annotations, settings: PartitionSettings, seed: int) -> tuple[Bools, str]:
    """Return bool[N]: rows that are tested on."""
    if data.official is not None:
        return np.array([p == "test" for p in data.official])[data.item], "the authors' own split by text"
    if data.time is None:
        drawn = _drawn(data, np.ones(len(data), bool), settings.test, seed, "held texts")
        return drawn[data.item], f"{settings.test:.0%} of the texts, drawn at random (no order is known)"
    return _latest(data, np.ones(len(data), bool), settings.test), f"the latest {settings.test:.0%} of each user"


def _drawn(data: Annotations, among: Bools, share: float, seed: int, purpose: str) -> Bools:
    """Return bool[T]: a share of the texts of some rows, rounded up."""
    text = np.unique(data.item[among])
    out = np.zeros(len(data.text), bool)
    out[generator(seed, purpose).permutation(text)[: int(np.ceil(share * len(text)))]] = True
    return out


def _latest(data: Annotations, among: Bools, share: float) -> Bools:
    """Return bool[N]: the latest share of each user's rows, rounded up; the first always stays early.

    Judgements of one moment stay on one side, the later.
    """
    assert data.time is not None
    out = np.zeros(len(data), bool)
    for rows in _by_user(data, among):
        time = np.sort(data.time[rows])
        start = max(1, int(np.floor(len(rows) * (1 - share) + 1e-9)))
        if start < len(rows):
            out[rows[data.time[rows] >= time[start]]] = True
    return out


def _by_user(data: Annotations, among: Bools) -> list[Ints]:
    rows = np.flatnonzero(among)
    order = rows[np.argsort(data.user[rows], kind="stable")]
    return [r for r in np.split(order, np.flatnonzero(np.diff(data.user[order])) + 1) if len(r)]


def _new_users(data: Annotations, held: Bools, settings: PartitionSettings, seed: int) -> Bools:
    """Return bool[U]: drawn from the users who have rows on both sides, so that they can be shown and tested."""
    size = len(data.users)
    both = (np.bincount(data.user[held], minlength=size) > 0) & (np.bincount(data.user[~held], minlength=size) > 0)
    candidates = np.flatnonzero(both)
    count = int(np.floor(settings.new_users * len(candidates)))
    out = np.zeros(size, bool)
    out[generator(seed, "new users").choice(candidates, count, replace=False)] = True
    return out


def _first(data: Annotations, rows: Ints, count: int, seed: int) -> Ints:
    """Return at most `count` rows of each user: the earliest, or seeded ones where there is no order."""
    order = generator(seed, "context").permutation(len(data)) if data.time is None else data.time
    ranked = rows[np.lexsort((order[rows], data.user[rows]))]
    place = np.arange(len(ranked)) - np.searchsorted(data.user[ranked], data.user[ranked])
    return np.sort(ranked[place < count])


def _late(data: Annotations, test: Ints) -> Bools | None:
    if data.time is None:
        return None
    among = np.zeros(len(data), bool)
    among[test] = True
    return _latest(data, among, 0.5)[test]
