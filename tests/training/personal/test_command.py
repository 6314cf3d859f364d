"""`simenv reproduce arms` from end to end, small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from simenv.cli import app

SHORT = ["--epochs", "1", "--steps", "1", "--text-tokens", "8", "--examples", "1"]


def test_ratings_from_end_to_end(tmp_path: Path) -> None:
    out = tmp_path / "numbers.json"
    command = ["reproduce", "arms", "synthetic:12x12", str(tmp_path / "run"), "--arms", "CLS,CLS-P", "--json", str(out)]
    done = CliRunner().invoke(app, [*command, *SHORT, "--markdown", str(tmp_path / "page.md")])
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text("utf-8"))
    assert found["gain on known users"][-1]["contestant"] == "CLS-P"
    assert set(found["known users"]["CLS-P"]["F1-macro"]) == {"mean", "low", "high", "level"}
    assert "Ways to be personal" in (tmp_path / "page.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--arms", "CLS-X"], "arms are Q-0S"),
        (["--kind", "bert"], "--kind is one of decoder, encoder-decoder"),
        (["--four-bit"], "give the LoRA a rank"),
        (["--least", "9999"], "has 9999 judgements"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, options: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["reproduce", "arms", "synthetic:12x12", str(tmp_path), *options])
    assert done.exit_code == 2
    assert words in done.output
