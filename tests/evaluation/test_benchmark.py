from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simenv.errors import ConfigError, StoreError
from simenv.evaluation.benchmark import Benchmark, Outcome
from simenv.evaluation.unit import population_fingerprint, recommender_fingerprint
from simenv.testing.logs import tiny_log

SMALL = Benchmark(pages=2, slate_size=3, session_pages=5, resamples=200, rated_places=3)


@pytest.fixture(scope="module")
def full(world: Any) -> Outcome:
    def build(n: int) -> Any:
        population = world.population()
        return population if n == 0 else world.population(quality=population.quality * (1 - 0.05 * n))

    return replace(SMALL, seeds=(0, 1), refits=2).run(
        world.recommenders(),
        build,
        world.log,
        world.catalogue,
        future=world.future,
        truth=world.population(),
        shared=world.log,
    )


def test_the_best_wins_with_intervals_apart(full: Outcome) -> None:
    value = full.result["values"]
    good, fair, rand = (value[n]["expected utility"] for n in ("good", "fair", "rand"))
    assert good.low > fair.high > fair.low > rand.high
    assert re.match(
        r"good serves these users best: \+0\.\d\d \(\+0\.\d\d\.\.\+0\.\d\d\) .* over fair and more over rand",
        full.report.verdict,
    )
    assert all(p["significant"] for p in full.result["pairs"])
    assert full.fail_if("good < fair + 0.01")[0] is False
    assert full.fail_if("rand < fair")[0] is True


def test_headline_is_the_mean_of_the_users_own_quality(full: Outcome, world: Any) -> None:
    seen = np.zeros((24, 60), bool)
    seen[world.log.user, world.log.item] = True
    quality = np.where(seen, -1.0, world.population().quality)
    best = 1 + 4 * np.sort(quality, axis=1)[:, ::-1][:, :6].mean()
    assert full.per_user["good"]["own utility"].mean() == pytest.approx(best, abs=1e-6)
    assert full.per_user["good"]["true utility"].mean() == pytest.approx(best, abs=1e-6)


def test_the_simulator_is_right_where_it_is_the_truth(full: Outcome) -> None:
    found = {a["judge"]: a for a in full.result["agreement"]}
    assert list(found) == ["simulator", "NDCG", "mean true rating"]
    assert (found["simulator"]["right"], found["simulator"]["pairs"], found["simulator"]["tau"]) == (3, 3, 1.0)


def test_a_wrong_simulator_is_found_out(world: Any) -> None:
    wrong = world.population(quality=1 - world.population().quality)
    out = SMALL.run(
        world.recommenders(), wrong, world.log, world.catalogue, future=world.future, truth=world.population()
    )
    found = {a["judge"]: a for a in out.result["agreement"]}
    assert (found["simulator"]["right"], found["simulator"]["misled"], found["simulator"]["tau"]) == (0, 3, -1.0)
    assert found["NDCG"]["right"] == 3
    assert "ordered 0 of 3 truly different pairs right, NDCG 3" in out.report.to_markdown()


def test_equal_ones_tie(world: Any, scripted: Any) -> None:
    twins = [scripted("b", 0.6, 1), scripted("a", 0.6, 1), scripted("rand", 0.0)]
    out = SMALL.run(twins, world.population(), world.log, world.catalogue)
    assert out.report.verdict.startswith("Tie between b and a")
    assert "is ahead of rand" in out.report.verdict
    assert "best" not in out.report.verdict


def test_one_alone_has_nobody_to_beat(world: Any) -> None:
    out = SMALL.run(world.recommenders()[:1], world.population(), world.log, world.catalogue)
    assert "nothing to compare" in out.report.verdict
    assert out.result["pairs"] == []


def test_no_verdict_without_support(world: Any) -> None:
    out = SMALL.run(world.recommenders(), world.population(support=2.0), world.log, world.catalogue)
    assert out.report.verdict.startswith("Verdict withheld: good leads by number, but 100% of the places")
    lenient = replace(SMALL, support_threshold=1.0)
    assert (
        "best"
        in lenient.run(world.recommenders(), world.population(support=2.0), world.log, world.catalogue).report.verdict
    )


def test_sources_and_sections_are_there(full: Outcome) -> None:
    titles = [s.title for s in full.report.sections]
    assert titles == [
        "The league",
        "Was the simulator right?",
        "Every pair",
        "What they show",
        "Visits that users may leave",
        "Does the order of pages rest on the exit's satisfaction slope?",
        "Shared rows",
        "Where the uncertainty comes from",
    ]
    refits = full.result["uncertainty"]["good"]["refits"]
    assert refits > full.result["uncertainty"]["good"]["draws"]
    assert json.loads(full.to_json())["verdict"] == full.report.verdict
    assert "seconds" not in full.to_json()
    assert set(full.report.timings) >= {"pages", "session", "offline", "truth", "shared", "sweep 0"}
    league = full.report.sections[0]
    assert {c.name: c.tag for c in league.columns if c.tag} == {
        "expected utility": "fitted",
        "true utility": "measured",
        "pages": "assumed",
        "satisfaction": "assumed",
        "ndcg": "measured",
        "true rating": "measured",
    }


