"""The dose-response study: cuts without leaks, judges with known answers, curves that cross where they should."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from typer.testing import CliRunner

from simenv.catalogue import Catalogue
from simenv.cli import app
from simenv.datasets.synthetic import generate
from simenv.errors import ConfigError, DataError, StoreError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.scale import RatingScale
from simenv.session import Session, Slate
from simenv.study import dose_response, dose_unit
from simenv.study.coat_report import summary
from simenv.study.contest import Contest
from simenv.study.decision_report import page, read_coat, report
from simenv.study.dose_curve import Curve, crossing, over_worlds
from simenv.study.dose_report import sentence, to_dict
from simenv.study.dose_response import DoseResponse, crossings, curves
from simenv.study.dose_unit import JUDGES, NDCG, OURS, PLAIN, DoseWorld, Ground, compute
from simenv.study.judges import ndcg, popularity_propensity, snips, top_rated

QUICK = DoseWorld(
    n_users=120, n_items=80, median_history=30, members=40, simulated=False, contestants=("random", "best-rated", "mf"),
)  # fmt: skip


class Fixed:
    """Ranks items in one order for everybody."""

    def __init__(self, name: str, order: list[int]) -> None:
        self.name, self.order = name, order

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> Fixed:
        return self

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        free = session.available()
        rows = [[i for i in self.order if free[b, i]][:k] for b in range(len(session))]
        return Slate.certain(np.array([r + [-1] * (k - len(r)) for r in rows]))


def log_of(rows: list[tuple[int, int, float]], n_users: int = 2, n_items: int = 5) -> InteractionLog:
    user, item, rating = zip(*rows, strict=True) if rows else ((), (), ())
    indices = Index(tuple(range(n_users)), "user"), Index(tuple(range(n_items)), "item")
    return InteractionLog.of(*indices, user, item, rating, None, RatingScale())


def held(*order: list[int], known: InteractionLog, places: int = 2) -> Contest:
    contestants: list[Any] = [Fixed(f"r{n}", o) for n, o in enumerate(order)]
    return Contest.hold(contestants, known, Catalogue.bare(known.items), np.arange(known.n_users), places=places)


class TestContest:
    def test_pages_are_the_first_places_of_what_is_not_known(self) -> None:
        contest = held([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], known=log_of([(0, 0, 5.0), (1, 3, 1.0)]))
        assert contest.shown.tolist() == [[[1, 2], [0, 1]], [[4, 3], [4, 2]]]

    def test_two_of_one_name_are_refused(self) -> None:
        same: Any = [Fixed("a", [0]), Fixed("a", [1])]
        log = log_of([(0, 0, 5.0)])
        with pytest.raises(ConfigError, match="different names"):
            Contest.hold(same, log, Catalogue.bare(log.items), np.arange(2))

    def test_an_empty_page_is_refused(self) -> None:
        with pytest.raises(DataError, match="r1 shows some user nothing"):
            held([0, 1, 2, 3, 4], [0], known=log_of([(0, 0, 5.0)]))


class TestJudges:
    """Worked by hand: user 0 gave items 1 and 2 a 5 and a 1, user 1 gave item 0 a 4."""

    held_out = log_of([(0, 1, 5.0), (0, 2, 1.0), (1, 0, 4.0)])
    contest = held([1, 0, 2, 3, 4], [3, 2, 4, 0, 1], [3, 4, 0, 1, 2], known=log_of([]))

    def test_ndcg(self) -> None:
        second = 1 / np.log2(3)
        value = ndcg(self.contest, self.held_out, places=2).value()
        np.testing.assert_allclose(value, [(1 + second) / 2, 0, 0])

    def test_top_rated_reads_users_with_more_held_out_items_than_places(self) -> None:
        value = top_rated(self.contest, self.held_out, places=1).value()
        np.testing.assert_allclose(value, [5, 1, 5])

    def test_snips_weighs_by_inverse_propensity_and_is_silent_without_overlap(self) -> None:
        propensity = np.array([0.1, 0.5, 0.2, 0.1, 0.1])
        value = snips(self.contest, self.held_out, propensity).value()
        np.testing.assert_allclose(value, [(5 / 0.5 + 4 / 0.1) / (1 / 0.5 + 1 / 0.1), 1, np.nan])

    def test_snips_does_not_depend_on_the_unit_of_propensities(self) -> None:
        q = np.array([0.1, 0.5, 0.2, 0.1, 0.1])
        one, other = (snips(self.contest, self.held_out, x).value() for x in (q, 7 * q))
        np.testing.assert_allclose(one, other)

    def test_propensity_of_popularity(self) -> None:
        log = log_of([(0, 1, 5.0), (1, 1, 2.0), (0, 3, 1.0)])
        np.testing.assert_allclose(popularity_propensity(log), np.array([1, 3, 1, 2, 1]) / 8)


class TestGround:
    def test_rows_are_disjoint_and_all_there(self) -> None:
        ground = Ground.of(QUICK, "rating", 1.0, 0)
        parts = ground.judge, ground.contestants, ground.held_out
        pairs = np.concatenate([log.user * log.n_items + log.item for log in parts])
        assert len(np.unique(pairs)) == len(pairs) == len(ground.world.log)
        assert set(ground.held_out.user) == set(ground.member)
        assert ground.judge.time is not None
        assert ground.cut is not None
        assert (ground.judge.time < ground.cut[ground.judge.user]).all()

    def test_dose_0_is_one_world_and_higher_doses_keep_its_people(self) -> None:
        a, b = (Ground.of(QUICK, kind, 0.0, 3) for kind in dose_response.KINDS)
        assert a.world.log.fingerprint == b.world.log.fingerprint
        c = Ground.of(QUICK, "popularity", 2.0, 3)
        assert c.world.log.fingerprint != a.world.log.fingerprint
        np.testing.assert_array_equal(a.world.truth.taste, c.world.truth.taste)
        np.testing.assert_array_equal(a.member, c.member)

    @pytest.mark.parametrize("kind", dose_response.KINDS)
    def test_a_dose_selects_what_it_says(self, kind: dose_unit.Kind) -> None:
        """Rated against not rated: liking grows with one dose and fame with the other, and only that."""
        gain = {}
        for dose in (0.0, 3.0):
            world = Ground.of(QUICK, kind, dose, 0).world
            rated = np.zeros(world.truth.mu.shape, bool)
            rated[world.log.user, world.log.item] = True
            liking = world.truth.mu - world.truth.mu.mean(axis=0) - world.truth.mu.mean(axis=1, keepdims=True)
            fame = np.broadcast_to(np.log(world.truth.popularity), rated.shape)
            gain[dose] = [float(x[rated].mean() - x[~rated].mean()) for x in (liking, fame)]
        assert abs(gain[0.0][0]) < 0.1
        assert abs(gain[0.0][1]) < 0.15
        own = 0 if kind == "rating" else 1
        assert gain[3.0][own] > 0.6
        if kind == "popularity":
            assert abs(gain[3.0][0]) < 0.1

    def test_too_few_users_are_said(self) -> None:
        with pytest.raises(ConfigError, match="have 70 ratings; want 40"):
            Ground.of(replace(QUICK, min_ratings=70), "rating", 0.0, 0)


def spoilt_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    def generated(*args: Any, **kwargs: Any) -> Any:
        world = generate(*args, **kwargs)
        truth = replace(world.truth, expected=6 - world.truth.expected, mu=-world.truth.mu)
        return replace(world, truth=truth)

    monkeypatch.setattr(dose_unit, "generate", generated)


class TestUnit:
    def test_truth_reaches_the_true_column_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = compute(QUICK, "rating", 1.0, 0, tmp_path)
        spoilt_truth(monkeypatch)
        after = compute(QUICK, "rating", 1.0, 0, tmp_path)
        for name in QUICK.contestants:
            assert after["true"][name] == pytest.approx(6 - before["true"][name], abs=1e-5)
        for judge, said in before["judge"].items():
            assert after["judge"][judge]["value"] == said["value"]
            assert after["judge"][judge]["right"] == pytest.approx(1 - said["right"])

    def test_held_out_rows_reach_no_judge_that_predicts(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        before = compute(QUICK, "popularity", 1.0, 0, tmp_path)
        original = Ground.of

        def turned(*args: Any) -> Ground:
            ground = original(*args)
            rows = ground.held_out
            return replace(ground, held_out=replace(rows, rating=(6 - rows.rating).astype(np.float32)))

        monkeypatch.setattr(dose_unit.Ground, "of", turned)
        after = compute(QUICK, "popularity", 1.0, 0, tmp_path)
        changed = {j for j in before["judge"] if after["judge"][j]["value"] != before["judge"][j]["value"]}
        assert changed == {NDCG, "SNIPS", "top held-out ratings"}

    def test_the_true_value_is_that_of_the_page(self, tmp_path: Path) -> None:
        found, ground = compute(QUICK, "rating", 0.5, 1, tmp_path), Ground.of(QUICK, "rating", 0.5, 1)
        contest = Contest.hold(
            dose_unit.recommenders(QUICK), ground.contestants, ground.world.catalogue, ground.member, places=10, seed=1
        )
        page = ground.world.truth.expected[ground.member[None, :, None], contest.shown]
        assert list(found["true"].values()) == pytest.approx(page.mean(axis=(1, 2)).tolist())

    def test_simulated_users_are_judges_too(self, tmp_path: Path, tiny_settings: Any) -> None:
        small = replace(QUICK, simulated=True, recipe=tiny_settings, members=12)
        found = compute(small, "rating", 1.0, 0, tmp_path / "scratch")
        assert set(found["judge"]) == set(JUDGES) - {dose_unit.CONTENT}
        prior, full = (found["judge"][n]["value"] for n in (f"{OURS}, prior alone", OURS))
        assert prior != full
        assert all(1 <= v <= 5 for v in full.values())


STUDY = DoseResponse((0.0, 1.0, 2.0), (0, 1), QUICK)


def invented(
    right: Callable[[str, str, float, int], float], judges: tuple[str, ...] = (NDCG, OURS)
) -> list[dict[str, Any]]:
    """Units whose shares are given by right(kind, judge, dose, seed)."""
    return [
        {
            "kind": kind if dose else "none", "dose": dose, "seed": seed, "pairs": 3, "log": "0", "true": {},
            "judge": {j: {"right": right(kind, j, dose, seed), "regret": 0.1, "tau": None} for j in judges},
        }
        for kind, dose, seed in STUDY.units()
    ]  # fmt: skip


class Counted:
    """Stands in for the computing of units: counts, leaves a scratch folder, and stops once at a given unit."""

    def __init__(self, stop: int = -1) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.stop = stop

    def __call__(self, world: DoseWorld, kind: str, dose: float, seed: int, scratch: Path) -> dict[str, Any]:
        scratch.mkdir(parents=True, exist_ok=True)
        self.seen.append((kind, dose, seed))
        if len(self.seen) == self.stop:
            raise KeyboardInterrupt
        return {"kind": kind, "dose": dose, "seed": seed, "value": {"b": 1 / 3 + dose, "a": float("nan")}}


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    stand_in = Counted()
    monkeypatch.setattr("simenv.study.dose_response.compute", stand_in)
    return stand_in


class TestRun:
    def test_units_are_all_there_once(self) -> None:
        units = list(STUDY.units())
        assert len(units) == len(set(units)) == 2 * (2 * 3 - 1)

    def test_an_interrupted_run_goes_on_and_ends_with_the_same_bytes(self, tmp_path: Path, counted: Counted) -> None:
        def contents(folder: Path) -> dict[str, bytes]:
            return {p.name: p.read_bytes() for p in folder.glob("*.json")}

        whole, units = STUDY.run(tmp_path / "whole"), list(STUDY.units())
        assert counted.seen == units
        counted.seen, counted.stop = [], 5
        with pytest.raises(KeyboardInterrupt):
            STUDY.run(tmp_path / "parts")
        assert len(contents(tmp_path / "parts")) == 4
        counted.seen, counted.stop = [], -1
        assert STUDY.run(tmp_path / "parts") == whole
        assert counted.seen == units[4:]
        assert contents(tmp_path / "parts") == contents(tmp_path / "whole")
        assert {p.suffix for p in (tmp_path / "parts").iterdir()} == {".json"}

    def test_other_settings_are_other_units(self, tmp_path: Path, counted: Counted) -> None:
        STUDY.run(tmp_path)
        replace(STUDY, world=replace(QUICK, rated_places=3)).run(tmp_path)
        assert len(counted.seen) == 2 * 10

    def test_more_worlds_keep_those_that_are_done(self, tmp_path: Path, counted: Counted) -> None:
        STUDY.run(tmp_path)
        replace(STUDY, seeds=(0, 1, 2)).run(tmp_path)
        assert {seed for _, _, seed in counted.seen[10:]} == {2}

    @pytest.mark.usefixtures("counted")
    def test_a_damaged_unit_is_said(self, tmp_path: Path) -> None:
        STUDY.run(tmp_path)
        next(tmp_path.glob("*.json")).write_text('{"kind"')
        with pytest.raises(StoreError, match="delete it and run again"):
            STUDY.run(tmp_path)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [({"doses": (1.0, 2.0)}, "ascend from 0"), ({"doses": (0.0, 2.0, 1.0)}, "ascend"), ({"doses": (0.0,)}, "two"),
         ({"seeds": (1,)}, "two different seeds"), ({"seeds": (1, 1)}, "two different seeds")],
    )  # fmt: skip
    def test_bad_settings(self, settings: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            DoseResponse(**settings)


def curve(*share: tuple[float, ...], dose: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0)) -> Curve:
    value = np.array(share, np.float64)
    return Curve(dose, value, np.zeros_like(value), np.zeros_like(value))


class TestCurves:
    def test_interval_over_worlds(self) -> None:
        """Two worlds, .8 and 1: mean .9, Student's 12.7062 times .1."""
        found = over_worlds(np.array([0.8, 1.0]))
        assert (found.mean, found.low, found.high) == pytest.approx((0.9, 0.9 - 1.27062, 0.9 + 1.27062), abs=1e-4)
        kept = over_worlds(np.array([0.8, 1.0]), bounds=(0.0, 1.0))
        assert (kept.low, kept.high) == (0.0, 1.0)

    def test_where_curves_cross_and_break(self) -> None:
        ours = curve((1.0, 0.99), (0.95, 0.98), (0.89, 0.85), (0.7, 0.71))
        ndcg_ = curve((0.9, 0.9), (0.85, 0.84), (0.9, 0.95), (1.0, 1.0))
        found = crossing(ours, ndcg_)
        assert found.first_below == 2
        assert [g.mean for g in found.gap] == pytest.approx([0.095, 0.12, -0.055, -0.295])
        assert found.crosses == pytest.approx((1 + 0.12 / 0.175,))
        assert found.clearly_above == (0,)
        assert found.clearly_below == (3,)
        assert found.under_limit == (2, 3)
        assert found.clearly_under_limit == (3,)
        assert found.clearly_worse_than_at_0 == (3,)

    def test_never(self) -> None:
        same = curve((1.0, 1.0), (0.95, 1.0), (1.0, 1.0), (1.0, 0.9))
        found = crossing(same, same)
        assert (found.first_below, found.crosses, found.clearly_below, found.under_limit) == (None, (), (), ())

    def test_a_stretch_of_equality_is_one_crossing(self) -> None:
        ours, other = curve((1.0, 1.0), (0.9, 0.9), (0.9, 0.9), (0.8, 0.8)), curve(*[(0.9, 0.9)] * 4)
        assert crossing(ours, other).crosses == (1.0,)
        touching = curve((1.0, 1.0), (0.9, 0.9), (1.0, 1.0), (1.0, 1.0))
        assert crossing(touching, other).crosses == ()

    @given(st.lists(st.tuples(*[st.floats(0, 1)] * 6), min_size=4, max_size=4))
    def test_against_each_other(self, rows: list[tuple[float, ...]]) -> None:
        value: NDArray[np.float64] = np.array(rows)
        a, b = curve(*map(tuple, value[:, :3])), curve(*map(tuple, value[:, 3:]))
        one, other = crossing(a, b), crossing(b, a)
        assert one.crosses == pytest.approx(other.crosses)
        assert (one.clearly_above, one.clearly_below) == (other.clearly_below, other.clearly_above)
        assert not set(one.clearly_above) & set(one.clearly_below)
        assert set(one.clearly_under_limit) <= set(one.under_limit)

    def test_dose_0_is_shared_and_worlds_are_paired(self) -> None:
        units = invented(lambda kind, judge, dose, seed: {0: 0.5, 1: 0.6}[seed] + (0.1 + dose / 10) * (judge == OURS))
        by = curves(STUDY, units[::-1])  # the order of units must not matter
        np.testing.assert_array_equal(by["rating"][OURS].share, by["popularity"][OURS].share)
        gap = crossings(by)["rating"][OURS].gap
        assert [g.mean for g in gap] == pytest.approx([0.1, 0.2, 0.3])
        assert all(g.high - g.low < 1e-9 for g in gap)


