"""Ratings that other simulators published, on pairs real users rated: read, mapped to a log, checked against it.

Read as JSON or as plain tables, never as pickles: a pickle runs whatever its author wrote. Knows files and logs;
nothing of measures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from simenv.datasets.files import members, text_of
from simenv.datasets.tables import Table, read
from simenv.errors import DataError
from simenv.log import InteractionLog

AGENT4REC = "lightgcn_1000"
"""The published run of 1,000 agents (Zhang et al. 2024); "mf_100" has 100."""
_KEYS = frozenset({"user_id", "movie_id", "rating", "timestamp"})


@final
@dataclass(frozen=True, eq=False)
class Published:
    """Answers of one or more models to N pairs of a log."""

    name: str
    source: str
    """The file, for reports."""
    log: InteractionLog
    """All real ratings, the N among them."""
    row: NDArray[np.int64]
    """int64[N], ascending: the pairs, as rows of `log`."""
    answer: Mapping[str, NDArray[np.float64]]
    """Model -> rating [N]."""
    part: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    """Named parts of the pairs, bool[N], that are also looked at alone."""
    note: str = ""
    """What was joined and what was left out, in sentences."""

    @property
    def known(self) -> InteractionLog:
        """The log without these pairs: what yardsticks and simulated users may learn from."""
        keep = np.ones(len(self.log), bool)
        keep[self.row] = False
        return self.log.take(keep)

    @property
    def pairs(self) -> InteractionLog:
        """The N pairs with their real ratings."""
        return self.log.take(self.row)

    def of_users(self, user: ArrayLike) -> NDArray[np.bool_]:
        """Return bool[N]: the pairs of users given by number."""
        return np.isin(self.log.user[self.row], np.asarray(user))


def agent4rec(source: str | Path, log: InteractionLog, *, run: str = AGENT4REC) -> Published:
    """Return the ratings of an Agent4Rec run on films that the agent's own user had rated in MovieLens-1M.

    source: JSON lines, gzipped or not, one agent each: `run`, `ml1m_user_id` and `pages`, each page with `items`
        (`title`, `movie_id`, `rated_by_user`, `history_rating`) and `ratings` (`title`, `rating`), as parsed from the
        logs that stand in the authors' repository.
    log: MovieLens-1M.

    An answer names its film by title. It is looked up among the films of its own page, the year and punctuation left
    aside, since agents often drop them; the part "title as shown" has the answers whose title is letter for letter the
    one shown. `history_rating` is the mean rating the agent's prompt printed; it was taken over all ratings, these
    included.

    Raises:
        DataError: no such run, a damaged line, or marks of `rated_by_user` that the log contradicts (other data).

    """
    answers = [a for a in _answers(source, run)]
    if not answers:
        raise DataError(f"{source}: no rating of run {run!r}. Published are lightgcn_1000 and mf_100.")
    frame = pd.DataFrame(answers)
    named = frame[frame["movie"].notna()]
    row = _rows(log, named["user"].to_numpy(), named["movie"].to_numpy(np.int64))
    wrong = int(((row >= 0) != named["rated"].to_numpy(bool)).sum())
    if wrong:
        raise DataError(
            f"{source}: {wrong} of {len(named)} films are marked as rated by the user against the log's word; "
            "the log is not MovieLens-1M, or its users are numbered otherwise."
        )
    real = named[row >= 0].assign(row=row[row >= 0]).drop_duplicates("row").sort_values("row")
    note = (
        f"{len(frame)} ratings in the log; {len(frame) - len(named)} name no film of their page and are left out; "
        f"{len(real)} are of films the user had rated."
    )
    answer = {"Agent4Rec": real["rating"].to_numpy(np.float64)}
    shown = {"item mean its prompt prints": real["printed"].to_numpy(np.float64)}
    part = {"title as shown": real["exact"].to_numpy(bool)}
    return Published(
        f"Agent4Rec, {run}", Path(source).name, log, real["row"].to_numpy(np.int64), answer | shown, part, note
    )


def table(source: str | Path, log: InteractionLog, *, name: str = "Lusifer") -> Published:
    """Return the answers in a table with one row per pair: user_id, movie_id and one column per model.

    source: CSV, gzipped or not, as Lusifer publishes its results. A column `rating` holds the real rating and is
        checked against the log; `timestamp` is not read; every other column is a model's answers.

    Raises:
        DataError: a column is missing, a cell is no number, a pair stands twice or is not in the log, or its rating is
            another one there.

    """
    found = read(str(source), separator=None, columns=None, encoding="utf-8")
    for key in ("user_id", "movie_id"):
        if key not in found.frame:
            raise found.error(f"no column {key!r} among {', '.join(map(str, found.frame))}", "Name it so.", column=key)
    number = {str(c): _numbers(found, str(c)) for c in found.frame if c != "timestamp"}
    models = [c for c in number if c not in _KEYS]
    if not models:
        raise found.error("no column of answers", "Add a column per model beside user_id and movie_id.")
    row = _rows(log, number["user_id"].astype(np.int64), number["movie_id"].astype(np.int64))
    _check(found, log, row, number.get("rating"))
    order = np.argsort(row)
    answer = {c: number[c][order] for c in models}
    return Published(name, Path(source).name, log, row[order], answer, note=f"{len(row)} pairs, all in the log.")


def _answers(source: str | Path, run: str) -> Iterator[dict[str, Any]]:
    """Yield user, movie (None: not on the page), rating, rated, printed and exact of each answer of a run."""
    member = members(source)[0]
    if member.name.endswith((".pkl", ".pickle")):
        raise DataError(f"{member.label}: pickles are not read, since they run code. Give the parsed JSON lines.")
    for number, line in enumerate(text_of(member, "utf-8").splitlines(), start=1):
        try:
            agent = json.loads(line)
            if agent["run"] == run:
                for page in agent["pages"]:
                    yield from _page(int(agent["ml1m_user_id"]), page)
        except (json.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise DataError(
                f"{member.label}, line {number}: not an agent's record ({type(error).__name__}: {error}); expected "
                "run, ml1m_user_id and pages of items and ratings."
            ) from error


def _page(user: int, page: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    shown = {_bare(i["title"]): i for i in page["items"]}
    for said in page["ratings"]:
        item = shown.get(_bare(said["title"]))
        answer = {"user": user, "rating": float(said["rating"])}
        if item is None:
            yield answer | {"movie": None, "rated": False, "printed": np.nan, "exact": False}
        else:
            told = {"movie": int(item["movie_id"]), "rated": bool(item["rated_by_user"])}
            exact = said["title"] == item["title"]
            yield answer | told | {"printed": float(item["history_rating"]), "exact": exact}


def _bare(title: str) -> str:
    return re.sub(r"\W+", "", re.sub(r"\(\d{4}\)\s*$", "", title.strip()).lower())


def _rows(log: InteractionLog, user: NDArray[np.int64], movie: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row [N] of `log` that holds each pair of outside ids, -1 where the user did not rate the film."""
    raw = (
        log.to_frame()[["user", "item"]].assign(row=np.arange(len(log))).drop_duplicates(["user", "item"], keep="last")
    )
    asked = pd.DataFrame({"user": user, "item": movie})
    return asked.merge(raw, on=["user", "item"], how="left")["row"].fillna(-1).to_numpy(np.int64)


