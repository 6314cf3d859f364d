"""Why a user rated an item so, in one sentence, from the rest of the user's past. Nothing but the past is looked at.

A reason is a template filled with numbers that leave the entry itself out, so that it explains and does not repeat it.
Training makes a Past of each context; a reason made from rows outside the context would tell of the targets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.catalogue import Catalogue

_DAMPING = 3.0
"""Pseudo-ratings that pull a deviation to zero, as in Taste."""
_SLIGHT = 0.05
_CROWD = 0.25
"""Rating points off the mean from which the crowd is said to like or dislike an item."""


class Motive(NamedTuple):
    """One thing that speaks for or against an item."""

    code: str
    """ "genre", "people" or "series"."""
    deviation: float
    """Rating points; above 0 speaks for the item."""
    words: str
    """Continues "because "."""


@final
@dataclass(frozen=True, eq=False)
class Past:
    """One user's rated items, oldest first: all that reasons may know. H entries."""

    crowd: Crowd
    catalogue: Catalogue
    item: NDArray[np.int64]
    """int64[H]"""
    rating: NDArray[np.float32]
    """float32[H]"""
    residual: NDArray[np.float32]
    """float32[H]: rating minus what crowd and severity let expect."""
    offset: float
    """The user's severity against the crowd, rating points."""

    @cached_property
    def _tally(self) -> dict[tuple[str, str], tuple[float, int]]:
        """Sum of residuals and number of entries per (kind, name): genre, maker or cast."""
        found: dict[tuple[str, str], tuple[float, int]] = {}
        for number, residual in zip(self.item.tolist(), self.residual.tolist(), strict=True):
            for key in _marks(self.catalogue, number):
                total, n = found.get(key, (0.0, 0))
                found[key] = total + residual, n + 1
        return found

    @cached_property
    def _stem(self) -> list[str]:
        return [stem(self.catalogue.title[i]) for i in self.item.tolist()]

    def motives(self, place: int) -> list[Motive]:
        """Return what speaks for or against the entry at `place`: an earlier part of a series, then by strength.

        The item's own ratings are left out of every number.
        """
        item = int(self.item[place])
        own = self.residual[self.item == item]
        best: dict[str, Motive] = {}
        for kind, name in _marks(self.catalogue, item):
            total, n = self._tally[kind, name]
            rest = n - len(own)
            group = "genre" if kind == "genre" else "people"
            if rest < (2 if group == "genre" else 1):
                continue
            deviation = (total - float(own.sum())) / (rest + _DAMPING)
            if group not in best or abs(deviation) > abs(best[group].deviation):
                best[group] = Motive(group, deviation, _WORDS[kind].format(name=name) + _usual(deviation))
        series = self._series(place)
        return ([series] if series else []) + sorted(best.values(), key=lambda m: (-abs(m.deviation), m.code))

    def _series(self, place: int) -> Motive | None:
        """Return the latest earlier item whose title begins like this one's."""
        for n in range(place - 1, -1, -1):
            other = int(self.item[n])
            if self._stem[place] and self._stem[n] == self._stem[place] and other != self.item[place]:
                words = f"I had given {self.catalogue.title[other]} {self.rating[n]:g}"
                return Motive("series", float(self.residual[n]), words)
        return None

    def reason(self, place: int) -> str:
        """Return one sentence such as "I gave it 4 because it counts as Drama, which I rate 0.4 above ..."."""
        rating, item = float(self.rating[place]), int(self.item[place])
        gap = rating - (self.crowd.mean + self.offset)
        strong = [m for m in self.motives(place) if abs(m.deviation) >= _SLIGHT]
        agreeing = [m.words for m in strong if m.deviation * gap > 0]
        said, tail = f"I gave it {rating:g}", _opinion(float(self.crowd.item_offset[item]), gap)
        if agreeing:
            return f"{said} because {' and '.join(agreeing[:2])}{tail}."
        if strong:
            return f"{said} although {strong[0].words}{tail}."
        return f"{said}, with nothing in my past to explain it{tail}."


def stem(title: str) -> str:
    """Return what the titles of a series share: the words before a colon or a closing number, without the article."""
    bare = re.split(r":|,? part ", title.lower())[0]
    bare = re.sub(r"(^(the|a|an) |, (the|a|an)$)", "", bare.strip())
    return re.sub(r"[\s#]+(\d+|[ivx]+)$", "", bare).strip()


def _marks(catalogue: Catalogue, item: int) -> list[tuple[str, str]]:
    by = catalogue.director[item]
    made = ([("by", by)] if by else []) + [("with", n) for n in dict.fromkeys(catalogue.cast[item])]
    return [("genre", g) for g in dict.fromkeys(catalogue.genres[item])] + made


_WORDS = {
    "genre": "it counts as {name}, which I rate ",
    "by": "it is by {name}, whose work I rate ",
    "with": "{name} is in it, whom I rate ",
}


def _usual(deviation: float) -> str:
    return f"{abs(deviation):.1f} {'above' if deviation > 0 else 'below'} my usual"


def _opinion(offset: float, gap: float) -> str:
    """Return how the crowd stands to the item, put as agreement or contrast with the user's rating."""
    if abs(offset) < _CROWD:
        return ""
    likes = "likes" if offset > 0 else "dislikes"
    return f"; the crowd {likes} it " + ("too" if offset * gap > 0 else "more than I do")
