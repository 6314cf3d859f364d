import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from simenv import datasets
from simenv.catalogue import Catalogue
from simenv.datasets import Dataset
from simenv.errors import DataError
from simenv.index import Index
from simenv.testing.logs import tiny_catalogue, tiny_log

LOG = tiny_log(3, 6)
GOOD = Dataset(LOG, tiny_catalogue(LOG.items), "tiny")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"catalogue": Catalogue.bare(Index((1, 2)))}, "must share one item index"),
        ({"random_exposure": tiny_log(4, 6)}, "random_exposure must share the user and item index"),
        ({"demographics": pd.DataFrame({"user": [103, 102, 101]})}, "one row per user of log.users, in that order"),
    ],
)
def test_the_parts_of_a_dataset_belong_together(changes: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        replace(GOOD, **changes)  # type: ignore[arg-type]


def test_one_door_for_frames_and_files(tmp_path: Path) -> None:
    frame = LOG.to_frame()
    frame.to_csv(tmp_path / "log.csv", index=False)
    from_file, from_memory = datasets.load(tmp_path / "log.csv"), datasets.load(frame)
    assert from_file.name == "log"
    assert from_file.log.fingerprint == from_memory.log.fingerprint
    with pytest.raises(DataError, match="no such file or folder"):
        datasets.load("nowhere")
    with pytest.raises(TypeError, match="colour"):
        datasets.load(frame, colour="red")


def test_reading_data_loads_no_weights_and_no_environment() -> None:
    code = "import sys, simenv.datasets; print({'torch', 'gymnasium', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