class TestReport:
    units = invented(
        lambda kind, judge, dose, seed: (
            0.95 + seed / 100 - 0.05 * dose * (kind == "rating") if judge == OURS else 0.8 + 0.08 * dose + seed / 100
        )
    )

    def test_the_sentence_is_computed(self) -> None:
        words = sentence(STUDY, self.units)
        rating, popularity = words.split("Where users choose by popularity")
        assert "simenv orders 86% to 96% of the truly different pairs right and NDCG@10 80% to 97%" in rating
        assert "clearly above at doses 0, 1 and clearly below at dose 2." in rating
        assert (
            "below NDCG@10 first at dose 2, under 90% at dose 2, and clearly worse than at dose 0 at doses 1, 2"
            in rating
        )
        assert "clearly below at dose 2" in popularity
        assert "under 90% at no dose tried" in popularity

    def test_the_plain_predictor_is_spoken_of_too(self) -> None:
        def right(kind: str, judge: str, dose: float, seed: int) -> float:
            return 0.9 - (0.02 * dose + 0.001 * seed) * (judge == OURS)

        words = sentence(STUDY, invented(right, (NDCG, OURS, PLAIN)))
        told = (
            f"Beside {PLAIN} on the same rows it differs by -0.041 to -0.001, clearly for the better at no dose tried"
        )
        assert words.count(f"{told} and for the worse at doses 1, 2.") == 2
        assert PLAIN not in sentence(STUDY, self.units)

    def test_numbers_and_tables(self) -> None:
        numbers = to_dict(STUDY, self.units)
        assert numbers["against NDCG@10"]["rating"][OURS]["first_below"] == 2
        assert numbers["by judge"]["rating"][OURS]["right"][2].mean == pytest.approx(0.855)
        made = report(STUDY, self.units)
        first = next(s for s in made.sections if s.rows)
        assert [r["judge"] for r in first.rows] == [NDCG, OURS]
        assert [c.name for c in first.columns] == ["judge", "dose 0", "dose 1", "dose 2"]
        assert {c.tag for c in first.columns[1:]} == {"measured"}
        json.loads(made.to_json())

    def test_one_figure_with_two_panels(self) -> None:
        figures = [f for s in report(STUDY, self.units).sections for f in s.figures]
        assert len(figures) == 1
        shown = re.findall(r">([^<>]+)</text>", figures[0].svg)
        assert {"chosen by true rating", "chosen by popularity", OURS, NDCG} <= set(shown)
        assert shown.count(OURS) == 1

    def test_the_page_has_verdict_picture_and_tables(self) -> None:
        text = page(STUDY, self.units, None, "decision.svg", "numbers.json")
        assert text.index(sentence(STUDY, self.units)) < text.index("](decision.svg)") < text.index("| judge |")
        titles = [line for line in text.splitlines() if line.startswith("#")]
        assert titles[0] == "# Who orders recommenders as the truth does"
        assert titles[1:3] == ["## Pairs right, chosen by true rating", "## Pairs right, chosen by popularity"]
        assert len(titles) == 1 + 6
        assert "(numbers.json)" in text

    def test_coat_stands_beside(self) -> None:
        """Judges of both studies have one entry in the legend; others of Coat are left to its table."""
        split = {
            "users": 9, "candidates": 40, "effective_rows": 5.0, "pairs": 3, "shared_pairs": 3, "ceiling": 0.9,
            "true": {"a": 3.0, "b": 4.0}, "shared": {},
            "judge": {n: held_share(share, kind) for n, share, kind in COAT},
        }  # fmt: skip
        found = summary([split, split], "coat-like")
        made = report(STUDY, self.units, found)
        assert "On coat-like, simulated users order 90.0%" in made.verdict
        (picture,) = [f for s in made.sections for f in s.figures]
        shown = re.findall(r">([^<>]+)</text>", picture.svg)
        assert [shown.count(n) for n in (OURS, NDCG, "content ridge", "a third", "coat-like")] == [1, 1, 1, 0, 1]
        assert any(s.title.endswith("coat-like") for s in made.sections)

    def test_a_file_that_is_no_result_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "x.json").write_text('{"values": {"data": "coat"}}')
        for name in ("x.json", "absent.json"):
            with pytest.raises(DataError, match="holds no result of the Coat study"):
                read_coat(tmp_path / name)


