"""Plain: finished results as JSON and back, exactly, so that what takes long is measured once.

Knows dataclasses, arrays and numbers; the classes that may come back are named by whoever reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

_KIND = "is"


def to_text(value: Any) -> str:
    """Return JSON of dataclasses, mappings with words as keys, arrays, numbers, words and None; NaN is kept."""
    return json.dumps(_plain(value))


def from_text(text: str, kinds: Iterable[type]) -> Any:
    """Return what `to_text` was given; tuples come back as lists.

    Raises:
        KeyError: a dataclass that is not among `kinds`.

    """
    known = {kind.__name__: kind for kind in kinds}

    def made(found: dict[str, Any]) -> Any:
        if _KIND not in found:
            return found
        name = found.pop(_KIND)
        return np.array(found["values"], found["dtype"]) if name == "array" else known[name](**found)

    return json.loads(text, object_hook=made)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {_KIND: type(value).__name__} | {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray):
        return {_KIND: "array", "dtype": value.dtype.name, "values": value.tolist()}
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value.item() if isinstance(value, np.generic) else value
