"""Profiles that others published, as claims on users of a log: Agent4Rec's (MovieLens-1M), Lusifer's (-100K).

Each comes as an arena: who is spoken of, which of their ratings the writer is held to have known, and which not. Read
as JSON or CSV, never as pickles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.datasets.files import members, text_of
from simenv.datasets.tables import read
from simenv.errors import DataError
from simenv.log import InteractionLog
from simenv.study.persona_quality import Arena
from simenv.study.persona_quality_claim import Claims, texts
from simenv.training.llm.folder import FolderDistiller

_LEVEL = {
    "activity": ("incredibly elusive", "occasional viewer, seldom", "enthusiast"),
    "conformity": ("maverick", "balanced", "dedicated follower"),
    "diversity": ("selective viewer", "niche explorer", "trailblazer"),
}
"""What opens Agent4Rec's sentence for low, middle and high."""
_YEAR = re.compile(r"\s*\(\d{4}\)\s*$")


def agent4rec(personas: str | Path, run: str | Path, log: InteractionLog, catalogue: Catalogue) -> Arena:
    """Return the arena of Agent4Rec's personas (Zhang et al. 2024).

    personas: JSON lines of `ml1m_user_id`, `taste`, `low_rating` and `movies`; run: JSON lines with the agents'
    `activity`, `conformity` and `diversity` in words. log: MovieLens-1M.

    Known are the ratings of films that a persona names; it was written from at most 25, so some of what counts as held
    out may have been read: that favours Agent4Rec.

    Raises:
        DataError: a line is not as described, or a user is not in the log.

    """
    said = list(_lines(personas, ("ml1m_user_id", "taste", "low_rating", "movies")))
    behaviour = {int(a["ml1m_user_id"]): a for a in _lines(run, ("ml1m_user_id", *_LEVEL)) if a.get("run") != "mf_100"}
    user = log.users.encode([int(p["ml1m_user_id"]) for p in said])
    named = [_numbers(" ; ".join(p["movies"]).split(";"), catalogue) for p in said]
    known = np.zeros(len(log), bool)
    for u, films in zip(user, named, strict=True):
        rows = slice(log.indptr[u], log.indptr[u + 1])
        known[rows] = np.isin(log.item[rows], films)
    level = np.array([_levels(behaviour.get(int(p["ml1m_user_id"]))) for p in said], np.int8)
    text = [". ".join([*(_positive(t) for t in p["taste"]), str(p["low_rating"])]) for p in said]
    claims = texts(
        text,
        catalogue.vocabulary,
        "published",
        level,
        "gpt-3.5-turbo; its traits were counted by its authors, over all ratings by all appearances: no forecast",
    )
    return Arena.of("Agent4Rec, MovieLens-1M", log, catalogue, user, known, {"Agent4Rec": claims}, activity=True)


def lusifer(profiles: str | Path, test: str | Path, log: InteractionLog, catalogue: Catalogue) -> Arena:
    """Return the arena of Lusifer's profiles: texts without traits, of the users that have one.

    profiles: CSV of `user_id` and `user_profile`; test: the authors' table of held-out ratings (`user_id`,
    `movie_id`), which their model had not read. log: MovieLens-100K.

    Raises:
        DataError: a column is missing, or a pair is not in the log.

    """
    table, pairs = (read(str(p), separator=None, columns=None, encoding="utf-8") for p in (profiles, test))
    for found, columns in ((table, ("user_id", "user_profile")), (pairs, ("user_id", "movie_id"))):
        for name in columns:
            if name not in found.frame:
                raise found.error(f"no column {name!r} among {', '.join(map(str, found.frame))}", "Name it so.")
    frame = table.frame[table.frame["user_profile"].fillna("").astype(str).str.strip() != ""]
    user = log.users.encode(frame["user_id"].astype(int).tolist())
    late = pd.MultiIndex.from_arrays([pairs.frame["user_id"].astype(int), pairs.frame["movie_id"].astype(int)])
    raw = log.to_frame()
    held = pd.MultiIndex.from_frame(raw[["user", "item"]]).isin(late)
    if held.sum() < len(late.unique()):
        raise DataError(
            f"{test}: {len(late.unique()) - held.sum()} of its pairs are not in the log; give the data it is of."
        )
    claims = texts(frame["user_profile"].tolist(), catalogue.vocabulary, "published", note="GPT-4o-mini; no traits")
    return Arena.of("Lusifer, MovieLens-100K", log, catalogue, user, ~held, {"Lusifer": claims}, activity=False)


