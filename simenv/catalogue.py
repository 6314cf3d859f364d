"""Catalogue: what can be recommended, in words and attributes. Knows nothing of users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import pandas as pd

from simenv.errors import DataError
from simenv.index import Index

_COLUMNS = ("title", "year", "genres", "cast", "director", "summary")


@final
@dataclass(frozen=True, eq=False)
class Catalogue:
    """I items with the text a user would see. Absent fields are empty strings, empty tuples and year 0."""

    items: Index
    title: tuple[str, ...]
    """[I], as people say it ("The Big Lebowski")."""
    year: tuple[int, ...]
    """[I]; 0: unknown."""
    genres: tuple[tuple[str, ...], ...]
    """[I]; genres of films, categories or features of other things."""
    cast: tuple[tuple[str, ...], ...]
    """[I]; leading people."""
    director: tuple[str, ...]
    """[I]; who made it (director, author, brand)."""
    summary: tuple[str, ...]
    """[I]; a sentence or a plot."""
    noun: str = "film"
    """What one item is called in prompts and reports: "film", "coat", "item"."""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Any other text columns, by name, each [I]."""

    def __post_init__(self) -> None:
        for name in _COLUMNS:
            if len(getattr(self, name)) != len(self.items):
                raise DataError(
                    f"catalogue column {name!r} has {len(getattr(self, name))} entries for {len(self.items)} items."
                )

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, items: Index, *, noun: str = "item") -> Catalogue:
        """Return the catalogue of `items` from a frame with a column item and any text columns.

        Known columns: title, year, genres, cast, director, summary; genres and cast are "a|b" strings or sequences.
        Other columns are kept as `extra` text. Items missing from the frame get their id as title; a missing title
        column likewise.

        Raises:
            DataError: no item column, or an item stands twice.

        """
        if "item" not in frame:
            raise DataError(
                f"column 'item' is missing; the frame has {list(frame.columns)}. Rename the id column to 'item'."
            )
        if frame["item"].duplicated().any():
            raise DataError(
                f"item {frame['item'][frame['item'].duplicated()].iloc[0]!r} stands twice in the catalogue; "
                "keep one row."
            )
        rows = frame.set_index("item").reindex(list(items.ids))

        def text(name: str) -> list[str]:
            column = rows[name] if name in rows else pd.Series([""] * len(items))
            return ["" if pd.isna(v) else str(v).strip() for v in column]

        title = [t or str(i) for t, i in zip(text("title"), items.ids, strict=True)]
        years = rows["year"] if "year" in rows else pd.Series([0] * len(items))
        number = pd.to_numeric(years, errors="coerce").fillna(0).astype(int)
        extra = {c: tuple(text(c)) for c in rows.columns if c not in _COLUMNS}
        return cls(
            items,
            tuple(title),
            tuple(int(y) for y in number),
            _parts(rows, "genres"),
            _parts(rows, "cast"),
            tuple(text("director")),
            tuple(text("summary")),
            noun,
            extra,
        )

    @classmethod
    def bare(cls, items: Index, noun: str = "item") -> Catalogue:
        """Return a catalogue that knows nothing but the ids (used as titles)."""
        return cls.from_frame(pd.DataFrame({"item": list(items.ids)}), items, noun=noun)

    def __len__(self) -> int:
        return len(self.items)

    def describe(self, item: int) -> str:
        """Return one line: title (year), genres, director, cast."""
        name = self.title[item] + (f" ({self.year[item]})" if self.year[item] else "")
        parts = [name, ", ".join(self.genres[item])]
        if self.director[item]:
            parts.append(f"by {self.director[item]}")
        if self.cast[item]:
            parts.append("with " + ", ".join(self.cast[item][:3]))
        return "; ".join(p for p in parts if p)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per item, columns as `from_frame` takes them (genres and cast joined by "|")."""
        frame = pd.DataFrame({"item": list(self.items.ids)} | {c: list(getattr(self, c)) for c in _COLUMNS})
        for name in ("genres", "cast"):
            frame[name] = ["|".join(v) for v in getattr(self, name)]
        return frame.assign(**{k: list(v) for k, v in self.extra.items()})

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """All genres, sorted."""
        return tuple(sorted({g for row in self.genres for g in row}))


def _parts(rows: pd.DataFrame, name: str) -> tuple[tuple[str, ...], ...]:
    if name not in rows:
        return ((),) * len(rows)

    def split(value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            return tuple(p.strip() for p in value.split("|") if p.strip())
        return tuple(str(p) for p in value) if isinstance(value, (list, tuple)) else ()

    return tuple(split(v) for v in rows[name])
