"""Times as people write them -> Unix seconds, and a sentence about what was assumed. Knows nothing of events."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.datasets.columns import cells
from simenv.datasets.tables import Table

_DAYS = (
    *("%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%m %d, %Y", "%b %d, %Y", "%B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y"),
)
_CLOCKS = ("", " %H:%M", " %H:%M:%S")
_WHOLE = ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%a, %d %b %Y %H:%M:%S %z")
_FORMATS = ("ISO8601", *(day + clock for clock, day in product(_CLOCKS, _DAYS)), *_WHOLE)
_UNITS = ((1, "seconds"), (1000, "milliseconds"), (1_000_000, "microseconds"), (1_000_000_000, "nanoseconds"))
"""Ticks per second and name."""
_LEAST = np.array([1e11, 1e14, 1e17])
"""Least absolute value of each unit but seconds: 1e11 seconds is the year 5138, 1e11 milliseconds is 1973."""
_SAMPLE = 200
"""Distinct dates tried against every format before the ones that fit are tried against all."""


def seconds(table: Table, column: str, time_format: str | None = None) -> tuple[NDArray[np.int64], str]:
    """Return (Unix seconds int64[N], note) of a column of numbers, dates or datetimes; no zone means UTC.

    time_format: as in `datetime.strptime`; None: numbers by their size, dates by the one format that fits all rows.

    Raises:
        DataError: an empty cell, a cell that is no time, or dates that two formats read differently.

    """
    code, distinct = cells(table, column)
    series = pd.Series(distinct, dtype=object)
    number = pd.to_numeric(series.where(series.map(type) != pd.Timestamp), errors="coerce")
    if time_format is None and number.notna().all():
        value, note = _numbers(table, column, code, number)
    else:
        value, note = _dates(table, column, code, series.astype(str), time_format)
    return value[code], f"{note} in column {column!r}: {_span(value)}."


def _numbers(table: Table, column: str, code: NDArray[np.int64], number: pd.Series) -> tuple[NDArray[np.int64], str]:
    value = number.to_numpy()
    unit = np.searchsorted(_LEAST, np.abs(value.astype(np.float64)), side="right")
    odd = np.flatnonzero(((unit != unit[0]) & (value != 0) | ~np.isfinite(value))[code])
    if len(odd):
        finding = (
            f"{value[code[odd[0]]]} would be {_UNITS[unit[code[odd[0]]]][1]} where others are {_UNITS[unit[0]][1]}"
        )
        raise table.error(finding, "Write all times in one unit.", row=int(odd[0]), column=column)
    if ((value >= 19000101) & (value <= 21001231)).all():  # as seconds these are three weeks of 1970
        day = pd.to_datetime(pd.Series(value.astype(np.int64).astype(str)), format="%Y%m%d", errors="coerce", utc=True)
        if day.notna().all():
            return _unix(day), "Times read as dates written YYYYMMDD"
    ticks, name = _UNITS[unit[0]]
    return np.floor_divide(value, ticks).astype(np.int64), f"Times read as Unix {name}"


def _dates(
    table: Table, column: str, code: NDArray[np.int64], cell: pd.Series, time_format: str | None
) -> tuple[NDArray[np.int64], str]:
    fitting = (time_format,) if time_format else _fitting(cell)
    read = {f: pd.to_datetime(cell, format=f, errors="coerce", utc=True) for f in fitting}
    value = {f: _unix(day) for f, day in read.items() if day.notna().all()}
    if not value:
        best = min(read, key=lambda f: int(read[f].isna().sum()))
        row = int(np.flatnonzero(read[best].isna().to_numpy()[code])[0])
        finding = f"{cell[code[row]]!r} is no time" + (f" of the form {best}" if time_format else " simenv can read")
        remedy = 'Give time_format="..." (as in datetime.strptime), or time=False to do without times.'
        raise table.error(finding, remedy, row=row, column=column)
    first = next(iter(value))
    for other in value:
        differ = np.flatnonzero((value[other] != value[first])[code])
        if len(differ):
            finding = f"{cell[code[differ[0]]]!r} may be {first} or {other}"
            remedy = f'Say which: time_format="{first}" or time_format="{other}".'
            raise table.error(finding, remedy, row=int(differ[0]), column=column)
    return value[
        first
    ], f"Times read as {'ISO 8601 dates' if first == 'ISO8601' else f'dates of the form {first}'} (UTC)"


def _fitting(cell: pd.Series) -> tuple[str, ...]:
    """Return the formats that read the most of the first cells: all of those that read them all, else one."""
    sample = cell.iloc[:_SAMPLE]
    failed = {f: int(pd.to_datetime(sample, format=f, errors="coerce", utc=True).isna().sum()) for f in _FORMATS}
    least = min(failed.values())
    best = tuple(f for f in _FORMATS if failed[f] == least)
    return best if least == 0 else best[:1]


def _unix(day: pd.Series) -> NDArray[np.int64]:
    return np.asarray(day.dt.floor("s").dt.as_unit("s").astype("int64"), dtype=np.int64)


def _span(value: NDArray[np.int64]) -> str:
    first, last = (str(np.datetime64(int(v), "s"))[:10] for v in (value.min(), value.max()))
    return f"{first} to {last}"
