"""MovieLens 100K, 1M, 10M and the CSV releases, from a zip or folder as GroupLens made it.

The release is told by the files present. Knows the layouts published in the README of each release.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd

from simenv.catalogue import Catalogue
from simenv.datasets import titles
from simenv.datasets.columns import column_of, events, ids
from simenv.datasets.dataset import Dataset
from simenv.datasets.download import MD5, download
from simenv.datasets.files import Member, members
from simenv.datasets.metadata import join
from simenv.datasets.tables import Table, delimited
from simenv.datasets.texts import unique_items
from simenv.datasets.times import seconds
from simenv.errors import DataError
from simenv.index import Index
from simenv.log import TimeNote

__all__ = ["MD5", "SIGNATURES", "download", "load"]

_GENRES = (
    *(
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
        "Fantasy",
    ),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""Order of the flags in u.item."""
_NO_GENRE = ("unknown", "(no genres listed)", "")
_AGES = {1: "under 18", 18: "18-24", 25: "25-34", 35: "35-44", 45: "45-49", 50: "50-55", 56: "56 or more"}
_OCCUPATIONS = (
    *("other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service"),
    *("doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer"),
    *("retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman"),
    *("unemployed", "writer"),
)
"""Codes 0..20 of users.dat."""


@final
@dataclass(frozen=True)
class _Layout:
    """The files of one family of releases."""

    name: str
    ratings: str
    movies: str
    users: str | None
    separator: str
    header: bool = False

    def table(self, member: Member, columns: tuple[str, ...], separator: str | None = None) -> Table:
        mark = separator or self.separator
        names = None if self.header else columns
        return delimited(member, separator=mark, columns=names, encoding=_encoding(member), quoted=self.header)


_LAYOUTS = (
    _Layout("ml-100k", "u.data", "u.item", "u.user", "\t"),
    _Layout("ml-1m", "ratings.dat", "movies.dat", "users.dat", "::"),
    _Layout("ml-latest", "ratings.csv", "movies.csv", None, ",", header=True),
)
SIGNATURES = tuple(frozenset({layout.ratings, layout.movies}) for layout in _LAYOUTS)
"""File names that together tell a release."""
_RATINGS = ("userId", "movieId", "rating", "timestamp")


def load(
    path: str | os.PathLike[str],
    *,
    metadata: str | os.PathLike[str] | None = None,
    name: str | None = None,
    time_note: TimeNote | None = None,
) -> Dataset:
    """Return a MovieLens release as a dataset; its catalogue has all films, rated or not.

    path: the zip, a folder that holds the files or the zip; or a name, "ml-100k", "ml-1m", "ml-latest-small", where no
        such path exists: then the official archive is fetched once into ~/.cache/simenv.
    metadata: CSV with movie_id, title, year and any of overview or summary, cast, director, joined by movie id (100K:
        by title and year, its ids being its own); None: titles, years and genres only. Rating statistics that may
        stand in it are never read: they would tell the future.
    name: for reports; None: the release's own.
    time_note: "approximate" if the times were rebuilt; None: approximate where a TIMESTAMPS.txt lies beside the
        ratings, else exact.

    Raises:
        DataError: no or several releases there, a damaged file, a bad row (by file, line and column), or metadata of
            other films.

    """
    if str(path) in MD5 and not Path(path).exists():
        path = download(str(path))
    layout, files = _find(path)
    table = layout.table(files[layout.ratings], _RATINGS)
    movies = _MOVIES[layout.name](layout, files)
    time, _ = seconds(table, "timestamp")
    said: TimeNote = time_note or ("approximate" if "TIMESTAMPS.txt" in files else "exact")
    log, _ = events(
        table, user="userId", item="movieId", rating="rating", time=time, items=movies.items, time_note=said
    )
    unrated = log.n_items - len(np.unique(log.item))
    notes = [f"{unrated} of {log.n_items} films have no rating."]
    twins = pd.Series(list(zip(movies.title, movies.year, strict=True))).duplicated().sum()
    if twins:
        notes.append(f"{twins} films stand twice in the release, under two ids each.")
    if said == "approximate":
        notes.append("Times are approximate (rebuilt): report no result that depends on them as exact.")
    catalogue = movies
    if metadata is not None:
        catalogue, joined = join(movies, metadata, by_id=layout.name != "ml-100k")
        notes.append(joined)
    people = _demographics(layout, files, log.users)
    return Dataset(log, catalogue, name or _release(layout, files), people, note=" ".join(notes))


