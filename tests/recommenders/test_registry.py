"""Recommenders by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from simenv.errors import ConfigError
from simenv.recommenders import ALS, KNOWN, Popular, by_name


def test_every_known_name_makes_what_is_called_so() -> None:
    assert [r.name for r in by_name(KNOWN)] == list(KNOWN)


def test_defaults() -> None:
    assert by_name(["als", " popular "]) == [ALS(), Popular()]


def test_a_class_of_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_shop.py").write_text(
        "class Mine:\n    name = 'mine'\n    def fit(self, log, catalogue, *, seed):\n        return None\n"
        "class Needy(Mine):\n    def __init__(self, x):\n        pass\n"
        "class Nothing:\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert by_name(["own_shop:Mine"])[0].name == "mine"
    with pytest.raises(ConfigError, match=r"cannot make 'own_shop:Needy': TypeError.*must need no arguments"):
        by_name(["own_shop:Needy"])
    with pytest.raises(ConfigError, match="'own_shop:Nothing' is no recommender: it needs a `name` and a method fit"):
        by_name(["own_shop:Nothing"])
    with pytest.raises(ConfigError, match="cannot make 'own_shop:Other': AttributeError"):
        by_name(["own_shop:Other"])


def test_a_file_of_scores(tmp_path: Path) -> None:
    path = tmp_path / "ours.csv"
    pd.DataFrame({"user": [1], "item": [2], "score": [3.0]}).to_csv(path, index=False)
    assert by_name([str(path)])[0].name == "ours"


BAD = {
    "populr": "no recommender is called 'populr'. Did you mean 'popular'\\? Known: random, popular,",
    "zzz": r"no recommender is called 'zzz'\. Known: random, popular, best-rated",
    "no_such_module_here:X": "cannot make 'no_such_module_here:X': ModuleNotFoundError.*importable from here",
    ":X": "cannot make ':X': ValueError",
}


@pytest.mark.parametrize(("name", "words"), BAD.items())
def test_bad_names(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        by_name([name])


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="two recommenders are called 'als'"):
        by_name(["als", "popular", "als"])


def test_a_bare_text_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'takes a list of names; got the text \'als\'. Write by_name\(\["als"\]\)'):
        by_name("als")


def test_import_loads_no_heavy_library() -> None:
    code = (
        "import sys, simenv.recommenders, simenv.testing.recommender\n"
        "print(sorted({'torch', 'implicit', 'sklearn', 'gymnasium', 'pytest'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
