"""Coat Shopping: 290 users x 300 coats, chosen ratings beside ratings of coats drawn at random.

Source: Schnabel, Swaminathan, Singh, Chandak, Joachims 2016, "Recommendations as Treatments: Debiasing Learning and
Evaluation".
The random part is the rare case where what users did not choose is known too. Knows the layout of that release.
"""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.datasets.dataset import Dataset
from simenv.datasets.files import Member, members, text_of
from simenv.errors import DataError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.scale import RatingScale

_FILES = (
    *("train.ascii", "test.ascii", "item_features.ascii", "item_features_map.txt"),
    *("user_features.ascii", "user_features_map.txt"),
)
_KINDS = {
    "bomber": "bomber jacket",
    "cropped": "cropped jacket",
    "field": "field jacket",
    "fleece": "fleece jacket",
    "insulated": "insulated jacket",
    "motorcycle": "motorcycle jacket",
    "other": "coat",
    "packable": "packable jacket",
    "parkas": "parka",
    "pea": "pea coat",
    "rain": "raincoat",
    "shells": "shell jacket",
    "track": "track jacket",
    "trench": "trench coat",
    "vests": "vest",
    "waterproof": "waterproof jacket",
}
_COLOURS = {"multi": "multicoloured", "other": "other colour"}


def load(folder: str | os.PathLike[str], *, name: str = "coat") -> Dataset:
    """Return the Coat data: `log` holds the ratings of coats the users chose, without times.

    folder: folder or zip with train.ascii, test.ascii and user_item_features. Raw ids are the row and column numbers
        of the matrices, from 0. `random_exposure` holds the ratings of coats drawn at random, without the pairs that
        were chosen as well (366 in the release), so that nothing in it was seen in `log`.

    Raises:
        DataError: a file is missing, a matrix is ragged, or a cell is not a whole number 0..5.

    """
    files = _files(folder)
    chosen, drawn = _matrix(files["train.ascii"], 5), _matrix(files["test.ascii"], 5)
    if chosen.shape != drawn.shape:
        raise _mismatch(files["test.ascii"], drawn.shape, files["train.ascii"], chosen.shape)
    users = Index(tuple(range(chosen.shape[0])), "user")
    items = Index(tuple(range(chosen.shape[1])), "item")
    item_features = _features(files, "item", len(items))
    user_features = _features(files, "user", len(users))
    both = int(((chosen > 0) & (drawn > 0)).sum())
    random = _log(np.where(chosen > 0, 0, drawn), users, items)
    note = (
        f"No times: only random splits. random_exposure: {len(random)} ratings of coats drawn at random, without "
        f"{both} pairs that stand in the chosen part too. Titles are made from the features."
    )
    demographics = pd.DataFrame({"user": list(users.ids)}).join(_wide(user_features))
    return Dataset(_log(chosen, users, items), _catalogue(item_features, items), name, demographics, random, note)


def _files(folder: str | os.PathLike[str]) -> dict[str, Member]:
    found = {m.name: m for m in reversed(members(folder))}
    missing = [f for f in _FILES if f not in found]
    if missing:
        there = ", ".join(sorted(found)[:8]) or "nothing"
        raise DataError(f"{Path(folder)}: {missing[0]} is missing; found {there}. Give the unpacked Coat release.")
    return found


def _matrix(member: Member, highest: int) -> NDArray[np.int64]:
    """Return int64 of a file of blank-separated whole numbers 0..highest."""
    rows = [line.split() for line in text_of(member, "utf-8").split("\n") if line.strip()]
    allowed = {str(v) for v in range(highest + 1)}
    for line, cells in enumerate(rows, start=1):
        if len(cells) != len(rows[0]):
            raise DataError(
                f"{member.label}, line {line}: {len(cells)} cells where line 1 has {len(rows[0])}. "
                "Fetch the file again."
            )
        odd = set(cells) - allowed
        if odd:
            place = next(n for n, c in enumerate(cells) if c in odd)
            raise DataError(
                f"{member.label}, line {line}, column {place + 1}: {cells[place]!r} is not a whole number "
                f"0..{highest}. Correct the cell."
            )
    return np.loadtxt(io.StringIO("\n".join(" ".join(r) for r in rows)), dtype=np.int64, ndmin=2)


def _features(files: dict[str, Member], kind: str, size: int) -> list[dict[str, str]]:
    """Return the features of each row as {feature: value}, such as {"gender": "men", "color": "black"}."""
    flags, names = files[f"{kind}_features.ascii"], files[f"{kind}_features_map.txt"]
    matrix = _matrix(flags, 1)
    labels = [line.strip() for line in text_of(names, "utf-8").split("\n") if line.strip()]
    if matrix.shape != (size, len(labels)):
        raise _mismatch(flags, matrix.shape, names, (size, len(labels)))
    odd = next((label for label in labels if ":" not in label), None)
    if odd is not None:
        raise DataError(f'{names.label}, line {labels.index(odd) + 1}: {odd!r} is not "feature:value". Correct it.')
    return [dict(labels[c].split(":", 1) for c in np.flatnonzero(row)) for row in matrix]


def _mismatch(one: Member, found: tuple[int, ...], other: Member, expected: tuple[int, ...]) -> DataError:
    return DataError(
        f"{one.label}: {found[0]} x {found[1]} cells where {other.label} asks for {expected[0]} x {expected[1]}. "
        "Take all files from one release."
    )


def _log(matrix: NDArray[np.int64], users: Index, items: Index) -> InteractionLog:
    user, item = np.nonzero(matrix)
    return InteractionLog.of(users, items, user, item, matrix[user, item], None, RatingScale())


def _wide(features: list[dict[str, str]]) -> pd.DataFrame:
    return pd.DataFrame(features).rename(columns={"fashioninterest": "fashion_interest"})


def _catalogue(features: list[dict[str, str]], items: Index) -> Catalogue:
    names = [_name(f) for f in features]
    seen: dict[str, int] = {}
    titles = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        titles.append(f"{name} no. {seen[name]}" if names.count(name) > 1 else name)
    return replace(Catalogue.bare(items, "coat"), title=tuple(titles), genres=tuple(_tags(f) for f in features))


def _name(feature: dict[str, str]) -> str:
    """Return such as "Men's black parka"; features that are absent leave no gap."""
    kind, colour = feature.get("jackettype", "other"), feature.get("color", "")
    owner = f"{feature['gender']}'s" if "gender" in feature else ""
    shade = "" if colour == "other" else _COLOURS.get(colour, colour)
    words = " ".join(w for w in (owner, shade, _KINDS.get(kind, f"{kind} coat")) if w)
    return words[0].upper() + words[1:]


def _tags(feature: dict[str, str]) -> tuple[str, ...]:
    """Return the features in words: who it is for, kind, colour, and whether the shop's front page showed it."""
    kind, colour = feature.get("jackettype"), feature.get("color")
    tags = [
        feature.get("gender", ""),
        _KINDS.get(kind, kind) if kind else "",
        _COLOURS.get(colour, colour) if colour else "",
        "front page" if feature.get("onfrontpage") == "yes" else "",
    ]
    return tuple(t for t in tags if t)
