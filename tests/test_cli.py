"""The command line, end to end on one tiny population, and what it says when something is wrong."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from simenv.agents.store import load
from simenv.cli import app
from simenv.cli.console import bar, tagged, write_json
from simenv.cli.demo import Size, play_demo, summary, words
from simenv.cli.train import Make
from simenv.cli.trial import Cut, Trial
from simenv.errors import ConfigError, DataError, StoreError
from simenv.testing.logs import tiny_log

QUICK = ["--size", "small", "--steps", "3", "--lora-steps", "2", "--min-ratings", "20", "--personas", "2"]
WORLD = "synthetic:40x40"


def simenv(*words: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, [str(w) for w in words])
    assert done.exit_code == code, f"{done.exit_code}: {done.output} {done.exception!r}"
    return done


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a population made by the command line; only `benchmark/` may be added to it."""
    folder = tmp_path_factory.mktemp("cli")
    done = simenv("train", WORLD, folder / "users", *QUICK, "--users", "12", "--json", folder / "train.json")
    assert "persona-1" in done.stdout
    assert "12 users live in" in done.stdout.replace("\n", " ")
    return folder / "users"


def raw_user(folder: Path) -> str:
    population = load(folder)
    return str(population.users.ids[int(population.member[0])])


class TestHelp:
    @pytest.mark.parametrize("command", ["demo", "train", "benchmark", "inspect", "compare", "info"])
    def test_each_command_teaches_by_example(self, command: str) -> None:
        assert f"\n  simenv {command}" in simenv(command, "--help").stdout

    def test_the_first_page_names_every_command(self) -> None:
        said = simenv("--help").stdout
        assert all(f"simenv {c}" in said for c in ("demo", "train", "benchmark", "inspect", "compare", "info"))


