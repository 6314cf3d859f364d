"""`simenv distil` on its own data and a server on this machine, and `simenv train` on what it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from simenv.cli import app
from simenv.testing.chat_server import Answer, ChatServer, Say, Status
from simenv.testing.reader import obedient

DATA = ("synthetic:30x60", "--min-ratings", "20", "--max-ratings", "60", "--users", "6")
runner = CliRunner()


def good(body: dict[str, Any], before: int) -> Answer:
    return Say(obedient(body))


def run(*words: object) -> Result:
    return runner.invoke(app, [str(w) for w in words], catch_exceptions=False)


def distil(folder: Path, url: str, *more: object) -> Result:
    return run("distil", *DATA, "--out", folder, "--model", "tiny", "--base-url", url, *more)


def test_from_estimate_to_a_population_that_speaks_its_words(tmp_path: Path) -> None:
    told, price = tmp_path / "told", ("--prompt-price", 1, "--answer-price", 4)
    with ChatServer(good) as server:
        plan = distil(told, server.url, "--dry-run", "--json", tmp_path / "plan.json", *price)
        left = json.loads((tmp_path / "plan.json").read_text())
        assert plan.exit_code == 0
        assert "cost to come, at the prices given (assumed)" in plan.stdout
        assert not server.asked
        done = distil(told, server.url, "--json", tmp_path / "done.json", *price)
        assert done.exit_code == 0, done.output
        account = json.loads((tmp_path / "done.json").read_text())
        assert account["calls"] == {"accepted": left["questions"]}
        assert (account["told"], account["users"], account["leaks"]) == (6, 6, [])
        cost = (account["spent"]["prompt"] + 4 * account["spent"]["written"]) / 1e6
        assert f"{cost:.4f}" in done.stdout
        assert distil(told, server.url).exit_code == 0
        assert len(server.asked) == left["questions"]  # the second time costs nothing
    few = ("--size", "small", "--steps", 2, "--lora-steps", 2, "--personas", 1)
    made = run("train", *DATA, tmp_path / "users", *few, "--distiller", told)
    assert made.exit_code == 0, made.output
    first = json.loads((told / "written.jsonl").read_text().splitlines()[0])
    seen = run("inspect", tmp_path / "users", first["user"], "--json", tmp_path / "look.json")
    assert seen.exit_code == 0, seen.output
    look = json.loads((tmp_path / "look.json").read_text())
    assert look["memory"].endswith(first["stages"][-1][2])
    assert "because of mark" in look["recalled"][0]
    other = run("train", *DATA, tmp_path / "others", *few, "--distiller", told, "--seed", 1)
    assert other.exit_code == 2
    assert "distilled from other rows" in other.output


def test_what_stays_undone_is_named_and_more_patience_finishes_it(tmp_path: Path) -> None:
    broken = [True]

    def behave(body: dict[str, Any], before: int) -> Answer:
        first = body["messages"][1]["content"].startswith("Batch 1,")
        return Say("{}") if first and broken[0] else good(body, before)

    with ChatServer(behave) as server:
        done = distil(tmp_path, server.url, "--repairs", 0)
        assert done.exit_code == 2
        assert "6 of 6 users stayed undone" in done.output
        assert "1 malformed answers" in done.output
        refused = run("train", *DATA, tmp_path / "users", "--distiller", tmp_path)
        assert refused.exit_code == 2
        assert "6 users of" in refused.output
        broken[0] = False
        assert distil(tmp_path, server.url).exit_code == 0


def test_the_budget_stops_it_with_what_was_spent(tmp_path: Path) -> None:
    with ChatServer(good) as server:
        done = distil(tmp_path, server.url, "--max-tokens", 5000, "--words", 50)
        assert done.exit_code == 2
        assert "raise --max-tokens and run again" in done.output
        assert "tokens of prompts" in done.output
        assert server.asked


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "name either a --model on a server, or a --local one"),
        (("--model", "a", "--local", "b"), "not both"),
        (("--model", "a", "--form", "xml"), "--form is one of schema, object, text"),
        (("--model", "a", "--extra", "[1]"), "--extra is a JSON object"),
        (("--model", "a", "--max-cost", "1"), "needs the server's prices"),
        (("--model", "a", "--batch", "11"), "batch lies in 1..10"),
        (("--local", "no/such/folder"), "cannot be loaded"),
    ],
)
def test_what_is_refused(tmp_path: Path, more: tuple[str, ...], words: str) -> None:
    done = run("distil", *DATA, "--out", tmp_path, *more)
    assert done.exit_code == 2
    assert words in done.output


def test_a_wrong_key_ends_it_at_once(tmp_path: Path) -> None:
    with ChatServer(lambda b, n: Status(401, error="who are you?")) as server:
        done = distil(tmp_path, server.url)
        assert done.exit_code == 2
        assert "who are you?" in done.output
        assert len(server.asked) <= 8  # those under way
