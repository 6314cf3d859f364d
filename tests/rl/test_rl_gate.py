"""Gains, alarms, gate and verdict from invented numbers: every word is computed, and "better" is hard to get."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from simenv.errors import ConfigError
from simenv.rl import findings
from simenv.rl.gate import Gate, over_worlds, verdict

RIVALS = ("popular", "best-rated", "als")
USUAL = {
    "effective_items": 100.0, "gini": 0.5, "overlap": 0.2, "slates_outside": 0.1, "states_outside": 0.1,
    "disagreement": 0.9,
}  # fmt: skip


def unit(
    seed: int, gain: dict[str, float], *, noise: float = 0.01, signs: dict[str, float] | None = None, world: int = 0
) -> dict[str, Any]:
    """A unit in which "ppo" gains as told over all rivals, per place, with noise by user, and rivals are equal."""
    rng = np.random.default_rng([seed, world])
    base = {p: rng.normal(3.5, 0.3, (2 if p != "true" else 1, 30)) for p in gain}

    def values(extra: dict[str, float]) -> dict[str, list[list[float]]]:
        return {p: (base[p] + extra.get(p, 0.0) + rng.normal(0, noise, base[p].shape)).tolist() for p in gain}

    return {
        "seed": seed, "learners": ["ppo"], "rivals": list(RIVALS), "settings": {"ppo": "PPO()"},
        "value": {"ppo": values(gain)} | {r: values({}) for r in RIVALS},
        "signs": {"ppo": USUAL | (signs or {})} | {r: USUAL for r in RIVALS},
        "rated": {n: [4.0 + (n == "ppo") / 10, None, 3.0 + (n == "ppo") / 10, 3.5] for n in ("ppo", *RIVALS)},
        "curve": {"ppo": [{"step": 0.0} | gain, {"step": 9.0} | gain]},
    }  # fmt: skip


def ground(here: float, there: float, true: float | None = None, **how: Any) -> list[dict[str, Any]]:
    gain = {"trained on": here, "held out": there} | ({} if true is None else {"true": true})
    return [unit(seed, gain, **how) for seed in range(3)]


def gate(true: list[float], simulated: float = 0.1) -> Gate:
    return Gate.of([ground(simulated, simulated, t, world=w) for w, t in enumerate(true)], "ppo", RIVALS)


class TestGains:
    def test_by_hand(self) -> None:
        units = ground(0.2, 0.1, noise=0.0)
        assert findings.gain(units, "ppo", "als", "held out").mean == pytest.approx(0.1)
        lost = findings.gap(units, "ppo", "als")
        assert (lost.mean, lost.low, lost.high) == pytest.approx((0.1, 0.1, 0.1))

    def test_held_out_ratings_leave_out_who_has_too_few(self) -> None:
        units = ground(0.1, 0.1)
        assert findings.rated(units, "als").mean == pytest.approx(3.5)
        assert findings.rated(units, "ppo", "als").mean == pytest.approx(0.2 / 3)

    def test_noise_widens(self) -> None:
        narrow, wide = (findings.gain(ground(0.1, 0.1, noise=n), "ppo", "als", "held out") for n in (0.01, 0.5))
        assert wide.high - wide.low > 5 * (narrow.high - narrow.low)

    def test_the_reference_is_the_best_rival_held_out(self) -> None:
        units = ground(0.1, 0.1)
        for u in units:
            u["value"]["popular"]["held out"] = (np.array(u["value"]["popular"]["held out"]) + 1).tolist()
        assert findings.reference(units) == "popular"
        assert findings.reference(units, ["als", "best-rated"]) != "popular"


class TestAlarms:
    def test_none_without_cause(self) -> None:
        assert findings.alarms(ground(0.1, 0.1), "ppo") == ()

    @pytest.mark.parametrize(
        ("units", "words"),
        [
            (ground(0.2, 0.1), "where it was trained and +0."),
            (ground(0.1, 0.1, signs={"effective_items": 40.0}), "as few as 40 effective items, rivals 100"),
            (ground(0.1, 0.1, signs={"slates_outside": 0.4}), "40% of its pages are unlike"),
            (ground(0.1, 0.1, signs={"states_outside": 0.5}), "50% of its states"),
            (ground(0.1, 0.1, signs={"disagreement": 1.3}), "1.30 times as much"),
        ],
    )  # fmt: skip
    def test_each_alone(self, units: list[dict[str, Any]], words: str) -> None:
        (said,) = findings.alarms(units, "ppo")
        assert words in said

    def test_a_gap_below_the_limit_is_none(self) -> None:
        assert findings.alarms(ground(0.1, 0.09, noise=0.001), "ppo") == ()

    def test_an_unclear_gap_is_none(self) -> None:
        assert findings.alarms(ground(0.2, 0.1, noise=3.0), "ppo") == ()


class TestGate:
    def test_passed(self) -> None:
        found = gate([0.08, 0.09, 0.085])
        assert found.passed
        assert found.kept("als") == pytest.approx(0.85, abs=0.05)
        assert found.signs_right == 1

    @pytest.mark.parametrize("true", [[-0.05, -0.04, -0.06], [0.3, -0.2, 0.1], [0.0, 0.0, 0.0]], ids=str)
    def test_failed(self, true: list[float]) -> None:
        assert not gate(true).passed

    def test_wrong_signs_are_counted(self) -> None:
        assert gate([-0.05, -0.04, -0.06]).signs_right == 0

    def test_one_rival_is_enough_to_fail(self) -> None:
        worlds = [ground(0.1, 0.1, 0.1, world=w) for w in range(3)]
        for units in worlds:
            for u in units:
                u["value"]["als"]["true"] = (np.array(u["value"]["als"]["true"]) + 0.5).tolist()
        assert not Gate.of(worlds, "ppo", RIVALS).passed
        assert Gate.of(worlds, "ppo", ("popular",)).passed

    def test_comes_back_from_json_and_computes_again(self) -> None:
        found = gate([0.08, 0.09, 0.085])
        told = json.loads(json.dumps(found.to_dict()))
        assert Gate.from_dict(told) == found
        told["passed"] = True
        told["gain"]["als"]["true"] |= {"mean": -1.0, "low": -1.1}
        assert not Gate.from_dict(told).passed

    def test_what_is_no_gate(self) -> None:
        for told in ({}, {"learner": "x", "worlds": 2, "gain": {"a": 1}, "must_beat": [], "settings": ""}):
            with pytest.raises(ConfigError, match="this is no gate"):
                Gate.from_dict(told)

    def test_real_data_cannot_open_it(self) -> None:
        with pytest.raises(ConfigError, match="Real data cannot open it"):
            Gate.of([ground(0.1, 0.1), ground(0.1, 0.1)], "ppo", RIVALS)
        with pytest.raises(ConfigError, match="got 1 worlds"):
            Gate.of([ground(0.1, 0.1, 0.1)], "ppo", RIVALS)

    def test_interval_over_worlds(self) -> None:
        """Two worlds, 0 and .2: mean .1, Student's 12.7062 times .1."""
        found = over_worlds([0.0, 0.2])
        assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1 - 1.27062, 0.1 + 1.27062), abs=1e-4)


