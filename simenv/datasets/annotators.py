"""Who labels which text how: data in which the label belongs to the person, not to the text alone.

`Annotations` is the one form; `annotators_files` reads the published ones into it. A rating is such a label too: see
`of_ratings`. Knows nothing of models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simenv.catalogue import Catalogue
from simenv.datasets.dataset import Dataset
from simenv.errors import DataError
from simenv.index import Index, RawId
from simenv.log import InteractionLog

Ints = NDArray[np.int64]
YES_NO = ("no", "yes")
"""Words of the classes 0 and 1 of a label that is present or absent."""
Part = Literal["train", "test"]


@final
@dataclass(frozen=True)
class Label:
    """One thing that is asked of every text."""

    name: str
    """Such as "joy" or "offensive": it stands in prompts and reports."""
    options: tuple[str, ...] = YES_NO
    """Words of its classes 0..C-1; at least two, distinct."""

    def __post_init__(self) -> None:
        if len(self.options) < 2 or len(set(self.options)) < len(self.options):
            raise DataError(f"label {self.name!r} needs at least two distinct classes; got {self.options}.")


@final
@dataclass(frozen=True, eq=False)
class Annotations:
    """N judgements of T texts by users, each with L labels."""

    users: Index
    text: tuple[str, ...]
    """[T], distinct: two judgements of the same words are judgements of one text."""
    labels: tuple[Label, ...]
    """[L]."""
    user: Ints
    """int64[N]: number of the user."""
    item: Ints
    """int64[N]: number of the text."""
    value: Ints
    """int64[N, L]: class of each label; -1: this user was not asked, or did not say."""
    time: Ints | None = None
    """int64[N]: when the user judged, in any unit that grows; None: unknown, then no order is made up."""
    official: tuple[Part, ...] | None = None
    """[T]: part of each text in the split its authors published; None: they published none by text."""
    name: str = "annotations"
    note: str = ""
    """What was assumed, joined or dropped while reading, in sentences."""

    def __post_init__(self) -> None:
        n, labels = len(self.user), len(self.labels)
        shapes = (self.user.shape, self.item.shape, self.value.shape)
        if n == 0 or shapes != ((n,), (n,), (n, labels)):
            raise DataError(f"expected at least one row: user [N], item [N], value [N, {labels}]; got shapes {shapes}.")
        self._check_range("user", self.user, 0, len(self.users))
        self._check_range("text", self.item, 0, len(self.text))
        for number, label in enumerate(self.labels):
            self._check_range(f"class of {label.name!r}", self.value[:, number], -1, len(label.options))
        if len(set(self.text)) != len(self.text):
            raise DataError("texts repeat; give each text one number, or copies of it could be learned and tested on.")
        if self.time is not None and self.time.shape != (n,):
            raise DataError(f"time needs one number for each of {n} rows; got shape {self.time.shape}.")
        if self.official is not None and len(self.official) != len(self.text):
            raise DataError(f"official needs a part for each of {len(self.text)} texts; got {len(self.official)}.")

    def _check_range(self, what: str, number: Ints, low: int, high: int) -> None:
        if len(number) and (number.min() < low or number.max() >= high):
            raise DataError(f"numbers of {what} are {low}..{high - 1}; got {number.min()}..{number.max()}.")

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def count(self) -> Ints:
        """int64[U]: judgements per user."""
        return np.asarray(np.bincount(self.user, minlength=len(self.users)), np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any text, label, user, order or time."""
        made = hashlib.blake2b(repr((self.text, self.labels, self.official)).encode(), digest_size=8)
        made.update(self.users.fingerprint.encode())
        for array in (self.user, self.item, self.value, self.time):
            made.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return made.hexdigest()

    def take(self, rows: ArrayLike) -> Annotations:
        """Return some judgements by mask bool[N] or number; users and texts keep their numbers."""
        picked = np.asarray(rows)
        time = None if self.time is None else self.time[picked]
        return replace(self, user=self.user[picked], item=self.item[picked], value=self.value[picked], time=time)

    def of_busy_users(self, least: int, most: int | None = None) -> Annotations:
        """Return the judgements of users with at least `least`; most: only the first so many of them by number.

        Raises:
            DataError: no user has so many.

        """
        busy = np.flatnonzero(self.count >= least)[:most]
        if not len(busy):
            raise DataError(f"no user of {self.name} has {least} judgements; the busiest has {self.count.max()}.")
        return self.take(np.isin(self.user, busy))


def of_rows(
    rows: Sequence[tuple[RawId, str, Sequence[int]]],
    labels: Sequence[Label],
    *,
    name: str,
    note: str = "",
    time: Sequence[int] | None = None,
    official: dict[str, Part] | None = None,
) -> Annotations:
    """Return the annotations of rows (raw user id, text, classes [L]); equal texts get one number.

    official: part of each text, as published; None: none was.
    """
    users = Index.of([user for user, _, _ in rows], "user")
    texts = tuple(dict.fromkeys(text for _, text, _ in rows))
    number = {text: n for n, text in enumerate(texts)}
    return Annotations(
        users,
        texts,
        tuple(labels),
        users.encode([user for user, _, _ in rows]),
        np.array([number[text] for _, text, _ in rows], np.int64),
        np.array([list(value) for _, _, value in rows], np.int64).reshape(len(rows), len(labels)),
        None if time is None else np.asarray(time, np.int64),
        None if official is None else tuple(official[t] for t in texts),
        name,
        note,
    )


def of_ratings(dataset: Dataset) -> Annotations:
    """Return a data set's ratings as labels, see `of_log`."""
    return of_log(dataset.log, dataset.catalogue, name=dataset.name, note=dataset.note)


def of_log(log: InteractionLog, catalogue: Catalogue, *, name: str = "ratings", note: str = "") -> Annotations:
    """Return ratings as labels: the text is the catalogue's line of the item, the classes are the scale's values."""
    texts, item = item_texts(catalogue)
    joined = len(catalogue) - len(texts)
    if joined:
        note = f"{note} {joined} items read like another one and share its text.".strip()
    options = tuple(f"{v:g}" for v in log.scale.values)
    value = log.scale.encode(log.rating)[:, None]
    label = Label("rating", options)
    return Annotations(log.users, texts, (label,), log.user, item[log.item], value, log.time, None, name, note)


def item_texts(catalogue: Catalogue) -> tuple[tuple[str, ...], Ints]:
    """Return the distinct lines [T] that describe items, and int64[I]: which one is each item's."""
    lines = [catalogue.describe(i) for i in range(len(catalogue))]
    texts = tuple(dict.fromkeys(lines))
    number = {text: n for n, text in enumerate(texts)}
    return texts, np.array([number[line] for line in lines], np.int64)
