"""The manifest of a population's folder: its format, its version, the hash of every file. Knows no users."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from simenv.errors import StoreError

VERSION = 3
"""Raised when a folder of before can no longer be read."""
MANIFEST = "population.json"


def check(folder: Path) -> dict[str, Any]:
    """Return the manifest after checking every file against it.

    Raises:
        StoreError: no such folder, not one of simenv's, of another version, or a file is missing or changed.

    """
    manifest = read(folder)
    verify(folder, manifest, manifest["file"])
    return manifest


def read(folder: Path) -> dict[str, Any]:
    """Return the manifest; no file is checked.

    Raises:
        StoreError: no such folder, not one of simenv's, or of another version.

    """
    if not (folder / MANIFEST).is_file():
        raise StoreError(f"{folder} is no saved population: it has no {MANIFEST}. Make one with `simenv train`.")
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except ValueError as error:  # no JSON, or no text at all
        raise StoreError(f"{folder / MANIFEST} is damaged ({error}); train the population again.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != "simenv-population":
        raise StoreError(f"{folder / MANIFEST} was not written by simenv.")
    if manifest.get("version") != VERSION:
        raise StoreError(
            f"{folder} has format version {manifest.get('version')}; this simenv reads {VERSION}. Train it again."
        )
    return manifest


def verify(folder: Path, manifest: Mapping[str, Any], names: Iterable[str]) -> None:
    """Check some files of a folder against its manifest.

    Raises:
        StoreError: one is missing or changed.

    """
    for name in names:
        if not (folder / name).is_file():
            raise StoreError(f"{folder} is incomplete: {name} is missing. Copy the whole folder, or train it again.")
        if digest(folder / name) != manifest["file"][name]:
            raise StoreError(
                f"{folder / name} is damaged: its hash differs from {MANIFEST}. Copy it again, or train it again."
            )


@final
@dataclass(frozen=True)
class Sound:
    """Checks some files of a folder against its manifest, once: when it is first called."""

    folder: Path
    manifest: Mapping[str, Any]
    name: tuple[str, ...]
    _known: list[bool] = field(default_factory=list)

    def __call__(self) -> None:
        """Raise StoreError where one is missing or changed."""
        if not self._known:
            verify(self.folder, self.manifest, self.name)
            self._known.append(True)


def weights(manifest: Mapping[str, Any]) -> list[str]:
    """Return the files that only a language model needs: base, tokenizer and adapters."""
    return [name for name in manifest["file"] if Path(name).parts[0] in ("model", "adapters")]


def digest(file: Path) -> str:
    """Return 32 hex digits of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]