class TestVerdict:
    PASSED, FAILED = gate([0.08, 0.09, 0.085]), gate([-0.08, -0.09, -0.085])

    def test_better_needs_everything(self) -> None:
        said = verdict(ground(0.1, 0.1), "ppo", RIVALS, self.PASSED)
        assert said.startswith("ppo is better than popular, best-rated, als")
        assert "+0.1" in said
        assert "85% of that over als" in said or "8" in said

    @pytest.mark.parametrize(
        ("units", "which", "words"),
        [
            (ground(0.1, 0.1), None, "No gate was run"),
            (ground(0.1, 0.1), FAILED, "fails the gate"),
            (ground(0.1, 0.1, signs={"disagreement": 2.0}), PASSED, "not called an improvement"),
            (ground(0.1, -0.1), PASSED, "not clearly ahead of popular, best-rated, als"),
            (ground(0.1, 0.0, noise=0.3), PASSED, "not clearly ahead"),
        ],
    )  # fmt: skip
    def test_otherwise_it_says_why_not(self, units: list[dict[str, Any]], which: Gate | None, words: str) -> None:
        said = verdict(units, "ppo", RIVALS, which)
        assert words in said
        assert "better" not in said

    def test_a_gate_of_another_learner(self) -> None:
        units = ground(0.1, 0.1)
        for u in units:
            u["settings"] = {"ppo": "PPO(steps=9)"}
        with pytest.raises(ConfigError, match="run the gate with these"):
            verdict(units, "ppo", RIVALS, self.PASSED)
