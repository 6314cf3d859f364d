"""Which column is which: the names people give to user, item, rating, time and text columns.

A guess is made only where one column fits, and is always reported. Knows no values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from simenv.datasets.tables import Table

Tiers = tuple[tuple[str, ...], ...]
"""Names in lower case without punctuation; a later tier counts only where no column bears a name of an earlier one."""

ROLES: dict[str, Tiers] = {
    "user": (
        ("user",),
        ("userid", "uid", "reviewerid", "customerid", "memberid", "visitorid", "username", "reviewer", "customer"),
    ),
    "item": (
        ("item",),
        (
            *("itemid", "iid", "movieid", "filmid", "productid", "asin", "parentasin", "isbn", "bookid", "songid"),
            *("trackid", "gameid", "businessid", "recipeid", "articleid", "movie", "product"),
        ),
    ),
    "rating": (
        ("rating",),
        ("ratings", "overall", "score", "stars", "bookrating", "reviewscore", "reviewrating", "reviewoverall"),
    ),
    "time": (
        ("time",),
        ("timestamp", "unixreviewtime", "unixtime", "ratingtimestamp"),
        ("reviewtime", "date", "datetime", "ratedat", "createdat", "reviewdate", "ratingdate"),
    ),
}
"""The event columns."""

TEXT: dict[str, Tiers] = {
    "title": (("title",), ("movietitle", "itemtitle", "producttitle", "booktitle", "filmtitle", "name", "productname")),
    "genres": (("genres",), ("genre", "categories", "category", "maincategory")),
    "year": (("year",), ("releaseyear", "yearofpublication", "publicationyear", "publisheddate", "releasedate")),
    "summary": (("summary",), ("overview", "plot", "description", "synopsis", "abstract")),
    "cast": (("cast",), ("actors",)),
    "director": (("director",), ("directors", "author", "authors", "bookauthor", "brand", "artist", "creator")),
}
"""The catalogue's columns."""


def squeeze(name: object) -> str:
    """Return a column name in lower case without punctuation: "User-ID" -> "userid"."""
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def fitting(columns: Iterable[object], tiers: Tiers) -> list[str]:
    """Return the columns that bear a name of the first tier that any column fits."""
    names = list(columns)
    for tier in tiers:
        found = [str(c) for c in names if squeeze(c) in tier]
        if found:
            exact = [c for c in found if [c] == list(tier)]  # "user" beats "User"
            return exact or found
    return []


def role(table: Table, name: str, given: str | None) -> tuple[str | None, str]:
    """Return (column, note) of an event column; None: no column fits. `given`: named by the caller, taken as it is.

    Raises:
        DataError: several columns fit.

    """
    if given is not None:
        return given, ""
    found = fitting(table.frame.columns, ROLES[name])
    if len(found) > 1:
        raise table.error(
            f"several columns may be the {name}: {', '.join(map(repr, found))}", f"Say which: {name}={found[0]!r}."
        )
    if not found:
        return None, ""
    return found[0], "" if found[0] == name else f"Column {found[0]!r} read as {name}."


def needed(table: Table, name: str, given: str | None) -> tuple[str, str]:
    """Return as `role` does, for a column that must be there.

    Raises:
        DataError: no column fits, or several do.

    """
    column, note = role(table, name, given)
    if column is None:
        there = ", ".join(map(repr, map(str, table.frame.columns)))
        raise table.error(f"no {name} column found; there are {there}", f'Name it: {name}="...".')
    return column, note
