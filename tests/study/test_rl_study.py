"""The study of learners: units that go on, a ground built without the truth, a report whose words are computed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from simenv.catalogue import Catalogue
from simenv.cli import app
from simenv.errors import ConfigError, StoreError
from simenv.log import InteractionLog
from simenv.protocols import Policy, Population
from simenv.recommenders import BiasedMF
from simenv.rl.gate import Gate
from simenv.rl.learner import Watch
from simenv.rl.replicas import Proving
from simenv.rl.value import Horizon
from simenv.study import rl_retention
from simenv.study.rl_report import curve, gate_sentence, report, to_dict
from simenv.study.rl_study import MUST_BEAT, RLStudy
from simenv.study.rl_world import ReplicaSettings, RLWorld, exploiter, halves, resampled

Unit = dict[str, Any]
RIVALS = ("random", *MUST_BEAT)


@dataclass(frozen=True)
class Quick:
    """A learner that fits matrix factorisation and looks three times."""

    factors: int = 4
    name: str = "quick"

    def learn(
        self,
        populations: Sequence[Population],
        user: NDArray[np.int64],
        log: InteractionLog,
        catalogue: Catalogue,
        *,
        seed: int,
        watch: Watch | None = None,
    ) -> Policy:
        policy = BiasedMF(self.factors).fit(log, catalogue, seed=seed)
        for step in (0, 10, 20):
            if watch is not None:
                watch(step, policy)
        return policy


STUDY = RLStudy((Quick(),), RIVALS, worlds=(0, 1), seeds=(0, 1), horizon=Horizon(4, 3))


@pytest.fixture(scope="module")
def proving() -> Proving:
    """Replicas are the truth itself: what is gained in them is gained."""
    from simenv.agents.synthetic import true_population
    from simenv.datasets.synthetic import generate

    world = generate(5, n_users=80, n_items=80, median_history=30)
    member = np.arange(40)
    log = world.log.split("random", 0.5, seed=0).past
    same = [true_population(world, member) for _ in range(4)]
    return Proving((same[0], same[1]), (same[2],), *halves(member), log, world.catalogue, same[3])


@pytest.fixture(scope="module")
def units(proving: Proving, tmp_path_factory: pytest.TempPathFactory) -> list[Unit]:
    return STUDY.units(lambda: proving, "one", tmp_path_factory.mktemp("units"))


class TestUnits:
    def test_an_interrupted_study_goes_on_with_the_same_bytes(self, proving: Proving, tmp_path: Path) -> None:
        made: list[int] = []

        def ground() -> Proving:
            made.append(1)
            return proving

        first = STUDY.units(ground, "told", tmp_path)
        paths = sorted(tmp_path.glob("unit-*.json"))
        assert len(paths) == 2
        held = [p.read_bytes() for p in paths]
        assert STUDY.units(ground, "told", tmp_path) == first
        assert len(made) == 1
        paths[0].unlink()
        assert STUDY.units(ground, "told", tmp_path) == first
        assert len(made) == 2
        assert [p.read_bytes() for p in paths] == held

    def test_other_settings_are_other_units(self, proving: Proving, tmp_path: Path) -> None:
        one = replace(STUDY, seeds=(0, 1), rivals=("random", *MUST_BEAT))
        for study in (one, replace(one, learners=(Quick(5),)), replace(one, horizon=Horizon(4, 2))):
            study.units(lambda: proving, "told", tmp_path)
        one.units(lambda: proving, "another ground", tmp_path)
        assert len(list(tmp_path.glob("unit-*.json"))) == 4 * 2

    def test_a_damaged_unit_is_said(self, proving: Proving, tmp_path: Path) -> None:
        STUDY.units(lambda: proving, "told", tmp_path)
        next(tmp_path.glob("unit-*.json")).write_text('{"seed"')
        with pytest.raises(StoreError, match="delete it and run again"):
            STUDY.units(lambda: proving, "told", tmp_path)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"seeds": (1,)}, "two or more different seeds"),
            ({"seeds": (1, 1)}, "two or more different seeds"),
            ({"rivals": ("als",)}, "must be among the rivals"),
            ({"learners": ()}, "two or more"),
        ],
    )
    def test_bad_settings(self, change: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            replace(STUDY, **change)


class TestWorld:
    WORLD = RLWorld(n_users=120, n_items=80, median_history=40.0, members=20, min_ratings=25)

    def test_a_replica_knows_members_and_half_of_the_others(self) -> None:
        world, member = self.WORLD.world(3)
        found = [resampled(world.log, member, 0.5, s) for s in (0, 0, 1)]
        assert found[0].fingerprint == found[1].fingerprint != found[2].fingerprint
        present = np.flatnonzero(found[0].count)
        assert set(member) <= set(present)
        assert len(present) == 20 + 50

    def test_ground_built_of_the_log_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Replicas see only the judge's rows, learners only the contestants' rows."""
        given: list[InteractionLog] = []

        def stand_in(
            self: ReplicaSettings, log: InteractionLog, catalogue: Any, member: Any, *rest: Any, **more: Any
        ) -> Any:
            from simenv.agents.synthetic import true_population

            given.append(log)
            made = [true_population(self_world, member) for _ in range(3)]
            return (made[0], made[1]), (made[2],)

        self_world, member = self.WORLD.world(3)
        monkeypatch.setattr(ReplicaSettings, "build", stand_in)
        ground = self.WORLD.proving(3, tmp_path)
        judge, known = set(pairs(given[0])), set(pairs(ground.log))
        assert not judge & known
        assert judge | known == set(pairs(self_world.log))
        assert sorted([*ground.learner, *ground.held_out]) == member.tolist()
        assert ground.truth is not None

    def test_too_few_users(self) -> None:
        with pytest.raises(ConfigError, match="have 25 ratings; want 119"):
            replace(self.WORLD, members=119).world(0)

    @pytest.mark.parametrize("change", [{"train": 0}, {"test": 0}, {"share": 0.0}], ids=str)
    def test_bad_replicas(self, change: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match="replicas to train on"):
            ReplicaSettings(**change)

    def test_the_exploiter_shows_what_replicas_promise(self, proving: Proving) -> None:
        (policy,) = exploiter(proving).values()
        from simenv.session import Session

        session = Session.begin(proving.held_out, proving.log)
        assert proving.truth is not None
        expected = proving.truth.rating_model.truth.expected[proving.held_out].copy()  # type: ignore[attr-defined]
        expected[session.seen()] = -1
        slate = policy.recommend(session, 1, seed=0)
        best = np.take_along_axis(expected, slate.item, axis=1)[:, 0]
        np.testing.assert_allclose(best, expected.max(axis=1), atol=1e-5)