def _numbers(found: Table, column: str) -> NDArray[np.float64]:
    value = pd.to_numeric(found.frame[column], errors="coerce").to_numpy(np.float64)
    bad = np.flatnonzero(~np.isfinite(value))
    if len(bad):
        cell = found.frame[column].iloc[bad[0]]
        raise found.error(f"{cell!r} is no number", "Drop the row or the column.", row=int(bad[0]), column=column)
    return value


def _check(
    found: Table, log: InteractionLog, row: NDArray[np.int64], rating: Sequence[float] | NDArray[np.float64] | None
) -> None:
    absent = np.flatnonzero(row < 0)
    if len(absent):
        raise found.error(
            f"the log has no such rating ({len(absent)} of {len(row)} pairs)", "Give the data the table was made from.",
            row=int(absent[0]),
        )  # fmt: skip
    twice = pd.Series(row).duplicated().to_numpy()
    if twice.any():
        raise found.error("a pair stands twice", "Keep one row per pair.", row=int(np.flatnonzero(twice)[0]))
    other = np.flatnonzero(np.asarray(rating) != log.rating[row]) if rating is not None else np.empty(0, np.int64)
    if len(other):
        raise found.error(
            f"the log says {log.rating[row][other[0]]:g} ({len(other)} of {len(row)} ratings differ)",
            "Give the data the table was made from.", row=int(other[0]), column="rating",
        )  # fmt: skip
