"""Coat in its published layout, made up here; and the real one where it lies at hand."""

import os
from pathlib import Path

import pytest

from simenv import datasets
from simenv.datasets import coat
from simenv.errors import DataError

FILES = {
    "train.ascii": "5 0 1\n0 2 0\n",
    "test.ascii": "4 3 0\n0 0 1\n",
    "user_item_features/item_features.ascii": "1 0 1 0 1 0 1 0\n1 0 1 0 1 0 0 1\n0 1 0 1 0 1 0 1\n",
    "user_item_features/item_features_map.txt": "gender:men\ngender:women\njackettype:parkas\njackettype:other\n"
    "color:black\ncolor:other\nonfrontpage:yes\nonfrontpage:no",
    "user_item_features/user_features.ascii": "0 1 1\r\n1 0 0\r\n",
    "user_item_features/user_features_map.txt": "gender:men\ngender:women\nfashioninterest:very",
}


def write(folder: Path, **changes: str | None) -> Path:
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        changed = changes.get(path.stem, text)
        if changed is not None:
            path.write_text(changed)
    return folder


def test_chosen_and_random_ratings_are_disjoint(tmp_path: Path) -> None:
    dataset = datasets.load(write(tmp_path))
    assert dataset.name == "coat"
    assert dataset.log.time is None
    assert dataset.log.to_frame().to_numpy().tolist() == [[0, 0, 5], [0, 2, 1], [1, 1, 2]]
    assert dataset.random_exposure is not None
    assert dataset.random_exposure.to_frame().to_numpy().tolist() == [[0, 1, 3], [1, 2, 1]]  # (0, 0) was chosen too
    assert "2 ratings of coats drawn at random, without 1 pairs" in dataset.note


def test_titles_and_genres_are_made_of_features(tmp_path: Path) -> None:
    coats = coat.load(write(tmp_path)).catalogue
    assert coats.noun == "coat"
    assert coats.title == ("Men's black parka no. 1", "Men's black parka no. 2", "Women's coat")
    assert coats.genres == (
        ("men", "parka", "black", "front page"),
        ("men", "parka", "black"),
        ("women", "coat", "other colour"),
    )


def test_user_features_are_demographics(tmp_path: Path) -> None:
    people = coat.load(write(tmp_path)).demographics
    assert people is not None
    assert people["gender"].tolist() == ["women", "men"]
    assert people["fashion_interest"].iloc[0] == "very"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": None}, r"test.ascii is missing; found .*Give the unpacked Coat release"),
        ({"train": "5 0 1\n0 2\n"}, r"train.ascii, line 2: 2 cells where line 1 has 3"),
        ({"train": "5 0 1\n0 9 0\n"}, r"train.ascii, line 2, column 2: '9' is not a whole number 0..5"),
        ({"train": "5 0 1\n0 2.5 0\n"}, r"line 2, column 2: '2.5' is not a whole number"),
        ({"test": "4 3\n0 0\n"}, r"test.ascii: 2 x 2 cells where train.ascii asks for 2 x 3"),
        ({"item_features": "1 0\n"}, r"item_features.ascii: 1 x 2 cells where .*map.txt asks for 3 x 8"),
        (
            {"user_features_map": "gender:men\nwomen\nx:y"},
            r'user_features_map.txt, line 2: \'women\' is not "feature:value"',
        ),
        ({"train": ""}, r"train.ascii: the file is empty"),
    ],
)
def test_bad_files(changes: dict[str, str | None], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        coat.load(write(tmp_path, **changes))


@pytest.mark.data
def test_real_coat() -> None:
    folder = Path(os.environ.get("SIMENV_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data") / "coat"
    if not folder.exists():
        pytest.skip("no coat in the data folder")
    dataset = datasets.load(folder)
    assert (len(dataset.log), dataset.log.n_users, dataset.log.n_items) == (6960, 290, 300)
    assert (dataset.log.count == 24).all()
    assert dataset.random_exposure is not None
    assert len(dataset.random_exposure) == 4640 - 366
    assert "366 pairs" in dataset.note
    assert len(set(dataset.catalogue.title)) == 300