class TestTrain:
    def test_the_table_is_kept(self, trained: Path) -> None:
        kept = json.loads((trained.parent / "train.json").read_text())
        assert sum(p["users"] for p in kept["personas"]) == kept["users"] == 12
        assert kept["data"].startswith("synthetic-40x40")

    def test_contestants_future_and_judge_are_disjoint_and_whole(self, trained: Path) -> None:
        population = load(trained)
        trial, about = Trial.load(trained / "trial", population)
        pairs = [set(zip(x.user, x.item, strict=True)) for x in (trial.judge, trial.contestants, trial.future)]
        assert not pairs[0] & pairs[1]
        assert not pairs[2] & (pairs[0] | pairs[1])
        assert about["make"] == vars(Make(personas="2", steps=3, lora_steps=2, size="small", page_size=5))
        assert trial.past.fingerprint == _world_past(population.member).fingerprint

    def test_a_second_call_finds_the_work_done(self, trained: Path) -> None:
        before = (trained / "population.json").read_bytes()
        simenv("train", WORLD, trained, *QUICK, "--users", "12")
        assert (trained / "population.json").read_bytes() == before

    def test_own_table(self, tmp_path: Path) -> None:
        log = tiny_log(n_users=14, n_items=30)
        frame = log.to_frame().rename(columns={"user": "reader", "item": "isbn", "rating": "stars", "time": "when"})
        frame.to_csv(tmp_path / "shop.csv", index=False)
        columns = ["--user-column", "reader", "--item-column", "isbn", "--time-column", "when", "--noun", "book"]
        simenv(
            "train",
            tmp_path / "shop.csv",
            tmp_path / "users",
            *columns,
            *QUICK[:-4],
            "--min-ratings",
            "12",
            "--share",
            "1",
        )
        population = load(tmp_path / "users")
        assert population.catalogue is not None
        assert population.catalogue.noun == "book"
        assert set(population.member) == set(np.flatnonzero((log.count >= 12) & (log.count <= 200)))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["nothere.csv"], "no such file"),
            ([WORLD, "--noun", "book"], "synthetic world has no columns to name; leave out --noun"),
            ([WORLD, "--split", "late"], "--split is one of user_time, global_time, random; got 'late'"),
            ([WORLD, "--min-ratings", "500", "--max-ratings", "600"], "0 users have 500 to 600 ratings"),
            ([WORLD, "--share", "0"], "share of the past lies above 0"),
            ([WORLD, "--personas", "many"], "--personas is a number of at least 1, or \"elbow\"; got 'many'"),
            ([WORLD, "--prompt", "long"], "unknown prompt preset 'long'; known: compact"),
            ([WORLD, "--arm", "two"], "--arm is one of none, single, persona"),
            ([WORLD, "--size", "huge"], "--size is one of small, usual, large"),
            ([WORLD, "--exit", "never"], "--exit is one of hazard, answer"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_sentence(self, tmp_path: Path, options: list[str], message: str) -> None:
        low = [] if "--min-ratings" in options else ["--min-ratings", "20"]
        done = simenv("train", options[0], tmp_path / "users", *options[1:], *low, code=2)
        assert message in done.stderr
        assert "Traceback" not in done.output
        assert done.stdout == ""


class TestBenchmark:
    def test_reports_json_gate_and_resuming(self, trained: Path, tmp_path: Path) -> None:
        how = [trained, "--recommenders", "random,popular,oracle", "--pages", "2", "--slate", "4", "--seeds", "2"]
        how += ["--records", "--out", tmp_path / "out"]
        kept = ["--json", tmp_path / "a.json", "--html", tmp_path / "a.html", "--markdown", tmp_path / "a.md"]
        done = simenv("benchmark", *how, *kept, "--fail-if", "random > 5")
        assert "true utility" in done.stdout
        assert "Shared rows" in done.stdout
        assert "random > 5 does not hold" in done.stderr
        result = json.loads((tmp_path / "a.json").read_text())
        assert set(result["headline"]) == {"random", "popular", "oracle"}
        assert list((tmp_path / "out" / "records").glob("*.parquet"))
        assert (tmp_path / "a.html").read_text().startswith("<!")
        assert "## The league" in (tmp_path / "a.md").read_text()
        before = (tmp_path / "out" / "result.json").read_bytes()
        done = simenv("benchmark", *how, "--fail-if", "random < 5", code=1)
        assert "random < 5 holds" in done.stderr
        assert (tmp_path / "out" / "result.json").read_bytes() == before == (tmp_path / "a.json").read_bytes()

    def test_refits_change_the_population_but_not_its_members(self, trained: Path, tmp_path: Path) -> None:
        how = ["--recommenders", "random,popular", "--pages", "1", "--slate", "3", "--refits", "2", "--no-shared"]
        simenv("benchmark", trained, *how, "--out", tmp_path, "--json", tmp_path / "r.json")
        result = json.loads((tmp_path / "r.json").read_text())
        assert result["uncertainty"]["random"]["refits"] is not None
        again = load(tmp_path / "refits" / "1")
        assert np.array_equal(again.member, load(trained).member)

    def test_a_class_of_the_working_folder_and_a_table_of_scores(
        self, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        population = load(trained)
        users = population.users.decode(population.member)
        rows = [(u, i, float(i)) for u in users for i in population.items.ids]
        pd.DataFrame(rows, columns=["user", "item", "score"]).to_parquet(tmp_path / "ours.parquet")
        (tmp_path / "own_ranker_for_test.py").write_text(
            "from simenv.recommenders import Popular\n\n\ndef Mine():\n    return Popular(name='mine')\n"
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [p for p in sys.path if p != os.getcwd()])
        names = f"own_ranker_for_test:Mine,{tmp_path / 'ours.parquet'}"
        done = simenv(
            "benchmark", trained, "--recommenders", names, "--pages", "1", "--no-shared", "--out", tmp_path / "o"
        )
        assert "mine" in done.stdout
        assert "ours" in done.stdout

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--recommenders", "popularr"], "no recommender is called 'popularr'. Did you mean 'popular'?"),
            (["--recommenders", ","], "needs recommenders with different names"),
            (["--seeds", "0"], "--seeds must be at least 1; got 0"),
            (["--pages", "0"], "pages must be at least 1; got 0"),
        ],
    )
    def test_errors(self, trained: Path, tmp_path: Path, options: list[str], message: str) -> None:
        done = simenv("benchmark", trained, *options, "--out", tmp_path, code=2)
        assert message in done.stderr

    def test_a_condition_nobody_can_read(self, trained: Path, tmp_path: Path) -> None:
        how = ["--recommenders", "random,popular", "--pages", "1", "--no-shared", "--out", tmp_path]
        done = simenv("benchmark", trained, *how, "--fail-if", "random <= 3", code=2)
        assert "write one comparison with < or >" in done.stderr

    def test_no_population_there(self, tmp_path: Path) -> None:
        assert "is no saved population" in simenv("benchmark", tmp_path, code=2).stderr


