"""The gate: what is gained in populations built from a biased log must be gained before the true users of that log.

Only invented worlds know their true users, so the gate judges a learner with its settings, not a policy on real data.
Knows the numbers of `proof.prove`. W worlds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from simenv.errors import ConfigError
from simenv.evaluation.interval import Interval
from simenv.rl.findings import Unit, alarms, gain


@final
@dataclass(frozen=True)
class Gate:
    """Whether what a learner gains in populations built from a biased log it gains before the true users too."""

    learner: str
    settings: str
    """The learner's settings: the gate speaks of no others."""
    worlds: int
    """W, invented worlds; intervals count them."""
    simulated: Mapping[str, Interval]
    """Gain over each rival, held-out users of held-out replicas, mean over worlds."""
    true: Mapping[str, Interval]
    """The same before the true users."""
    must_beat: tuple[str, ...]
    """Rivals whose true gain decides."""

    @classmethod
    def of(cls, worlds: Sequence[Sequence[Unit]], learner: str, must_beat: Sequence[str]) -> Gate:
        """Compare units of W worlds, one sequence each.

        Raises:
            ConfigError: fewer than two worlds, or units without a truth.

        """
        if len(worlds) < 2 or any("true" not in u["value"][learner] for w in worlds for u in w):
            raise ConfigError(
                f"the gate needs the truth of two or more invented worlds; got {len(worlds)} worlds. "
                "Real data cannot open it."
            )
        rivals = worlds[0][0]["rivals"]
        told, true = (
            {r: over_worlds([gain(w, learner, r, place).mean for w in worlds]) for r in rivals}
            for place in ("held out", "true")
        )
        return cls(learner, worlds[0][0]["settings"][learner], len(worlds), told, true, tuple(must_beat))

    @property
    def passed(self) -> bool:
        """True if the true gain over every rival that must be beaten lies above 0 with its interval."""
        return all(self.true[r].low > 0 for r in self.must_beat)

    def kept(self, rival: str) -> float:
        """Return the true gain over a rival as a share of the simulated one; NaN where that is not above 0."""
        told = self.simulated[rival].mean
        return self.true[rival].mean / told if told > 0 else float("nan")

    @property
    def signs_right(self) -> float:
        """Share of all rivals over whom simulated and true gain have the same sign."""
        return float(np.mean([(self.simulated[r].mean > 0) == (self.true[r].mean > 0) for r in self.true]))

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values, for another report to rest on."""
        numbers = {r: {"simulated": _plain(self.simulated[r]), "true": _plain(self.true[r])} for r in self.simulated}
        return {
            "learner": self.learner, "settings": self.settings, "worlds": self.worlds,
            "must_beat": list(self.must_beat), "passed": self.passed, "gain": numbers,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Gate:
        """Read what `to_dict` gave; whether it was passed is computed again.

        Raises:
            ConfigError: something else.

        """
        try:
            simulated, true = ({r: Interval(**g[k]) for r, g in told["gain"].items()} for k in ("simulated", "true"))
            words = told["learner"], told["settings"], int(told["worlds"])
            return cls(*words, simulated, true, tuple(told["must_beat"]))
        except (KeyError, TypeError) as error:
            raise ConfigError(f"this is no gate ({error}); `simenv rl-report` writes one as gate.json.") from error


def over_worlds(value: Sequence[float], level: float = 0.95) -> Interval:
    """Return the mean of one number per world with Student's interval."""
    from scipy.stats import t

    x = np.asarray(value, np.float64)
    half = float(t.ppf((1 + level) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)))
    return Interval(float(x.mean()), float(x.mean()) - half, float(x.mean()) + half, level)


def _plain(value: Interval) -> dict[str, float]:
    return {k: float(getattr(value, k)) for k in ("mean", "low", "high", "level")}


def verdict(units: Sequence[Unit], learner: str, rivals: Sequence[str], gate: Gate | None) -> str:
    """Return the finding in a sentence or two; it says "better" only where the gate was passed and nothing rings.

    units: of one proving ground, judged by held-out replicas and users. rivals: those that must be beaten.
    gate: of the same learner; None: none was run.

    Raises:
        ConfigError: the gate is another learner's, or of other settings.

    """
    if gate is not None and (gate.learner, gate.settings) != (learner, units[0]["settings"][learner]):
        raise ConfigError(
            f"the gate is that of {gate.settings}, not of {units[0]['settings'][learner]}; run the gate with these "
            "settings."
        )
    gains = {r: gain(units, learner, r, "held out") for r in rivals}
    behind = [r for r, g in gains.items() if not g.low > 0]
    names = ", ".join(f"{g.mean:+.3f} over {r}" for r, g in gains.items())
    found = alarms(units, learner)
    ring = f" Alarm: it {'; it '.join(found)}." if found else ""
    if behind:
        return f"{learner} is not clearly ahead of {', '.join(behind)} on held-out users and replicas: {names}.{ring}"
    ahead = f"on held-out users and replicas it gains {names} per shown place"
    if gate is None:
        return f"{learner} scores higher in the simulator: {ahead}. No gate was run: this says nothing of people.{ring}"
    if not gate.passed:
        failed = ", ".join(f"{gate.true[r].mean:+.3f} over {r}" for r in gate.must_beat if not gate.true[r].low > 0)
        return f"{learner} fails the gate: {ahead}, but before true users of invented worlds it gains {failed}.{ring}"
    if found:
        return f"{learner} passed the gate, and {ahead}; with an alarm it is not called an improvement.{ring}"
    kept = ", ".join(f"{gate.kept(r):.0%} of that over {r}" for r in gate.must_beat)
    return (
        f"{learner} is better than {', '.join(rivals)}: {ahead}. In {gate.worlds} invented worlds, trained on "
        f"populations built from biased logs alone, it kept {kept} before the true users."
    )
