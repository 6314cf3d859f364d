"""Which items a text names: the check that nothing but a user's own past is spoken of.

A title counts where it stands as it is written in the catalogue, capitals included; of several that begin at one place
the longest. Titles and people of items that may be named, and genres, are passed over. A title of one word counts only
with a capital in mid-sentence or in quotation marks, one of fewer than three letters only in these: else "Speed" and
"Heat" would be found in every second text. Knows no users and no models.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from simenv.catalogue import Catalogue

_WORD = re.compile(r"\w+")
_OPENS = "\"'“‘«„"
_STOPS = ".!?:;\n"


@final
@dataclass(frozen=True, eq=False)
class Naming:
    """Finds titles of one catalogue in texts."""

    catalogue: Catalogue

    def foreign(self, text: str, known: Sequence[int]) -> tuple[str, ...]:
        """Return the titles of items outside `known` that a text names, each once, in order."""
        return tuple(dict.fromkeys(self._titles(text, self._allowed(known))))

    def of(self, text: str, item: Iterable[int], known: Sequence[int]) -> tuple[str, ...]:
        """Return the titles of these items that a text names, those of `known` left aside."""
        wanted = {_bare(self.catalogue.title[i]) for i in item}
        return tuple(t for t in self.foreign(text, known) if t in wanted)

    @cached_property
    def _by_word(self) -> Mapping[str, list[str]]:
        """All titles by their first word."""
        return _by_first_word(map(_bare, self.catalogue.title))

    def _allowed(self, known: Sequence[int]) -> Mapping[str, list[str]]:
        """Return names that may stand in a text by their first word: of known items, their people, and genres."""
        c = self.catalogue
        return _by_first_word(
            [*(n for i in known for n in (_bare(c.title[i]), c.director[i], *c.cast[i])), *c.vocabulary]
        )

    def _titles(self, text: str, allowed: Mapping[str, list[str]]) -> Iterator[str]:
        end = 0
        for word in _WORD.finditer(text):
            if word.start() < end:
                continue
            may = set(allowed.get(word.group(), ()))
            for name in sorted(may.union(self._by_word.get(word.group(), ())), key=lambda n: (-len(n), n)):
                start = word.start() - _WORD.search(name).start()  # type: ignore[union-attr]
                if not _written(text, name, start):
                    continue
                if name in may:
                    end = start + len(name)
                    break
                if _named(text, name, start):
                    end = start + len(name)
                    yield name
                    break


def _by_first_word(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        first = _WORD.search(name)
        if first:
            found[first.group()].append(name)
    return found


def _bare(title: str) -> str:
    """Return a title without marks at its ends."""
    words = list(_WORD.finditer(title))
    return title[words[0].start() : words[-1].end()] if words else ""


def _written(text: str, name: str, start: int) -> bool:
    """Return whether a name stands in a text at a place, as whole words."""
    end = start + len(name)
    return start >= 0 and text[start:end] == name and not text[end : end + 1].isalnum()


def _named(text: str, title: str, start: int) -> bool:
    """Return whether a title that stands at a place is a name there, and not an ordinary word."""
    if len(_WORD.findall(title)) > 1:
        return True
    before = text[:start].rstrip(" ")
    if before[-1:] and before[-1:] in _OPENS and start == len(before):
        return True
    letters = sum(c.isalpha() for c in title)
    if letters and any(c.isdigit() for c in title):
        return True
    return letters >= 3 and title[0].isupper() and bool(before) and before[-1] not in _STOPS
