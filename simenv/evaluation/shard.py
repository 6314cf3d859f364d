"""Shards: finished parts of a benchmark, kept until all of them are there and become whole units.

A killed benchmark goes on behind its last finished part. Files are written in one move, in a folder named by a hash of
all the numbers depend on. Knows arrays by name; no population, no recommender.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final
from zipfile import BadZipFile

import numpy as np
import pandas as pd

from simenv.errors import StoreError
from simenv.evaluation.contest import Part, Played
from simenv.evaluation.unit import save_arrays, write_once


@final
@dataclass(frozen=True)
class Shards:
    """Finished parts."""

    folder: Path | None
    """None: kept in memory only."""
    _kept: dict[int, Mapping[str, Played]] = field(default_factory=dict)

    def has(self, part: Part) -> bool:
        """Return whether the part is finished."""
        return part.start in self._kept or (self.folder is not None and self._path(part).exists())

    def put(self, part: Part, played: Mapping[str, Played]) -> None:
        """Keep a finished part."""
        if self.folder is None:
            self._kept[part.start] = played
            return
        arrays: dict[str, Any] = {}
        for key, own in played.items():
            arrays |= {f"{key} {name}": value for name, value in own.value.items()}
            arrays[f"{key} _seconds"] = np.asarray(own.seconds)
            if own.frame is not None:
                write_once(self._frame(part, key), partial(own.frame.to_parquet, index=False))
        write_once(self._path(part), lambda path: save_arrays(path, arrays))  # last: with it the part is finished

    def get(self, part: Part, key: str) -> Played:
        """Return one unit of a finished part.

        Raises:
            StoreError: its file is damaged.

        """
        if part.start in self._kept:
            return self._kept[part.start][key]
        path, frame = self._path(part), self._frame(part, key)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as found:
                own = {name.partition(" ")[2]: found[name] for name in found.files if name.startswith(f"{key} ")}
            return Played(own, float(own.pop("_seconds")), pd.read_parquet(frame) if frame.exists() else None)
        except (OSError, ValueError, EOFError, KeyError, BadZipFile) as error:
            raise StoreError(f"finished part {path} cannot be read ({error}); delete it and run again.") from error

    def drop(self) -> None:
        """Forget all parts: they have become whole units."""
        self._kept.clear()
        if self.folder is not None and self.folder.exists():
            shutil.rmtree(self.folder)
            with suppress(OSError):  # others are at work there
                self.folder.parent.rmdir()

    def _path(self, part: Part) -> Path:
        assert self.folder is not None
        return self.folder / f"{part.start}-{part.stop}.npz"

    def _frame(self, part: Part, key: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{part.start}-{part.stop}-{key}.parquet"
