"""Any log in one call: CSV, TSV, Parquet, JSON lines or DataFrame, with item texts beside the ratings or apart.

Chooses columns and puts the parts together; reading stands in `tables`, checks in `columns`, `times` and `texts`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.datasets import texts
from simenv.datasets.columns import Duplicates, events
from simenv.datasets.dataset import Dataset
from simenv.datasets.names import needed, role, squeeze
from simenv.datasets.tables import Source, Table, read
from simenv.datasets.times import seconds
from simenv.scale import RatingScale

Text = Mapping[str, str] | Sequence[str]


def load(
    source: Source,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time: str | bool | None = None,
    text: Text | None = None,
    items: Source | None = None,
    noun: str = "item",
    scale: RatingScale | None = None,
    duplicates: Duplicates = "error",
    separator: str | None = None,
    columns: Sequence[str] | None = None,
    encoding: str = "utf-8",
    time_format: str | None = None,
    list_separator: str | None = None,
    name: str | None = None,
) -> Dataset:
    """Return the dataset of a ratings table. Whatever is guessed or dropped is said in `Dataset.note`.

    source: DataFrame, or path of a .csv, .tsv, .parquet, .jsonl file (also .gz, or alone in a .zip).
    user, item, rating: column names; None: the one column with a usual name (userId, asin, overall, ...).
    time: column of Unix seconds, milliseconds, or dates; None: the column with a usual name, if any; False: no times.
    text: columns that describe items, in the ratings table or in `items`: a mapping from what they are (title, genres,
        year, summary, cast, director, or any name of yours) to column names, or just column names.
        None: those with usual names.
    items: a table of items of its own, same kinds as `source`; every rated item must stand in it.
    noun: what one item is called in prompts and reports.
    scale: the answers a user may give; None: inferred from the ratings.
    duplicates: where a user rated an item twice: "error", "last" (keep the latest) or "all".
    separator: of text files; None: a tab for .tsv, else a comma. Several characters ("::") are fine.
    columns: names for a ratings file without a header line.
    time_format: of dates, as in `datetime.strptime`; None: the one usual format that fits every row.
    list_separator: between genres or names in one cell; None: "|" where any cell has one, else ",".
    name: for reports; None: the file's name.

    Raises:
        DataError: the first thing wrong, by file, line (or row label) and column, with the remedy.

    """
    table = read(source, separator=separator, columns=columns, encoding=encoding)
    user, user_note = needed(table, "user", user)
    item, item_note = needed(table, "item", item)
    rating, rating_note = needed(table, "rating", rating)
    notes = [user_note, item_note, rating_note]
    when, time_notes = _times(table, time, time_format)
    described, key, index = table, item, None
    if items is not None:
        described = read(items, separator=separator, columns=None, encoding=encoding)
        key, note = _item_column(described, key)
        index = texts.unique_items(described, key)
        notes.append(note)
    log, dropped = events(
        table, user=user, item=item, rating=rating, time=when, items=index, scale=scale, duplicates=duplicates
    )
    taken = {user, item, rating, time, key}
    catalogue, text_notes = texts.catalogue(described, key, log.items, text, noun, list_separator, taken)
    if scale is None:
        notes.append(f"Rating scale inferred: {', '.join(f'{v:g}' for v in log.scale.values)}.")
    note = " ".join(n for n in [*notes, *time_notes, dropped, *text_notes] if n)
    return Dataset(log, catalogue, name or _stem(source), note=note)


def _times(
    table: Table, time: str | bool | None, time_format: str | None
) -> tuple[NDArray[np.int64] | None, list[str]]:
    if time is False:
        return None, ["Times left out as asked."]
    column, note = role(table, "time", None if time is None or time is True else time)
    if column is None:
        return None, ["No time column: only random splits."]
    when, assumed = seconds(table, column, time_format)
    return when, [note, assumed]


def _item_column(table: Table, key: str) -> tuple[str, str]:
    """Return the id column of an item table: the one called as in the ratings table, else one that looks like it."""
    if key in table.frame:
        return key, ""
    same = [str(c) for c in table.frame.columns if squeeze(c) == squeeze(key)]
    return needed(table, "item", same[0] if len(same) == 1 else None)


def _stem(source: Source) -> str:
    if isinstance(source, pd.DataFrame):
        return "frame"
    return Path(source).name.split(".")[0] or Path(source).name
