"""Plots, casts and directors of films joined to a catalogue, by id or by title and year. Knows no ratings."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.datasets import texts, titles
from simenv.datasets.names import fitting
from simenv.datasets.tables import Table, read

_IDS = (("movieid",), ("item", "itemid", "id"))
_AGREE = 0.5
"""Least share of films joined by id whose titles or years agree; below, the ids are those of another catalogue."""


def join(catalogue: Catalogue, path: str | os.PathLike[str] | pd.DataFrame, *, by_id: bool) -> tuple[Catalogue, str]:
    """Return (catalogue with summary, cast and director filled in, note with the share joined).

    by_id: by the id column, titles checked against each other; otherwise by title and year (accents, case, articles
        and punctuation ignored, names in brackets tried too, a year's difference allowed where nothing fits exactly).

    Raises:
        DataError: the table lacks what the join needs, or its ids mean other films.

    """
    table = read(path, separator=None, columns=None, encoding="utf-8")
    found = fitting(table.frame.columns, _IDS)
    if not found:
        raise table.error("no column movie_id found", "Call the id column movie_id.")
    index = texts.unique_items(table, found[0])
    about, notes = texts.catalogue(table, found[0], index, None, catalogue.noun, None, {found[0]})
    row = _by_id(catalogue, about) if by_id else _by_title(catalogue, about)
    joined = row >= 0
    same = np.array([r < 0 or _agree(catalogue, i, about, int(r)) for i, r in enumerate(row)], bool)
    if not joined.any() or same[joined].mean() < _AGREE:
        raise _foreign(table, catalogue, about, row, int(same[joined].sum()))
    note = f"Metadata joined {'by id' if by_id else 'by title and year'} for {joined.mean():.1%} of {len(row)} films"
    note += f", {int((~same).sum())} of them under another title." if by_id else "."
    return _filled(catalogue, about, row), " ".join([note, *notes])


def _by_id(catalogue: Catalogue, about: Catalogue) -> NDArray[np.int64]:
    place = pd.Index(list(about.items.ids)).get_indexer(pd.Index(list(catalogue.items.ids)))
    return np.asarray(place, np.int64)


def _by_title(catalogue: Catalogue, about: Catalogue) -> NDArray[np.int64]:
    """Return int64[I]: the row of `about` with this title and year; -1: none, or more than one."""
    rows: dict[tuple[str, int], set[int]] = {}
    for n in range(len(about)):
        for name in _names(about, n):
            rows.setdefault((name, about.year[n]), set()).add(n)
    row = np.full(len(catalogue), -1, np.int64)
    for i in range(len(catalogue)):
        for shift in (0, 1, -1):
            found = [rows.get((name, catalogue.year[i] + shift), set()) for name in _names(catalogue, i)]
            if hit := next((f for f in found if f), None):
                row[i] = next(iter(hit)) if len(hit) == 1 else -1
                break
    return row


def _names(catalogue: Catalogue, item: int) -> list[str]:
    """Return the keys of an item's names: title, then those that stood in brackets."""
    parsed = titles.parse(catalogue.title[item])
    also = catalogue.extra["also"][item].split("|") if "also" in catalogue.extra else []
    return [titles.key(name) for name in (parsed.name, *parsed.also, *also) if name]


def _agree(catalogue: Catalogue, item: int, about: Catalogue, row: int) -> bool:
    return bool(set(_names(catalogue, item)) & set(_names(about, row)))


def _foreign(table: Table, catalogue: Catalogue, about: Catalogue, row: NDArray[np.int64], same: int) -> Exception:
    joined = np.flatnonzero(row >= 0)
    if not len(joined):
        finding = f"none of {len(catalogue)} films is in it; their ids are such as {catalogue.items.ids[:3]}"
    else:
        n = next(int(i) for i in joined if not _agree(catalogue, int(i), about, int(row[i])))
        finding = (
            f"only {same} of {len(joined)} titles agree: id {catalogue.items.ids[n]!r} is {catalogue.title[n]!r} here "
            f"and {about.title[row[n]]!r} there"
        )
    return table.error(finding, "Give the metadata of this release.")


def _filled(catalogue: Catalogue, about: Catalogue, row: NDArray[np.int64]) -> Catalogue:
    return replace(
        catalogue,
        summary=tuple(about.summary[r] if r >= 0 else "" for r in row),
        cast=tuple(about.cast[r] if r >= 0 else () for r in row),
        director=tuple(about.director[r] if r >= 0 else "" for r in row),
    )
