"""Published ratings: what is read, what is joined, and which files are refused with which words."""

import gzip
import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simenv.errors import DataError
from simenv.log import InteractionLog
from simenv.study.published import agent4rec, table

ROWS = [(7, 10, 4.0), (7, 11, 2.0), (7, 12, 5.0), (9, 10, 3.0), (9, 13, 1.0)]


@pytest.fixture
def log() -> InteractionLog:
    return InteractionLog.from_frame(pd.DataFrame(ROWS, columns=["user", "item", "rating"]))


def item(title: str, movie: int, rated: bool, printed: float = 3.5) -> dict[str, Any]:
    return {"title": title, "movie_id": movie, "rated_by_user": rated, "history_rating": printed}


def said(title: str, rating: int) -> dict[str, Any]:
    return {"title": title, "rating": rating}


PAGE = {
    "items": [item("Babe (1995)", 10, True, 3.9), item("Alien (1979)", 11, True), item("Heat (1995)", 13, False)],
    "ratings": [said("Alien", 5), said("Babe (1995)", 3), said("Heat (1995)", 4), said("Nothing (1990)", 1)],
}


def agent(user: int = 7, run: str = "lightgcn_1000", pages: Any = None) -> dict[str, Any]:
    return {"run": run, "ml1m_user_id": user, "pages": [PAGE] if pages is None else pages}


def write(folder: Path, agents: list[dict[str, Any]], name: str = "log.jsonl") -> Path:
    path = folder / name
    text = "".join(json.dumps(a) + "\n" for a in agents).encode()
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    return path


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
def test_answers_to_films_the_user_rated_are_joined_to_the_real_ratings(
    tmp_path: Path, log: InteractionLog, name: str
) -> None:
    found = agent4rec(write(tmp_path, [agent(), agent(9, "mf_100")], name), log)
    assert found.pairs.to_frame()[["user", "item", "rating"]].values.tolist() == [[7, 10, 4.0], [7, 11, 2.0]]
    assert found.answer["Agent4Rec"].tolist() == [3.0, 5.0]
    assert found.answer["item mean its prompt prints"].tolist() == [3.9, 3.5]
    assert found.part["title as shown"].tolist() == [True, False]  # "Alien" was shown with its year
    assert found.note == (
        "4 ratings in the log; 1 name no film of their page and are left out; 2 are of films the user had rated."
    )


def test_known_rows_are_all_others(tmp_path: Path, log: InteractionLog) -> None:
    known = agent4rec(write(tmp_path, [agent()]), log).known.to_frame()
    assert known[["user", "item"]].values.tolist() == [[7, 12], [9, 10], [9, 13]]


def test_a_film_answered_on_two_pages_counts_once(tmp_path: Path, log: InteractionLog) -> None:
    again = {**PAGE, "ratings": [said("Babe", 1)]}
    found = agent4rec(write(tmp_path, [agent(pages=[PAGE, again])]), log)
    assert found.answer["Agent4Rec"].tolist() == [3.0, 5.0]


