"""`simenv benchmark --cache` and `--replay`: the same bytes without weights, or words that say why not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from simenv.agents.answer_file import AnswerFile
from simenv.cli import app
from simenv.cli.train import Make
from simenv.cli.trial import Trial
from simenv.log import Split

HOW = ["--recommenders", "random,popular,item-knn", "--pages", "2", "--slate", "3"]


def simenv(*words: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == code, f"{done.exit_code}: {done.output} {done.exception!r}"
    return done


def said(done: Any) -> str:
    return " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def users(tiny_folder: Path, tiny_split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A population with a trial and a recorded benchmark; `answers.db` beside it."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("replay") / "users"))
    member, past = np.arange(12), tiny_split.past
    make = Make(size="small", steps=2, lora_steps=3, personas="2")
    trial = Trial(past, past, tiny_split.future.of_users(member), member, tiny_split.cut, True, "tiny")
    trial.save(folder / "trial", {"data": "tiny", "make": asdict(make), "synthetic": None})
    done = simenv("benchmark", folder, *HOW, "--cache", folder.parent / "answers.db")
    assert "0 answers found in" in said(done)
    return folder


@pytest.fixture
def bare(users: Path, tmp_path: Path) -> Path:
    """What would be published: everything but weights."""
    return without_weights(Path(shutil.copytree(users, tmp_path / "bare")))


def without_weights(folder: Path) -> Path:
    shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "adapters")
    return folder


def test_the_same_bytes_without_weights_and_without_their_libraries(users: Path, bare: Path) -> None:
    code = (
        "import sys\nfrom simenv.cli import app\ntry:\n    app()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print([m for m in ('torch', 'transformers', 'peft') if m in sys.modules], file=sys.stderr)"
    )
    words = ["benchmark", bare, *HOW, "--replay", users.parent / "answers.db"]
    done = subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("[]\n")
    assert (bare / "replay" / "result.json").read_bytes() == (users / "benchmark" / "result.json").read_bytes()
    found = len(AnswerFile(users.parent / "answers.db", writable=False))
    assert f"{found:,} answers found in" in done.stderr
    assert "is, byte for byte, that in" in " ".join(done.stderr.split())


def test_what_was_not_recorded_fails_loudly(users: Path, bare: Path, tmp_path: Path) -> None:
    how = [*HOW[:-4], "--pages", "3", "--slate", "3", "--replay", users.parent / "answers.db", "--out", tmp_path / "o"]
    done = simenv("benchmark", bare, *how, code=2)
    assert "simenv: replay of bare: " in said(done)
    assert "prompts of this step are not among the" in said(done)
    assert "Traceback" not in done.output
    assert not (tmp_path / "o" / "result.json").exists()


def test_a_replay_with_other_settings_is_not_called_the_same(users: Path, bare: Path) -> None:
    done = simenv("benchmark", bare, *HOW[:-4], "--pages", "1", "--slate", "3", "--replay", users.parent / "answers.db")
    assert "differs from that (other settings or versions?) in" in said(done)


def test_a_full_cache_asks_nothing_and_changes_nothing(users: Path, tmp_path: Path) -> None:
    before = (users.parent / "answers.db").read_bytes()
    done = simenv("benchmark", users, *HOW, "--cache", users.parent / "answers.db", "--out", tmp_path)
    assert ", 0 computed and kept; it holds" in said(done)
    assert "not asked again" not in said(done)
    assert (tmp_path / "result.json").read_bytes() == (users / "benchmark" / "result.json").read_bytes()
    assert (users.parent / "answers.db").read_bytes() == before


def test_finished_parts_are_not_in_a_new_cache_and_it_says_so(users: Path, tmp_path: Path) -> None:
    done = simenv("benchmark", users, *HOW, "--cache", tmp_path / "new.db")
    assert f"Parts finished before lie in {users / 'benchmark'} and are not asked again; what they" in said(done)
    assert len(AnswerFile(tmp_path / "new.db", writable=False)) == 0


def test_a_copy_that_holds_one_benchmark(users: Path, bare: Path, tmp_path: Path) -> None:
    """From a large shared file into a small one to publish, without weights."""
    big, small = users.parent / "answers.db", tmp_path / "small.db"
    how = ["--recommenders", "popular", "--pages", "1", "--slate", "3", "--no-shared"]
    simenv("benchmark", bare, *how, "--replay", big, "--cache", small, "--out", tmp_path / "a")
    assert 0 < len(AnswerFile(small, writable=False)) < len(AnswerFile(big, writable=False))
    simenv("benchmark", bare, *how, "--replay", small, "--out", tmp_path / "b")
    assert (tmp_path / "a" / "result.json").read_bytes() == (tmp_path / "b" / "result.json").read_bytes()


def test_refitted_populations_are_replayed_too(users: Path, tmp_path: Path) -> None:
    recorded, file = Path(shutil.copytree(users, tmp_path / "again")), tmp_path / "refits.db"
    shutil.rmtree(recorded / "benchmark")
    how = ["--recommenders", "random,popular", "--pages", "1", "--slate", "3", "--no-shared", "--refits", "2"]
    simenv("benchmark", recorded, *how, "--cache", file)
    without_weights(recorded)
    without_weights(recorded / "benchmark" / "refits" / "1")
    simenv("benchmark", recorded, *how, "--replay", file)
    results = [(recorded / name / "result.json").read_bytes() for name in ("benchmark", "replay")]
    assert results[0] == results[1]
    assert json.loads(results[0])["uncertainty"]["random"]["refits"] is not None
    shutil.rmtree(recorded / "benchmark")
    done = simenv("benchmark", recorded, *how, "--replay", file, "--out", tmp_path / "o", code=2)
    assert "is missing: a replay learns nothing anew" in said(done)


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "is no file; give the file that"), (b"", "is no answer cache"), (b"text, not a table" * 99, "no SQLite")],
)
def test_bad_files(bare: Path, tmp_path: Path, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / "x.db").write_bytes(content)
    assert words in said(simenv("benchmark", bare, *HOW, "--replay", tmp_path / "x.db", code=2))


def test_help_has_both() -> None:
    text = simenv("benchmark", "--help").stdout
    assert "simenv benchmark my-users --cache answers.db" in text
    assert "simenv benchmark my-users --replay answers.db" in text
