"""`simenv reproduce table1` from the command line: what it prints and keeps, that it goes on, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from simenv.cli import app
from simenv.study import table1 as study
from simenv.study import table1_models

WORLD = ["synthetic:80x60", "--min-ratings", "34", "--users", "10", "--limit", "20", "--personas", "2"]
QUICK = ["--size", "small", "--steps", "2", "--epochs", "1", "--train-rows", "30,12", "--seed", "3"]


def simenv(*words: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["reproduce", "table1", *map(str, words)])
    assert done.exit_code == code, f"{done.exit_code}: {done.output} {done.exception!r}"
    return done


@pytest.fixture(autouse=True)
def _few_yardsticks(monkeypatch: pytest.MonkeyPatch) -> None:
    from simenv.evaluation.yardstick import BiasedMF, Constant

    few = {"constant": Constant("mode"), "biased MF": BiasedMF(2, sweeps=2)}
    monkeypatch.setattr(study, "standard", lambda: few)


def test_help_teaches_by_example() -> None:
    said = simenv("--help").stdout
    assert "\n  simenv reproduce table1 ml-100k" in said
    assert "microsoft/Phi-3-mini-4k-instruct" in said
    assert "simenv reproduce table1" in CliRunner().invoke(app, ["--help"]).stdout
    assert "simenv reproduce table1" in CliRunner().invoke(app, ["reproduce", "--help"]).stdout


def test_a_table_is_printed_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = [*WORLD[:1], tmp_path / "run", *WORLD[1:], *QUICK, "--rows", "0,6"]
    kept = {suffix: tmp_path / f"t.{suffix}" for suffix in ("json", "html", "md")}
    first = ["--json", kept["json"], "--html", kept["html"], "--markdown", kept["md"]]
    done = simenv(*how, *first)
    assert "RMSE" in done.stdout
    arms = json.loads(kept["json"].read_text())
    assert [a["arm"] for a in arms] == ["own", "world"]
    for arm in arms:
        assert set(arm["lines"]) == {"embedded, rows 0, 3", "embedded, row 6", "constant", "biased MF"}
        assert arm["lines"]["embedded, row 6"]["rows"] == 12
        assert arm["about"]["users"] == 10
        assert arm["about"]["pairs"] == 20
    assert arms[0]["about"]["known_rows"] < arms[1]["about"]["known_rows"]
    assert kept["html"].read_text().startswith("<!")
    assert "## Own rows" in kept["md"].read_text()
    monkeypatch.setattr(table1_models, "learn", lambda *a, **k: pytest.fail("nothing is to be learned again"))
    monkeypatch.setattr(table1_models, "finetune", lambda *a, **k: pytest.fail("nothing is to be tuned again"))
    simenv(*how, "--json", tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == kept["json"].read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--arm", "two"], "--arm is one of own, world, both; got 'two'"),
        (["--rows", "11"], "the paper's table has rows 0 to 10; got 11"),
        (["--rows", "first"], "expected whole numbers with commas between; got 'first'"),
        (["--train-rows", "5"], "expected 2 whole numbers with commas between; got '5'"),
        (["--personas", "many"], "--personas is a number of at least 1, or \"elbow\"; got 'many'"),
        (["--size", "huge"], "--size is one of small, usual, large"),
        (["--split", "late"], "--split is one of user_time, random"),
        (["--limit", "0"], "limit is a number of held-out pairs, at least 1; got 0"),
        (["--min-ratings", "5", "--max-ratings", "30", "--users", "8"], "nobody has the 20 known ratings"),
        (["--users", "999"], "and 999 are wanted"),
        (["--base", "embedded", "--base", "embedded"], "at least one base, each once"),
        (["--base", str(Path(__file__).parent), "--rows", "0"], "cannot be loaded"),
        (["--metadata", "x.csv"], "leave out --metadata"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, options: list[str], message: str) -> None:
    done = simenv(WORLD[0], tmp_path / "run", *WORLD[1:], *QUICK, "--arm", "own", *options, code=2)
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.output
    assert done.stdout == ""