def test_a_log_whose_users_are_others_is_found_out(tmp_path: Path, log: InteractionLog) -> None:
    with pytest.raises(DataError, match="marked as rated by the user against the log's word"):
        agent4rec(write(tmp_path, [agent(user=9)]), log)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([agent(run="other")], "no rating of run 'lightgcn_1000'"),
        ([{"run": "lightgcn_1000", "pages": [PAGE]}], "line 1: not an agent's record .*ml1m_user_id"),
        ([agent(), agent(pages=[{"items": [], "ratings": [{"title": "Heat"}]}])], "line 2: not an agent's record"),
        ([[1]], "line 1: not an agent's record"),
    ],
)
def test_damaged_logs_are_refused(tmp_path: Path, log: InteractionLog, content: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        agent4rec(write(tmp_path, content), log)


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (os.mkdir, (os.environ["BOMB"],))


def test_a_pickle_is_refused_and_not_opened(
    tmp_path: Path, log: InteractionLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOMB", str(tmp_path / "gone off"))
    path = tmp_path / "0.pkl"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="pickles are not read"):
        agent4rec(path, log)
    assert not (tmp_path / "gone off").exists()


def frame(**columns: Any) -> pd.DataFrame:
    usual = {"user_id": [9, 7], "movie_id": [13, 11], "rating": [1, 2], "timestamp": [5, 6], "GPT": [4, 5]}
    return pd.DataFrame({k: v for k, v in (usual | columns).items() if v is not None})


def saved(folder: Path, content: pd.DataFrame) -> Path:
    path = folder / "answers.csv.gz"
    content.to_csv(path, index=False)
    return path


def test_every_column_of_a_table_is_a_model(tmp_path: Path, log: InteractionLog) -> None:
    found = table(saved(tmp_path, frame(MF=[1.5, 2.5])), log)
    assert {k: v.tolist() for k, v in found.answer.items()} == {"GPT": [5.0, 4.0], "MF": [2.5, 1.5]}
    assert found.pairs.rating.tolist() == [2.0, 1.0]


@given(order=st.permutations(range(len(ROWS))))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_does_not_matter(order: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    log = InteractionLog.from_frame(pd.DataFrame(ROWS, columns=["user", "item", "rating"]))
    rows = [ROWS[n] for n in order]
    content = pd.DataFrame(rows, columns=["user_id", "movie_id", "rating"]).assign(model=[n % 5 + 1 for n in order])
    found = table(saved(tmp_path_factory.mktemp("order"), content), log)
    assert found.answer["model"].tolist() == [1, 2, 3, 4, 5]
    assert len(found.known) == 0


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"user_id": None}, "no column 'user_id'"),
        ({"GPT": None}, "no column of answers"),
        ({"GPT": [4, "four"]}, "line 3, column 'GPT': 'four' is no number"),
        ({"GPT": [4, None]}, "line 3, column 'GPT': '' is no number"),
        ({"movie_id": [13, 13]}, r"line 3: the log has no such rating \(1 of 2 pairs\)"),
        ({"rating": [1, 3]}, r"line 3, column 'rating': the log says 2 \(1 of 2 ratings differ\)"),
        ({"user_id": [7, 7], "movie_id": [11, 11], "rating": [2, 2]}, "line 3: a pair stands twice"),
    ],
)
def test_tables_that_do_not_fit_are_refused(
    tmp_path: Path, log: InteractionLog, columns: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        table(saved(tmp_path, frame(**columns)), log)


DATA = Path(os.environ.get("SIMENV_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def rmse(answer: np.ndarray, real: np.ndarray) -> float:
    return round(float(np.sqrt(np.mean((answer - real) ** 2))), 4)


@pytest.mark.data
def test_published_runs_say_what_is_known_of_them() -> None:
    """Numbers counted apart from this code, from the run's own files."""
    logs, films = DATA / "agent4rec" / "simulation_log.jsonl.gz", DATA / "ml-1m" / "ml-1m-rebuilt-time.zip"
    if not logs.exists() or not films.exists():
        pytest.skip("Agent4Rec's log or MovieLens-1M is not at hand; set SIMENV_DATA")
    from simenv.datasets import load

    log = load(films).log
    found = agent4rec(logs, log)
    real, exact, said = found.pairs.rating, found.part["title as shown"], found.answer["Agent4Rec"]
    assert (len(real), int(exact.sum())) == (3026, 1896)
    assert (rmse(said, real), rmse(said[exact], real[exact])) == (1.0196, 1.0147)
    assert round(float(np.abs(said - real)[exact].mean()), 4) == 0.7458
    theirs = table(DATA / "lusifer" / "ml1m_test_with_simulated_ratings.csv.gz", log)
    assert {n: rmse(a, theirs.pairs.rating) for n, a in theirs.answer.items()} == {
        "SVD++": 1.1428, "NCF": 1.1764, "RNN4REC": 1.0902, "ALS": 1.1028, "4o_mini": 1.7385, "Gemma3_4B": 1.5093,
    }  # fmt: skip