def _find(path: str | os.PathLike[str]) -> tuple[_Layout, dict[str, Member]]:
    """Return the layout and the files by name of the one release at this path."""
    found = members(path)
    folders: dict[tuple[Path, str], dict[str, Member]] = {}
    for member in found:
        place = (member.path, str(Path(member.inside).parent)) if member.inside else (member.path.parent, "")
        folders.setdefault(place, {})[member.name] = member
    fits = [(lay, files) for files in folders.values() for lay in _LAYOUTS if {lay.ratings, lay.movies} <= files.keys()]
    if not fits:
        wanted = "; or ".join(f"{lay.ratings} and {lay.movies}" for lay in _LAYOUTS)
        there = ", ".join(m.label for m in found[:8]) or "nothing"
        raise DataError(f"{path}: no MovieLens release. Expected {wanted}; found {there}. Give the GroupLens zip.")
    if len({_release(*fit) for fit in fits}) > 1:
        there = ", ".join(files[lay.ratings].label for lay, files in fits)
        raise DataError(f"{path}: several MovieLens releases ({there}). Give the path of one.")
    return fits[0]  # unpacked files before a zip of the same release


def _release(layout: _Layout, files: dict[str, Member]) -> str:
    folder = files[layout.ratings].folder
    if layout.name == "ml-100k":
        return layout.name
    if folder.startswith("ml-"):
        return folder.lower()
    return layout.name


def _encoding(member: Member) -> str:
    """Return utf-8 if the file is that (10M, CSV releases, copies made since), else Latin-1 (100K and 1M)."""
    try:
        member.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def _catalogue(table: Table, key: str, raw_title: list[str], genres: list[tuple[str, ...]]) -> Catalogue:
    """Return the catalogue, sorted by id, of parallel rows: ids in column `key`, titles as written, genres."""
    items = unique_items(table, key)
    code, raw = ids(table, key)
    row_of = np.empty(len(items), np.int64)
    row_of[items.encode(raw)[code]] = np.arange(len(code))
    parsed = [titles.parse(raw_title[row]) for row in row_of]
    bare = Catalogue.bare(items, "film")
    return replace(
        bare,
        title=tuple(t.name or str(i) for t, i in zip(parsed, items.ids, strict=True)),
        year=tuple(t.year for t in parsed),
        genres=tuple(tuple(g for g in genres[row] if g not in _NO_GENRE) for row in row_of),
        extra={"also": tuple("|".join(t.also) for t in parsed)},
    )


def _movies_100k(layout: _Layout, files: dict[str, Member]) -> Catalogue:
    columns = ("movieId", "title", "release", "video", "url", *_GENRES)
    table = layout.table(files[layout.movies], columns, "|")
    flags = table.frame[list(_GENRES)].to_numpy() == "1"
    genres = [tuple(np.array(_GENRES)[row].tolist()) for row in flags]
    return _catalogue(table, "movieId", table.frame["title"].tolist(), genres)


def _movies(layout: _Layout, files: dict[str, Member]) -> Catalogue:
    table = layout.table(files[layout.movies], ("movieId", "title", "genres"))
    title, genres = (column_of(table, c).tolist() for c in ("title", "genres"))
    return _catalogue(table, "movieId", title, [tuple(g.split("|")) for g in genres])


_MOVIES: dict[str, Callable[[_Layout, dict[str, Member]], Catalogue]] = {
    "ml-100k": _movies_100k,
    "ml-1m": _movies,
    "ml-latest": _movies,
}


def _demographics(layout: _Layout, files: dict[str, Member], users: Index) -> pd.DataFrame | None:
    """Return user, gender, age, occupation, zip_code of every user of the log; None where the release has none."""
    if layout.users is None or layout.users not in files:
        return None
    old = layout.name == "ml-100k"
    columns = (
        ("user", "age", "gender", "occupation", "zip_code")
        if old
        else ("user", "gender", "age", "occupation", "zip_code")
    )
    table = layout.table(files[layout.users], columns, "|" if old else None)
    code, raw = ids(table, "user")
    frame = table.frame.assign(user=[raw[c] for c in code]).set_index("user").reindex(list(users.ids)).reset_index()
    if old:
        return frame.assign(age=pd.to_numeric(frame["age"]))
    job = pd.to_numeric(frame["occupation"]).map(dict(enumerate(_OCCUPATIONS)))
    return frame.assign(age=pd.to_numeric(frame["age"]).map(_AGES), occupation=job)
