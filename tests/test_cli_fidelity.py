"""`simenv fidelity` end to end on one tiny population, and what it says when something is wrong."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from simenv.agents.store import check, load
from simenv.cli import app
from simenv.cli.info import fidelity_of
from simenv.evaluation.fidelity import section_signal
from simenv.evaluation.yardstick import standard

TRAIN = ["--size", "small", "--steps", "3", "--lora-steps", "2", "--min-ratings", "20", "--personas", "2"]


def simenv(*words: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == code, f"{done.exit_code}: {done.output} {done.exception!r}"
    return done


@pytest.fixture(scope="module", autouse=True)
def _one_draw_is_told_apart() -> Iterator[None]:
    """Two-sample tests take most of a card's time; one draw is enough here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(section_signal, "DRAWS", 1)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "users"
    simenv("train", "synthetic:60x60", folder, *TRAIN, "--users", "12")
    return folder


@pytest.fixture(scope="module")
def said(trained: Path) -> Any:
    """Return what the command printed when it made the card that lies in the population's folder."""
    return simenv("fidelity", trained, "--quick", "--seeds", "2", "--control", "--json", trained.parent / "card.json")


def card(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / "fidelity" / "card.json").read_text())
    return value


def test_help_teaches_by_example() -> None:
    assert "\n  simenv fidelity my-users" in simenv("fidelity", "--help").stdout
    assert "simenv fidelity" in simenv("--help").stdout


def test_the_light_comes_first(said: Any, trained: Path) -> None:
    light = card(trained)["light"]
    assert said.stdout.startswith(light["sentence"])
    assert light["sentence"].startswith(light["colour"].upper())
    assert "Quick card" in light["sentence"]


def test_the_card_is_stored_with_the_population(said: Any, trained: Path) -> None:
    assert sorted(p.name for p in (trained / "fidelity").glob("card.*")) == ["card.html", "card.json", "card.md"]
    check(trained)
    assert (trained / "fidelity" / "card.json").read_bytes() == (trained.parent / "card.json").read_bytes()


def test_arms_control_and_all_seven_yardsticks_stand_beside_it(said: Any, trained: Path) -> None:
    names = set(card(trained)["chapters"]["measures"])
    assert {"simulator", "prior alone", "language model alone", "random clusters"} <= names
    assert set(standard()) <= names


def test_refits_are_of_the_same_users_with_another_seed(said: Any, trained: Path) -> None:
    again = load(trained / "fidelity" / "refits" / "1")
    first = load(trained)
    assert again.member.tolist() == first.member.tolist()
    assert again.fingerprint != first.fingerprint
    assert len(card(trained)["provenance"]["populations"].split(", ")) == 2


def test_a_second_call_finds_the_work_done_and_ends_with_the_same_bytes(said: Any, trained: Path) -> None:
    before = (trained / "fidelity" / "card.json").read_bytes()
    units = {p: p.stat().st_mtime_ns for p in (trained / "fidelity" / "units").iterdir()}
    simenv("fidelity", trained, "--quick", "--seeds", "2", "--control")
    assert (trained / "fidelity" / "card.json").read_bytes() == before
    assert {p: p.stat().st_mtime_ns for p in (trained / "fidelity" / "units").iterdir()} == units


def test_info_repeats_the_light(said: Any, trained: Path) -> None:
    assert f"Fidelity: {card(trained)['light']['sentence']}" in simenv("info", trained).stdout


def test_what_users_answer_from_is_exchanged_unless_asked_otherwise(said: Any, trained: Path, tmp_path: Path) -> None:
    assert {"user swapped", "opaque titles"} <= set(card(trained)["chapters"]["disturbances"])
    how = ["--quick", "--no-disturb", "--recommenders", "", "--out", tmp_path, "--json", tmp_path / "own.json"]
    simenv("fidelity", trained, *how, "--html", tmp_path / "own.html", "--markdown", tmp_path / "own.md")
    own = json.loads((tmp_path / "own.json").read_text())
    assert not {"disturbances", "decision"} & set(own["chapters"])
    assert (tmp_path / "own.html").read_bytes() == (tmp_path / "card.html").read_bytes()
    assert (tmp_path / "own.md").read_bytes() == (tmp_path / "card.md").read_bytes()


def test_info_says_how_to_make_a_card_where_there_is_none_of_these_users(
    said: Any, trained: Path, tmp_path: Path
) -> None:
    population = load(trained)
    assert fidelity_of(tmp_path, population) == f"no card yet; make one: simenv fidelity {tmp_path}"
    other = population.with_(member=population.member[:3])
    assert "is of other users than these; make one" in fidelity_of(trained, other)


def test_personas_that_are_dealt_already_are_no_control(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "users", ignore=shutil.ignore_patterns("fidelity"))
    about = json.loads((folder / "trial" / "trial.json").read_text())
    about["about"]["make"]["random_personas"] = True
    (folder / "trial" / "trial.json").write_text(json.dumps(about))
    assert "those of this population are: leave it out" in simenv("fidelity", folder, "--control", code=2).stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0"], "--seeds must be at least 1; got 0"),
        (["--draws", "0"], "draws must be at least 1; got 0"),
        (["--recommenders", "popular"], "an order needs at least two recommenders; got one"),
        (["--recommenders", "popularr,als"], "no recommender is called 'popularr'"),
    ],
)
def test_errors(trained: Path, options: list[str], message: str) -> None:
    assert message in simenv("fidelity", trained, *options, code=2).stderr


def test_no_population_there(tmp_path: Path) -> None:
    assert "is no saved population" in simenv("fidelity", tmp_path, code=2).stderr
