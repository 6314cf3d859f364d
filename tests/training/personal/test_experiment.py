"""The whole experiment on a small scale: kept, resumed, told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simenv.datasets.annotators import Annotations
from simenv.errors import ConfigError, StoreError
from simenv.index import Index
from simenv.training.personal import experiment as module
from simenv.training.personal.base import EmbeddedSettings
from simenv.training.personal.experiment import Experiment, ExperimentSettings
from simenv.training.personal.findings import FITTED, Findings
from simenv.training.personal.partition import PartitionSettings
from simenv.training.personal.plain import PLAIN, Answers
from simenv.training.personal.report import report, sentence, to_dict
from simenv.training.personal.tune import TuneSettings
from simenv.training.world_model import WorldModelSize

SMALL = ExperimentSettings(
    arms=("Q-0S", "Q-nS", "CLS", "CLS-V"),
    parts=PartitionSettings(new_users=0.34, context=4),
    tune=TuneSettings(epochs=1),
    embedded=EmbeddedSettings(
        size=WorldModelSize(hidden=16, layers=1, heads=2, vocabulary=420, positions=256), steps=1, block=16, batch=2
    ),
    examples=1,
    text_tokens=16,
    example_tokens=8,
)


@pytest.fixture(scope="module")
def many(quarrel: Annotations) -> Annotations:
    """The quarrel among thirty: the same three, ten times over, each judging in an order."""
    user = np.concatenate([quarrel.user + 3 * n for n in range(10)])
    return replace(
        quarrel, users=Index(tuple(range(30)), "user"), user=user, item=np.tile(quarrel.item, 10),
        value=np.tile(quarrel.value, (10, 1)), time=np.tile(np.arange(len(quarrel)), 10),
    )  # fmt: skip


@pytest.fixture(scope="module")
def ran(many: Annotations, tmp_path_factory: pytest.TempPathFactory) -> Findings:
    experiment = Experiment(many, SMALL, tmp_path_factory.mktemp("arms"))
    return Findings(experiment, experiment.run())


class TestKept:
    def test_finished_arms_are_read_and_only_the_missing_is_carried_out(
        self, ran: Findings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = ran.experiment
        [lost] = before.folder.glob("cls-v-*.npz")
        lost.unlink()
        done: list[str] = []
        carried: Any = getattr(module, "carry_out")  # noqa: B009  # a name the module does not give away

        def carry_out(arm: Any, *rest: Any) -> Any:
            done.append(arm.name)
            return carried(arm, *rest)

        monkeypatch.setattr(module, "carry_out", carry_out)
        again = Experiment(before.data, SMALL, before.folder).run()
        assert done == ["CLS-V"]
        for name, said in again.items():
            for part in ("valid", "test", "new"):
                for a, b in zip(getattr(said, part), getattr(ran.answers[name], part), strict=True):
                    assert a.tobytes() == b.tobytes()

    def test_other_settings_are_other_files(self, ran: Findings) -> None:
        old = ran.experiment
        other = Experiment(old.data, replace(SMALL, tune=TuneSettings(epochs=2)), old.folder)
        assert other._path("CLS") != old._path("CLS")
        assert other._path("Q-0S") == old._path("Q-0S")
        assert other._path("words") == old._path("words")
        assert Experiment(old.data, SMALL, old.folder, seed=1)._path("words") != old._path("words")

    def test_a_damaged_file_is_named(self, ran: Findings, tmp_path: Path) -> None:
        spoilt = Experiment(ran.experiment.data, SMALL, tmp_path)
        path = spoilt._path("majority")
        path.write_bytes(b"half of a")
        with pytest.raises(StoreError, match="Delete the file"):
            spoilt.run()

    def test_examples_are_at_least_one(self) -> None:
        with pytest.raises(ConfigError, match="at least one example"):
            ExperimentSettings(examples=0)


class TestFindings:
    def test_every_personal_contestant_is_held_against_its_twin(self, ran: Findings) -> None:
        assert set(ran.gains(ran.test)) == {
            ("user majority", "majority"), ("words and user", "words"), ("Q-nS", "Q-0S"), ("CLS-V", "CLS"),
        }  # fmt: skip
        assert ran.new is not None
        assert (FITTED.format("CLS-V"), "CLS") in ran.gains(ran.new)

    def test_the_person_decides_and_it_is_found(self, ran: Findings) -> None:
        """Half of the users say no to what the other half likes: words cannot tell, users can."""
        gains = ran.gains(ran.test)
        assert gains["words and user", "words"].words == "better"
        assert ran.test.label("words and user", 0).mean > 0.95

    def test_early_and_late_are_halves_of_the_test_rows(self, ran: Findings) -> None:
        assert ran.halves is not None
        drift = ran.drift()
        assert drift["majority"][1] is None
        assert drift["CLS-V"][1] is not None

    def test_the_rule_is_chosen_on_validation_rows(self, ran: Findings) -> None:
        """Turning the test labels round changes scores and no rule."""
        data = ran.experiment.data
        value = data.value.copy()
        value[ran.experiment.parts.test] = 1 - value[ran.experiment.parts.test]
        turned = Experiment(replace(data, value=value), SMALL, ran.experiment.folder)
        other = Findings(turned, ran.answers)
        assert other.power == ran.power
        assert other.test.mean("words and user") != ran.test.mean("words and user")


class TestReport:
    def test_it_says_what_the_model_is_and_how_the_data_was_parted(self, ran: Findings) -> None:
        text = report(ran).to_markdown()
        assert "embedded decoder" in text
        assert "made here from random weights" in text
        assert "texts recur in training" in text
        assert all(name in text for name in (*PLAIN, *SMALL.arms))

    def test_a_finding_against_the_person_is_said(self, ran: Findings) -> None:
        """A personal arm that is always wrong, beside a twin that is always right."""
        parts, data = ran.experiment.parts, ran.experiment.data

        def saying(turn: int) -> Answers:
            said: dict[str, Any] = {
                part: [np.eye(2, dtype=np.float32)[(v + turn) % 2] for v in data.value[getattr(parts, part)].T]
                for part in ("valid", "test", "new")
            }
            return Answers(**said)

        told = Findings(ran.experiment, dict(ran.answers) | {"CLS": saying(0), "CLS-V": saying(1)})
        assert "CLS-V against CLS: worse, -1.000" in sentence(told)
        turned = Findings(ran.experiment, dict(ran.answers) | {"CLS": saying(1), "CLS-V": saying(0)})
        assert "CLS-V against CLS: better, +1.000" in sentence(turned)
        assert "Best arm CLS-V (1.000)" in sentence(turned)

    def test_every_number_says_which_model(self, ran: Findings) -> None:
        known = to_dict(ran)["known users"]
        assert {name: row["model"] for name, row in known.items()} == (
            dict.fromkeys(PLAIN, "no language model") | dict.fromkeys(SMALL.arms, "embedded decoder")
        )

    def test_without_an_order_nothing_is_late(self, many: Annotations, tmp_path: Path) -> None:
        experiment = Experiment(replace(many, time=None), replace(SMALL, arms=("Q-0S",)), tmp_path)
        found = Findings(experiment, experiment.run())
        assert found.halves is None
        assert "Not measured: the data gives no order" in report(found).to_markdown()
