"""A condition on the headline, for people's own checks: "mine < als". Parsed by hand, never evaluated.

Grammar: SIDE (< or >) SIDE, where SIDE is a contestant's name, a number, or a name plus or minus a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from simenv.errors import ConfigError

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
_SHIFT = re.compile(r"(?P<name>.*\S)\s*(?P<sign>[+-])\s*(?P<number>\d+(\.\d*)?|\.\d+)")


def fail_if(expression: str, value: Mapping[str, float]) -> tuple[bool, str]:
    """Return whether the condition holds on the values by name, and a sentence that says so.

    >>> fail_if("mine < als - 0.05", {"mine": 3.6, "als": 3.7})
    (True, 'mine < als - 0.05 holds: 3.600 < 3.650.')

    Raises:
        ConfigError: the expression is not one comparison, or names nobody in the league.

    """
    parts = re.split(r"([<>])", expression)
    if len(parts) != 3 or "=" in expression:
        raise ConfigError(
            f'cannot read the condition {expression!r}: write one comparison with < or >, such as "mine < als" '
            'or "mine < als - 0.05".'
        )
    left, right = (_side(p, value, expression) for p in (parts[0], parts[2]))
    holds = left < right if parts[1] == "<" else left > right
    words = "holds" if holds else "does not hold"
    sign = parts[1] if holds else ("is not " + parts[1])
    return holds, f"{expression.strip()} {words}: {left:.3f} {sign} {right:.3f}."


def _side(text: str, value: Mapping[str, float], expression: str) -> float:
    text = text.strip()
    # A whole name first: names may hold signs and digits ("item-2").
    if text in value:
        return value[text]
    if _NUMBER.fullmatch(text):
        return float(text)
    shifted = _SHIFT.fullmatch(text)
    if shifted and shifted["name"] in value:
        return value[shifted["name"]] + float(shifted["sign"] + shifted["number"])
    known = ", ".join(sorted(value))
    raise ConfigError(f"{text!r} in {expression!r} is neither a number nor a contestant; the league has: {known}.")
