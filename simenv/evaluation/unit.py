"""Units of a benchmark: one contestant, one seed, one arm; and the folder that remembers finished ones.

A unit's file is named by a hash of all that its numbers depend on, and written in one step (a new file is renamed into
place), so a killed benchmark starts again where it stopped. Knows no population and no recommender by type.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError, StoreError
from simenv.protocols import Population
from simenv.randomness import counter_hash
from simenv.record import Record
from simenv.session import Slate

Values = dict[str, NDArray[np.float64]]
FORMAT = 1
"""Raised when the meaning of stored numbers changes: older units are then computed again."""


@final
@dataclass(frozen=True)
class Unit:
    """What is computed at one go."""

    recommender: str
    seed: int
    arm: str
    """"offline", "pages", "session", "sweep 0.5", "truth", "truth session" or "shared"."""
    refit: int
    key: str
    """Hash of all the unit's numbers depend on."""

    @property
    def stem(self) -> str:
        """File name without suffix: readable, and unique by its hash."""
        words = re.sub(r"[^\w.]+", "-", f"{self.recommender}-{self.seed}-{self.arm}-{self.refit}")
        return f"{words[:80]}-{self.key}"


def digest(*parts: object) -> str:
    """Return sixteen hex digits of JSON-able parts."""
    text = json.dumps(parts, sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def catalogue_fingerprint(catalogue: Catalogue) -> str:
    """Return sixteen hex digits of all a catalogue says."""
    names = ("title", "year", "genres", "cast", "director", "summary", "noun")
    return digest(catalogue.items.fingerprint, [getattr(catalogue, n) for n in names], dict(catalogue.extra))


def recommender_fingerprint(recommender: Any) -> str:
    """Return sixteen hex digits of a recommender: its `fingerprint` if it has one, else its repr and its source.

    Raises:
        ConfigError: its repr is only a memory address, so a changed recommender could not be told from the old one.

    """
    own = getattr(recommender, "fingerprint", None)
    if own is not None:
        return digest(recommender.name, str(own))
    text = repr(recommender)
    if re.search(r" at 0x[0-9a-f]+", text):
        text = repr(sorted(vars(recommender).items())) if hasattr(recommender, "__dict__") else text
    if re.search(r" at 0x[0-9a-f]+", text):
        raise ConfigError(
            f"recommender {recommender.name!r} cannot be recognised again: its repr is {text[:120]}. "
            "Make it a frozen dataclass, or give it an attribute fingerprint: str."
        )
    return digest(recommender.name, type(recommender).__qualname__, text, _source(type(recommender)))


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        # Classes typed at a prompt have no source: then the repr alone must tell.
        return ""


def population_fingerprint(population: Population) -> str:
    """Return sixteen hex digits of a population: its `fingerprint` if it has one, else what some members answer.

    The probe asks up to 16 members, spread over all, about up to 8 items; populations that differ elsewhere only need a
    `fingerprint: str` of their own.
    """
    own = getattr(population, "fingerprint", None)
    if own:  # "": made in memory, so it must be told by its answers
        return digest(str(own))
    member = _spread(population.member, 16)
    item = _spread(np.arange(len(population.items)), 8)
    slate = Slate.certain(np.broadcast_to(item, (len(member), len(item))).copy())
    answer, _ = population.respond(population.begin(member, counter_hash(np.uint64(0), member)), slate)
    said = [a.tolist() for a in (answer.p_rating, answer.p_exit, answer.consumed, answer.support)]
    indices = (population.users.fingerprint, population.items.fingerprint)
    return digest(indices, population.member.tolist(), dict(population.assumption), said)


def _spread(number: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    rows = np.unique(np.linspace(0, len(number) - 1, min(size, len(number))).astype(int))
    return np.asarray(number[rows], np.int64)


@final
@dataclass(frozen=True)
class UnitStore:
    """Finished units in a folder; folder None: nothing is kept."""

    folder: Path | None
    records: bool = False
    """Keep what was shown and answered as records/STEM.parquet too."""

    def __post_init__(self) -> None:
        if self.records and self.folder is None:
            raise ConfigError("records are kept in the benchmark's folder; give folder=... too.")
        if self.folder is not None:
            (self.folder / "units").mkdir(parents=True, exist_ok=True)

    def has(self, unit: Unit) -> bool:
        """Return whether the unit is finished and, where records are wanted, its record is there."""
        if self.folder is None or not self._path(unit, "units", "npz").exists():
            return False
        return not self.records or unit.arm == "offline" or self._path(unit, "records", "parquet").exists()

    def get(self, unit: Unit) -> tuple[Values, float]:
        """Return the values of a finished unit and the seconds it took.

        Raises:
            StoreError: the file is damaged.

        """
        path = self._path(unit, "units", "npz")
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                values = {name: found[name] for name in found.files}
        except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
            raise StoreError(f"benchmark unit {path} cannot be read ({error}); delete it and run again.") from error
        return values, float(values.pop("_seconds"))

    def make(self, unit: Unit, compute: Callable[[], tuple[Values, Record | None]]) -> tuple[Values, float]:
        """Compute a unit, keep it, and return its values and the seconds it took."""
        start = time.perf_counter()
        values, record = compute()
        seconds = time.perf_counter() - start
        self.put(unit, values, seconds, record.to_frame() if self.records and record is not None else None)
        return values, seconds

    def put(self, unit: Unit, values: Values, seconds: float, frame: pd.DataFrame | None = None) -> None:
        """Keep a unit that was computed elsewhere; frame: its record, None: none is wanted."""
        if self.folder is None:
            return
        if frame is not None:
            write_once(self._path(unit, "records", "parquet"), lambda p: frame.to_parquet(p, index=False))
        arrays: Mapping[str, Any] = values | {"_seconds": np.asarray(seconds)}
        write_once(self._path(unit, "units", "npz"), lambda p: save_arrays(p, arrays))

    def _path(self, unit: Unit, kind: str, suffix: str) -> Path:
        assert self.folder is not None
        return self.folder / kind / f"{unit.stem}.{suffix}"


def write_once(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file in one move: under its name it is there whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    write(draft)
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(draft, path)


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an npz file under exactly this name."""
    with path.open("wb") as file:
        np.savez(file, **arrays)
