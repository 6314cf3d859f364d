from __future__ import annotations

import pytest

from simenv.errors import ConfigError
from simenv.evaluation.gate import fail_if

VALUE = {"mine": 3.5, "als": 3.6, "item-2": 3.4, "item": 9.0, "a b": 1.0}


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("mine < als", True),
        ("mine > als", False),
        ("mine<als-0.2", False),
        ("mine < als - 0.05", True),
        ("mine > als + 0.05", False),
        ("mine < 3.6", True),
        ("3 > mine", False),
        ("item-2 < mine", True),
        ("item - 2 > mine", True),
        ("item-2 - 1 < 2.5", True),
        ("a b < .5", False),
        ("mine > mine", False),
        ("mine > -1", True),
    ],
)
def test_what_holds(expression: str, holds: bool) -> None:
    found, words = fail_if(expression, VALUE)
    assert found is holds
    assert words.startswith(expression)
    assert ("does not hold" in words) is not holds


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("mine", "one comparison"),
        ("mine < als < 3", "one comparison"),
        ("mine <= als", "one comparison"),
        ("mine == als", "one comparison"),
        ("", "one comparison"),
        ("mine < bpr", "'bpr' in 'mine < bpr' is neither a number nor a contestant; the league has: a b, als"),
        ("mine < ", "neither a number"),
        ("mine < als * 2", "neither a number"),
        ("__import__('os').getcwd() < 1", "neither a number"),
        ("mine < 1e999 - als", "neither a number"),
        ("mine < als - 0.05 - 0.05", "neither a number"),
    ],
)
def test_what_cannot_be_read(expression: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace("(", r"\(").replace(")", r"\)")):
        fail_if(expression, VALUE)
