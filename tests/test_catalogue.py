from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simenv.catalogue import Catalogue
from simenv.errors import DataError
from simenv.index import Index
from simenv.testing.logs import tiny_catalogue

ITEMS = Index(("a", "b", "c"), "item")


def test_describe_says_what_is_known_and_leaves_no_gap() -> None:
    frame = pd.DataFrame(
        {
            "item": ["b", "a"],
            "title": ["The Big Lebowski", "M"],
            "year": [1998, 0],
            "genres": ["Comedy|Crime", ""],
            "cast": [["Jeff Bridges", "John Goodman", "Julianne Moore", "Steve Buscemi"], []],
            "director": ["Joel Coen", None],
        }
    )
    films = Catalogue.from_frame(frame, ITEMS, noun="film")
    assert films.describe(1) == (
        "The Big Lebowski (1998); Comedy, Crime; by Joel Coen; with Jeff Bridges, John Goodman, Julianne Moore"
    )
    assert films.describe(0) == "M"
    assert films.describe(2) == "c"  # not in the frame: its id
    assert films.year == (0, 1998, 0)
    assert films.vocabulary == ("Comedy", "Crime")


word = st.text("abcdé X'", min_size=1, max_size=8).map(str.strip).filter(bool)


@given(st.lists(st.tuples(word, st.integers(0, 2030), st.lists(word, max_size=3), word), min_size=3, max_size=3))
def test_to_frame_and_back(rows: list[tuple[str, int, list[str], str]]) -> None:
    one = Catalogue(
        ITEMS,
        title=tuple(r[0] for r in rows),
        year=tuple(r[1] for r in rows),
        genres=tuple(tuple(r[2]) for r in rows),
        cast=tuple(tuple(r[2][::-1]) for r in rows),
        director=tuple(r[3] for r in rows),
        summary=("", "x", ""),
        extra={"mood": tuple(r[3] for r in rows)},
    )
    back = Catalogue.from_frame(one.to_frame(), ITEMS, noun="film")
    for name in ("title", "year", "genres", "cast", "director", "summary", "extra", "noun"):
        assert getattr(back, name) == getattr(one, name), name


def test_rows_may_stand_in_any_order() -> None:
    full = tiny_catalogue(Index(tuple(range(6)), "item"))
    turned = Catalogue.from_frame(full.to_frame().iloc[::-1], full.items, noun="film")
    assert [turned.describe(i) for i in range(6)] == [full.describe(i) for i in range(6)]


def test_bare_knows_ids_only() -> None:
    bare = Catalogue.bare(Index((7, 8)), "coat")
    assert bare.title == ("7", "8")
    assert bare.noun == "coat"
    assert bare.vocabulary == ()
    assert len(bare) == 2


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"id": [1]}), "column 'item' is missing; the frame has \\['id'\\]"),
        (pd.DataFrame({"item": ["a", "a"]}), "item 'a' stands twice"),
    ],
)
def test_bad_frames(frame: pd.DataFrame, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Catalogue.from_frame(frame, ITEMS)


def test_a_short_column_is_refused() -> None:
    with pytest.raises(DataError, match="'year' has 1 entries for 3 items"):
        replace(Catalogue.bare(ITEMS), year=(1,))
