"""Any table in one call; and a table of what is wrong with tables: file, line, column, finding, remedy."""

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simenv.datasets import frames
from simenv.errors import DataError
from simenv.scale import RatingScale

GOOD = "user,item,rating,time\n1,10,4,100\n1,11,5,200\n2,10,3,300\n"
FRAME = pd.DataFrame({"user": [1, 1, 2], "item": [10, 11, 10], "rating": [4, 5, 3], "time": [100, 200, 300]})


def write(folder: Path, text: str | bytes, name: str = "log.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def zipped(folder: Path, members: dict[str, str]) -> Path:
    path = folder / "log.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def as_jsonl(folder: Path) -> Path:
    return write(folder, "".join(json.dumps(r) + "\n" for r in FRAME.to_dict("records")), "log.jsonl")


def as_parquet(folder: Path) -> Path:
    FRAME.to_parquet(folder / "log.parquet")
    return folder / "log.parquet"


FORMS: dict[str, Callable[[Path], tuple[Any, dict[str, Any]]]] = {
    "csv": lambda d: (write(d, GOOD), {}),
    "str path": lambda d: (str(write(d, GOOD)), {}),
    "csv.gz": lambda d: (write(d, gzip.compress(GOOD.encode()), "log.csv.gz"), {}),
    "zip": lambda d: (zipped(d, {"deep/log.csv": GOOD}), {}),
    "tsv": lambda d: (write(d, GOOD.replace(",", "\t"), "log.tsv"), {}),
    "semicolons": lambda d: (write(d, GOOD.replace(",", ";")), {"separator": ";"}),
    "double colons": lambda d: (write(d, GOOD.replace(",", "::"), "log.dat"), {"separator": "::"}),
    "no header": lambda d: (write(d, GOOD.split("\n", 1)[1]), {"columns": ["user", "item", "rating", "time"]}),
    "windows": lambda d: (write(d, "\ufeff" + GOOD.replace("\n", "\r\n")), {}),
    "utf-16": lambda d: (write(d, GOOD.encode("utf-16")), {"encoding": "utf-16"}),
    "blank lines": lambda d: (write(d, GOOD.replace("\n", "\n\n") + "   \n"), {}),
    "spaces": lambda d: (write(d, GOOD.replace(",", " , ")), {}),
    "jsonl": lambda d: (as_jsonl(d), {}),
    "parquet": lambda d: (as_parquet(d), {}),
    "frame": lambda d: (FRAME, {}),
    "float frame": lambda d: (FRAME.astype(float), {}),
    "indexed frame": lambda d: (FRAME.set_index(pd.Index(["x", "y", "x"])), {}),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_one_table_gives_one_log(form: str, tmp_path: Path) -> None:
    source, options = FORMS[form](tmp_path)
    dataset = frames.load(source, **options)
    assert dataset.log.fingerprint == frames.load(FRAME).log.fingerprint
    assert dataset.log.users.ids == (1, 2)
    assert dataset.log.items.ids == (10, 11)
    assert dataset.log.time is not None
    assert dataset.log.time.tolist() == [100, 200, 300]
    assert dataset.catalogue.title == ("10", "11")


BAD: dict[str, tuple[str | bytes, dict[str, Any], str]] = {
    "missing column": (
        "user,thing,rating\n1,2,3\n",
        {},
        r"log.csv: no item column found; there are 'user', 'thing', 'rat.*item=",
    ),
    "named column missing": (
        GOOD,
        {"item": "film"},
        r"log.csv: column 'film' is missing; there are 'user', .* Give the right",
    ),
    "semicolon file": (GOOD.replace(",", ";"), {}, r"log.csv, line 1: one column .* contains ';'. Give separator=';'"),
    "tab file": (GOOD.replace(",", "\t"), {}, r"line 1: one column .* contains 'tab'. Give separator='\\t'"),
    "colon file": (GOOD.replace(",", "::"), {}, r"line 1: one column .* contains '::'. Give separator='::'"),
    "no header": (
        "1,10,4,100\n",
        {},
        r"line 1: looks like data \(1, 10, 4, 100\), not like a header. Name the columns",
    ),
    "empty cell": (
        "user,item,rating\n1,10,4\n1,11,\n",
        {},
        r"log.csv, line 3, column 'rating': the cell is empty.*drop the row",
    ),
    "NaN": ("user,item,rating\n1,10,NaN\n", {}, r"line 2, column 'rating': the cell is empty or NaN"),
    "no user": ("user,item,rating\n\n1,10,4\n,11,4\n", {}, r"line 4, column 'user': the cell is empty"),
    "short row": ("user,item,rating\n1,10,4\n1,11\n", {}, r"line 3, column 'rating': the cell is empty"),
    "long row": (
        "user,item,rating\n1,10,4\n1,11,4,5,6\n",
        {},
        r"log.csv, line 3: 5 cells where the lines above have 3. Quote",
    ),
    "word": ("user,item,rating\n1,10,four\n", {}, r"line 2, column 'rating': 'four' is not a finite number. Correct"),
    "decimal comma": (
        "user;item;rating\n1;10;3,5\n",
        {"separator": ";"},
        r"line 2.*'3,5' is not .* written with a point",
    ),
    "infinite": ("user,item,rating\n1,10,inf\n", {}, r"line 2, column 'rating': 'inf' is not a finite number"),
    "twice": (
        "user,item,rating\n1,10,4\n2,10,4\n1,10,5\n",
        {},
        r"line 4, column 'item': user '1' rated item '10' before, in line 2 .*duplicates=\"last\"",
    ),
    "off scale": (
        "user,item,rating\n1,10,4\n1,11,9\n",
        {"scale": RatingScale()},
        r"line 3, column 'rating': rating '9' is off the scale 1, 2, 3, 4, 5. Corr",
    ),
    "endless scale": (
        "user,item,rating\n" + "".join(f"1,{n},{n}\n" for n in range(40)),
        {},
        r"column 'rating': ratings take 40 different",
    ),
    "empty": ("", {}, r"log.csv: the file is empty. Give a file with a header"),
    "blank": (" \n\n", {}, r"log.csv: the file is empty"),
    "header only": ("user,item,rating\n", {}, r"log.csv: no rows. Give a table with at least one row"),
    "bad bytes": (
        b"user,item,rating\n1,caf\xe9,4\n",
        {},
        r'log.csv, line 2: byte 0xe9 is not utf-8. Give encoding="latin-1"',
    ),
    "utf-16": (GOOD.encode("utf-16"), {}, r'line 1: byte 0xff is not utf-8. Give encoding="utf-16"'),
    "two of one name": ("user,item,item,rating\n1,2,3,4\n", {}, r"log.csv: two columns are called 'item'. Rename"),
    "two candidates": (
        "userId,reviewer,item,rating\n1,2,3,4\n",
        {},
        r"several columns may be the user: 'userId', 'reviewer'. Say which: user='userId'",
    ),
    "too few names": (GOOD, {"columns": ["user", "item"]}, r"line 1: 4 cells .* where 2 columns were named"),
    "open quote": ('user,item,rating\n1,"10,4\n', {}, r"log.csv: .*Look for a quote that is never closed"),
    "after a break in a cell": (
        'user,item,rating,title\n1,10,4,"a\nb"\n1,11,x,c\n',
        {},
        r"line 4, column 'rating': 'x'",
    ),
    "bad time": ("user,item,rating,time\n1,10,4,soon\n", {}, r"line 2, column 'time': 'soon' is no time"),
    "no time": ("user,item,rating,time\n1,10,4,7\n1,11,4,\n", {}, r"line 3, column 'time': the cell is empty"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case: str, tmp_path: Path) -> None:
    text, options, words = BAD[case]
    with pytest.raises(DataError, match=words):
        frames.load(write(tmp_path, text), **options)


BAD_FRAMES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "NaN": ({"rating": [4, np.nan, 3]}, {}, r"the frame, row label 'b', column 'rating': the cell is empty or NaN"),
    "None": ({"user": ["x", "y", None]}, {}, r"row label 'c', column 'user': the cell is empty"),
    "broken id": (
        {"item": [1.5, 2, 3]},
        {},
        r"row label 'a', column 'item': ids must be all integers or all text; here stands 1.5",
    ),
    "mixed ids": (
        {"item": ["p", 2, "r"]},
        {},
        r"row label 'a', column 'item': ids must be all integers or all text; here stands 'p'",
    ),
    "word": ({"rating": ["1", "2", "x"]}, {}, r"row label 'c', column 'rating': 'x' is not a finite number"),
    "off scale": ({"rating": [1, 7, 2]}, {"scale": RatingScale()}, r"row label 'b', .* rating 7 is off the scale"),
    "twice": ({"user": [1, 1, 1], "item": [5, 6, 5]}, {}, r"row label 'c'.*before, in row label 'a'"),
}


@pytest.mark.parametrize("case", BAD_FRAMES)
def test_bad_frames_name_the_row_label(case: str) -> None:
    columns, options, words = BAD_FRAMES[case]
    frame = FRAME.assign(**columns).set_axis(["a", "b", "c"], axis=0)
    with pytest.raises(DataError, match=words):
        frames.load(frame, **options)


def test_bad_containers(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.csv: no such file or folder .*Check the path"):
        frames.load(tmp_path / "nowhere.csv")
    write(tmp_path, GOOD, "a.csv")
    with pytest.raises(DataError, match=r"a folder where one table was expected; it holds a.csv. Give the path of one"):
        frames.load(tmp_path)
    with pytest.raises(DataError, match=r"a zip where one table was expected; it holds log.zip/a, log.zip/b"):
        frames.load(zipped(tmp_path, {"a": GOOD, "b": GOOD}))
    with pytest.raises(DataError, match=r"broken.zip: not a whole zip file .* Fetch or copy it again"):
        frames.load(write(tmp_path, b"PK\x03\x04 and no more", "broken.zip"))
    for damaged in (gzip.compress(GOOD.encode())[:-9], GOOD.encode()):
        with pytest.raises(DataError, match=r"log.csv.gz: damaged or incomplete"):
            frames.load(write(tmp_path, damaged, "log.csv.gz"))
    with pytest.raises(DataError, match=r"log.parquet: not readable as Parquet"):
        frames.load(write(tmp_path, GOOD, "log.parquet"))
    with pytest.raises(DataError, match=r"log.jsonl, line 3: not JSON"):
        frames.load(write(tmp_path, '{"user": 1}\n\n{user: 1}\n', "log.jsonl"))
    with pytest.raises(DataError, match=r"log.json, line 1: not a JSON object. Write one object per line"):
        frames.load(write(tmp_path, '[{"user": 1}]\n', "log.json"))


def test_a_damaged_file_inside_a_whole_zip_is_named(tmp_path: Path) -> None:
    path = zipped(tmp_path, {"a.csv": GOOD})
    path.write_bytes(path.read_bytes().replace(b"1,10,4", b"9,10,4", 1))
    with pytest.raises(DataError, match=r"log.zip/a.csv: damaged or incomplete .*CRC"):
        frames.load(path)


def test_rows_of_json_lines_are_named_by_line(tmp_path: Path) -> None:
    path = write(tmp_path, '{"user": 1, "item": "a", "rating": 4}\n\n{"user": 1, "item": "b"}\n', "log.jsonl")
    with pytest.raises(DataError, match=r"log.jsonl, line 3, column 'rating': the cell is empty"):
        frames.load(path)


def test_rows_of_parquet_are_counted_from_one(tmp_path: Path) -> None:
    FRAME.assign(rating=[1.0, np.nan, 2.0]).to_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"log.parquet, row 2, column 'rating'"):
        frames.load(tmp_path / "log.parquet")


def test_usual_names_are_guessed_and_said() -> None:
    frame = pd.DataFrame(
        {
            "reviewerID": ["A", "B"],
            "asin": ["007", "7"],
            "overall": [5.0, 1.0],
            "unixReviewTime": [1, 2],
            "reviewTime": ["01 1, 1970", "01 1, 1970"],
            "summary": ["good", "bad"],
        }
    )
    dataset = frames.load(frame)
    for words in (
        "'reviewerID' read as user",
        "'asin' read as item",
        "'overall' read as rating",
        "'unixReviewTime' read as",
    ):
        assert words in dataset.note
    assert "scale inferred: 1, 2, 3, 4, 5" in dataset.note
    assert dataset.log.items.ids == ("007", "7")


def test_ids_with_leading_zeros_are_not_melted_into_one(tmp_path: Path) -> None:
    path = write(tmp_path, "user,item,rating\n1,007,4\n1,7,5\n")
    assert frames.load(path).log.items.ids == ("007", "7")


def test_a_log_without_times_says_so() -> None:
    assert frames.load(FRAME.drop(columns="time")).log.time is None
    assert "only random splits" in frames.load(FRAME.drop(columns="time")).note
    assert frames.load(FRAME, time=False).log.time is None


def test_repeated_pairs_by_rule(tmp_path: Path) -> None:
    path = write(tmp_path, "user,item,rating,time\n1,10,4,300\n1,10,1,100\n1,11,2,200\n")
    last = frames.load(path, duplicates="last")
    assert last.log.to_frame()["rating"].tolist() == [2, 4]  # the latest, not the lowest in the file
    assert "1 earlier ratings of pairs rated again were dropped" in last.note
    assert frames.load(path, duplicates="last", time=False).log.rating.tolist() == [1, 2]
    assert len(frames.load(path, duplicates="all").log) == 3


ITEMS = """movieId,title,genres,year,actors,country
10,M,Crime|Thriller,1931,Peter Lorre|Otto Wernicke,DE
11,N,,,,
12,O,Drama,2001,,FR
"""


def test_an_item_table_of_its_own(tmp_path: Path) -> None:
    log, items = write(tmp_path, GOOD), write(tmp_path, ITEMS, "items.csv")
    dataset = frames.load(log, items=items, noun="film")
    films = dataset.catalogue
    assert films.items.ids == (10, 11, 12)
    assert dataset.log.items is films.items
    assert films.title == ("M", "N", "O")
    assert films.genres == (("Crime", "Thriller"), (), ("Drama",))
    assert films.cast[0] == ("Peter Lorre", "Otto Wernicke")
    assert films.year == (1931, 0, 2001)
    assert films.noun == "film"
    assert "'actors' read as cast" in dataset.note
    named = frames.load(log, items=items, text={"title": "title", "origin": "country"}).catalogue
    assert named.extra == {"origin": ("DE", "", "FR")}
    assert named.genres == ((), (), ())
    assert frames.load(log, items=items, text=["title", "country"]).catalogue.extra == {"country": ("DE", "", "FR")}


@pytest.mark.parametrize(
    ("items", "options", "words"),
    [
        (
            "item,title\n10,M\n",
            {},
            r"log.csv, line 3, column 'item': item 11 is not in the item table \(1 rows name 1 unknown",
        ),
        (
            "item,title\n10,M\n11,N\n\n10,O\n",
            {},
            r"items.csv, line 5, column 'item': item 10 stands here and in line 2. Keep",
        ),
        ("item,title\n10,M\n,N\n", {}, r"items.csv, line 3, column 'item': the cell is empty"),
        ("thing,title\n10,M\n", {}, r"items.csv: no item column found"),
        (
            "item,title\n10,M\n11,N\n",
            {"text": ["plot"]},
            r"items.csv: column 'plot' is missing; there are 'item', 'title'",
        ),
    ],
)
def test_bad_item_tables(items: str, options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        frames.load(write(tmp_path, GOOD), items=write(tmp_path, items, "items.csv"), **options)


def test_texts_beside_the_ratings_must_be_the_items_own() -> None:
    frame = FRAME.assign(title=["M", "N", "M"], summary=["loved it", "so so", "hated it"])
    dataset = frames.load(frame)
    assert dataset.catalogue.title == ("M", "N")
    assert dataset.catalogue.summary == ("", "")
    assert "Column 'summary' differs within an item: left out" in dataset.note
    with pytest.raises(DataError, match=r"row label 2, column 'summary': item 10 has another summary here than above"):
        frames.load(frame, text=["title", "summary"])


def test_lists_in_cells() -> None:
    items = pd.DataFrame(
        {
            "item": [10, 11],
            "genres": [["Coats, Jackets", "Vests"], []],
            "author": ["['A. Writer', 'B.']", "C."],
            "description": [["One.", "Two."], None],
            "published_date": ["1999-03-01", "n.d."],
        }
    )
    dataset = frames.load(
        FRAME,
        items=items,
        text={"genres": "genres", "director": "author", "summary": "description", "year": "published_date"},
    )
    assert dataset.catalogue.genres == (("Coats, Jackets", "Vests"), ())
    assert dataset.catalogue.director == ("A. Writer, B.", "C.")
    assert dataset.catalogue.summary == ("One. Two.", "")
    assert dataset.catalogue.year == (1999, 0)
    assert "1 years unreadable" in dataset.note


def test_text_ids_of_the_item_table_win_over_integers_in_the_log() -> None:
    items = pd.DataFrame({"item": ["10", "11", "B0"], "title": ["M", "N", "O"]})
    assert frames.load(FRAME, items=items).log.items.decode(np.array([0, 1])) == ["10", "11"]


triples = st.lists(
    st.tuples(st.integers(0, 9), st.text("ab0,\"' é", min_size=1, max_size=4), st.integers(1, 5)),
    min_size=1,
    unique_by=lambda r: (r[0], r[1].strip()),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=triples.filter(lambda r: all(x[1].strip() for x in r)))
def test_a_frame_written_as_csv_reads_back_the_same(rows: list[tuple[int, str, int]], tmp_path: Path) -> None:
    frame = pd.DataFrame(rows, columns=["user", "item", "rating"]).assign(item=lambda f: "x" + f["item"].str.strip())
    frame.to_csv(tmp_path / "log.csv", index=False)
    one, two = frames.load(tmp_path / "log.csv").log, frames.load(frame).log
    assert one.fingerprint == two.fingerprint
    assert sorted(one.to_frame().itertuples(index=False)) == sorted(
        frame.astype({"rating": "float32"}).itertuples(index=False)
    )


def test_the_log_goes_out_and_comes_back() -> None:
    log = frames.load(FRAME).log
    assert frames.load(log.to_frame(), scale=log.scale).log.fingerprint == log.fingerprint
