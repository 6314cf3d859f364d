"""A table of scores as a contestant: what it shows, and what it says about bad tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simenv.errors import DataError, UnknownIdError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.recommenders import from_scores
from simenv.scale import RatingScale
from simenv.session import Session
from simenv.testing.logs import tiny_catalogue

USERS, ITEMS = Index((1, 2, 3), "user"), Index(("007", "8", "a,b", "d"), "item")
LOG = InteractionLog.of(USERS, ITEMS, [0, 1, 2], [3, 3, 2], [5, 1, 3], None, RatingScale())
CATALOGUE = tiny_catalogue(ITEMS)
GOOD = pd.DataFrame(
    {"user": [1, 1, 1, 2, 3], "item": ["8", "007", "d", "a,b", "007"], "score": [0.0, -1.0, 9.0, 2.5, 1e-3]}
)
GOOD_SLATES = [[1, 0, -1], [2, -1, -1], [0, -1, -1]]


@pytest.mark.parametrize("form", ["frame", "scores.csv", "scores.parquet"])
def test_all_forms_show_the_same(form: str, tmp_path: Path) -> None:
    path = tmp_path / form
    source: pd.DataFrame | Path = path
    if form == "frame":
        source = GOOD
    elif form.endswith("csv"):
        GOOD.to_csv(path, index=False)
    else:
        GOOD.to_parquet(path)
    recommender = from_scores(source)
    slate = recommender.fit(LOG, CATALOGUE, seed=0).recommend(Session.begin(np.arange(3), LOG), 3, seed=0)
    assert slate.item.tolist() == GOOD_SLATES
    assert recommender.name == "scores"


def test_integer_ids_written_as_text_are_understood() -> None:
    frame = GOOD.assign(user=GOOD["user"].astype(str))
    policy = from_scores(frame, name="mine").fit(LOG, CATALOGUE, seed=0)
    assert policy.recommend(Session.begin(np.arange(3), LOG), 3, seed=0).item.tolist() == GOOD_SLATES


def test_comparison_knows_table_and_choice() -> None:
    assert from_scores(GOOD) == from_scores(GOOD.copy())
    assert from_scores(GOOD) != from_scores(GOOD.assign(score=1.0))
    assert from_scores(GOOD) != from_scores(GOOD, missing="popular")


def test_users_without_scores_are_an_error_or_get_the_popular_list() -> None:
    some, session = GOOD[GOOD["user"] != 2], Session.begin(np.arange(3), LOG)
    with pytest.raises(
        DataError, match=r"the frame has no scores for user 2 \(1 of 3 asked for\).*missing=\"popular\""
    ):
        from_scores(some).fit(LOG, CATALOGUE, seed=0).recommend(session, 2, seed=0)
    slate = from_scores(some, missing="popular").fit(LOG, CATALOGUE, seed=0).recommend(session, 3, seed=0)
    assert slate.item[1].tolist() == [2, 0, 1]
    assert slate.item[[0, 2]].tolist() == [GOOD_SLATES[0], GOOD_SLATES[2]]


BAD = {
    "user;item;score\n1;8;2\n": r"s.csv: column 'user' is missing; it has \['user;item;score'\].*separated by commas",
    "user,item,value\n1,8,2\n": r"s.csv: column 'score' is missing; it has \['user', 'item', 'value'\]",
    "user,item,score\n": "s.csv has no rows",
    "user,item,score\n1,8,2\n1,007,\n": r"s.csv, row 3, column 'score': nan is not a finite number.*\(1 such rows",
    "user,item,score\n1,8,high\n": "s.csv, row 2, column 'score': 'high' is not a finite number",
    "user,item,score\n1,8,inf\n": "s.csv, row 2, column 'score': inf is not a finite number",
    "user,item,score\n1,8,1\n,d,2\n": "s.csv, row 3, column 'user': '' is no id",
    "user,item,score\n1,8,1\n2,8,1\n1,8,2\n": "s.csv, row 4, column 'item': '8' has a score for this user already",
}


@pytest.mark.parametrize(("text", "words"), BAD.items())
def test_bad_tables_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        from_scores(tmp_path / "s.csv")


UNKNOWN = {
    "user,item,score\n1,8,1\n9,8,1\n": r"s.csv, row 3, column 'user': unknown user '9' \(1 such rows.*such as 1, 2, 3",
    "user,item,score\n1,7,1\n": r"s.csv, row 2, column 'item': unknown item '7'.*such as '007', '8', 'a,b' \(type",
    "user,item,score\nanna,8,1\n": "s.csv, row 2, column 'user': unknown user 'anna'",
}


@pytest.mark.parametrize(("text", "words"), UNKNOWN.items())
def test_unknown_ids_are_named_when_fitted(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(text)
    recommender = from_scores(tmp_path / "s.csv")
    with pytest.raises(UnknownIdError, match=words):
        recommender.fit(LOG, CATALOGUE, seed=0)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file .*none.csv; give a \.parquet or \.csv file"):
        from_scores(tmp_path / "none.csv")
    (tmp_path / "s.xlsx").write_text("")
    with pytest.raises(DataError, match=r"s\.xlsx is neither \.parquet nor \.csv"):
        from_scores(tmp_path / "s.xlsx")


def test_rows_of_a_frame_are_counted_from_zero() -> None:
    bad = GOOD.assign(score=[1.0, 2.0, np.nan, 3.0, 4.0]).set_index(pd.Index([7, 8, 9, 10, 11]))
    with pytest.raises(DataError, match="the frame, row 2, column 'score': nan"):
        from_scores(bad)