COAT = (
    (OURS, 0.9, "simulator"), (NDCG, 0.7, "held-out ratings"), ("content ridge", 0.95, "predictor"),
    ("a third", 0.8, "predictor"),
)  # fmt: skip


def held_share(share: float, kind: str) -> dict[str, Any]:
    number = {"mean": share, "low": share, "high": share}
    numbers = {n: number for n in ("regret", "error_mean", "error_max", "spread", "tau", "tau_of_ceiling")}
    return {"kind": kind, "value": {"a": 1.0, "b": 2.0}, "drawn": [share] * 3, "pairs_right": number, **numbers}


class TestCommand:
    def test_one_command_and_one_figure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def stand_in(world: DoseWorld, kind: str, dose: float, seed: int, scratch: Path) -> dict[str, Any]:
            asked.append(world)
            name = kind if dose else "none"
            return next(u for u in TestReport.units if (u["kind"], u["dose"], u["seed"]) == (name, dose, seed))

        monkeypatch.setattr("simenv.study.dose_response.compute", stand_in)
        kept = {name: tmp_path / f"out.{name}" for name in ("json", "html", "figure")}
        words = ["reproduce", "decision", tmp_path / "runs", "--doses", "0,1,2", "--worlds", 2, "--steps", 70]
        words += [word for name, path in kept.items() for word in (f"--{name}", path)]
        done = CliRunner().invoke(app, [str(w) for w in words])
        assert done.exit_code == 0, done.output
        assert json.loads(kept["json"].read_text())["against NDCG@10"]["rating"][OURS]["first_below"] == 2
        assert kept["figure"].read_text().startswith("<svg xmlns=")
        assert "<svg" in kept["html"].read_text()
        assert {w.recipe.world.steps for w in asked} == {70}

    def test_bad_doses_are_said(self, tmp_path: Path) -> None:
        done = CliRunner().invoke(app, ["reproduce", "decision", str(tmp_path), "--doses", "0,strong"])
        assert done.exit_code == 2
        assert "numbers with commas between" in done.output
