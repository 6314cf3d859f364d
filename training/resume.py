"""A folder that training works in, tied to what was asked for: interrupted work goes on, and nothing else does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simenv.agents.store import MANIFEST
from simenv.catalogue import Catalogue
from simenv.errors import StoreError
from simenv.index import Index
from simenv.log import InteractionLog


def begin(
    folder: Path,
    log: InteractionLog,
    catalogue: Catalogue,
    member: NDArray[np.int64],
    settings: str,
    cut: NDArray[np.int64] | None = None,
    training_log: InteractionLog | None = None,
) -> bool:
    """Return True if the folder holds the finished population; else make it ready to go on with.

    settings: all of them, as text.

    Raises:
        StoreError: it holds a population of other data or settings.

    """
    asked = {
        "log": log.fingerprint,
        "catalogue": digest(catalogue.noun + catalogue.to_frame().to_json()),
        "member": Index(tuple(member.tolist())).fingerprint,
        "settings": digest(settings),
        "cut": None if cut is None else digest(repr(cut.tolist())),
        "training_log": None if training_log is None else training_log.fingerprint,
    }
    note = folder / "stage" / "request.json"
    if note.exists() and json.loads(note.read_text()) != asked:
        raise StoreError(f"{folder} belongs to other data or settings; choose another folder, or delete this one.")
    if not note.exists() and folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} is not empty and was not begun by this training; choose another folder.")
    note.parent.mkdir(parents=True, exist_ok=True)
    if not note.exists():
        note.write_text(json.dumps(asked))
    return (folder / MANIFEST).exists()


def digest(text: str) -> str:
    """Return sixteen hex digits of a text."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
