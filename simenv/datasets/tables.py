"""Tables that remember where each row came from, so that an error can name file, line and column.

Reads CSV and its relatives, JSON lines, Parquet and frames. Knows nothing of what the columns mean. Cells of delimited
text stay text here (ids such as "007" survive); `columns` gives them types.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import pandas as pd

from simenv.datasets.files import Member, members, text_of
from simenv.errors import DataError

Source = str | os.PathLike[str] | pd.DataFrame
_SEPARATORS = ("::", ";", "\t", "|", ",")
_UNIT = "\x1f"
"""Stands for a separator of several characters: the fast reader takes one."""
_SHOWN = {"\t": "tab"}


@final
@dataclass(frozen=True, eq=False)
class Table:
    """A frame, the name of its file, and where its rows stand there."""

    frame: pd.DataFrame
    label: str
    """File name, or "the frame"."""
    place: Callable[[int], str]
    """From a row position to words: "line 7", "row 7", "row label 'x'"."""
    typed: bool = True
    """False: every cell is text as it stood in the file."""

    def error(self, finding: str, remedy: str, *, row: int | None = None, column: str | None = None) -> DataError:
        """Return the one error of a bad file: file, line, column, what was found, what to do."""
        where = [self.label]
        if row is not None:
            where.append(self.place(row))
        if column is not None:
            where.append(f"column {column!r}")
        return DataError(f"{', '.join(where)}: {finding}. {remedy}")


def read(source: Source, *, separator: str | None, columns: Sequence[str] | None, encoding: str) -> Table:
    """Return the table of a file (kind by its name's ending) or of a frame.

    separator: between the cells of a text file; None: a tab for .tsv, else a comma.
    columns: names for a text file without a header line; None: line 1 holds them.

    Raises:
        DataError: no such file, a folder, an unreadable, empty or wrongly separated file.

    """
    if isinstance(source, pd.DataFrame):
        return from_frame(source)
    member = _single(source)
    stem = member.name.lower().removesuffix(".gz")
    if stem.endswith((".parquet", ".pq")):
        return parquet(member)
    if stem.endswith((".jsonl", ".ndjson", ".json")):
        return json_lines(member, encoding)
    mark = separator or ("\t" if stem.endswith((".tsv", ".tab")) else ",")
    return delimited(member, separator=mark, columns=columns, encoding=encoding)


def _single(source: str | os.PathLike[str]) -> Member:
    found = members(source)
    if Path(source).expanduser().is_dir() or len(found) != 1:
        kind = "a folder" if Path(source).expanduser().is_dir() else "a zip"
        names = ", ".join(m.label for m in found[:5]) or "no file"
        raise DataError(f"{source}: {kind} where one table was expected; it holds {names}. Give the path of one file.")
    return found[0]


def from_frame(frame: pd.DataFrame, label: str = "the frame") -> Table:
    """Return a frame as a table; rows are named by their index label.

    Raises:
        DataError: no rows, or two columns of one name.

    """
    index = frame.index
    table = Table(frame.reset_index(drop=True), label, lambda row: f"row label {index[row]!r}")
    return _checked(table)


def parquet(member: Member) -> Table:
    """Return the table of a Parquet file; rows are counted from 1."""
    try:
        frame = pd.read_parquet(io.BytesIO(member.read()))
    except DataError:
        raise
    except (ValueError, OSError) as error:
        raise DataError(f"{member.label}: not readable as Parquet ({error}). Write the file again.") from error
    return _checked(Table(frame.reset_index(drop=True), member.label, lambda row: f"row {row + 1}"))


def json_lines(member: Member, encoding: str = "utf-8") -> Table:
    """Return the table of a file with one JSON object per line."""
    rows, lines = [], []
    for number, line in enumerate(text_of(member, encoding).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{member.label}, line {number}: not JSON ({error.msg}). {_JSON_REMEDY}") from error
        if not isinstance(value, dict):
            raise DataError(f"{member.label}, line {number}: not a JSON object. {_JSON_REMEDY}")
        rows.append(value)
        lines.append(number)
    return _checked(Table(pd.DataFrame(rows), member.label, lambda row: f"line {lines[row]}"))


_JSON_REMEDY = "Write one object per line, or read the file yourself and pass a DataFrame."


def delimited(
    member: Member,
    *,
    separator: str = ",",
    columns: Sequence[str] | None = None,
    encoding: str = "utf-8",
    quoted: bool = True,
) -> Table:
    """Return the table of a delimited text file, every cell as text.

    quoted: cells may stand in double quotes (never with a separator of several characters).

    Raises:
        DataError: bad encoding, a row with more cells than the first, or a separator that is not the file's.

    """
    text = text_of(member, encoding)
    label = member.label
    mark, quoted = (_UNIT, False) if len(separator) > 1 else (separator, quoted)
    text = text.replace(separator, mark)
    try:
        frame = pd.read_csv(
            io.BytesIO(text.encode()), sep=mark, header=None, dtype=str, na_filter=False, quoting=_quoting(quoted)
        )
    except pd.errors.ParserError as error:
        raise _unparsed(label, separator, str(error)) from error
    first = [str(c).strip() for c in frame.iloc[0]]
    names, skip = (first, 1) if columns is None else (list(columns), 0)
    _check_header(label, names, first, separator)
    frame = frame.iloc[skip:].reset_index(drop=True).set_axis(names, axis=1)
    return _checked(Table(frame, label, lambda row: _line(text, mark, quoted, row + skip), typed=False))


def _quoting(quoted: bool) -> Literal[0, 3]:
    return 0 if quoted else 3  # csv.QUOTE_MINIMAL, csv.QUOTE_NONE


def _unparsed(label: str, separator: str, message: str) -> DataError:
    place = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", message)
    if place:
        expected, line, saw = place.groups()
        shown = _SHOWN.get(separator, separator)
        return DataError(
            f"{label}, line {line}: {saw} cells where the lines above have {expected}. "
            f"Quote cells that contain the separator ({shown}), or give the right separator=."
        )
    return DataError(f"{label}: {message.strip()}. Look for a quote that is never closed.")


def _check_header(label: str, names: list[str], first: list[str], separator: str) -> None:
    others = [s for s in _SEPARATORS if s != separator and s in first[0]]
    if len(first) == 1 and others:
        found = _SHOWN.get(others[0], others[0])
        raise DataError(
            f"{label}, line 1: one column {first[0]!r} found with separator {_SHOWN.get(separator, separator)!r}, "
            f"but the line contains {found!r}. Give separator={others[0]!r}."
        )
    if len(names) != len(first):
        raise DataError(
            f"{label}, line 1: {len(first)} cells ({', '.join(first[:6])}) where {len(names)} columns were named "
            f"({', '.join(names)}). Name as many columns as the file has, or give the right separator=."
        )
    if names is first and all(re.fullmatch(r"-?\d+(\.\d+)?", c) for c in first):
        raise DataError(
            f"{label}, line 1: looks like data ({', '.join(first[:6])}), not like a header. "
            'Name the columns in order, such as columns=["user", "item", "rating", "time"].'
        )


def _checked(table: Table) -> Table:
    names = table.frame.columns
    if names.has_duplicates:
        twice = str(names[names.duplicated()][0])
        raise table.error(f"two columns are called {twice!r}", "Rename one of them.")
    if table.frame.empty:
        raise table.error("no rows", "Give a table with at least one row below the header.")
    return table


def _line(text: str, separator: str, quoted: bool, row: int) -> str:
    """Return the line on which a row (counted from 0, header included) begins; slow, for errors only."""
    reader = csv.reader(io.StringIO(text), delimiter=separator, quoting=_quoting(quoted))
    start, seen = 1, -1
    for cells in reader:  # blank lines do not count, as in the fast reader
        seen += bool(len(cells) > 1 or "".join(cells).strip())
        if seen == row:
            return f"line {start}"
        start = reader.line_num + 1
    return f"row {row + 1}"
