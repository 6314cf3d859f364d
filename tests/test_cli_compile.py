"""`simenv compile`: a table that environments and benchmarks read, and what is said of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from typer.testing import CliRunner

import simenv.environment  # noqa: F401  registers simenv/Slate-v0
from simenv.agents.manifest import MANIFEST, digest
from simenv.agents.store import load
from simenv.agents.table import UNIT, TableRatingModel
from simenv.cli import app, compile
from simenv.cli.trial import Trial
from simenv.errors import ConfigError, StoreError, UnknownIdError
from simenv.log import Split
from simenv.play import episode_key
from simenv.session import Slate


def run(*words: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == code, f"{done.exit_code}: {done.output} {done.exception!r}"
    return done


@pytest.fixture(scope="module")
def users(tiny_folder: Path, tiny_split: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A population with a trial, a table of all items and one of 20; copy it before you change it."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("compile") / "users"))
    member, past = np.arange(12), tiny_split.past
    trial = Trial(past, past, tiny_split.future.of_users(member), member, tiny_split.cut, True, "tiny")
    trial.save(folder / "trial", {"data": "tiny", "make": {}, "synthetic": None})
    run("compile", folder, "--json", folder.parent / "found.json")
    run("compile", folder, "--items", "20", "--out", folder / "top20")
    return folder


@pytest.fixture
def copied(users: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(users, tmp_path / "users"))


def without_weights(folder: Path) -> Path:
    shutil.rmtree(folder / "model")
    shutil.rmtree(folder / "adapters")
    return folder


def leaving_by_answer(folder: Path) -> Path:
    """Rewrite a population so that its users say themselves when they leave."""
    for table in ("table", "top20"):
        shutil.rmtree(folder / table)
    behaviour = json.loads((folder / "behaviour.json").read_text()) | {"exit": "answer"}
    (folder / "behaviour.json").write_text(json.dumps(behaviour))
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["file"]["behaviour.json"] = digest(folder / "behaviour.json")
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


class TestTable:
    def test_all_answers_are_there_within_the_stated_rounding(self, users: Path) -> None:
        found, exact, table = (
            json.loads((users.parent / "found.json").read_text()),
            load(users),
            load(users, table=True),
        )
        pairs = np.repeat(exact.member, 60), np.tile(np.arange(60), 12)
        one, other = (p.rating_model.rate(*pairs).p.astype(float) for p in (exact, table))
        value = np.array(exact.scale.values)
        assert 0 < np.abs(one - other).max() < found["probability"]["bound"] + 1e-6
        assert np.abs((one - other) @ value).max() < found["expected rating"]["bound"] + 1e-6
        assert found["probability"]["bound"] == pytest.approx(1 / UNIT)
        assert found["expected rating"]["bound"] == pytest.approx(6 / UNIT)  # 4 + 5 - 1 - 2
        assert 0 < found["probability"]["measured"] <= np.abs(one - other).max() + 1e-6
        assert (found["users"], found["items"]) == (12, 60)
        assert found["bytes"] == sum(f.stat().st_size for f in (users / "table").iterdir())
        assert found["bytes"] >= compile._size(12, 60, 5)

    def test_what_it_says(self, users: Path) -> None:
        done = run("compile", users)
        text = " ".join(done.stdout.split())
        assert f"12 users x 60 items lie in {users / 'table'}: 0.0" in text
        assert "a probability is off by less than 1.5e-05, an expected rating by less than 9.2e-05; asked again" in text
        assert "mood, leaving (a hazard)" in text
        assert "Not in the table: prompts, other items, and memories that grow within an episode." in text
        assert f"simenv benchmark {users} --table" in text
        assert "12/12" in done.stderr
        top = run("compile", users, "--items", "20", "--out", users / "top20").stdout
        assert f'population="{users / "top20"}"' in " ".join(top.split())

    def test_the_most_known_items(self, users: Path, tiny_split: Split) -> None:
        kept = set(json.loads((users / "top20" / "table.json").read_text())["item"])
        count = np.bincount(tiny_split.past.item, minlength=60)
        assert len(kept) == 20
        assert min(count[i] for i in kept) >= max(count[i] for i in set(range(60)) - kept)

    def test_items_of_a_file(self, users: Path, tmp_path: Path) -> None:
        population = load(users)
        raw = population.items.ids[7], population.items.ids[3]
        (tmp_path / "items.txt").write_text(f"{raw[0]}\n\n {raw[1]} \n{raw[0]}\n")
        assert compile.chosen_items(population, str(tmp_path / "items.txt")).tolist() == [3, 7]
        (tmp_path / "items.txt").write_text("nothing\n")
        with pytest.raises(UnknownIdError, match="unknown item 'nothing'"):
            compile.chosen_items(population, str(tmp_path / "items.txt"))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--items", "0"], "--items lies in 1..60 here, or is left out for all; got 0"),
            (["--items", "61"], "--items lies in 1..60 here"),
            (["--items", "nowhere.txt"], "there is no file nowhere.txt"),
            (["--items", "5"], "holds a table of other items; take another folder, or delete this one"),
            (["--out", "elsewhere"], "so it lies inside"),
        ],
    )
    def test_errors(self, users: Path, options: list[str], message: str) -> None:
        assert message in " ".join(run("compile", users, *options, code=2).stderr.split())

    def test_a_full_disk_is_seen_before(self, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda p: SimpleNamespace(free=11_000))
        run("compile", copied)  # there already
        done = run("compile", copied, "--out", copied / "new", code=2)
        assert "the table takes 0.0 GB and" in done.stderr
        assert not (copied / "new").exists()


class TestLoading:
    def test_no_weights_and_no_libraries_of_them(self, users: Path, copied: Path) -> None:
        bare = without_weights(copied)
        wanted = load(users, table=True).rating_model.rate(np.array([0, 1]), np.array([5, 5])).p
        for path, more in ((bare, ", table=True"), (bare / "table", "")):
            code = f"""import sys, json, numpy as np