def pairs(log: InteractionLog) -> list[tuple[int, int]]:
    return list(zip(log.user.tolist(), log.item.tolist(), strict=True))


def without_truth(value: dict[str, Any]) -> dict[str, Any]:
    return {place: cells for place, cells in value.items() if place != "true"}


class TestReport:
    def test_where_replicas_are_the_truth_all_is_kept(self, units: list[Unit]) -> None:
        gate = Gate.of([units, units], "quick", ("random",))
        assert gate.kept("random") == pytest.approx(1.0, abs=0.02)
        assert gate.passed
        said = gate_sentence(gate, [units, units])
        assert said.startswith("quick passed the gate")
        assert "100% kept" in said
        assert "alarms in 0 of 2 worlds" in said

    def test_tables(self, units: list[Unit]) -> None:
        gate = Gate.of([units, units], "quick", ("random",))
        study = replace(STUDY, must_beat=("random",))
        page = report(study, [units, units], gate)
        titles = [s.title for s in page.sections]
        assert titles[:5] == [
            "Gate: from simulation to truth", "Value in world 0", "Gain of quick in world 0",
            "Signs of exploitation in world 0", "Learning curve of quick in world 0",
        ]  # fmt: skip
        value = page.sections[1]
        assert [r["policy"] for r in value.rows] == ["quick", *RIVALS, "exploiter"]
        assert {c.name: c.tag for c in value.columns[1:]} == {
            "trained on": "fitted", "held out": "fitted", "true": "measured",
        }  # fmt: skip
        assert len(page.sections[4].figures) == 1
        json.loads(page.to_json())
        text = page.to_markdown()
        assert "Alarms: quick: no alarm." in text

    def test_own_users_are_judged_by_a_gate_from_elsewhere(self, units: list[Unit]) -> None:
        own = [{**u, "value": {n: without_truth(v) for n, v in u["value"].items()}} for u in units]
        gate = Gate.of([units, units], "quick", ("random",))
        study = replace(STUDY, must_beat=("random",))
        page = report(study, (), gate, own)
        assert page.verdict.startswith("quick is better than random")
        none = report(study, (), None, own)
        assert "No gate was run" in none.verdict
        assert "better" not in none.verdict
        numbers = to_dict(study, (), gate, own)
        assert set(numbers["population"]["value"]["quick"]) == {"trained on", "held out"}
        assert numbers["gate"]["passed"]

    def test_curve(self, units: list[Unit]) -> None:
        points = curve(units, "quick")
        assert [p["step"] for p in points] == [0, 10, 20]
        mean = np.mean([u["curve"]["quick"][0]["true"] for u in units])
        assert points[0]["true"].mean == pytest.approx(mean)


