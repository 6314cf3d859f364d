"""The paper's table: its rule by hand, its sums by hand, its rows end to end, nothing of the future, and resuming."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from simenv.agents.language_model import Prompt
from simenv.agents.prompt import preset
from simenv.datasets import Dataset
from simenv.datasets.synthetic import generate
from simenv.errors import ConfigError, DataError
from simenv.evaluation.rating import Truth
from simenv.evaluation.yardstick import BiasedMF, Constant, standard
from simenv.scale import RatingScale
from simenv.study import table1 as study
from simenv.study import table1_models
from simenv.study.table1 import CONSTANT, MF, Table1, label, table1
from simenv.study.table1_cohort import Cohort
from simenv.study.table1_contrast import CONTRASTS, contrasts
from simenv.study.table1_models import Base, base_of, plan
from simenv.study.table1_report import report
from simenv.study.table1_rule import lenient, strict, worst
from simenv.study.table1_score import MEASURES, Scored, Totals
from simenv.study.table1_settings import PAPER_LORA, Arm, Table1Settings, arrangements
from simenv.training.finetune import LoraSettings
from simenv.training.learn import LearnSettings
from simenv.training.world_model import WorldModelSize

FIVE = RatingScale()
HALVES = RatingScale(tuple(n / 2 for n in range(1, 11)))
NAN = float("nan")
SHORT = LearnSettings(steps=4, prefixes=3, warmup=2)
TINY = Table1Settings(
    users=12, min_ratings=34, max_ratings=60, rows=(60, 30), persona_rows=20, epochs=1, personas=2, limit=40,
    world=SHORT, size=WorldModelSize(hidden=16, layers=1, heads=2, vocabulary=600, positions=1024),
    lora=LoraSettings(rank=2, alpha=4, single=LearnSettings(prefixes=2, warmup=1, teacher=0)),
)  # fmt: skip


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    world = generate(0, n_users=60, n_items=60, median_history=40)
    return Dataset(world.log, world.catalogue, "tiny")


def few() -> dict[str, Any]:
    """The yardsticks that cost nothing, and the one differences are taken from."""
    return {name: y for name, y in standard().items() if isinstance(y, Constant)} | {MF: BiasedMF(2, sweeps=2)}


@pytest.fixture(autouse=True)
def _few_yardsticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "standard", few)


def another_future(data: Dataset) -> Dataset:
    """All held-out ratings of everybody turned round; the past stays."""
    split = data.log.split("user_time", 0.6)
    late = set(zip(split.future.user.tolist(), split.future.item.tolist(), strict=True))
    turned = np.array([p in late for p in zip(data.log.user.tolist(), data.log.item.tolist(), strict=True)])
    rating = np.where(turned, 6 - data.log.rating, data.log.rating).astype(np.float32)
    return replace(data, log=replace(data.log, rating=rating))


class TestRule:
    @pytest.mark.parametrize(
        ("text", "hard", "soft"),
        [
            ("4", 4, 4),
            (" 4\n", 4, 4),
            ("4 because I like it", 4, 4),
            ("4.", NAN, 4),
            ("**4**", NAN, 4),
            ("4/5", NAN, 4),
            ("Rating: 4", NAN, 4),
            ("I would give it 2, not 5", NAN, 2),
            ("4.5", NAN, NAN),
            ("14", NAN, NAN),
            ("-4", NAN, NAN),
            ("4th", NAN, NAN),
            ("6", NAN, NAN),
            ("four", NAN, NAN),
            ("", NAN, NAN),
            ("  \n ", NAN, NAN),
        ],
    )
    def test_by_hand(self, text: str, hard: float, soft: float) -> None:
        np.testing.assert_equal((strict([text], FIVE)[0], lenient([text], FIVE)[0]), (float(hard), float(soft)))

    @pytest.mark.parametrize(
        ("text", "hard", "soft"),
        [("B", 1, 1), ("B.", NAN, 1), ("(B) good", NAN, 1), ("Say B", NAN, NAN), ("K", NAN, NAN)],
    )
    def test_letters(self, text: str, hard: float, soft: float) -> None:
        np.testing.assert_equal((strict([text], HALVES)[0], lenient([text], HALVES)[0]), (float(hard), float(soft)))

    @given(st.text(alphabet="0123456789 .,:/*Rating\n", max_size=12))
    def test_what_the_strict_rule_reads_the_lenient_one_reads_alike(self, text: str) -> None:
        hard, soft = strict([text], FIVE)[0], lenient([text], FIVE)[0]
        assert np.isnan(hard) or hard == soft
        assert np.isnan(soft) or f"{soft:g}" in text

    @given(st.floats(1, 5))
    def test_no_admissible_answer_is_farther_from_the_truth(self, truth: float) -> None:
        counted = worst(np.array([truth]), FIVE)[0]
        assert abs(counted - truth) == pytest.approx(np.abs(FIVE.array - truth).max())


def scored(user: list[int], rating: list[float], text: list[str], p: Any = None, off: Any = None) -> Scored:
    uniform = np.full((len(user), 5), 0.2)
    truth = Truth(np.array(user), np.array(rating), FIVE)
    return Scored.of(Totals.of(truth, text, uniform if p is None else p, np.zeros(len(user)) if off is None else off))


def means(s: Scored) -> dict[str, float | None]:
    return {m: None if (v := s.value(m)) is None else v.mean for m in MEASURES}


class TestScore:
    def test_by_hand(self) -> None:
        """Truth 5, 1, 2, 4; written 4, (none), 2 and "Rating: 1"; read: sure of 5, 1, then 2 or 4 with halves."""
        p = np.eye(5)[[4, 0, 1, 3]]
        p[2] = p[3] = [0, 0.5, 0, 0.5, 0]
        s = scored([7, 7, 9, 9], [5, 1, 2, 4], ["4", "no", "2", "Rating: 1"], p, np.array([0.1, 0.3, 0, 0]))
        assert means(s) == pytest.approx({
            "rmse_written": np.sqrt(1 / 2), "mae_written": 0.5, "urr": 0.5,
            "rmse_worst": np.sqrt((1 + 16 + 0 + 9) / 4), "mae_worst": (1 + 4 + 0 + 3) / 4,
            "urr_lenient": 0.25, "rmse_lenient": np.sqrt((1 + 0 + 9) / 3), "mae_lenient": 4 / 3,
            "rmse_read": np.sqrt((0 + 0 + 1 + 1) / 4), "mae_read": (0 + 0 + 0 + 2) / 4, "off_scale": 0.1,
        })  # fmt: skip

    def test_a_number_of_its_own_is_what_is_squared(self) -> None:
        truth, sure = Truth(np.array([1, 2]), np.array([5.0, 3.0]), FIVE), np.eye(5)[[0, 0]]
        total = Totals.of(truth, ["5", "3"], sure, np.zeros(2), np.array([4.0, 3.0]))
        assert means(Scored.of(total))["rmse_read"] == pytest.approx(np.sqrt(0.5))
        assert means(Scored.of(total))["mae_read"] == pytest.approx(3.0)  # the median stays the distribution's

    def test_nothing_related_is_nothing_measured(self) -> None:
        found = means(scored([1, 2, 3], [5, 4, 3], ["a", "b", ""]))
        assert (found["rmse_written"], found["mae_written"], found["rmse_lenient"]) == (None, None, None)
        assert found["urr"] == found["urr_lenient"] == 1
        assert found["mae_worst"] == pytest.approx((4 + 3 + 2) / 3)

    @given(st.permutations(range(12)), st.integers(1, 1000))
    def test_order_and_names_do_not_matter(self, order: list[int], shift: int) -> None:
        user, rating = [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2]
        text = ["1", "x", "3", "5", "", "2.", "2", "2", "5", "4", "1", "no"]
        plain = scored(user, list(map(float, rating)), text)
        mixed = scored([user[n] + shift for n in order], [float(rating[n]) for n in order], [text[n] for n in order])
        for measure in MEASURES:
            one, other = plain.value(measure), mixed.value(measure)
            assert one is not None
            assert other is not None
            assert (one.mean, one.low, one.high) == pytest.approx((other.mean, other.low, other.high))

    def test_differences_are_paired(self) -> None:
        user, rating = [1, 1, 2, 2, 3, 3], [5.0, 1.0, 4.0, 4.0, 2.0, 3.0]
        one, same = scored(user, rating, ["4"] * 6), scored(user, rating, ["4"] * 6)
        gap = one.minus("rmse_worst", same, "rmse_worst")
        assert gap is not None
        assert (gap.mean, gap.low, gap.high) == (0, 0, 0)
        with pytest.raises(DataError, match="compared on the same pairs"):
            one.minus("rmse_worst", scored(user[:4], rating[:4], ["4"] * 4), "rmse_worst")

    def test_kept_as_plain_values(self) -> None:
        total = scored([3, 1, 1], [5, 4, 3], ["4", "x", "3"]).total
        again = Totals.from_json(json.loads(json.dumps(total.to_json())))
        np.testing.assert_array_equal(again.sum, total.sum)
        np.testing.assert_array_equal(again.user, [1, 3])

    def test_lengths_must_agree(self) -> None:
        with pytest.raises(DataError, match="2 ratings, 1 texts"):
            scored([1, 2], [5, 4], ["4"])


class TestContrasts:
    def test_printed_differences_are_those_of_the_printed_rows(self) -> None:
        rmse: dict[tuple[int, str], float] = {}
        for a in arrangements(Table1Settings()):
            for told in a.printed.split("; "):
                base, number = told.split()[:2]
                row = [n for n in a.number if (n < 3) == (base == "LLaMA-3-8B")][0]  # noqa: RUF015
                rmse[row, base] = float(number)
        twin = {0: 3, 1: 4}
        for c in CONTRASTS:
            for told in c.printed.split("; "):
                base, number = told.split()
                first, second = (n if base == "LLaMA-3-8B" else twin.get(n, n) for n in (c.first, c.second))
                assert float(number) == pytest.approx(rmse[first, base] - rmse[second, base], abs=1e-9), c

    def test_first_minus_second_and_only_of_rows_that_are_there(self) -> None:
        user, rating = [1, 1, 2, 2], [5.0, 5.0, 4.0, 4.0]
        right, wrong = scored(user, rating, ["5", "5", "4", "4"]), scored(user, rating, ["4", "4", "3", "3"])
        found = contrasts({0: wrong, 1: right, 7: wrong})
        assert [(c.first, c.second) for c, _, _ in found] == [(1, 0), (7, 1)]
        assert [written.mean for _, written, _ in found if written] == [-1, 1]
        assert contrasts({3: right}) == []


class TestSettings:
    def test_every_printed_row_stands_once(self) -> None:
        table = arrangements(Table1Settings())
        assert sorted(n for a in table for n in a.number) == list(range(11))
        assert [(a.adapter, a.memories, a.rows) for a in table] == [
            ("none", "Ms", None), ("none", "Ms+Ml", None), ("none", "Ml", None),
            ("single", "Ms", 5200), ("single", "Ms", 2100), ("single", "Ms+Ml", 5200), ("single", "Ms+Ml", 2100),
            ("persona", "Ms", 5200), ("persona", "Ms+Ml", 5200),
        ]  # fmt: skip

    def test_rows_by_number(self) -> None:
        assert [a.name for a in arrangements(TINY, (3, 0, 6))] == ["rows 0, 3", "row 6"]
        for bad, words in (((11,), "got 11"), ((), "got none"), ((-1, 2), "got -1")):
            with pytest.raises(ConfigError, match=f"rows 0 to 10; {words}"):
                arrangements(TINY, bad)

    def test_rank_is_the_papers_for_named_bases_alone(self) -> None:
        usual = Table1Settings()
        assert (usual.lora_of("some/base").rank, usual.lora_of("some/base").alpha) == (256, 32)
        assert usual.lora_of("some/base") is PAPER_LORA
        assert usual.lora_of(None).rank == LoraSettings().rank
        assert usual.lora_of("some/base").single.teacher == usual.lora_of(None).single.teacher == 0

    def test_tokens_of_an_answer(self) -> None:
        usual = Table1Settings()
        assert [usual.tokens_of(*x) for x in ((None, "none"), ("b", "single"), ("b", "none"))] == [1, 1, 8]
        assert replace(usual, answer_tokens=3).tokens_of(None, "none") == 3

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"rows": (0, 5)}, "rows and epochs must be above 0"),
            ({"epochs": 0}, "rows and epochs must be above 0"),
            ({"prompt": preset("paper", memories=0)}, "its prompt must show both"),
            ({"limit": 0}, "limit is a number of held-out pairs"),
            ({"answer_tokens": 0}, "answer_tokens must be at least 1"),
        ],
    )
    def test_what_makes_no_sense(self, change: dict[str, Any], words: str) -> None:
        with pytest.raises(ConfigError, match=words):
            replace(TINY, **change)


class TestCohort:
    def test_the_own_arm_knows_nobody_else(self, dataset: Dataset) -> None:
        own, world = (Cohort.of(dataset, TINY, arm, 0) for arm in ("own", "world"))
        assert set(own.ground.log.user) == set(own.member) == set(world.member)
        assert set(own.ground.pupils) <= set(own.member)
        assert not set(world.ground.pupils) & set(world.member)
        assert len(world.ground.pupils) > 0
        both = world.ground.log.of_users(world.member)
        assert both.fingerprint == own.ground.log.fingerprint
        assert own.future.fingerprint == world.future.fingerprint
        assert len(own.future) == 40

    def test_known_and_asked_are_disjoint(self, dataset: Dataset) -> None:
        cohort = Cohort.of(dataset, replace(TINY, limit=None), "world", 0)
        known, asked = (set(zip(x.user, x.item, strict=True)) for x in (cohort.ground.log, cohort.future))
        assert not known & asked
        past, future = cohort.ground.log.to_frame(), cohort.future.to_frame()
        last, first = past.groupby("user")["time"].max(), future.groupby("user")["time"].min()
        assert (last[first.index] < first).all()

    def test_forms_show_what_they_say(self, dataset: Dataset) -> None:
        cohort = Cohort.of(dataset, TINY, "world", 0)
        ms, both, ml = (cohort.prompts(form) for form in ("Ms", "Ms+Ml", "Ml"))
        for a, b, c in zip(ms, both, ml, strict=True):
            assert a.prefix == b.prefix != c.prefix
            assert b.suffix == c.suffix
            assert b.suffix[1:] == a.suffix
            assert "I gave it" in b.suffix[0]
            assert "Crowd" in a.text
            assert "Match" not in b.text
            assert "I have rated" not in c.text

    def test_another_future_changes_no_prompt(self, dataset: Dataset) -> None:
        one, other = (Cohort.of(d, TINY, "own", 0) for d in (dataset, another_future(dataset)))
        assert one.future.fingerprint != other.future.fingerprint
        assert one.prompts("Ms+Ml") == other.prompts("Ms+Ml")
        assert one.key == other.key
        assert one.asked != other.asked

    def test_training_rows_are_so_many_the_same_for_each_form_and_from_the_past(self, dataset: Dataset) -> None:
        cohort = Cohort.of(dataset, TINY, "own", 0)
        asked = {}
        for form in ("Ms", "Ms+Ml"):
            lessons = cohort.rows(form, cohort.member, 50, 4)
            assert sum(len(x.place) for x in lessons) == 50
            assert max(len(x.place) for x in lessons) <= 4
            asked[form] = [(s[-2], int(p)) for x in lessons for s, p in zip(x.suffix, x.place, strict=True)]
        assert [p for _, p in asked["Ms"]] == [p for _, p in asked["Ms+Ml"]]
        assert asked["Ms"] == asked["Ms+Ml"]
        everything = cohort.rows("Ms", cohort.member, 10**6, 16)
        total = sum(len(x.place) for x in everything)
        assert 50 < total < len(cohort.ground.log)

    def test_pretraining_meets_every_form(self, dataset: Dataset) -> None:
        cohort = Cohort.of(dataset, TINY, "own", 0)
        draw = cohort.pretraining()
        lessons = [x for n in range(3) for x in draw(n)]
        described = {"I have rated" in "".join(x.prefix) for x in lessons}
        recalled = {"I gave it" in "".join(s) for x in lessons for s in x.suffix}
        assert described == recalled == {True, False}
        assert not any(x.exit for x in lessons)

    @pytest.mark.parametrize(
        ("change", "arm", "error", "words"),
        [
            ({"users": 1}, "own", DataError, "2 are wanted, two at least"),
            ({"users": 61}, "own", DataError, "users have 34 to 60 ratings and 61 are wanted"),
            ({"users": None, "min_ratings": 1}, "world", ConfigError, "needs users who are not simulated"),
        ],
    )
    def test_who_cannot_be_asked(
        self, dataset: Dataset, change: dict[str, Any], arm: Arm, error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            Cohort.of(dataset, replace(TINY, **change), arm, 0)


@dataclass
class Scripted:
    """A model that answers the n-th pair with a text of its own, and remembers how it was asked."""

    text: Callable[[int], str]
    asked: list[dict[str, Any]]

    def score(
        self, prompts: list[Prompt], options: tuple[str, ...], *, adapters: list[str | None]
    ) -> NDArray[np.float32]:
        """Half of the probability on the text where it is an option, the other half off the scale."""
        sure = [[0.5 if self.text(n).strip() == o else 1e-9 for o in options] for n in range(len(prompts))]
        return np.log(np.array(sure, np.float32))

    def write(self, prompts: list[Prompt], **how: Any) -> list[str]:
        self.asked.append(how)
        return [self.text(n) for n in range(len(prompts))]


def measured(dataset: Dataset, folder: Path, arm: Arm = "own", rows: Any = None, bases: Any = (None,)) -> Table1:
    return table1(dataset, bases, TINY, arm=arm, folder=folder, rows=rows)


class TestKnownAnswers:
    @pytest.mark.parametrize("text", ["4", "truth", "nonsense"])
    def test_what_is_written_is_what_is_scored(
        self, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
    ) -> None:
        future = Cohort.of(dataset, TINY, "own", 0).future
        said = (lambda n: f" {future.rating[n]:g}\n") if text == "truth" else (lambda n: text)
        model = Scripted(said, [])
        monkeypatch.setattr(Base, "load", lambda self, adapters=None: model)
        table = measured(dataset, tmp_path, rows=(0,), bases=("some/base",))
        value = table.to_json()["lines"]["some/base, rows 0, 3"]["value"]
        if text == "4":
            wanted = np.sqrt(np.mean((future.rating - 4) ** 2))
            assert value["rmse_written"]["mean"] == pytest.approx(wanted)
            assert value["rmse_read"]["mean"] == pytest.approx(wanted, abs=1e-6)
            assert value["urr"]["mean"] == 0
            assert value["off_scale"]["mean"] == pytest.approx(0.5, abs=1e-6)
        elif text == "truth":
            assert value["rmse_worst"]["mean"] == value["urr"]["mean"] == 0
            assert value["mae_read"]["mean"] == 0
        else:
            assert value["rmse_written"] is None
            assert value["urr"]["mean"] == 1
            assert table.lines[0].unrelated == (("nonsense", 40),)
        (how,) = model.asked
        assert (how["max_tokens"], how["options"], how["greedy"]) == (8, (), True)
        assert how["adapters"] == [None] * 40

    def test_each_user_is_answered_by_the_own_persona(
        self, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = Scripted(lambda n: "3", [])
        monkeypatch.setattr(Base, "load", lambda self, adapters=None: model)
        learned: list[tuple[str, int]] = []
        monkeypatch.setattr(
            table1_models, "_learn_rows", lambda c, b, lessons, home, show: learned.append((home.name, len(lessons)))
        )
        table = measured(dataset, tmp_path, rows=(10,), bases=("some/base",))
        cohort = Cohort.of(dataset, TINY, "own", 0)
        personas, _ = cohort.personas
        assert len(personas) == 2
        (how,) = model.asked
        assert how["adapters"] == [personas[k].name for k in personas.of_user(cohort.future.user)]
        assert (how["max_tokens"], how["options"]) == (1, ("1", "2", "3", "4", "5"))
        assert len({name for name, _ in learned}) == 2
        assert table.lines[0].rows == 40  # twenty rows for each of two personas

    def test_the_yardsticks_are_right(self, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Base, "load", lambda self, adapters=None: Scripted(lambda n: "3", []))
        monkeypatch.setattr(study, "standard", standard)
        table, cohort = measured(dataset, tmp_path, rows=(0,), bases=("b",)), Cohort.of(dataset, TINY, "own", 0)
        known, y = cohort.ground.log.rating, cohort.future.rating
        usual = np.bincount(known.astype(int)).argmax()
        found = {label(x): means(Scored.of(x.total)) for x in table.yardsticks}
        one = found[CONSTANT]
        assert one["rmse_worst"] == one["rmse_read"] == pytest.approx(np.sqrt(np.mean((y - usual) ** 2)))
        assert one["mae_read"] == one["mae_written"] == pytest.approx(np.abs(y - usual).mean())
        mean = np.sqrt(np.mean((y - known.mean(dtype=np.float64)) ** 2))
        assert found["global mean"]["rmse_read"] == pytest.approx(mean)
        assert all(f["urr"] == 0 for f in found.values())
        assert set(found) == set(standard())


@pytest.fixture(scope="module")
def made(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Table1, Path]:
    """All rows of the own arm, and the folder they stand in."""
    folder = tmp_path_factory.mktemp("table1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "standard", few)
        return measured(dataset, folder), folder


class TestEndToEnd:
    def test_every_line_is_there(self, made: tuple[Table1, Path]) -> None:
        table, folder = made
        assert [x.name for x in table.lines] == [a.name for a in arrangements(TINY)]
        assert [x.rows for x in table.lines] == [0, 0, 0, 60, 30, 60, 30, 40, 40]
        assert all(x.total.sum[:, 0].sum() == 40 for x in (*table.lines, *table.yardsticks))
        assert len(list(folder.glob("base-*"))) == 1
        assert len(list(folder.glob("adapter-*"))) == 4 + 2 * 2
        assert len(list(folder.glob("row-*.json"))) == 9
        assert not list(folder.glob("*.part"))

    def test_adapters_answer_apart_from_the_base(self, made: tuple[Table1, Path]) -> None:
        read = {x.name: round(float(x.total.sum[:, -1].sum()), 9) for x in made[0].lines}
        assert len(set(read.values())) == 9

    def test_the_report_says_what_each_number_is(self, made: tuple[Table1, Path]) -> None:
        text = report([made[0]]).to_markdown()
        for words in ("pre-trained on prompts with ratings of the users' own past", "1.150 / .834 / 1.15 %",
                      "K = 2 as asked", "12 users, 40 held-out pairs", "one, 60 rows", "embedded, row 10"):  # fmt: skip
            assert words in text, words
        section = report([made[0]]).sections[0]
        assert {c.tag for c in section.columns if c.name not in ("line", "adapter", "memories", "paper")} == {
            "measured"
        }
        assert next(c for c in section.columns if c.name == "paper").tag is None
        assert len(section.rows) == 9 + len(made[0].yardsticks)
        assert [r["rows"] for r in report([made[0]]).sections[1].rows][:3] == ["1 - 0", "2 - 0", "7 - 5"]
        assert len(made[0].to_json()["contrasts"]["embedded"]) == len(CONTRASTS)

    def test_a_second_run_does_nothing_and_says_the_same(
        self, made: tuple[Table1, Path], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table, folder = made
        monkeypatch.setattr(Base, "load", lambda self, adapters=None: pytest.fail("nothing is to be loaded"))
        monkeypatch.setattr(table1_models, "learn", lambda *a, **k: pytest.fail("nothing is to be learned"))
        again = measured(dataset, folder)
        assert again.to_json() == table.to_json()

    def test_a_lost_row_is_measured_again_from_the_same_adapters(
        self, made: tuple[Table1, Path], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table, folder = made
        wanted = {f.name: f.read_bytes() for f in folder.glob("row-*.json")}
        for f in list(folder.glob("row-*.json"))[:4]:
            f.unlink()
        monkeypatch.setattr(table1_models, "finetune", lambda *a, **k: pytest.fail("adapters are kept"))
        assert measured(dataset, folder).to_json() == table.to_json()
        assert {f.name: f.read_bytes() for f in folder.glob("row-*.json")} == wanted

    def test_another_future_finds_base_and_adapters_as_they_are(
        self, made: tuple[Table1, Path], dataset: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Held-out ratings reach the score and nothing that is built."""
        table, folder = made
        monkeypatch.setattr(table1_models, "finetune", lambda *a, **k: pytest.fail("adapters are kept"))
        monkeypatch.setattr(table1_models, "learn", lambda *a, **k: pytest.fail("the base is kept"))
        other = measured(another_future(dataset), folder, rows=(1, 8))
        (mine, theirs) = (next(x for x in t.lines if x.name == "row 8").total.sum.sum(axis=0) for t in (table, other))
        names = table1_columns()
        assert mine[names["off_scale"]] == theirs[names["off_scale"]]  # the same answers ...
        assert mine[names["square_read"]] != theirs[names["square_read"]]  # ... to another truth

    def test_what_is_asked_names_its_folders(self, dataset: Dataset, made: tuple[Table1, Path]) -> None:
        """Each setting that changes an adapter changes its name, and only its own."""
        folder, (single, persona) = made[1], arrangements(TINY, (5, 10))

        def homes(change: dict[str, Any], how: Any = single) -> set[str]:
            cohort = Cohort.of(dataset, replace(TINY, **change), "own", 0)
            base = Base("embedded", str(folder), "some key", False)
            return {h.name for h in plan(cohort, base, how, folder).home.values()}

        first = homes({})
        assert homes({"limit": 7}) == homes({"answer_tokens": 3}) == first
        assert not homes({"epochs": 2}) & first
        assert not homes({"lora": LoraSettings(rank=3)}) & first
        assert len(homes({}, persona)) == 2
        assert len(homes({}, arrangements(TINY, (6,))[0]) | homes({}, arrangements(TINY, (7,))[0]) | first) == 3

    def test_a_killed_run_goes_on_and_ends_the_same(self, dataset: Dataset, tmp_path: Path) -> None:
        def dies(done: int, total: int, words: str) -> None:
            if done == 1 and "row 6" in words and "1/" in words:
                raise KeyboardInterrupt

        settings, folders = replace(TINY, users=4, personas=1), (tmp_path / "killed", tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            table1(dataset, [None], settings, arm="own", folder=folders[0], rows=(0, 6), progress=dies)
        assert len(list(folders[0].glob("row-*.json"))) == 1
        again, whole = (table1(dataset, [None], settings, arm="own", folder=f, rows=(0, 6)) for f in folders)
        assert again.to_json() == whole.to_json()

    def test_what_cannot_be_is_said_before_any_work(self, dataset: Dataset, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="4 clusters of at least 5 users do not fit 12 users"):
            table1(dataset, [None], replace(TINY, personas=4), arm="own", folder=tmp_path / "new")
        assert not (tmp_path / "new").exists()

    def test_bases(self, dataset: Dataset, tmp_path: Path) -> None:
        homes = [tmp_path / n / "model" for n in "ab"]
        for home in homes:
            home.mkdir(parents=True)
        for bases in ([], [None, None], ["a", "a"], [str(h) for h in homes]):
            with pytest.raises(ConfigError, match="at least one base, each once and under a name of its own"):
                table1(dataset, bases, TINY, folder=tmp_path)

    def test_a_folder_is_known_by_what_is_in_it(self, dataset: Dataset, tmp_path: Path) -> None:
        cohort, home = Cohort.of(dataset, TINY, "own", 0), tmp_path / "model"
        home.mkdir()
        (home / "config.json").write_text("{}")
        show = lambda name: lambda step, steps, loss: None  # noqa: E731
        one = base_of(cohort, str(home), tmp_path, show)
        (home / "config.json").write_text("{ }")
        other = base_of(cohort, str(home), tmp_path, show)
        assert one.name == other.name == "model"
        assert one.key != other.key
        assert base_of(cohort, "some/base", tmp_path, show).key == base_of(cohort, "some/base", home, show).key


def table1_columns() -> dict[str, int]:
    from simenv.study.table1_score import SUMS

    return {name: n for n, name in enumerate(SUMS)}


@pytest.mark.data
def test_a_public_model_with_adapters_through_the_same_door(stories: Path, dataset: Dataset, tmp_path: Path) -> None:
    """A story teller knows no ratings: unrelated without an adapter, and every line is measured on the same pairs."""
    numbers = preset("paper", profile="numbers", reasons=False, summary=False, cast=False)
    how = replace(TINY, users=6, personas=1, prompt=numbers, limit=12, rows=(24, 12), epochs=2)
    how = replace(
        how, lora=LoraSettings(rank=4, alpha=8, single=LearnSettings(rate=2e-2, prefixes=2, warmup=1, teacher=0))
    )
    table = table1(dataset, [str(stories)], how, arm="own", folder=tmp_path, rows=(1, 7))
    bare, single = table.lines
    assert (bare.base, bare.tokens, single.tokens) == ("stories260k", 8, 1)
    value = {label(x): means(Scored.of(x.total)) for x in table.lines}
    assert value["stories260k, rows 1, 4"]["urr"] > 0.9  # type: ignore[operator]
    assert value["stories260k, rows 1, 4"]["off_scale"] > 0.5  # type: ignore[operator]
    assert value["stories260k, row 7"]["off_scale"] < 0.2  # type: ignore[operator]
    assert value["stories260k, row 7"]["urr"] < 0.2  # type: ignore[operator]
    assert not list(tmp_path.glob("base-*"))
    assert len(list(tmp_path.glob("adapter-*"))) == 1