from simenv.agents.store import load
said = load({str(path)!r}{more}).rating_model.rate(np.array([0, 1]), np.array([5, 5])).p
print(json.dumps([said.tolist(), [m for m in ("torch", "transformers", "peft") if m in sys.modules]]))"""
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            assert json.loads(done.stdout) == [wanted.tolist(), []]

    def test_choice_and_exit_are_live_and_the_fingerprint_is_its_own(self, users: Path) -> None:
        exact, table = load(users), load(users / "table")
        assert isinstance(table.rating_model, TableRatingModel)
        assert table.exit == exact.exit
        assert table.fingerprint not in ("", exact.fingerprint)
        assert table.fingerprint == load(users, table=True).fingerprint == exact.with_table(users / "table").fingerprint
        slate, key = Slate.certain(np.array([[0, 5, 9], [1, 2, 3]])), episode_key(2, np.array([0, 4]))
        for factor in (1.0, 2.0):
            one, other = (p.with_exit_slope(factor) for p in (exact, table))
            said = [p.respond(p.begin(np.array([0, 4]), key), slate)[0] for p in (one, other)]
            np.testing.assert_allclose(said[0].p_exit, said[1].p_exit, atol=1e-3)
            np.testing.assert_array_equal(said[0].consumed, said[1].consumed)

    def test_gymnasium_finds_it_by_path(self, users: Path) -> None:
        env = gym.make("simenv/Slate-v0", population=str(users / "table"), slate_size=3)
        env.reset(seed=0)
        assert np.isfinite(float(env.step(np.array([1, 2, 3]))[1]))
        top = gym.make("simenv/Slate-v0", population=str(users / "top20"), slate_size=3)
        top.reset(seed=0)
        other = sorted(set(range(60)) - set(json.loads((users / "top20" / "table.json").read_text())["item"]))[:3]
        with pytest.raises(UnknownIdError, match=r"not in the table of answers .* compile with more items"):
            top.step(np.array(other))

    @pytest.mark.parametrize(
        ("spoil", "words"),
        [
            (lambda f: shutil.rmtree(f / "table"), "holds no table of answers; make one with `simenv compile`"),
            (lambda f: _cut(f / "table" / "p.npy"), "is damaged .*; delete it and compile again"),
            (lambda f: (f / "table" / "done.npy").unlink(), "is damaged"),
            (lambda f: np.save(f / "table" / "done.npy", np.arange(12) > 3), "holds 8 of 12 users; compile again"),
            (lambda f: _edit(f / "table" / "table.json", told="else"), "a table of another population"),
            (lambda f: (f / "table" / "p.npy").write_bytes(b""), "is damaged"),
        ],
    )
    def test_what_cannot_be_loaded(self, copied: Path, spoil: Callable[[Path], Any], words: str) -> None:
        spoil(copied)
        with pytest.raises(StoreError, match=words):
            load(copied, table=True)

    def test_a_table_without_its_population(self, users: Path, tmp_path: Path) -> None:
        shutil.copytree(users / "table", tmp_path / "table")
        with pytest.raises(StoreError, match="is no saved population"):
            load(tmp_path / "table")

    def test_there_is_nothing_to_cache(self, users: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="a table answers without the language model"):
            load(users, table=True, cache=tmp_path / "c")
        assert not (tmp_path / "c").exists()


class TestLeavingByAnswer:
    """The persona's own stay or leave is no rating: the language model stays, and is asked after each page."""

    def test_the_model_stays_and_so_must_the_weights(self, copied: Path, tmp_path: Path) -> None:
        folder = leaving_by_answer(copied)
        text = " ".join(run("compile", folder).stdout.split())
        assert "leaving (the users' own answer of the language model after each page, so keep the weights)" in text
        exact, table = load(folder), load(folder / "table", cache=tmp_path / "c")
        slate, key = Slate.certain(np.array([[0, 5, 9], [1, 2, 3]])), episode_key(2, np.array([0, 4]))
        said = [p.respond(p.begin(np.array([0, 4]), key), slate)[0] for p in (exact, table)]
        np.testing.assert_allclose(said[0].p_exit, said[1].p_exit, atol=1e-3)
        with pytest.raises(StoreError, match=r"is incomplete: (model|adapters)"):
            load(without_weights(folder) / "table")
        again = load(folder / "table", replay=tmp_path / "c")
        replayed = again.respond(again.begin(np.array([0, 4]), key), slate)[0]
        np.testing.assert_array_equal(replayed.p_exit, said[1].p_exit)