class TestInspect:
    def test_everything_is_shown_and_kept(self, trained: Path, tmp_path: Path) -> None:
        user = raw_user(trained)
        done = simenv("inspect", trained, user, "--json", tmp_path / "look.json")
        kept = json.loads((tmp_path / "look.json").read_text())
        for part in ("Ms, from the past alone", "Persona persona-", "Ml, recalled for it", "The whole prompt"):
            assert part in done.stdout
        assert kept["prompt"].endswith(" Rating:")
        assert len(kept["recalled"]) == 3
        assert set(kept["answer"]) == {"language model", "prior", "answer"}
        assert all(sum(p) == pytest.approx(1, abs=1e-5) for p in kept["answer"].values())
        assert kept["truth"] in (1, 2, 3, 4, 5)
        assert f"really gave {kept['truth']:g}" in " ".join(done.stdout.split())

    def test_the_answer_is_the_populations_own(self, trained: Path, tmp_path: Path) -> None:
        user, population = raw_user(trained), load(trained)
        simenv("inspect", trained, user, "--item", "7", "--json", tmp_path / "look.json")
        kept = json.loads((tmp_path / "look.json").read_text())
        assert kept["answer"]["answer"] == pytest.approx(population[int(user)].rate([7])[0], abs=1e-6)

    def test_unknown_ids(self, trained: Path) -> None:
        assert "unknown user" in simenv("inspect", trained, "4711", code=2).stderr
        assert "unknown item" in simenv("inspect", trained, raw_user(trained), "--item", "nothing", code=2).stderr


class TestCompare:
    def test_two_slates_with_the_same_luck(self, trained: Path, tmp_path: Path) -> None:
        how = ["--user", raw_user(trained), "--slate", "4", "--json", tmp_path / "pair.json"]
        done = simenv("compare", trained, "popular", "best-rated", *how)
        kept = json.loads((tmp_path / "pair.json").read_text())
        assert "expected rating" in done.stdout
        sides = [{row["item"]: row for row in kept[name]} for name in ("popular", "best-rated")]
        assert [len(s) for s in sides] == [4, 4]
        both = set(sides[0]) & set(sides[1])
        rated = [i for i in both if sides[0][i]["rating"] is not None and sides[1][i]["rating"] is not None]
        assert all(sides[0][i]["rating"] == sides[1][i]["rating"] for i in rated)
        assert all(sides[0][i]["expected"] == pytest.approx(sides[1][i]["expected"]) for i in both)

    def test_a_recommender_against_itself(self, trained: Path) -> None:
        done = simenv("compare", trained, "popular", "popular", "--user", raw_user(trained), code=2)
        assert "two recommenders are called 'popular'" in done.stderr

    def test_sizes(self, trained: Path) -> None:
        done = simenv("compare", trained, "popular", "als", "--user", raw_user(trained), "--slate", "0", code=2)
        assert "--pages and --slate must be at least 1" in done.stderr


class TestInfo:
    def test_versions_alone(self, tmp_path: Path) -> None:
        simenv("info", "--json", tmp_path / "info.json")
        assert json.loads((tmp_path / "info.json").read_text())["versions"]["simenv-personas"] == "0.1.0"

    def test_every_number_says_where_it_comes_from(self, trained: Path, tmp_path: Path) -> None:
        done = simenv("info", trained, "--json", tmp_path / "info.json")
        numbers = json.loads((tmp_path / "info.json").read_text())["numbers"]
        assert {n["tag"] for n in numbers} == {"fitted", "assumed"}
        assert "exit.slope_utility" in done.stdout

    def test_a_damaged_folder(self, trained: Path, tmp_path: Path) -> None:
        (tmp_path / "population.json").write_text("{")
        assert "is damaged" in simenv("info", tmp_path, code=2).stderr


class TestDemo:
    def test_the_league_knows_the_truth(self, tmp_path: Path) -> None:
        size = Size(
            n_users=60, n_items=40, members=12, min_ratings=20, steps=2, lora_steps=1, pages=1, slate=5, resamples=100
        )
        population, folder, outcome = play_demo(tmp_path, 0, size)
        found = summary(outcome)
        assert found["truly first"] == "oracle"
        assert set(found["agreement"]) >= {"simulator", "NDCG"}
        assert "Truly different pairs ordered right: simulator" in words(found)
        assert len(population) == 12
        assert (folder / "benchmark" / "report.html").is_file()


