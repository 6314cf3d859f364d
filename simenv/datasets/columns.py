"""Columns of a table turned into ids, ratings and events, checked at the door.

Every check names the first offending row by file, line and column. Knows the log, not what the data is about.
"""

from __future__ import annotations

import re
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.datasets.tables import Table
from simenv.errors import DataError
from simenv.index import Index, RawId
from simenv.log import InteractionLog, TimeNote
from simenv.scale import RatingScale

Duplicates = Literal["error", "last", "all"]
_MISSING = ("", "nan", "NaN", "NAN", "null", "NULL", "None", "NA", "N/A", "<NA>")
"""Cells of text files that stand for nothing in an id, rating or time column."""
_INTEGER = re.compile(r"0|-?[1-9]\d{0,17}")
"""Integers written the one usual way; "007" or "1.0" stay text, so that no two ids melt into one."""


def cells(table: Table, column: str) -> tuple[NDArray[np.int64], list[object]]:
    """Return (code int64[N], distinct cells): the cell of row n is distinct[code[n]].

    Raises:
        DataError: no such column, or an empty cell.

    """
    series = column_of(table, column)
    if not table.typed:
        series = series.str.strip()
    code, distinct = pd.factorize(series, use_na_sentinel=True)
    empty = [n for n, v in enumerate(distinct) if isinstance(v, str) and v in _MISSING]
    bad = np.flatnonzero((code < 0) | np.isin(code, empty))
    if len(bad):
        raise table.error(
            f"the cell is empty or NaN ({len(bad)} such cells in all)",
            "Fill it or drop the row: nothing is put in its place.",
            row=int(bad[0]),
            column=column,
        )
    return code.astype(np.int64), [v.item() if isinstance(v, np.generic) else v for v in distinct]


def column_of(table: Table, column: str) -> pd.Series:
    """Return a column, or raise a DataError that lists those there are."""
    if column not in table.frame:
        raise table.error(
            f"column {column!r} is missing; there are {', '.join(map(repr, map(str, table.frame.columns)))}",
            "Give the right column name, or rename the column.",
        )
    return table.frame[column]


def ids(table: Table, column: str) -> tuple[NDArray[np.int64], list[RawId]]:
    """Return (code int64[N], distinct ids, all int or all str), surrounding blanks removed.

    Text files: ids become integers where all of them are written as plain integers. Frames: the type they have;
    whole floats, which pandas makes of integers, are integers again.

    Raises:
        DataError: an empty cell, or ids that are neither integers nor text.

    """
    code, distinct = cells(table, column)
    if all(isinstance(v, str) for v in distinct):
        raw: list[RawId] = [str(v).strip() for v in distinct]
        if not table.typed and all(_INTEGER.fullmatch(str(v)) for v in raw):
            raw = [int(v) for v in raw]
        return code, raw
    whole = [isinstance(v, int | float) and not isinstance(v, bool) and v == int(v) for v in distinct]
    if not all(whole):
        first = int(np.flatnonzero(code == whole.index(False))[0])
        finding = f"ids must be all integers or all text; here stands {distinct[whole.index(False)]!r}"
        raise table.error(finding, f"Convert first: frame[{column!r}].astype(str).", row=first, column=column)
    return code, [int(v) for v in distinct]  # type: ignore[call-overload]


def ratings(table: Table, column: str, scale: RatingScale | None) -> tuple[NDArray[np.float32], RatingScale]:
    """Return (rating float32[N], scale); `scale` None: inferred from the values.

    Raises:
        DataError: an empty or non-numeric cell, or a rating off the scale.

    """
    code, distinct = cells(table, column)
    value = pd.to_numeric(pd.Series(distinct, dtype=object), errors="coerce").to_numpy(dtype=np.float64)

    def fail(off: NDArray[np.bool_], finding: str, remedy: str) -> DataError:
        row = int(np.flatnonzero(off[code])[0])
        return table.error(finding.format(repr(distinct[code[row]])), remedy, row=row, column=column)

    if not np.isfinite(value).all():
        remedy = "Correct the cell or drop the row; decimals are written with a point."
        raise fail(~np.isfinite(value), "{} is not a finite number", remedy)
    try:
        scale = scale or RatingScale.infer(value)
    except DataError as error:
        raise table.error(str(error), "Check that this is the rating column.", column=column) from error
    nearest = scale.array[np.abs(value[:, None] - scale.array).argmin(axis=1)]
    off = ~np.isclose(nearest, value)
    if off.any():
        values = ", ".join(f"{v:g}" for v in scale.values)
        raise fail(off, f"rating {{}} is off the scale {values}", "Correct the row, or give the scale it belongs to.")
    return nearest[code].astype(np.float32), scale


