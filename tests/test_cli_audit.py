"""`simenv reproduce audit`, end to end on invented ratings."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from simenv.cli import app
from simenv.datasets.synthetic import generate

QUICK = ["--quick", "--size", "small", "--steps", "2", "--lora-steps", "2", "--draws", "1"]


def simenv(*words: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["reproduce", "audit", *map(str, words)])
    assert done.exit_code == code, f"{done.exit_code}: {done.output} {done.exception!r}"
    return done


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return ratings, and answers to a quarter of them: a model that knows them all and one that says 4."""
    folder = tmp_path_factory.mktemp("audit")
    ratings = generate(2, n_users=40, n_items=40, median_history=25).log.to_frame()
    ratings.to_csv(folder / "ratings.csv", index=False)
    some = ratings.iloc[::4].rename(columns={"user": "user_id", "item": "movie_id"})
    some.assign(oracle=some["rating"], four=4).drop(columns="time").to_csv(folder / "theirs.csv", index=False)
    return folder / "ratings.csv", folder / "theirs.csv"


def test_everybody_is_measured_on_the_same_pairs(files: tuple[Path, Path], tmp_path: Path) -> None:
    ratings, theirs = files
    kept = ["--json", tmp_path / "audit.json", "--html", tmp_path / "audit.html"]
    said = simenv(ratings, tmp_path / "run", "--table", theirs, *QUICK, *kept).stdout
    assert "oracle 0.000" in said.replace("\n", " ")
    (told,) = json.loads((tmp_path / "audit.json").read_text())
    value = told["table"]["all pairs"]["value"]
    assert {"oracle", "four", "simenv", "biased MF", "Bayesian MF"} < set(value)
    assert len(value) == 3 + 7  # all seven yardsticks
    assert value["oracle"]["rmse"]["mean"] == 0
    real = np.genfromtxt(theirs, delimiter=",", names=True)["rating"]
    assert value["four"]["rmse"]["mean"] == pytest.approx(np.sqrt(np.mean((real - 4) ** 2)), rel=1e-9)
    assert "theirs: rating mix" in (tmp_path / "audit.html").read_text()


def test_it_teaches_by_example_and_stands_among_the_studies() -> None:
    assert "\n    simenv reproduce audit ml-1m" in simenv("--help").stdout.replace("\n  simenv", "\n    simenv")
    assert "simenv reproduce audit" in CliRunner().invoke(app, ["reproduce", "--help"]).stdout


def test_nothing_to_audit_is_said(tmp_path: Path) -> None:
    assert "give --agent4rec LOG or --table CSV" in simenv("synthetic:40x40", tmp_path, code=2).output


def test_answers_to_other_ratings_are_refused(files: tuple[Path, Path], tmp_path: Path) -> None:
    said = simenv("synthetic:50x40", tmp_path, "--table", files[1], code=2).output
    assert "theirs.csv" in said
    assert "the log" in said
