"""What a model must answer: its JSON schema, and the check that says what is wrong in words it can be told.

The check is whole in itself: a server's promise to hold to a schema is not relied on.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

LEVEL = ("low", "middle", "high")
TRAIT = ("activity", "conformity", "diversity")
MOST_WORDS = 2_000
"""Words of a whole profile, at most (Thakur et al. 2025)."""
REASON_WORDS = 60
"""Words of a reason, at most; about half as many are asked for."""
_LETTERS = 12
"""Letters per word, at most on average; languages that write without blanks are held to letters."""
_JOINERS = "\u00ad\u200c\u200d"
"""Invisible, and part of ordinary spelling: soft hyphen, joiners of Persian, Hindi and emoji."""


class MalformedError(ValueError):
    """An answer that cannot be used; the message is fit to be told to the model."""


@final
@dataclass(frozen=True)
class Answer:
    """A checked answer to one batch."""

    reason: tuple[str, ...]
    """One per item of the batch, in its order."""
    level: tuple[int, int, int]
    """Activity, conformity, diversity: 0 low, 1 middle, 2 high."""
    description: str

    @property
    def text(self) -> str:
        """All words of the answer."""
        return "\n".join((*self.reason, self.description))


def _closed(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of an object with exactly these properties."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


_REASON = _closed({"item": {"type": "integer"}, "reason": {"type": "string"}})
SCHEMA = _closed(
    {"reasons": {"type": "array", "items": _REASON}}
    | {trait: {"type": "string", "enum": list(LEVEL)} for trait in TRAIT}
    | {"description": {"type": "string"}}
)
"""Of the answer to a batch; the same for every batch, so that servers compile it once."""
WHY_SCHEMA = _closed({"reason": {"type": "string"}, "cites": {"type": "array", "items": {"type": "integer"}}})
"""Of a reason at serve time."""


def read(text: str, size: int, words: int = MOST_WORDS) -> Answer:
    """Return the answer to a batch of `size` items. words: limit of the description.

    White space is folded. What stands around the one JSON object (thoughts, code fences) is passed over.

    Raises:
        MalformedError: it is not as asked; the message says in what.

    """
    found = parsed(text, SCHEMA)
    rows = found["reasons"]
    if not isinstance(rows, list) or not all(isinstance(r, dict) and set(r) == {"item", "reason"} for r in rows):
        raise MalformedError('"reasons" must be a list of objects, each with exactly "item" and "reason".')
    numbers = [r["item"] for r in rows]
    if not all(type(n) is int for n in numbers) or sorted(numbers) != list(range(1, size + 1)):
        raise MalformedError(f'"reasons" must hold each item 1 to {size} exactly once; it holds {numbers[:20]}.')
    said = {r["item"]: plain(r["reason"], f"the reason of item {r['item']}", REASON_WORDS) for r in rows}
    a, c, d = (_level(found, trait) for trait in TRAIT)
    return Answer(
        tuple(said[n] for n in range(1, size + 1)), (a, c, d), plain(found["description"], "description", words)
    )


def parsed(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one JSON object in a text, with exactly the schema's properties.

    Raises:
        MalformedError: there is none, or its properties are others.

    """
    bare = re.sub(r"(?s)^.*</think>", "", text)
    start, end = bare.find("{"), bare.rfind("}")
    if start < 0:
        raise MalformedError("there is no JSON object; write one and nothing else.")
    try:
        found = json.loads(bare[start : end + 1] if end > start else bare[start:])
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"this is no JSON ({error}); write one whole JSON object and nothing else.") from error
    wanted = set(schema["properties"])
    missing, strange = sorted(wanted - set(found)), sorted(set(found) - wanted)
    if missing or strange:
        what = [f"{', '.join(missing)} missing"] if missing else []
        what += [f"{', '.join(strange)[:80]} unknown"] if strange else []
        raise MalformedError(f"the object's properties are wrong: {'; '.join(what)}.")
    return dict(found)


def plain(value: object, what: str, words: int) -> str:
    """Return a text on one line, with single blanks.

    Raises:
        MalformedError: it is no text, empty, too long, or holds control characters.

    """
    if not isinstance(value, str):
        raise MalformedError(f"{what} must be text; it is {type(value).__name__}.")
    text = " ".join(value.split())
    if not text:
        raise MalformedError(f"{what} is empty.")
    if any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co") and c not in _JOINERS for c in text):
        raise MalformedError(f"{what} holds invisible or control characters; write plain text.")
    count = max(len(text.split()), -(-len(text) // _LETTERS))
    if count > words:
        raise MalformedError(f"{what} has about {count} words; at most {words} are allowed.")
    return text


def _level(found: Mapping[str, Any], trait: str) -> int:
    if found[trait] not in LEVEL:
        raise MalformedError(f'"{trait}" must be low, middle or high; it is {str(found[trait])[:40]!r}.')
    return LEVEL.index(found[trait])
