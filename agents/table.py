"""TableRatingModel: a rating model's answers for given users and items, computed once and read from memory or disk.

Exact but for rounding: probabilities are kept as sixteen-bit counts that sum to one, so each is off by less than
1 / 65,535. What depends on a visit (memories that grow, the persona's own exit answer) is not in a table. Knows no
prompts and no weights.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import StoreError, UnknownIdError
from simenv.protocols import Answer, RatingModel
from simenv.scale import RatingScale

UNIT = 65_535
"""Counts that make one."""
_FILES = {"p": np.uint16, "off_scale": np.float16, "support": np.float32}


@final
@dataclass(frozen=True, eq=False)
class TableRatingModel:
    """Answers of M users for C items."""

    scale: RatingScale
    user: NDArray[np.int64]
    """int64[M]: user numbers, ascending."""
    item: NDArray[np.int64]
    """int64[C]: item numbers, ascending."""
    p: NDArray[np.uint16]
    """uint16[M, C, R]: probabilities in units of 1 / 65,535; memory-mapped when loaded."""
    off_scale: NDArray[np.float16]
    """float16[M, C]"""
    support: NDArray[np.float32]
    """float32[M, C]"""

    @cached_property
    def _row(self) -> NDArray[np.int64]:
        return _places(self.user)

    @cached_property
    def _column(self) -> NDArray[np.int64]:
        return _places(self.item)

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return the stored answers [N].

        Raises:
            UnknownIdError: a user or an item is not in the table.

        """
        row, column = _find(self._row, user, "user"), _find(self._column, item, "item")
        p = self.p[row, column] * np.float32(1 / UNIT)
        return Answer(p, self.off_scale[row, column].astype(np.float32), self.support[row, column])

    def holds(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return bool[N]: which pairs are stored."""
        return np.isin(user, self.user) & np.isin(item, self.item)

    @classmethod
    def load(cls, folder: str | Path, scale: RatingScale, *, told: str | None = None) -> TableRatingModel:
        """Open a finished table; nothing is read before it is asked for.

        told: what the table must have been made from; None: not checked.

        Raises:
            StoreError: no table there, not finished, damaged, or made from something else.

        """
        folder = Path(folder)
        about = _about(folder)
        _same(folder, about, {"scale": list(scale.values)} | ({} if told is None else {"told": told}))
        try:
            done = np.load(folder / "done.npy")
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _FILES}
        except (OSError, ValueError, EOFError) as error:
            raise StoreError(f"{folder} is damaged ({error}); delete it and compile again.") from error
        if not done.all():
            raise StoreError(f"{folder} holds {int(done.sum())} of {len(done)} users; compile again, it goes on.")
        return cls(scale, np.array(about["user"], np.int64), np.array(about["item"], np.int64), **arrays)


def compile_table(
    model: RatingModel,
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    folder: str | Path,
    *,
    told: str = "",
    rows: int = 8,
    show: Callable[[int, int], None] | None = None,
) -> TableRatingModel:
    """Ask `model` about every pair of users [M] and items [C]; keep the answers in a folder.

    told: what distinguishes the model (a fingerprint); a folder made from something else is refused.
    rows: users asked at a time; after each such block the work done so far is safe, and a second call goes on there.
    show: called with (users done, users in all).

    Raises:
        StoreError: the folder holds a table of other users, items, scale or model.

    """
    folder, user, item = Path(folder), np.unique(user), np.unique(item)
    wanted = {"user": user.tolist(), "item": item.tolist(), "scale": list(model.scale.values), "told": told}
    arrays = _open(folder, wanted, len(user), len(item), len(model.scale))
    done = arrays.pop("done")
    for start in range(0, len(user), rows):
        block = slice(start, start + rows)
        if not done[block].all():
            asked = user[block]
            said = model.rate(np.repeat(asked, len(item)), np.tile(item, len(asked)))
            for name, value in (("p", counts(said.p)), ("off_scale", said.off_scale), ("support", said.support)):
                arrays[name][block] = value.reshape(len(asked), len(item), *value.shape[1:])
                arrays[name].flush()
            done[block] = True
            done.flush()
        if show is not None:
            show(min(start + rows, len(user)), len(user))
    return TableRatingModel.load(folder, model.scale, told=told)


def counts(p: NDArray[np.floating]) -> NDArray[np.uint16]:
    """Return uint16[N, R]: p [N, R] in units of 1 / 65,535, rounded so that each row sums to one exactly.

    What rounding down leaves over goes to the largest remainders (Hamilton's method).

    >>> counts(np.array([[1 / 3, 1 / 3, 1 / 3]])).sum()
    np.uint64(65535)
    """
    exact = np.asarray(p, np.float64)
    exact = exact / exact.sum(axis=1, keepdims=True) * UNIT
    low = np.floor(exact)
    left = np.rint(UNIT - low.sum(axis=1)).astype(np.int64)
    rank = np.argsort(np.argsort(low - exact, axis=1, kind="stable"), axis=1, kind="stable")
    return np.asarray(low + (rank < left[:, None]), np.uint16)


def _open(folder: Path, wanted: dict[str, Any], m: int, c: int, r: int) -> dict[str, Any]:
    """Return the arrays of a table, new or to be continued."""
    shape = {"p": (m, c, r), "off_scale": (m, c), "support": (m, c)}
    if (folder / "table.json").exists():
        _same(folder, _about(folder), wanted)
        return {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in (*_FILES, "done")}
    folder.mkdir(parents=True, exist_ok=True)
    new = np.lib.format.open_memmap
    arrays = {n: new(folder / f"{n}.npy", mode="w+", dtype=kind, shape=shape[n]) for n, kind in _FILES.items()}
    arrays["done"] = new(folder / "done.npy", mode="w+", dtype=np.bool_, shape=(m,))
    (folder / "table.json").write_text(json.dumps(wanted) + "\n")  # last: where it stands, all files do
    return arrays


def _about(folder: Path) -> dict[str, Any]:
    if not (folder / "table.json").is_file():
        raise StoreError(f"{folder} holds no table of answers; make one with `simenv compile`.")
    about: dict[str, Any] = json.loads((folder / "table.json").read_text())
    return about


def _same(folder: Path, about: dict[str, Any], wanted: dict[str, Any]) -> None:
    words = {"user": "other users", "item": "other items", "scale": "another scale", "told": "another population"}
    for name, value in wanted.items():
        if about[name] != value:
            raise StoreError(f"{folder} holds a table of {words[name]}; take another folder, or delete this one.")


def _places(number: NDArray[np.int64]) -> NDArray[np.int64]:
    out = np.full(int(number.max(initial=-1)) + 1, -1, np.int64)
    out[number] = np.arange(len(number))
    return out


def _find(place: NDArray[np.int64], number: NDArray[np.int64], what: str) -> NDArray[np.int64]:
    inside = (number >= 0) & (number < len(place))
    found = place[np.where(inside, number, 0)] if len(place) else np.full(len(number), -1)
    bad = ~inside | (found < 0)
    if bad.any():
        raise UnknownIdError(
            f"{what} number {int(np.asarray(number)[bad][0])} is not in the table of answers ({int(bad.sum())} such); "
            f"compile with more {what}s, or answer by the population itself."
        )
    return np.asarray(found, np.int64)
