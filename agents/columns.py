"""Columns: the arrays of a store as one file each, mapped when opened, so that what is not looked at is not read.

Processes of one machine that open the same folder share the memory. Knows arrays and a few words; no users.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simenv.errors import StoreError

_ABOUT = "about.json"
_SMALL = np.iinfo(np.int32)


def write(folder: Path, kind: str, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
    """Write arrays as NAME.npy and words and numbers as JSON.

    kind: what it is, for whoever opens it. Whole numbers take four bytes where that loses nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        draft = folder / f"{name}.part.npy"
        np.save(draft, _narrow(np.asarray(array)))
        os.replace(draft, folder / f"{name}.npy")  # a new file: who has the old one mapped, keeps it
    content = {"kind": kind, "arrays": sorted(arrays), **about}
    (folder / _ABOUT).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(folder: Path, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return (arrays, about) as written; arrays are mapped and cannot be changed.

    Raises:
        StoreError: something else lies there, or an array is missing or cut short.

    """
    try:
        about: dict[str, Any] = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder.name} holds no {kind}: its {_ABOUT} cannot be read ({error}).") from error
    if not isinstance(about, dict) or about.get("kind") != kind:
        raise StoreError(f"{folder.name} holds no {kind}; give the folder that was saved as such.")
    return {name: _open(folder / f"{name}.npy") for name in about["arrays"]}, about


def _narrow(array: NDArray[Any]) -> NDArray[Any]:
    fits = array.dtype == np.int64 and (not array.size or (array.min() >= _SMALL.min and array.max() <= _SMALL.max))
    return array.astype(np.int32) if fits else array


def _open(file: Path) -> NDArray[Any]:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StoreError(
            f"{file} is damaged or missing ({error}). Copy the whole folder again, or train it again."
        ) from error
    return np.asarray(array)  # a plain array over the same mapped bytes: quicker to index than a memmap
