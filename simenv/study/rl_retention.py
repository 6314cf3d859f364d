"""Retention against myopia: a policy trained to keep users beside one that is trained page by page.

Both learn in replicas at the exit's usual slopes; then held-out users of held-out replicas, and the true users, leave
with slopes multiplied by 0 to 2. How strongly satisfaction keeps people is assumed, so what counts is where the order
of the two holds. Knows learners and populations; nothing of how replicas are built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.evaluation.interval import Interval
from simenv.evaluation.report import Column, Row, Section
from simenv.evaluation.statistics import decompose
from simenv.protocols import Policy, Population
from simenv.randomness import derive
from simenv.rl.learner import PPORanker
from simenv.rl.replicas import Proving
from simenv.rl.value import Horizon, per_visit
from simenv.scale import RatingScale
from simenv.session import Response, Slate

Floats = NDArray[np.float64]
MEASURES: Final = ("pages", "sum", "per place")
"""Pages of a visit; sum over its places of expected rating above the user's own mean; expected rating per place."""


def probably_stays(response: Response, slate: Slate, scale: RatingScale) -> Floats:
    """Return the probability that the user stays, without the luck of it; only a simulator can pay this."""
    return np.asarray(1.0 - response.p_exit, np.float64)


class Sloped(Protocol):
    """A population whose users leave more or less by what they saw; SimulatedPopulation is one."""

    user_mean: Floats

    def with_exit_slope(self, factor: float) -> Population:
        """Return it with the satisfaction slopes of its exit multiplied."""
        ...


@final
@dataclass(frozen=True)
class Retention:
    """Settings of the comparison."""

    myopic: PPORanker = field(
        default_factory=lambda: PPORanker(name="myopic", slate_size=5, max_pages=20, steps=30_000, learning_rate=3e-4)
    )
    """Trained for the page at hand: discount 0."""
    retaining: PPORanker = field(
        default_factory=lambda: PPORanker(
            name="retaining",
            slate_size=5,
            max_pages=20,
            steps=60_000,
            reward=probably_stays,
            discount=0.9,
            learning_rate=3e-4,
            pages_per_update=32,
        )
    )
    """Trained to keep users: worth of a page is that the user stays, and later pages count."""
    slopes: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0)
    """Factors on the exit's satisfaction slopes."""
    seeds: tuple[int, ...] = (0, 1, 2)
    horizon: Horizon = Horizon(5, 20)  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if self.myopic.name == self.retaining.name or len(self.seeds) < 2 or not self.slopes:
            raise ConfigError("two learners of different names, two or more seeds and a slope are compared.")

    def run(self, proving: Proving) -> dict[str, Any]:
        """Return per place, slope, learner and measure the values [F][S][M], as JSON-able numbers."""
        policy = {
            (x.name, s): x.learn(proving.train, proving.learner, proving.log, proving.catalogue, seed=derive(s, x.name))
            for x in (self.myopic, self.retaining)
            for s in self.seeds
        }
        places = {"held out": proving.test} | ({} if proving.truth is None else {"true": (proving.truth,)})
        found: dict[str, Any] = {}
        for place, many in places.items():
            for slope in self.slopes:
                there = [cast(Sloped, p).with_exit_slope(slope) for p in many]
                found[f"{place}|{slope:g}"] = {
                    x.name: self._values(proving, there, [policy[x.name, s] for s in self.seeds])
                    for x in (self.myopic, self.retaining)
                }
        return {"slopes": list(self.slopes), "learners": [self.myopic.name, self.retaining.name], "value": found}

    def _values(self, proving: Proving, many: Sequence[Population], policies: Sequence[Policy]) -> dict[str, Any]:
        cells = [[self._visit(proving, p, policy, s) for s, policy in enumerate(policies)] for p in many]
        return {m: [[cell[m].tolist() for cell in row] for row in cells] for m in MEASURES}

    def _visit(self, proving: Proving, population: Population, policy: Policy, seed: int) -> dict[str, Floats]:
        user = proving.held_out
        record = self.horizon.record(policy, population, proving.log, user, seed=derive(seed, "retention"), leave=True)
        shown, mean = record.shown(), cast(Sloped, population).user_mean[user]
        return {
            "pages": shown.pages.astype(np.float64),
            "sum": per_visit(shown, mean),
            "per place": shown.mean(shown.expected),
        }


def order(found: dict[str, Any], place: str, measure: str) -> list[tuple[float, Interval]]:
    """Return per slope what the retaining learner gains over the myopic, paired by replica, seed and user."""
    short, far = found["learners"]
    out = []
    for slope in found["slopes"]:
        value = found["value"][f"{place}|{slope:g}"]
        gap = np.asarray(value[far][measure], np.float64) - np.asarray(value[short][measure], np.float64)
        out.append((float(slope), decompose(gap).total))
    return out


def places(found: dict[str, Any]) -> tuple[str, ...]:
    """Return the places there are."""
    return tuple(p for p in ("held out", "true") if any(key.startswith(f"{p}|") for key in found["value"]))


def holds(found: dict[str, Any], place: str, measure: str) -> str:
    """Return, in words, at which slopes who is clearly ahead."""
    gaps = order(found, place, measure)
    short, far = found["learners"]
    ahead = {far: [s for s, g in gaps if g.low > 0], short: [s for s, g in gaps if g.high < 0]}
    said = [f"{name} at {', '.join(f'{s:g}x' for s in slopes)}" for name, slopes in ahead.items() if slopes]
    return " and ".join(said) if said else "neither at any slope"


def sentence(found: dict[str, Any]) -> str:
    """Return where the order holds."""
    said = [
        f"{'Before held-out replicas' if p == 'held out' else 'Before true users'}, clearly more {words}: "
        f"{holds(found, p, m)}."
        for p in places(found)
        for m, words in (("pages", "pages"), ("sum", "rating points a visit"))
    ]
    return " ".join(said)


def sections(found: dict[str, Any]) -> tuple[Section, ...]:
    """Return one table per place: what retention gains over myopia, by slope."""
    out = []
    for place in places(found):
        tag: Any = "measured" if place == "true" else "fitted"
        columns = [
            Column("slope"),
            Column("pages", tag, "a visit", "high", "Retaining minus myopic.", "+.3f"),
            Column("sum", tag, "rating points a visit", "high", form="+.2f"),
            Column("per place", tag, "rating points", "high", form="+.3f"),
        ]
        gaps = {m: dict(order(found, place, m)) for m in MEASURES}
        rows: list[Row] = [
            {"slope": f"{s:g}x (assumed)"} | {m: gaps[m][float(s)] for m in MEASURES} for s in found["slopes"]
        ]
        text = "Trained at 1x; intervals count replicas, seeds and users. " + sentence(found)
        out.append(Section(f"Retention against myopia, {place}", text, tuple(columns), tuple(rows)))
    return tuple(out)


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers without users: gains and means by place, slope and measure."""
    means = {
        key: {n: {m: float(np.mean(v)) for m, v in by.items()} for n, by in value.items()}
        for key, value in found["value"].items()
    }
    gains = {p: {m: [{"slope": s, "gain": g} for s, g in order(found, p, m)] for m in MEASURES} for p in places(found)}
    return {"sentence": sentence(found), "mean": means, "gain": gains}
