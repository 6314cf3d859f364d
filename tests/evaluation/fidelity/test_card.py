"""Cards: what stands first, what is kept on disk, and what is said of a damaged one."""

from __future__ import annotations

import json
from math import nan
from pathlib import Path

import pytest

from simenv.errors import StoreError
from simenv.evaluation import figure
from simenv.evaluation.fidelity.card import Card, read
from simenv.evaluation.fidelity.light import Criterion, Light
from simenv.evaluation.fidelity.section import Chapter
from simenv.evaluation.interval import Interval
from simenv.evaluation.report import Column, Section


@pytest.fixture
def card() -> Card:
    light = Light(
        (
            Criterion("loss below MF", "gap", high=0, compares=True, source="same run"),
            Criterion("ECE at most 0.03", "ece", low=0, high=0.03, goal=0.02),
            Criterion("memories matter", "memory", low=0, compares=True, must=False),
        ),
        {"gap": Interval(-0.1, -0.2, -0.05), "ece": Interval(0.025, 0.01, 0.04)},
    )
    section = Section(
        "Off", "Words.", (Column("of"), Column("by", "measured")), ({"of": "all", "by": nan},),
        (figure.bars("Bars", {"a": 1.0}),),
    )  # fmt: skip
    chapter = Chapter("off", section, {"by": nan, "of": Interval(1.0, nan, 2.0)})
    return Card.of("Fidelity of 3 users", light, [chapter], {"seed": "0"}, {"draws": 2}, {"asking": 1.5})


def test_the_light_stands_first_in_every_form(card: Card) -> None:
    sentence = card.light.sentence
    assert card.report.to_markdown().split("\n\n")[1] == f"**{sentence}**"
    assert card.report.to_html().index(sentence) < card.report.to_html().index("<h2>")
    assert card.value["light"]["sentence"] == sentence


def test_the_criteria_come_next_with_what_was_measured(card: Card) -> None:
    rows = card.report.sections[0].cells()
    assert [r[:5] for r in rows] == [
        ["loss below MF", "requirement", "-0.100 (-0.200..-0.050)", "met", ""],
        ["ECE at most 0.03", "requirement", "0.025 (0.010..0.040)", "met", "0.02: not reached"],
        ["memories matter", "goal", "–", "not measured", "not measured"],
    ]


def test_saved_and_read_again(card: Card, tmp_path: Path) -> None:
    assert read(tmp_path) is None
    assert card.save(tmp_path / "fidelity") == tmp_path / "fidelity"
    value = read(tmp_path / "fidelity")
    assert value is not None
    assert value["light"]["colour"] == "green"
    assert value["light"]["criteria"][0]["value"] == {"high": -0.05, "level": 0.95, "low": -0.2, "mean": -0.1}
    assert value["light"]["criteria"][0]["low"] is None
    assert value["light"]["criteria"][2]["goal_reached"] is None
    assert value["chapters"]["off"] == {"by": None, "of": {"high": 2.0, "level": 0.95, "low": None, "mean": 1.0}}
    assert "asking" not in (tmp_path / "fidelity" / "card.json").read_text()
    assert (tmp_path / "fidelity" / "card.html").read_text().count("<svg") == 1
    assert (tmp_path / "fidelity" / "card.md").read_text() == card.report.to_markdown()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ('{"format": "simenv-fidelity"}', "is damaged"),
        (json.dumps({"format": "simenv-fidelity", "version": 0, "light": {"sentence": ""}}), "no card of version"),
        (json.dumps({"format": "other", "version": 1, "light": {"sentence": ""}}), "no card of version"),
    ],
)
def test_what_is_no_card_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "card.json").write_text(content)
    with pytest.raises(StoreError, match=message):
        read(tmp_path)