def events(
    table: Table,
    *,
    user: str,
    item: str,
    rating: str,
    time: NDArray[np.int64] | None,
    items: Index | None = None,
    scale: RatingScale | None = None,
    duplicates: Duplicates = "error",
    time_note: TimeNote = "exact",
) -> tuple[InteractionLog, str]:
    """Return (log, note) of a table's columns; the note says what was dropped, "" for nothing.

    time: int64[N] Unix seconds of the rows, None where there are none.
    items: the items there are; None: those of the column.
    duplicates: what to do where a user rated an item more than once: "error"; "last": keep the latest (without times
        the lowest in the file); "all": keep each.

    Raises:
        DataError: the first bad cell, unknown item, or repeated pair, by line and column.

    """
    user_code, user_ids = ids(table, user)
    item_code, item_ids = ids(table, item)
    value, scale = ratings(table, rating, scale)
    users = Index.of(user_ids, "user")
    items = items or Index.of(item_ids, "item")
    user_of = users.encode(user_ids)[user_code]
    item_of = _known(table, item, item_code, _as_kind(item_ids, items), items)
    keep, note = _unrepeated(table, (user, item), user_of, item_of, time, duplicates)
    when = None if time is None else time[keep]
    log = InteractionLog.of(users, items, user_of[keep], item_of[keep], value[keep], when, scale, time_note=time_note)
    return log, note


def _as_kind(raw: list[RawId], items: Index) -> list[RawId]:
    """Return the ids as text where the item table's ids are text: "7" and 7 are one item there."""
    return [str(r) for r in raw] if items.kind == "str" else raw


def _known(table: Table, column: str, code: NDArray[np.int64], raw: list[RawId], items: Index) -> NDArray[np.int64]:
    number = pd.Index(list(items.ids)).get_indexer(pd.Index(raw)).astype(np.int64)
    unknown = np.flatnonzero(number[code] < 0)
    if len(unknown):
        finding = (
            f"item {raw[code[unknown[0]]]!r} is not in the item table ({len(unknown)} rows name "
            f"{len(set(code[unknown].tolist()))} unknown items; the table has {len(items)} such as {items.ids[0]!r})"
        )
        remedy = "Add the item to the item table, or drop its ratings."
        raise table.error(finding, remedy, row=int(unknown[0]), column=column)
    return number[code]


def _unrepeated(
    table: Table,
    names: tuple[str, str],
    user: NDArray[np.int64],
    item: NDArray[np.int64],
    time: NDArray[np.int64] | None,
    rule: Duplicates,
) -> tuple[NDArray[np.int64], str]:
    rows = np.arange(len(user))
    pair = pd.DataFrame({"user": user, "item": item})
    repeated = np.flatnonzero(pair.duplicated().to_numpy())
    if rule == "all" or not len(repeated):
        return rows, f"{len(repeated)} repeated ratings kept." if len(repeated) else ""
    if rule == "error":
        row = int(repeated[0])
        first = int(np.flatnonzero((user == user[row]) & (item == item[row]))[0])
        who = [table.frame[name].iloc[row] for name in names]
        raise table.error(
            f"user {who[0]!r} rated item {who[1]!r} before, in {table.place(first)} ({len(repeated)} such rows in all)",
            'Drop one of them, or pass duplicates="last" (keep the latest) or duplicates="all".',
            row=row,
            column=names[1],
        )
    order = rows if time is None else np.argsort(time, kind="stable")
    keep = np.sort(order[~pair.iloc[order].duplicated(keep="last").to_numpy()])
    return keep, f"{len(repeated)} earlier ratings of pairs rated again were dropped."