class TestTrial:
    @pytest.mark.parametrize("split", ["user_time", "global_time"])
    def test_the_future_reaches_nobodys_rows(self, split: Any) -> None:
        log, how = tiny_log(20, 40), Cut(min_ratings=5, split=split)
        before = Trial.of(log, how)
        rating, moment = log.rating.copy(), before.cut
        assert moment is not None
        assert log.time is not None
        late = np.flatnonzero(log.time >= moment[log.user])
        rating[late] = 6 - np.random.default_rng(0).permutation(rating[late])
        after = Trial.of(replace(log, rating=rating), how)
        assert after.judge.fingerprint == before.judge.fingerprint
        assert after.contestants.fingerprint == before.contestants.fingerprint
        assert after.member.tolist() == before.member.tolist()
        assert after.future.fingerprint != before.future.fingerprint

    def test_random_cuts_have_no_moment(self) -> None:
        assert Trial.of(tiny_log(), Cut(min_ratings=10, split="random")).cut is None

    def test_shared_rows(self) -> None:
        trial = Trial.of(tiny_log(20, 40), Cut(min_ratings=10, share=1.0))
        assert trial.shared
        assert trial.judge.fingerprint == trial.contestants.fingerprint == trial.past.fingerprint

    def test_global_time_is_strict_for_everybody(self) -> None:
        log = tiny_log(20, 40)
        trial = Trial.of(log, Cut(min_ratings=5, split="global_time"))
        assert trial.past.time is not None
        assert trial.future.time is not None
        assert trial.past.time.max() < trial.future.time.min()
        assert "global_cut arm" in trial.note

    def test_half_keeps_members_and_drops_others(self) -> None:
        trial = Trial.of(tiny_log(30, 40), Cut(users=6, min_ratings=10))
        half = trial.half(1, seed=0)
        kept = set(np.unique(half.user))
        assert set(trial.member) <= kept
        assert len(kept - set(trial.member)) == (len(np.unique(trial.judge.user)) - 6) // 2
        assert half.fingerprint != trial.half(2, seed=0).fingerprint

    @pytest.mark.parametrize(
        ("how", "message"),
        [
            ({"users": 1}, "at least two users"),
            ({"users": 99}, "99 are wanted"),
            ({"min_ratings": 9, "max_ratings": 3}, "ascending"),
            ({"share": 0.05}, "users with more ratings"),
        ],
    )
    def test_bad_cuts(self, how: dict[str, Any], message: str) -> None:
        with pytest.raises(DataError, match=message):
            Trial.of(tiny_log(), Cut(**({"min_ratings": 1} | how)))

    def test_damaged_rows_are_found(self, trained: Path, tmp_path: Path) -> None:
        population = load(trained)
        trial, about = Trial.load(trained / "trial", population)
        trial.save(tmp_path, about)
        frame = pd.read_parquet(tmp_path / "future.parquet")
        frame["rating"] = frame["rating"].to_numpy()[::-1]
        frame.to_parquet(tmp_path / "future.parquet")
        with pytest.raises(StoreError, match="fingerprint differs"):
            Trial.load(tmp_path, population)

    def test_populations_made_elsewhere_have_none(self, trained: Path, tmp_path: Path) -> None:
        with pytest.raises(StoreError, match="holds no held-out rows"):
            Trial.load(tmp_path, load(trained))


def test_bars_have_eighths() -> None:
    assert [bar(x) for x in (0.0, 1.0, 1 / 24, 1 / 48)] == ["", "█" * 24, "█", "▌"]


def test_tags_are_told_from_values() -> None:
    said = {"a": "assumed 0.5", "b": "fitted on the visits", "c": "12"}
    assert tagged(said) == [("a", "assumed", "0.5"), ("b", "fitted", "on the visits"), ("c", "", "12")]


def test_json_is_stable_and_folders_are_made(tmp_path: Path) -> None:
    write_json(tmp_path / "deep" / "x.json", {"b": float("nan"), "a": 1})
    assert (tmp_path / "deep" / "x.json").read_text() == '{\n "a": 1,\n "b": null\n}\n'
    write_json(None, {})


def test_personas_are_a_number_or_elbow() -> None:
    with pytest.raises(ConfigError, match="at least 1"):
        Make(personas="0").settings()


def _world_past(member: Any) -> Any:
    from simenv.datasets.synthetic import generate

    return generate(0, n_users=40, n_items=40).log.split("user_time", 0.6, users=member).past