class TestBenchmark:
    HOW = ("--recommenders", "random,popular", "--pages", "2", "--slate", "3", "--no-shared")

    def test_by_table_it_says_so_and_is_near(self, users: Path, tmp_path: Path) -> None:
        run("benchmark", users, *self.HOW, "--out", tmp_path / "a")
        run("benchmark", users, *self.HOW, "--out", tmp_path / "b", "--table")
        exact, table = (json.loads((tmp_path / n / "result.json").read_text()) for n in "ab")
        assert table["provenance"]["answers"] == "from a table; each probability is off by less than 1/65,535"
        assert "answers" not in exact["provenance"]
        assert table["provenance"]["populations"] != exact["provenance"]["populations"]
        for name, mean in exact["headline"].items():
            assert table["headline"][name] == pytest.approx(mean, abs=6 / UNIT)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--table", "--refits", "2"], "--table holds the answers of one population"),
            (["--table", "--replay", "x.db"], "there is nothing to cache or to replay"),
        ],
    )
    def test_errors(self, users: Path, tmp_path: Path, options: list[str], message: str) -> None:
        assert message in " ".join(run("benchmark", users, *options, "--out", tmp_path, code=2).stderr.split())


def test_help_teaches_by_example() -> None:
    assert "\n  simenv compile my-users" in run("compile", "--help").stdout
    assert "simenv compile my-users" in run("--help").stdout


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
