"""The decision rule: which rating a written answer stands for, if any. Knows text and a scale, no models.

strict: the first word (up to white space or the end) must be one of the options and nothing else. "4", " 4 " and
"4 because" are the rating 4; "4.", "Rating: 4", "four", "4.5" and "" are unrelated. This is what the share of unrelated
answers counts, as in Thakur et al. 2025.

lenient: the first option that stands alone in the text, with signs around it or words before it: "4.", "**4**", "4/5"
and "Rating: 4" are 4, "4.5", "-4" and "14" are still nothing. Where options are letters only the first word counts,
signs taken off, because "A" and "I" are words too.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from simenv.scale import RatingScale

Float = NDArray[np.float64]


def strict(text: Sequence[str], scale: RatingScale) -> Float:
    """Return float64[N]: the rating of each answer; NaN: unrelated."""
    return _read(text, scale, lambda answer: next(iter(answer.split()), ""))


def lenient(text: Sequence[str], scale: RatingScale) -> Float:
    """Return float64[N]: the rating of each answer, read with good will; NaN: unrelated."""
    if not all(s.isdigit() for s in scale.symbols):
        return _read(text, scale, lambda answer: next(iter(answer.split()), "").strip(string.punctuation))
    number = re.compile(rf"(?<![\w.,+-])({'|'.join(scale.symbols)})(?!\w|[.,]\d)")

    def alone(answer: str) -> str:
        found = number.search(answer)
        return found[1] if found else ""

    return _read(text, scale, alone)


def _read(text: Sequence[str], scale: RatingScale, symbol: Callable[[str], str]) -> Float:
    value = dict(zip(scale.symbols, scale.values, strict=True))
    return np.array([value.get(symbol(answer), np.nan) for answer in text], np.float64)


def worst(truth: NDArray[np.floating], scale: RatingScale) -> Float:
    """Return float64[N]: the end of the scale farther from each true rating [N].

    What an unrelated answer is counted as where none may be left out: so no model gains by being unreadable. (The
    middle of the scale would reward it: always answering the middle is better than many models.)
    """
    low, high = scale.array[0], scale.array[-1]
    y = np.asarray(truth, np.float64)
    return np.asarray(np.where(y - low >= high - y, low, high), np.float64)
