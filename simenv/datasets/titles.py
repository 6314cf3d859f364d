"""Film titles as people say them: "Big Lebowski, The (1998)" -> "The Big Lebowski", 1998.

Knows the catalogue style of MovieLens and nothing of its files.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass
from typing import final

_ARTICLES = (
    *("The", "A", "An"),  # English
    *("Le", "La", "Les", "L'", "Un", "Une"),  # French
    *("Il", "Lo", "I", "Gli", "Uno", "Una"),  # Italian, those it shares with French left out
    *("El", "Los", "Las"),  # Spanish
    *("Der", "Die", "Das", "Ein", "Eine"),  # German
    *("O", "Os", "As"),  # Portuguese
    *("Den", "Det", "De", "En", "Ett", "Et", "Het", "Een"),  # Scandinavian languages and Dutch
)
_MOVED = re.compile(rf"^(?P<rest>.+), (?P<article>{'|'.join(map(re.escape, _ARTICLES))})$")
_YEAR = re.compile(r"\s*\((?P<year>\d{4})(?:[-–]\d{0,4})?\)(?:\s*\(V\))?$")
_AKA = re.compile(r"^a\.?k\.?a\.?:?\s+", re.IGNORECASE)
_LEADING = re.compile(
    rf"^(?:{'|'.join(a.lower() for a in _ARTICLES if a not in ('A', 'I', 'O', 'As', 'En', 'De'))}|a)\b"
)


@final
@dataclass(frozen=True)
class Title:
    """A title taken apart."""

    name: str
    """As people say it, article in front, no year."""
    year: int
    """Year of release (the first one of a range); 0: none was given."""
    also: tuple[str, ...] = ()
    """Other names that stood in brackets, article in front, "a.k.a." removed."""


def parse(raw: str) -> Title:
    """Return the parts of a MovieLens title: `name, article (other name) ... (year)`, each but the name optional.

    "(V)" after the year marks a film for video and is dropped. Brackets that open the title belong to it.
    """
    text = " ".join(html.unescape(raw).split())
    found = _YEAR.search(text)
    year = int(found["year"]) if found and found.start() else 0
    text = text[: found.start()] if found and found.start() else text
    also: list[str] = []
    while (cut := _last_bracket(text)) > 0:
        also.insert(0, spoken(_AKA.sub("", text[cut + 1 : -1].strip())))
        text = text[:cut].rstrip()
    return Title(spoken(text), year, tuple(name for name in also if name))


def spoken(name: str) -> str:
    """Return the name with a trailing article of English, French, Italian, Spanish, German ... put in front."""
    moved = _MOVED.match(name)
    if not moved:
        return name
    gap = "" if moved["article"].endswith("'") else " "
    return f"{moved['article']}{gap}{moved['rest']}"


def key(name: str) -> str:
    """Return what two spellings of one title share: letters and digits in lower case, no accents, no first article."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower().replace("&", "and")
    return re.sub(r"[^a-z0-9]", "", _LEADING.sub("", plain)) or re.sub(r"\W", "", name.lower())


def _last_bracket(text: str) -> int:
    """Return where the bracket that closes the text opens, nested ones respected; -1: the text ends otherwise."""
    depth = 0
    for place in range(len(text) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(text[place], 0)
        if depth == 0:
            return place if text.endswith(")") else -1
    return -1
