"""MovieLens in the layouts its READMEs publish, made up here; and the real releases where they lie at hand."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simenv import datasets
from simenv.datasets import movielens
from simenv.errors import DataError

FLAGS = "0|0|0|0|0|1|0|0|1|0|0|0|0|0|0|0|0|0|0"  # Comedy and Drama
OLD = {
    "u.data": "7\t1\t4\t300\n7\t2\t5\t100\n9\t2\t1\t200\n",
    "u.item": "1|Café, Le (1990)|01-Jan-1990||url|" + FLAGS + "\n2|unknown||||1" + FLAGS[1:].replace("1", "0") + "\n"
    '3|"Quoted" Film, The (1991)|01-Jan-1991||url|' + FLAGS + "\n",
    "u.user": "9|30|F|writer|94043\n7|24|M|technician|85711\n",
}
DAT = {
    "ratings.dat": "7::1::4::300\n7::2::5::100\n9::2::1::200\n",
    "movies.dat": "1::Café, Le (1990)::Comedy|Drama\n2::Star: A Story (1992)::Children's\n3::A | B (1993)::Drama\n",
    "users.dat": "7::F::1::10::48067\n9::M::56::16::70072\n",
}
CSV = {
    "ratings.csv": "userId,movieId,rating,timestamp\n7,1,4.0,300\n7,2,0.5,100\n9,2,3.5,200\n",
    "movies.csv": 'movieId,title,genres\n1,"Café, Le (1990)",Comedy|Drama\n2,Moonlight,(no genres listed)\n'
    '3,"Cité, La (City, The) (1995)",Drama\n',
}
RELEASES = {"ml-100k": (OLD, "latin-1"), "ml-1m": (DAT, "latin-1"), "ml-latest-small": (CSV, "utf-8")}


def in_folder(path: Path, files: dict[str, str], encoding: str) -> Path:
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name).write_bytes(text.encode(encoding))
    return path


def in_zip(path: Path, files: dict[str, str], encoding: str, top: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"{top}{name}", text.encode(encoding))
    return path


PLACES: dict[str, Callable[[Path, str, dict[str, str], str], Path]] = {
    "folder": lambda d, n, f, e: in_folder(d / n, f, e),
    "folder in a folder": lambda d, n, f, e: in_folder(d / "data" / n, f, e).parent,
    "zip": lambda d, n, f, e: in_zip(d / f"{n}.zip", f, e, f"{n}/"),
    "zip in a folder": lambda d, n, f, e: in_zip(d / "data" / f"{n}.zip", f, e, f"{n}/").parent,
    "zip of another top folder": lambda d, n, f, e: in_zip(d / "x.zip", f, e, "some/where/"),
    "zip without a folder": lambda d, n, f, e: in_zip(d / "x.zip", f, e, ""),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("release", RELEASES)
def test_every_release_is_told_by_its_files_wherever_they_lie(release: str, place: str, tmp_path: Path) -> None:
    files, encoding = RELEASES[release]
    dataset = datasets.load(PLACES[place](tmp_path, release, files, encoding))
    log = dataset.log
    assert dataset.name.startswith(release if "another" not in place and "without" not in place else release[:6])
    assert log.users.ids == (7, 9)
    assert log.items.ids == (1, 2, 3)
    assert log.time is not None
    assert log.time.tolist() == [100, 300, 200]
    assert log.items.decode(log.item) == [2, 1, 2]
    assert log.time_note == "exact"
    assert dataset.catalogue.title[0] == "Le Café"
    assert dataset.catalogue.year[0] == 1990
    assert dataset.catalogue.genres[0] == ("Comedy", "Drama")
    assert dataset.catalogue.noun == "film"
    assert "1 of 3 films have no rating" in dataset.note


def load(release: str, folder: Path, **changes: str) -> datasets.Dataset:
    files, encoding = RELEASES[release]
    return movielens.load(in_folder(folder / release, files | changes, encoding))


def test_scales(tmp_path: Path) -> None:
    assert load("ml-100k", tmp_path).log.scale.values == (1, 2, 3, 4, 5)
    assert load("ml-latest-small", tmp_path).log.scale.values == tuple(np.arange(1, 11) / 2)


def test_titles_and_genres(tmp_path: Path) -> None:
    old, new = load("ml-100k", tmp_path).catalogue, load("ml-latest-small", tmp_path).catalogue
    assert old.title == ("Le Café", "unknown", 'The "Quoted" Film')
    assert old.genres[1] == ()
    assert new.title == ("Le Café", "Moonlight", "La Cité")
    assert new.genres[1] == ()
    assert new.year[1] == 0
    assert new.extra["also"] == ("", "", "The City")


def test_demographics_follow_the_users_of_the_log(tmp_path: Path) -> None:
    old, one = load("ml-100k", tmp_path).demographics, load("ml-1m", tmp_path).demographics
    assert old is not None
    assert one is not None
    assert old.to_dict("records")[1] == {
        "user": 9,
        "age": 30,
        "gender": "F",
        "occupation": "writer",
        "zip_code": "94043",
    }
    assert one["age"].tolist() == ["under 18", "56 or more"]
    assert one["occupation"].tolist() == ["K-12 student", "self-employed"]
    assert load("ml-latest-small", tmp_path).demographics is None


def test_a_copy_in_utf8_is_read_right_too(tmp_path: Path) -> None:
    assert movielens.load(in_folder(tmp_path / "ml-1m", DAT, "utf-8")).catalogue.title[0] == "Le Café"


def test_half_stars_with_double_colons(tmp_path: Path) -> None:
    dataset = load("ml-1m", tmp_path, **{"ratings.dat": "7::1::3.5::300\n"})
    assert len(dataset.log.scale) == 10


def test_rebuilt_times_are_said(tmp_path: Path) -> None:
    dataset = load("ml-1m", tmp_path, **{"TIMESTAMPS.txt": "rebuilt"})
    assert dataset.log.time_note == "approximate"
    assert "approximate" in dataset.note
    assert "approximate time" in dataset.log.split("user_time").note
    assert movielens.load(tmp_path / "ml-1m", time_note="exact").log.time_note == "exact"
    forced = movielens.load(in_folder(tmp_path / "b" / "ml-1m", DAT, "latin-1"), time_note="approximate")
    assert forced.log.time_note == "approximate"


@pytest.mark.parametrize(
    ("release", "changes", "words"),
    [
        (
            "ml-1m",
            {"ratings.dat": "7::1::4::300\n7::99::4::300\n"},
            r"ratings.dat, line 2, column 'movieId': item 99 is not in",
        ),
        (
            "ml-1m",
            {"ratings.dat": "7::1::4::300\n7::2::x::300\n"},
            r"ratings.dat, line 2, column 'rating': 'x' is not a finite",
        ),
        (
            "ml-1m",
            {"ratings.dat": "7::1::4::3\n9::1::4::3\n7::1::4::3\n"},
            r"ratings.dat, line 3, .* before, in line 1",
        ),
        ("ml-1m", {"ratings.dat": "7::1::4\n"}, r"ratings.dat, line 1: 3 cells .* where 4 columns"),
        ("ml-1m", {"ratings.dat": ""}, r"ratings.dat: the file is empty"),
        ("ml-1m", {"ratings.dat": "7,1,4,300\n"}, r"ratings.dat, line 1: one column .* contains ','"),
        (
            "ml-1m",
            {"movies.dat": "1::A (1990)::Drama\n1::B (1990)::Drama\n"},
            r"movies.dat, line 2, .* item 1 stands here and in line 1",
        ),
        ("ml-100k", {"u.item": "1|A (1990)|x\n"}, r"u.item, line 1: 3 cells .* where 24 columns"),
        (
            "ml-latest-small",
            {"ratings.csv": "userId,movieId,timestamp\n7,1,3\n"},
            r"ratings.csv: column 'rating' is missing",
        ),
    ],
)
def test_bad_releases(release: str, changes: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        load(release, tmp_path, **changes)


def test_no_or_several_releases(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no MovieLens release. Expected u.data and u.item; or .*; found nothing"):
        movielens.load(tmp_path / "empty")
    with pytest.raises(DataError, match="no such file or folder"):
        movielens.load(tmp_path / "nowhere")
    for release, (files, encoding) in RELEASES.items():
        in_folder(tmp_path / "all" / release, files, encoding)
    with pytest.raises(DataError, match=r"several MovieLens releases .*Give the path of one"):
        movielens.load(tmp_path / "all")


def test_a_zip_beside_its_unpacked_folder_is_one_release(tmp_path: Path) -> None:
    in_folder(tmp_path / "ml-1m", DAT, "latin-1")
    in_zip(tmp_path / "ml-1m.zip", DAT, "latin-1", "ml-1m/")
    assert movielens.load(tmp_path).name == "ml-1m"


ABOUT = pd.DataFrame(
    {
        "movie_id": [1, 2, 3],
        "title": ["Café, Le", "Star: A Story", "A | B"],
        "year": [1990, 1992, 1993],
        "overview": ["Coffee.", "Light.", "Letters."],
        "cast": ["Ann Lee, Bo Chan", "", "Cy Dorn"],
        "director": ["Dee Eff", "", "Gi Hay"],
        "n_ratings": [5, 6, 7],
        "avg_rating": [1.5, 2.5, 3.5],
    }
)


def join(release: str, folder: Path, about: pd.DataFrame) -> datasets.Dataset:
    about.to_csv(folder / "about.csv", index=False)
    files, encoding = RELEASES[release]
    return movielens.load(in_folder(folder / release, files, encoding), metadata=folder / "about.csv")


def test_metadata_by_id(tmp_path: Path) -> None:
    dataset = join("ml-1m", tmp_path, ABOUT.iloc[[2, 0]])
    films = dataset.catalogue
    assert films.summary == ("Coffee.", "", "Letters.")
    assert films.cast == (("Ann Lee", "Bo Chan"), (), ("Cy Dorn",))
    assert films.director == ("Dee Eff", "", "Gi Hay")
    assert films.genres[0] == ("Comedy", "Drama")
    assert "joined by id for 66.7% of 3 films" in dataset.note
    assert not {"n_ratings", "avg_rating"} & films.extra.keys()  # computed over all ratings: would tell the future


def test_metadata_by_title_and_year_where_ids_differ(tmp_path: Path) -> None:
    about = ABOUT.assign(movie_id=[50, 51, 52], title=["Cafe", "Other", "Quoted Film"], year=[1990, 1992, 1992])
    dataset = join("ml-100k", tmp_path, about)
    assert dataset.catalogue.summary == ("Coffee.", "", "Letters.")  # accents, article, quotes, one year off
    assert "joined by title and year for 66.7%" in dataset.note


def test_metadata_that_fits_two_films_is_not_joined(tmp_path: Path) -> None:
    about = ABOUT.assign(title=["Le Café", "Café", "Quoted Film"], year=[1990, 1990, 1991])
    assert join("ml-100k", tmp_path, about).catalogue.summary == ("", "", "Letters.")


@pytest.mark.parametrize(
    ("about", "words"),
    [
        (
            ABOUT.assign(title=["X", "Y", "Z"]),
            r"about.csv: only 0 of 3 titles agree: id 1 is 'Le Café' here and 'X' there",
        ),
        (ABOUT.assign(movie_id=[91, 92, 93]), r"about.csv: none of 3 films is in it"),
        (ABOUT.drop(columns="movie_id"), r"about.csv: no column movie_id found"),
        (ABOUT.assign(movie_id=[1, 1, 2]), r"about.csv, line 3, .* item 1 stands here and in line 2"),
    ],
)
def test_bad_metadata(about: pd.DataFrame, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        join("ml-1m", tmp_path, about)


DATA = Path(os.environ.get("SIMENV_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def real(name: str, **options: Any) -> datasets.Dataset:
    if not (DATA / name).exists():
        pytest.skip(f"no {name} in the data folder")
    return datasets.load(DATA / name, **options)


def about() -> Path | None:
    path = DATA / "ml-1m-metadata" / "movies.csv"
    return path if path.exists() else None


@pytest.mark.data
def test_real_100k() -> None:
    dataset = real("ml-100k", metadata=about())
    assert (len(dataset.log), dataset.log.n_users, dataset.log.n_items) == (100_000, 943, 1682)
    assert dataset.log.scale.values == (1, 2, 3, 4, 5)
    titles = dataset.catalogue.title
    assert {"The Big Lebowski", "Il Postino", "Les Misérables", "La Double vie de Véronique", "Paris, Texas"} <= set(
        titles
    )
    assert not any(t.endswith((", The", ", A", ", Le", ", La", ")")) for t in titles)
    assert sum(bool(s) for s in dataset.catalogue.summary) > 1600
    lebowski = dataset.catalogue.describe(titles.index("The Big Lebowski"))
    assert lebowski.startswith("The Big Lebowski (1998); Comedy, Crime, Mystery, Thriller; by Joel Coen")


@pytest.mark.data
def test_real_1m() -> None:
    dataset = real("ml-1m", metadata=about())
    assert (len(dataset.log), dataset.log.n_users, dataset.log.n_items) == (1_000_209, 6040, 3883)
    assert dataset.log.time_note == "approximate"
    assert len(np.unique(dataset.log.item)) == 3706
    assert {"La Cité des enfants perdus", "The City of Lost Children"} & set(dataset.catalogue.title)
    assert dataset.demographics is not None
    assert not dataset.demographics.isna().any().any()


@pytest.mark.data
def test_real_latest_small() -> None:
    dataset = real("ml-latest-small")
    assert (len(dataset.log), dataset.log.n_users, len(dataset.log.scale)) == (100_836, 610, 10)
    assert dataset.log.scale.values[0] == 0.5
    place = dataset.catalogue.title.index("The City of Lost Children")
    assert dataset.catalogue.extra["also"][place] == "La Cité des enfants perdus"
    assert dataset.catalogue.title[dataset.catalogue.items.encode([176601])[0]] == "Black Mirror"