def _lines(source: str | Path, wanted: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    member = members(source)[0]
    if member.name.endswith((".pkl", ".pickle")):
        raise DataError(f"{member.label}: pickles are not read, since they run code. Give the JSON lines.")
    for number, line in enumerate(text_of(member, "utf-8").splitlines(), start=1):
        try:
            found = json.loads(line)
            missing = [w for w in wanted if w not in found]
        except (ValueError, TypeError) as error:
            raise DataError(f"{member.label}, line {number}: no JSON object ({error}).") from error
        if missing:
            raise DataError(f"{member.label}, line {number}: {missing[0]!r} is missing; expected {', '.join(wanted)}.")
        yield found


def _numbers(titles: list[str], catalogue: Catalogue) -> NDArray[np.int64]:
    """Return the items that titles name; what is no title of the catalogue is passed over."""
    place = {_bare(t): n for n, t in enumerate(catalogue.title)}
    return np.array([place[b] for t in titles if (b := _bare(t)) in place], np.int64)


def _bare(title: str) -> str:
    """Return a title without year, article and marks: "Crying Game, The (1992)" and "The Crying Game" alike."""
    words = re.findall(r"\w+", _YEAR.sub("", title.strip()).lower())
    return " ".join(w for w in words if w not in ("the", "a", "an"))


def _levels(agent: dict[str, Any] | None) -> list[int]:
    if agent is None:
        return [-1, -1, -1]
    return [next((n for n, w in enumerate(words) if w in agent[t].lower()), -1) for t, words in _LEVEL.items()]


def _positive(taste: str) -> str:
    """Return a taste without words that would be read as refusals: the list holds what an agent likes."""
    return re.sub(r"\b(?:do|does) not\b|don't|doesn't", "", taste)


def own(
    name: str,
    past: InteractionLog,
    future: InteractionLog,
    member: NDArray[np.int64],
    catalogue: Catalogue,
    told: FolderDistiller | None = None,
) -> Arena:
    """Return the arena of a cut of one's own: users `member` [M], their known and their held-out rows.

    told: what a language model wrote of them from these very rows; None: nobody was asked.

    Raises:
        DataError: it was written from other rows, or of other users.

    """
    rows = [getattr(log, n) for n in ("user", "item", "rating", "time") for log in (past, future.of_users(member))]
    user, item, rating = (np.concatenate(rows[n : n + 2]) for n in (0, 2, 4))
    time = None if past.time is None or future.time is None else np.concatenate(rows[6:])
    log = InteractionLog.of(past.users, past.items, user, item, rating, time, past.scale, time_note=past.time_note)
    held = pd.MultiIndex.from_arrays([future.user, future.item])
    known = ~pd.MultiIndex.from_arrays([log.user, log.item]).isin(held)
    claims = {} if told is None else {told.account["model"]: _written(told, past, member, catalogue)}
    return Arena.of(name, log, catalogue, member, known, claims, activity=False)


def _written(told: FolderDistiller, past: InteractionLog, member: NDArray[np.int64], catalogue: Catalogue) -> Claims:
    if told.account["past"] != past.of_users(member).fingerprint:
        raise DataError(f"{told.folder} was distilled from other rows; give the same data and options.")
    last = {int(past.users.encode([row["user"]])[0]): row["stages"][-1] for row in told.line}
    level = np.array([last[int(u)][1] for u in member], np.int8)
    text = [str(last[int(u)][2]) for u in member]
    return texts(text, catalogue.vocabulary, "written", level, "written by a language model from the same rows")