def test_sharing_the_very_same_rows_changes_nothing(full: Outcome) -> None:
    rows = next(s for s in full.report.sections if s.title == "Shared rows").rows
    assert [r["difference"].mean for r in rows] == [0.0, 0.0, 0.0]  # type: ignore[union-attr]


def test_sweep_counts_the_other_factors(full: Outcome) -> None:
    assert list(full.result["sweep"]) == ["0", "0.5", "1", "1.5", "2"]
    flat = full.result["sweep"]["0"]
    assert len(set(flat.values())) == 1
    steep = full.result["sweep"]["2"]
    assert steep["good"] > steep["rand"]
    kept = full.result["sweep_order_kept"]
    assert kept["all"] <= 0.75
    assert kept["all"] <= kept["pairs"] <= 1


def test_a_population_without_the_dial_says_so(world: Any) -> None:
    class Stiff:
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> Any:
            if name in ("with_exit_slope", "inner", "fingerprint"):
                raise AttributeError(name)
            return getattr(self.inner, name)

    out = SMALL.run(world.recommenders(), lambda n: Stiff(world.population()), world.log, world.catalogue)
    assert "Not swept: this population has no with_exit_slope" in out.report.to_markdown()
    assert out.result["sweep"] == {}


def test_luck_is_shared_and_users_are_drawn_by_seed(world: Any) -> None:
    few = replace(SMALL, users=6, sweep=())
    one = few.run(world.recommenders(), world.population(), world.log, world.catalogue)
    two = few.run(world.recommenders()[::-1], world.population(), world.log, world.catalogue)
    assert len(one.user) == 6
    assert np.array_equal(one.user, two.user)
    for name in one.per_user:
        assert np.array_equal(one.per_user[name]["pages"], two.per_user[name]["pages"])
    other = replace(few, seed=1).run(world.recommenders(), world.population(), world.log, world.catalogue)
    assert not np.array_equal(one.user, other.user)


def test_progress_counts_to_the_end(world: Any) -> None:
    said: list[tuple[int, int, str]] = []
    SMALL.run(world.recommenders(), world.population(), world.log, world.catalogue, progress=lambda *a: said.append(a))
    assert said[0][0] == 0
    assert said[-1] == (18, 18, "done")
    assert [s[0] for s in said] == sorted(s[0] for s in said)


def test_done_units_are_not_done_again(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[str] = []
    kind = type(world.recommenders()[0])
    plain = kind.fit

    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        fits.append(self.name)
        return plain(self, *arguments, **options)

    monkeypatch.setattr(kind, "fit", counted)

    def run(names: list[str], **changes: Any) -> Outcome:
        chosen = [r for r in world.recommenders() if r.name in names]
        bench = replace(SMALL, **changes)
        return bench.run(chosen, world.population(), world.log, world.catalogue, future=world.future, folder=tmp_path)

    run(["rand", "good"])
    assert fits == ["rand", "good"]
    whole = run(["rand", "good", "fair"])
    assert fits == ["rand", "good", "fair"]
    again = run(["rand", "good", "fair"])
    assert fits == ["rand", "good", "fair"]
    assert again.to_json() == whole.to_json()
    assert again.report.to_json() == whole.report.to_json()
    assert again.report.to_html(), "pictures can be drawn from remembered units"
    fresh = SMALL.run(world.recommenders(), world.population(), world.log, world.catalogue, future=world.future)
    assert fresh.to_json() == whole.to_json()
    run(["rand"], pages=3)
    assert fits[6:] == ["rand"], "other settings are other units"


def test_a_damaged_unit_is_an_error(world: Any, tmp_path: Path) -> None:
    SMALL.run(world.recommenders(), world.population(), world.log, world.catalogue, folder=tmp_path)
    path = sorted((tmp_path / "units").glob("*.npz"))[0]
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StoreError, match="delete it and run again"):
        SMALL.run(world.recommenders(), world.population(), world.log, world.catalogue, folder=tmp_path)


def test_records_are_kept_on_request(world: Any, tmp_path: Path) -> None:
    SMALL.run(world.recommenders(), world.population(), world.log, world.catalogue, folder=tmp_path)
    assert not (tmp_path / "records").exists()
    replace(SMALL, records=True).run(
        world.recommenders(), world.population(), world.log, world.catalogue, folder=tmp_path
    )
    paths = sorted((tmp_path / "records").glob("*-pages-*.parquet"))
    assert len(paths) == 3
    frame = pd.read_parquet(paths[0])
    assert {"policy", "seed", "propensity", "n_candidate", "item", "expected"} <= set(frame)
    assert set(frame["policy"]) == {"fair"}
    assert set(frame["n_candidate"]) == {60}
    assert not list(tmp_path.rglob("*.part"))
    with pytest.raises(ConfigError, match="give folder"):
        replace(SMALL, records=True).run(world.recommenders(), world.population(), world.log, world.catalogue)


