"""The traffic light: how values stand to criteria, and what the sentence says of them."""

from __future__ import annotations

from math import nan

import pytest

from simenv.evaluation.fidelity.light import Criterion, Light, criteria
from simenv.evaluation.interval import Interval
from simenv.scale import RatingScale

BELOW = Criterion("loss below MF", "gap", high=0, compares=True)
ABOVE = Criterion("gain above 0", "gain", low=0, compares=True, goal=0.03)
BAND = Criterion("ratio 0.9 to 1.1", "ratio", low=0.9, high=1.1)
MOST = Criterion("ECE at most 0.03", "ece", low=0, high=0.03, goal=0.02)


@pytest.mark.parametrize(
    ("criterion", "value", "standing"),
    [
        (BELOW, (-0.01, -0.02, -0.001), "met"),
        (BELOW, (-0.01, -0.02, 0.0), "not sure"),
        (BELOW, (0.01, -0.02, 0.04), "missed narrowly"),
        (BELOW, (0.01, 0.001, 0.04), "missed"),
        (BELOW, (0.0, 0.0, 0.0), "missed narrowly"),
        (ABOVE, (0.1, 0.05, 0.2), "met"),
        (ABOVE, (-0.1, -0.2, -0.05), "missed"),
        (BAND, (1.0, 0.5, 1.5), "met"),
        (BAND, (1.11, 1.05, 1.2), "missed narrowly"),
        (BAND, (0.8, 0.7, 0.91), "missed narrowly"),
        (BAND, (1.3, 1.2, 1.4), "missed"),
        (BAND, (0.3, 0.2, 0.4), "missed"),
        (MOST, (0.03, 0.03, 0.03), "met"),
        (MOST, (nan, nan, nan), "not measured"),
    ],
)
def test_standing(criterion: Criterion, value: tuple[float, float, float], standing: str) -> None:
    assert criterion.standing(Interval(*value)) == standing


def test_what_is_absent_is_not_measured() -> None:
    assert BELOW.standing(None) == "not measured"


@pytest.mark.parametrize(
    ("criterion", "value", "reached"),
    [(MOST, 0.02, True), (MOST, 0.021, False), (ABOVE, 0.03, True), (ABOVE, 0.02, False), (BAND, 1.0, None)],
)
def test_goals(criterion: Criterion, value: float, reached: bool | None) -> None:
    assert criterion.reaches_goal(Interval(value, value, value)) is reached
    assert criterion.reaches_goal(None) is None


@pytest.mark.parametrize(
    ("gap", "ratio", "colour"),
    [
        ((-0.02, -0.03, -0.01), 1.0, "green"),
        ((-0.02, -0.05, 0.01), 1.0, "amber"),
        ((0.02, -0.05, 0.05), 1.0, "amber"),
        ((-0.02, -0.03, -0.01), 1.3, "red"),
        ((-0.02, -0.05, 0.01), 1.3, "red"),
        ((0.02, 0.01, 0.03), 1.0, "red"),
    ],
)
def test_colour(gap: tuple[float, float, float], ratio: float, colour: str) -> None:
    light = Light((BELOW, BAND), {"gap": Interval(*gap), "ratio": Interval(ratio, ratio, ratio)})
    assert light.colour == colour
    assert light.sentence.startswith(colour.upper() + ": ")


def test_nothing_measured_is_not_green() -> None:
    assert Light((BELOW, BAND), {}).colour == "amber"


def test_the_sentence_names_what_is_wrong_with_its_value() -> None:
    value = {"gap": Interval(0.02, 0.01, 0.03), "ratio": Interval(1.11, 1.0, 1.2), "gain": Interval(0.1, -0.1, 0.2)}
    assert Light((BELOW, BAND, ABOVE, MOST), value, "Quick.").sentence == (
        "RED: 0 of 3 requirements are met; missed: loss below MF (0.020); "
        "missed narrowly: ratio 0.9 to 1.1 (1.110); not sure: gain above 0 (0.100); "
        "not measured: ECE at most 0.03. Quick."
    )


def test_thresholds_in_rating_points_grow_with_the_scale() -> None:
    halves = {c.key: c for c in criteria(RatingScale(tuple(n / 2 for n in range(1, 11))))}
    usual = {c.key: c for c in criteria(RatingScale())}
    for key in ("mae_median", "sampled_w1"):
        assert halves[key].high == pytest.approx(usual[key].high * 4.5 / 4)
    assert usual["mae_median"].high == pytest.approx(0.71)
    assert usual["sampled_w1"].goal == pytest.approx(0.10)
    assert halves["ece_top"] == usual["ece_top"]


def test_another_users_evidence_must_cost_and_its_parts_should() -> None:
    named = {c.key: c for c in criteria(RatingScale(), ["user swapped", "persona swapped", "opaque titles"])}
    assert named["disturbed user swapped"].must
    assert not named["disturbed persona swapped"].must
    assert named["disturbed persona swapped"].reaches_goal(Interval(-0.1, -0.2, -0.05)) is False
    assert named["disturbed persona swapped"].reaches_goal(Interval(0.1, 0.05, 0.2)) is True
    assert "disturbed opaque titles" not in named


def test_a_goal_that_is_not_reached_is_told_and_changes_no_colour() -> None:
    goal = Criterion("memories matter", "memory", low=0, compares=True, must=False)
    value = {"ece": Interval(0.025, 0.02, 0.03), "memory": Interval(-0.1, -0.2, -0.05)}
    assert Light((MOST, goal), value).sentence == (
        "GREEN: all 1 requirements are met; goals not reached: ECE at most 0.03 (0.02), memories matter."
    )
