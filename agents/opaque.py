"""Opaque catalogues: titles and people as codes, so that nothing is recognised by name. Knows no users or prompts."""

from __future__ import annotations

import re
from dataclasses import replace

from simenv.catalogue import Catalogue
from simenv.randomness import generator


def opaque(catalogue: Catalogue, seed: int) -> Catalogue:
    """Return the catalogue with titles and people as codes, dealt by seed; the same person is the same code.

    Where a summary says the item's own title or one of its people, letter for letter, the code stands there, too.
    Years, genres and the noun stay; `extra` columns are dropped.
    """
    people = sorted({*catalogue.director, *(p for cast in catalogue.cast for p in cast)} - {""})
    title = [f"T{n:04d}" for n in generator(seed, "opaque titles").permutation(len(catalogue))]
    deal = generator(seed, "opaque people").permutation(len(people))
    code = {name: f"P{n:04d}" for name, n in zip(people, deal, strict=True)}
    return replace(
        catalogue,
        title=tuple(title),
        cast=tuple(tuple(code[p] for p in cast) for cast in catalogue.cast),
        director=tuple(code[d] if d else "" for d in catalogue.director),
        summary=tuple(_coded(catalogue, i, title[i], code) for i in range(len(catalogue))),
        extra={},
    )


def _coded(catalogue: Catalogue, item: int, title: str, code: dict[str, str]) -> str:
    """Return the item's summary with its title and its people replaced by their codes, longer names first."""
    text = catalogue.summary[item]
    own = {name: code[name] for name in (catalogue.director[item], *catalogue.cast[item]) if name}
    own[catalogue.title[item]] = title
    for name in sorted(own, key=lambda n: (-len(n), n)):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", own[name], text)
    return text