SCRIPT = """
import importlib.util, sys, time
spec = importlib.util.spec_from_file_location("scripted", {conftest!r})
scripted = importlib.util.module_from_spec(spec)
sys.modules["scripted"] = scripted
spec.loader.exec_module(scripted)
from simenv.evaluation.benchmark import Benchmark

slow, folder = float(sys.argv[1]), sys.argv[2]
world = scripted.make_world()
def wait(done, total, words):
    print(done, flush=True)
    time.sleep(slow)
out = Benchmark(pages=2, slate_size=3, session_pages=5, resamples=200, rated_places=3, batch=4).run(
    world.recommenders(), world.population(), world.log, world.catalogue, future=world.future, folder=folder,
    progress=wait)
open(folder + "/result.json", "w").write(out.to_json() + out.report.to_json())
"""


def test_killed_and_started_again_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(conftest=str(Path(__file__).with_name("conftest.py"))))

    def command(slow: str, folder: str) -> list[str]:
        (tmp_path / folder).mkdir(exist_ok=True)
        return [sys.executable, str(script), slow, str(tmp_path / folder)]

    victim = subprocess.Popen(command("0.05", "killed"), stdout=subprocess.PIPE, text=True)
    assert victim.stdout is not None
    for line in victim.stdout:
        if int(line) >= 2 * 21 + 2:
            break
    victim.send_signal(signal.SIGKILL)
    assert victim.wait(30) == -signal.SIGKILL
    victim.stdout.close()
    assert len(list((tmp_path / "killed" / "parts").glob("*/*.npz"))) == 2
    subprocess.run(command("0", "killed"), check=True, capture_output=True)
    subprocess.run(command("0", "whole"), check=True, capture_output=True)
    assert (tmp_path / "killed" / "result.json").read_bytes() == (tmp_path / "whole" / "result.json").read_bytes()
    names = [sorted(p.name for p in (tmp_path / f / "units").glob("*.npz")) for f in ("killed", "whole")]
    assert names[0] == names[1]
    assert not (tmp_path / "killed" / "parts").exists(), "finished parts have become units"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": ()}, "one or more different numbers"),
        ({"seeds": (1, 1)}, "one or more different numbers"),
        ({"pages": 0}, "pages must be at least 1"),
        ({"refits": 0}, "refits must be at least 1"),
        ({"level": 1.0}, "between 0 and 1"),
    ],
)
def test_bad_settings(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Benchmark(**changes)


def test_bad_inputs(world: Any, scripted: Any) -> None:
    arguments = (world.population(), world.log, world.catalogue)
    with pytest.raises(ConfigError, match="different names"):
        SMALL.run([], *arguments)
    with pytest.raises(ConfigError, match="different names"):
        SMALL.run([scripted("a", 0.1), scripted("a", 0.2)], *arguments)
    with pytest.raises(ConfigError, match=r"build\(n\) -> Population"):
        replace(SMALL, refits=2).run(world.recommenders(), *arguments)
    with pytest.raises(ConfigError, match="future has other users or items"):
        SMALL.run(world.recommenders(), *arguments, future=tiny_log(5, 60))
    with pytest.raises(ConfigError, match="at least two simulated users"):
        SMALL.run(world.recommenders(), world.population(member_from=23), world.log, world.catalogue)
    few = replace(SMALL, refits=2)
    with pytest.raises(ConfigError, match="lacks 5 of the 24 benchmark users"):
        few.run(world.recommenders(), lambda n: world.population(member_from=5 * n), world.log, world.catalogue)


def test_fingerprints_tell_apart_what_differs(world: Any, scripted: Any) -> None:
    one = world.population()
    assert population_fingerprint(one) == population_fingerprint(world.population())
    for other in (world.population(slope=2.0), world.population(support=1.0), world.population(member_from=1)):
        assert population_fingerprint(other) != population_fingerprint(one)
    assert recommender_fingerprint(scripted("a", 0.1)) != recommender_fingerprint(scripted("a", 0.2))

    class Plain:
        name = "plain"

        def __init__(self, weight: object) -> None:
            self.weight = weight

    assert recommender_fingerprint(Plain(1)) == recommender_fingerprint(Plain(1))
    assert recommender_fingerprint(Plain(1)) != recommender_fingerprint(Plain(2))
    with pytest.raises(ConfigError, match="frozen dataclass"):
        recommender_fingerprint(Plain(object()))


def test_shared_rows_are_compared_over_the_same_open_items(world: Any) -> None:
    shared = world.future.of_users(np.arange(24))
    both = type(shared).of(
        shared.users,
        shared.items,
        np.concatenate([world.log.user, shared.user]),
        np.concatenate([world.log.item, shared.item]),
        np.concatenate([world.log.rating, shared.rating]),
        None,
        shared.scale,
    )
    out = SMALL.run(world.recommenders(), world.population(), world.log, world.catalogue, shared=both)
    rows = next(s for s in out.report.sections if s.title == "Shared rows").rows
    # These contestants learn nothing from rows: whatever the arms differ by would come from the items they may show.
    assert [r["difference"].mean for r in rows] == [0.0, 0.0, 0.0]  # type: ignore[union-attr]
    assert rows[0]["own utility"].mean < out.headline["good"]  # type: ignore[union-attr]
