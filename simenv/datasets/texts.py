"""Item texts of a table -> Catalogue: titles, genres, people, years, summaries and columns of the caller's own.

A column beside the ratings describes items only if it is the same in all rows of an item.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.datasets.columns import column_of, ids
from simenv.datasets.names import TEXT, fitting, squeeze
from simenv.datasets.tables import Table
from simenv.index import Index

_LISTS = ("genres", "cast")


def unique_items(table: Table, key: str) -> Index:
    """Return the index of an item table's ids.

    Raises:
        DataError: an empty id, or an item that stands twice.

    """
    code, raw = ids(table, key)
    index = Index.of(raw, "item")
    number = index.encode(raw)[code]
    twice = np.flatnonzero(pd.Series(number).duplicated().to_numpy())
    if len(twice):
        row, first = int(twice[0]), int(np.flatnonzero(number == number[twice[0]])[0])
        finding = f"item {index.ids[number[row]]!r} stands here and in {table.place(first)}"
        raise table.error(finding, "Keep one row per item.", row=row, column=key)
    return index


def catalogue(
    table: Table,
    key: str,
    items: Index,
    text: Mapping[str, str] | Sequence[str] | None,
    noun: str,
    list_separator: str | None,
    taken: set[str | bool | None],
) -> tuple[Catalogue, list[str]]:
    """Return (catalogue, notes) of `items` from the columns of a table.

    text: what is which column, or columns; None: the usual names, `taken` columns left out.
    list_separator: within genres and cast; None: "|" where any cell has one, else ",".

    Raises:
        DataError: a named column is missing, or says two things of one item.

    """
    chosen, notes = _chosen(table, text, taken)
    code, raw = ids(table, key)
    same = [str(r) for r in raw] if items.kind == "str" else raw
    number = items.encode(same)[code]
    frame = pd.DataFrame({"item": list(items.ids)})
    for name, column in chosen.items():
        cell, odd = _of_items(column_of(table, column), number, len(items))
        if odd is not None and text is None:
            notes.append(f"Column {column!r} differs within an item: left out.")
            continue
        if odd is not None:
            finding = f"item {items.ids[number[odd]]!r} has another {name} here than above"
            raise table.error(finding, "Correct it, or give the texts in a table of items.", row=odd, column=column)
        value, note = _values(name, cell, list_separator)
        frame[name] = pd.Series(value, dtype=object)
        notes += [f"Column {column!r} read as {name}."] if text is None and column != name else []
        notes += [note] if note else []
    if "title" not in frame:
        notes.append("No titles: ids stand in their place.")
    return Catalogue.from_frame(frame, items, noun=noun), notes


def _chosen(
    table: Table, text: Mapping[str, str] | Sequence[str] | None, taken: set[str | bool | None]
) -> tuple[dict[str, str], list[str]]:
    if isinstance(text, Mapping):
        return dict(text), []
    if isinstance(text, str):
        text = [text]
    if text is not None:
        known = {alias: name for name, tiers in TEXT.items() for tier in tiers for alias in tier}
        named = [known.get(squeeze(c), c) for c in text]
        return {name if named.count(name) == 1 else c: c for name, c in zip(named, text, strict=True)}, []
    chosen, notes = {}, []
    for name, tiers in TEXT.items():
        found = fitting([c for c in table.frame.columns if c not in taken], tiers)
        if len(found) > 1:
            notes.append(f"Columns {', '.join(map(repr, found))} may all be the {name}: none taken.")
        elif found:
            chosen[name] = found[0]
    return chosen, notes


def _of_items(column: pd.Series, number: NDArray[np.int64], n_items: int) -> tuple[list[object], int | None]:
    """Return (first filled cell of each item, row of the first cell that contradicts it or None)."""
    value, distinct = pd.factorize(column.map(_plain))
    empty = np.array([d == "" for d in distinct], bool)[value]
    filled = np.flatnonzero(~empty)
    first = np.full(n_items, -1, np.int64)
    first[number[filled][::-1]] = filled[::-1]
    odd = filled[value[filled] != value[first[number[filled]]]]
    cell = column.to_list()
    return [cell[row] if row >= 0 else "" for row in first], int(odd[0]) if len(odd) else None


def _plain(cell: object) -> str:
    return " ".join(_parts(cell))


def _parts(cell: object) -> list[str]:
    """Return the texts of a cell: none of an empty one, several of a list or of a list written out."""
    if isinstance(cell, str):
        stripped = cell.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            try:
                return _parts(ast.literal_eval(stripped))
            except (ValueError, SyntaxError):
                pass  # a text that happens to stand in brackets
        return [stripped] if stripped else []
    if isinstance(cell, list | tuple | np.ndarray):
        return [part for c in cell for part in _parts(c)]
    return [] if cell is None or pd.isna(cell) else [str(cell)]  # type: ignore[call-overload]


def _values(name: str, cells: list[object], separator: str | None) -> tuple[list[object], str]:
    if name == "year":
        years = [re.search(r"\d{4}", _plain(c)) for c in cells]
        unread = sum(bool(_plain(c)) and y is None for c, y in zip(cells, years, strict=True))
        return [int(y[0]) if y else 0 for y in years], f"{unread} years unreadable: unknown." if unread else ""
    parts = [_parts(c) for c in cells]
    if name not in _LISTS:
        return [(", " if name == "director" else " ").join(p) for p in parts], ""
    plain = [isinstance(c, str) and p == [c.strip()] for c, p in zip(cells, parts, strict=True)]
    whole = [p[0] for p, is_plain in zip(parts, plain, strict=True) if is_plain]  # lists are cut already
    mark = separator or ("|" if any("|" in t for t in whole) else ",")
    split = [p[0].split(mark) if is_plain else p for p, is_plain in zip(parts, plain, strict=True)]
    distinct: list[object] = [tuple(dict.fromkeys(s.strip() for s in p if s.strip())) for p in split]
    return distinct, f"Cells of {name} cut at {mark!r}." if any(mark in t for t in whole) else ""
