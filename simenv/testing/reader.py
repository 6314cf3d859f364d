"""A stand-in for a language model that obeys the structure of our questions and nothing that is said inside it.

What it answers is a function of the material alone, the profile before included, so that equal chains of questions give
equal words and any other question gives others.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from simenv.errors import DataError

_FENCE = re.compile(r"^BEGIN (\w+)\n(.*)\nEND (\w+)$", re.DOTALL | re.MULTILINE)
_LEVEL = ("low", "middle", "high")


def material(text: str) -> Any:
    """Return the JSON between the lines BEGIN and END of a question, whose codes must be the hash of what they hold.

    Raises:
        DataError: there is none, or the codes are wrong.

    """
    found = _FENCE.findall(text)
    if len(found) != 1:
        raise DataError(f"a question holds one fence; found {len(found)}.")
    begin, body, end = found[0]
    if not begin == end == hashlib.blake2b(body.encode(), digest_size=8).hexdigest():
        raise DataError("the codes of a fence must be the hash of what it holds.")
    return json.loads(body)


def obedient(body: dict[str, Any]) -> str:
    """Return the answer to the request's first user turn, as JSON."""
    told = material(next(m["content"] for m in body["messages"] if m["role"] == "user"))
    return json.dumps(answer(told["ratings"], told["profile so far"]))


def answer(ratings: Sequence[dict[str, Any]], profile: dict[str, Any] | None) -> dict[str, Any]:
    """Return reasons, levels and a description that depend on all that is shown, and name nothing."""
    mark = hashlib.blake2b(json.dumps([ratings, profile]).encode(), digest_size=5).hexdigest()
    reasons = [{"item": r["item"], "reason": f"because of mark {_mark(mark, r['item'])}"} for r in ratings]
    mean = sum(r["rating"] for r in ratings) / len(ratings)
    levels = {t: _LEVEL[int(mark[n], 16) % 3] for n, t in enumerate(("activity", "conformity", "diversity"))}
    return {"reasons": reasons, **levels, "description": f"I rate about {mean:.2f} of late. Chain {_mark(mark, 0)}."}


def _mark(mark: str, number: int) -> str:
    return hashlib.blake2b(f"{mark} {number}".encode(), digest_size=6).hexdigest()
