"""Scores: a table of user, item, score made anywhere else, as a contestant. Knows files and ids, fits nothing."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv.catalogue import Catalogue
from simenv.errors import DataError, UnknownIdError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.recommenders.baseline import popularity
from simenv.recommenders.ranking import cold, top
from simenv.session import Session, Slate

_COLUMNS = ("user", "item", "score")
Missing = Literal["raise", "popular"]


def from_scores(source: str | Path | pd.DataFrame, *, name: str | None = None, missing: Missing = "raise") -> Scores:
    """Return the recommender that ranks by a table with the columns user, item (raw ids) and score.

    source: a .parquet or .csv file, or a frame. Higher is better; items not listed for a user are never shown to them.
    name: how reports call it; None: the file's name without ending, or "scores" for a frame.
    missing: what users without any row get: "raise" or the "popular" list.

    Raises:
        DataError: no such file, another format, a missing column, no row, a score that is not a finite number, an
            empty id, or a pair listed twice. Ids are checked by `fit`, which knows them.

    """
    if isinstance(source, pd.DataFrame):
        return Scores(name or "scores", _checked(source, "the frame", 0), "the frame", 0, missing)
    path = Path(source)
    frame, first = _read(path)
    return Scores(name or path.stem, _checked(frame, path.name, first), path.name, first, missing)


@final
@dataclass(frozen=True)
class Scores:
    """A table of scores; make it with `from_scores`."""

    name: str
    """How reports call it."""
    table: pd.DataFrame = field(repr=False, compare=False)
    """Columns user, item, score; checked."""
    source: str
    """Where it came from, for messages."""
    first_row: int
    """Number of the first data row, for messages: 2 in a CSV file (its line), 0 elsewhere."""
    missing: Missing = "raise"
    """What users without any row get: "raise" or the "popular" list."""
    fingerprint: str = field(init=False)
    """Sixteen hex digits of the table and of `missing`, by which two are compared."""

    def __post_init__(self) -> None:
        digest = hashlib.blake2b(self.missing.encode(), digest_size=8)
        for column in ("user", "item"):
            digest.update("\n".join(map(str, self.table[column])).encode())
        digest.update(self.table["score"].to_numpy(np.float64).tobytes())
        object.__setattr__(self, "fingerprint", digest.hexdigest())

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> ScoresPolicy:
        """Turn ids into numbers; nothing is learned but popularity, for `missing="popular"`.

        Raises:
            UnknownIdError: a user or item is not in the log's index; source, row and id are named.

        """
        user, item = self._numbers("user", log.users), self._numbers("item", log.items)
        shape = (log.n_users, log.n_items)
        score = csr_matrix((self.table["score"].to_numpy(np.float64), (user, item)), shape=shape)
        return ScoresPolicy(score, log.users, self.source, popularity(log) if self.missing == "popular" else None)

    def _numbers(self, column: str, index: Index) -> NDArray[np.int64]:
        raw = [_as(index.kind, value) for value in self.table[column]]
        unknown = [row for row, value in enumerate(raw) if value not in index]
        if unknown:
            known = ", ".join(map(repr, index.ids[:3]))
            raise UnknownIdError(
                f"{self.source}, row {self.first_row + unknown[0]}, column {column!r}: unknown {column} "
                f"{_plain(self.table[column].iloc[unknown[0]])!r} ({len(unknown)} such rows in all); the log knows "
                f"{len(index)} such as {known} (type {index.kind}). Write the log's own ids, or drop these rows."
            )
        return index.encode(raw)


@final
@dataclass(frozen=True, eq=False)
class ScoresPolicy:
    """See from_scores."""

    table: csr_matrix
    """csr float64[U, I]; a stored 0 is a score."""
    users: Index
    """For messages."""
    source: str
    """For messages."""
    popular: NDArray[np.float64] | None
    """float64[I]: number of ratings, shown to users without scores; None: such users are an error."""

    def score(self, session: Session) -> NDArray[np.floating]:
        """Return float64[B, I]; NaN where the table has no row.

        Raises:
            DataError: a user has no row at all and `missing` is "raise".

        """
        rows = self.table[session.user]
        listed = np.diff(rows.indptr)
        score = np.full(rows.shape, np.nan)
        score[np.repeat(np.arange(len(session)), listed), rows.indices] = rows.data
        if self.popular is not None:
            return cold(score, listed > 0, self.popular)
        if (listed == 0).any():
            names = ", ".join(map(repr, self.users.decode(session.user[listed == 0][:3])))
            raise DataError(
                f"{self.source} has no scores for user {names} ({int((listed == 0).sum())} of {len(session)} asked "
                'for). Add their rows, leave these users out, or choose from_scores(..., missing="popular").'
            )
        return score

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k listed items with the highest score."""
        return top(self.score(session), session, k)


def _read(path: Path) -> tuple[pd.DataFrame, int]:
    """Return (frame, number of its first data row)."""
    if not path.is_file():
        raise DataError(f"no file {path}; give a .parquet or .csv file with the columns user, item, score.")
    if path.suffix == ".parquet":
        return pd.read_parquet(path), 0
    if path.suffix == ".csv":
        # Ids stay text until the log's index says what they are: "007" must not become 7.
        return pd.read_csv(path, dtype={"user": str, "item": str}, keep_default_na=False, na_values={"score": [""]}), 2
    raise DataError(f"{path.name} is neither .parquet nor .csv; save the scores as one of these.")


def _checked(frame: pd.DataFrame, source: str, first: int) -> pd.DataFrame:
    absent = [column for column in _COLUMNS if column not in frame]
    if absent:
        raise DataError(
            f"{source}: column {absent[0]!r} is missing; it has {[str(c) for c in frame.columns]}. Name the columns "
            "user, item, score (in a CSV file: in the first line, separated by commas)."
        )
    if frame.empty:
        raise DataError(f"{source} has no rows; a table of scores needs at least one.")
    table = frame[list(_COLUMNS)].reset_index(drop=True)
    score = pd.to_numeric(table["score"], errors="coerce").to_numpy(np.float64)
    _refuse(~np.isfinite(score), table, "score", source, first, "is not a finite number. Drop the row or mend it.")
    for column in ("user", "item"):
        empty = (table[column].isna() | (table[column].astype(str).str.strip() == "")).to_numpy(bool)
        _refuse(empty, table, column, source, first, "is no id. Drop the row or mend it.")
    again = table.duplicated(["user", "item"]).to_numpy(bool)
    _refuse(again, table, "item", source, first, "has a score for this user already. Keep one.")
    return table.assign(score=score)


def _refuse(bad: NDArray[np.bool_], table: pd.DataFrame, column: str, source: str, first: int, finding: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(
            f"{source}, row {first + row}, column {column!r}: {_plain(table[column].iloc[row])!r} {finding} "
            f"({int(bad.sum())} such rows in all)"
        )


def _as(kind: str, value: object) -> int | str:
    """Return a raw id as the index writes it; what cannot be turned stays text, and is then unknown."""
    if kind == "int":
        text = str(value).strip()
        return int(text) if text.lstrip("-").isdigit() else text
    return str(value)


def _plain(value: object) -> object:
    """Return a NumPy scalar as the Python value people know."""
    return value.item() if isinstance(value, np.generic) else value
