from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from simenv.agents.exit import SLOPES, CombinedExit, ExitHazard, ExitModel
from simenv.errors import ConfigError
from simenv.session import UserState

FLAT = ExitHazard((-1.0, 0.5), 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def state(page: list[int]) -> UserState:
    n, zero = len(page), np.zeros(len(page))
    none = np.empty((n, 0), np.int64)
    count = np.zeros(n, np.int64)
    return UserState(np.arange(n), np.arange(n).astype(np.uint64), np.array(page), zero, zero, zero, count, zero, none)


class Answers:
    """A base logit from elsewhere, as a language model would give it."""

    assumption = {"exit.base": "fitted a persona's answer"}  # noqa: RUF012

    def logit(self, state: UserState, activity: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.full(len(state.user), -0.5)


def with_slope(name: str, value: float) -> ExitHazard:
    changes: dict[str, Any] = {name: value}
    return replace(FLAT, **changes)


def sigmoid(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))


def test_steps_by_page_and_the_last_goes_on() -> None:
    p = FLAT.p_exit(state([0, 1, 2, 3, 40]), np.zeros(5))
    np.testing.assert_allclose(p, [0.0, sigmoid(-1), sigmoid(0.5), sigmoid(0.5), sigmoid(0.5)])


@pytest.mark.parametrize(
    ("slope", "field", "value", "unit"),
    [
        ("slope_utility", "utility", 0.5, 0.5),
        ("slope_best", "best", 1.5, 1.5),
        ("slope_repeat", "repeat", 0.3, 0.3),
        ("slope_fatigue", "fatigue", 50, 0.5),
    ],
)
def test_each_slope_reads_its_own_feeling(slope: str, field: str, value: float, unit: float) -> None:
    feeling = replace(state([1]), **{field: np.array([value])})
    p = with_slope(slope, 2.0).p_exit(feeling, np.zeros(1))
    assert p[0] == pytest.approx(sigmoid(-1 + 2 * unit))
    for other in set(SLOPES) - {slope, "slope_activity"}:
        assert with_slope(other, 2.0).p_exit(feeling, np.zeros(1))[0] == pytest.approx(sigmoid(-1))


def test_activity_and_frailty_enter_in_logits() -> None:
    hazard = replace(FLAT, slope_activity=-0.5)
    ready = replace(state([1, 1]), frailty=np.array([0.0, 1.0]))
    np.testing.assert_allclose(hazard.p_exit(ready, np.array([2.0, 0.0])), [sigmoid(-2), sigmoid(0)])


def test_the_sweep_scales_satisfaction_and_nothing_else() -> None:
    hazard = ExitHazard(tag={"slope_utility": "fitted"})
    twice = hazard.scaled(2)
    assert (twice.slope_utility, twice.slope_best) == (2 * hazard.slope_utility, 2 * hazard.slope_best)
    assert replace(twice, slope_utility=hazard.slope_utility, slope_best=hazard.slope_best) == hazard
    blind = hazard.scaled(0)
    happy = replace(state([1, 1]), utility=np.array([2.0, -2.0]), best=np.array([2.0, -2.0]))
    p = blind.p_exit(happy, np.zeros(2))
    assert p[0] == p[1]


def test_a_language_models_answer_can_be_the_base() -> None:
    hazard = ExitHazard((9.0,), 0.0, slope_utility=-2.0, slope_best=0.0)
    combined = CombinedExit(Answers(), hazard, page_logit_shift=0.25)
    happy = replace(state([1, 0]), utility=np.array([0.5, 0.5]))
    np.testing.assert_allclose(combined.p_exit(happy, np.zeros(2)), [sigmoid(-0.5 + 0.25 - 1.0), 0.0])
    np.testing.assert_allclose(combined.scaled(0).p_exit(happy, np.zeros(2))[0], sigmoid(-0.25))
    assert combined.assumption["exit.base"].startswith("fitted")
    assert "exit.page_logit" not in combined.assumption


def test_both_forms_are_exit_models() -> None:
    assert isinstance(ExitHazard(), ExitModel)
    assert isinstance(CombinedExit(Answers(), ExitHazard()), ExitModel)


def test_every_number_says_where_it_comes_from() -> None:
    said = ExitHazard((-1.0,), tag={"page_logit": "fitted"}).assumption
    assert said["exit.page_logit"] == "fitted -1.00"
    assert said["exit.slope_utility"] == "assumed -2"
    assert set(said) == {"exit.page_logit", "exit.frailty_sd", *(f"exit.{s}" for s in SLOPES)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"page_logit": ()}, "at least one step"),
        ({"frailty_sd": -1.0}, "frailty_sd >= 0"),
        ({"slope_best": np.inf}, "finite"),
    ],
)
def test_bad_numbers_are_named(changes: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ExitHazard(**changes)  # type: ignore[arg-type]