def retained(gap: float, slopes: Sequence[float] = (0.0, 1.0)) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    base = rng.normal(4, 1, (2, 2, 20))

    def cell(extra: float) -> dict[str, Any]:
        return {m: (base + extra).tolist() for m in rl_retention.MEASURES}

    value = {
        f"{p}|{s:g}": {"myopic": cell(0), "retaining": cell(gap * s)} for p in ("held out", "true") for s in slopes
    }
    return {"slopes": list(slopes), "learners": ["myopic", "retaining"], "value": value}


class TestRetention:
    def test_order_by_slope(self) -> None:
        found = retained(0.5)
        gaps = rl_retention.order(found, "true", "pages")
        assert [s for s, _ in gaps] == [0.0, 1.0]
        assert [g.mean for _, g in gaps] == pytest.approx([0, 0.5])
        assert rl_retention.holds(found, "true", "pages") == "retaining at 1x"
        assert rl_retention.holds(retained(-0.5), "held out", "sum") == "myopic at 1x"
        assert rl_retention.holds(retained(0.0), "held out", "sum") == "neither at any slope"

    def test_words_and_tables(self) -> None:
        found = retained(0.5)
        assert "Before true users, clearly more pages: retaining at 1x." in rl_retention.sentence(found)
        tables = rl_retention.sections(found)
        assert [t.title for t in tables] == ["Retention against myopia, held out", "Retention against myopia, true"]
        assert tables[0].rows[1]["slope"] == "1x (assumed)"
        assert json.dumps(rl_retention.summary(found)["mean"])

    def test_rewards(self) -> None:
        from simenv.agents.synthetic import checkerboard
        from simenv.session import Slate

        population = checkerboard()
        slate = Slate.certain(np.array([[0, 2], [1, 3]]))  # user 0 likes the first page, dislikes the second
        user = np.zeros(2, np.int64)
        response, _ = population.respond(population.begin(user, np.arange(2, dtype=np.uint64)), slate)
        chance = rl_retention.probably_stays(response, slate, population.scale)
        np.testing.assert_allclose(chance, 1 - response.p_exit)
        assert chance[0] > 0.9 > 0.1 > chance[1]


class TestCommand:
    def test_the_gate_of_ones_own_learner(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proving: Proving
    ) -> None:
        (tmp_path / "mine_rl.py").write_text(
            "from dataclasses import dataclass\n"
            "from simenv.recommenders import BiasedMF\n"
            "@dataclass(frozen=True)\n"
            "class Mine:\n"
            "    name: str = 'mine'\n"
            "    def learn(self, populations, user, log, catalogue, *, seed, watch=None):\n"
            "        policy = BiasedMF(4).fit(log, catalogue, seed=seed)\n"
            "        watch(0, policy)\n"
            "        return policy\n"
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(RLWorld, "proving", lambda self, seed, folder, say: proving)
        words = ["rl-report", "runs", "--learner", "mine_rl:Mine", "--seeds", "2", "--worlds", "2", "--json", "x.json"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
        told = json.loads(Path("x.json").read_text())
        assert told["gate"]["learner"] == "mine"
        assert Gate.from_dict(json.loads(Path("runs/gate.json").read_text())).learner == "mine"
        assert "the gate" in Path("runs/report.md").read_text()

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["--no-gate"], "nothing to report without --population"),
            (["--learner", "nonsense"], "module:Class"),
            (["--learner", "math:pi"], "cannot make the learner"),
            (["--learner", "fractions:Fraction"], "is no learner"),
            (["--gate", "absent.json"], "cannot be read as a gate"),
        ],
    )
    def test_bad_words_are_said(self, tmp_path: Path, words: list[str], said: str) -> None:
        done = CliRunner().invoke(app, ["rl-report", str(tmp_path / "runs"), *words])
        assert done.exit_code == 2
        assert said in " ".join(done.output.split())
