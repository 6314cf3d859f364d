"""The traffic light: one sentence on how far a simulator can be believed, and the table of criteria it stands on.

Knows names and numbers only. Red: a requirement is surely missed. Amber: one is missed narrowly, or a comparison is not
decided. Green: all that could be measured are met. What could not be measured is named, never counted as met.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, final

from simenv.evaluation.interval import Interval
from simenv.scale import RatingScale

Standing = Literal["met", "not sure", "missed narrowly", "missed", "not measured"]
Colour = Literal["green", "amber", "red"]


@final
@dataclass(frozen=True)
class Criterion:
    """A number and where it should lie."""

    name: str
    """The requirement in words, as in "calibration error (ECE) at most 0.03"."""
    key: str
    """Name of the measured value."""
    low: float = -inf
    high: float = inf
    """The requirement: low <= value <= high."""
    goal: float | None = None
    """A stricter upper end (lower end where `high` is infinite) that is aimed at; None: none."""
    compares: bool = False
    """True: a difference, whose whole interval must lie inside, ends excluded. False: the estimate must lie inside."""
    must: bool = True
    """False: a goal only; it does not change the colour."""
    source: str = ""
    """Where the threshold comes from."""
    form: str = ".3f"
    """Format of the value in words."""

    def standing(self, value: Interval | None) -> Standing:
        """Return how a measured value stands to the requirement."""
        if value is None or value.mean != value.mean:
            return "not measured"
        if self._inside(value.mean):
            sure = not self.compares or (self._inside(value.low) and self._inside(value.high))
            return "met" if sure else "not sure"
        return "missed narrowly" if value.high >= self.low and value.low <= self.high else "missed"

    def _inside(self, value: float) -> bool:
        # A tie is no win: a difference of exactly zero lies outside.
        return self.low < value < self.high if self.compares else self.low <= value <= self.high

    def reaches_goal(self, value: Interval | None) -> bool | None:
        """Return whether the goal is reached; None: there is none, or nothing was measured."""
        if value is None or self.standing(value) == "not measured":
            return None
        if self.goal is None:
            return None if self.must else self.standing(value) == "met"
        return value.mean >= self.goal if self.high == inf else self.low <= value.mean <= self.goal


@final
@dataclass(frozen=True)
class Light:
    """What the criteria say together."""

    criterion: tuple[Criterion, ...]
    value: Mapping[str, Interval]
    """Measured values by key; a key that is absent was not measured."""
    note: str = ""
    """Added to the sentence: what makes this card less than a full one."""

    @property
    def standing(self) -> dict[str, Standing]:
        """How each criterion stands, by its name."""
        return {c.name: c.standing(self.value.get(c.key)) for c in self.criterion}

    @property
    def colour(self) -> Colour:
        """Red, amber or green; see the head of the module."""
        found = {self.standing[c.name] for c in self._musts}
        if "missed" in found:
            return "red"
        return "amber" if found & {"missed narrowly", "not sure"} or found <= {"not measured"} else "green"

    @property
    def sentence(self) -> str:
        """The sentence that stands first on a card."""
        found = [self.standing[c.name] for c in self._musts]
        measured = [s for s in found if s != "not measured"]
        parts = [f"{measured.count('met')} of {len(measured)} requirements are met"]
        parts = [f"all {len(measured)} requirements are met"] if self.colour == "green" else parts
        order: tuple[Standing, ...] = ("missed", "missed narrowly", "not sure")
        parts += [f"{state}: {self._named(state)}" for state in order if state in measured]
        absent = [c.name for c in self._musts if self.standing[c.name] == "not measured"]
        parts += [f"not measured: {', '.join(absent)}"] if absent else []
        far = [c.name if not c.must else f"{c.name} ({c.goal:g})" for c in self.criterion if self._open(c)]
        parts += [f"goals not reached: {', '.join(far)}"] if far else []
        return f"{self.colour.upper()}: {'; '.join(parts)}." + (f" {self.note}" if self.note else "")

    @property
    def _musts(self) -> list[Criterion]:
        return [c for c in self.criterion if c.must]

    def _open(self, criterion: Criterion) -> bool:
        """Return whether the goal of a criterion is not reached; of one that is missed, only that is told."""
        value = self.value.get(criterion.key)
        return criterion.reaches_goal(value) is False and (not criterion.must or criterion.standing(value) == "met")

    def _named(self, state: Standing) -> str:
        chosen = [c for c in self._musts if self.standing[c.name] == state]
        return ", ".join(f"{c.name} ({self.value[c.key].mean:{c.form}})" for c in chosen)


_CHANGES = ("opaque titles",)
"""Disturbances that need cost nothing: a title may rightly tell nothing. They stand in the card without a criterion."""
_REQUIRED = "user swapped"


def criteria(scale: RatingScale, disturbances: Sequence[str] = ()) -> tuple[Criterion, ...]:
    """Return the criteria of a card; thresholds in rating points are for a scale of length 4 and grow with it.

    disturbances: names of disturbed populations, their cost under the key "disturbed NAME". Answering from another
    user's evidence must raise the loss; that each part of the evidence matters by itself is a goal.
    """
    unit = (scale.values[-1] - scale.values[0]) / 4
    return (*_closeness(unit), *_likeness(unit), *_behaviour(disturbances))


def _closeness(unit: float) -> tuple[Criterion, ...]:
    mf = "biased MF tuned and fitted in the same run"
    return (
        Criterion("RMSE below tuned MF", "rmse - biased MF", high=0, compares=True, source=mf, form="+.3f"),
        Criterion("NLL below the ordinal map on MF", "nll - biased MF", high=0, compares=True, source=mf, form="+.3f"),
        Criterion("RPS below the ordinal map on MF", "rps - biased MF", high=0, compares=True, source=mf, form="+.4f"),
        Criterion(
            f"MAE of the median at most {0.71 * unit:.3g}", "mae_median", high=0.71 * unit,
            source="tuned MF has .70 on MovieLens-100K, first 60 % of each history known",
        ),
        Criterion(
            "adds to the bias score (R2 gained above 0)", "incremental_r2 bias", low=0, compares=True, goal=0.03,
            source="Agent4Rec's ratings add -.0007; MF about .07 on MovieLens-1M", form="+.4f",
        ),
    )  # fmt: skip


def _likeness(unit: float) -> tuple[Criterion, ...]:
    own, off = "goal of this project", "Thakur et al. 2025 print 1.15 to 4.23 %"
    spread = "real users are 1 and 0; Agent4Rec's stored run .31 and .49"
    return (
        Criterion("calibration error (ECE) at most 0.03", "ece_top", low=0, high=0.03, goal=0.02, source=own),
        Criterion("off-scale mass at most 0.01", "off_scale", low=0, high=0.01, source=off, form=".4f"),
        Criterion(
            "within-user variance 0.9 to 1.1 of the real one", "sampled_within_variance_ratio", low=0.9, high=1.1,
            source=spread,
        ),
        Criterion(
            f"rating shares within {0.15 * unit:.3g} (W1)", "sampled_w1", low=0, high=0.15 * unit, goal=0.10 * unit,
            source=spread,
        ),
        Criterion(
            "two-sample AUC at most 0.60", "c2st", high=0.60, goal=0.55,
            source="Agent4Rec's stored run .72, draws of an MF .53",
        ),
    )  # fmt: skip


def _behaviour(disturbances: Sequence[str]) -> tuple[Criterion, ...]:
    return (
        Criterion(
            "users stay longer with an oracle than at random", "exit response", low=0, compares=True,
            source="response test, sign", form="+.2f",
        ),
        Criterion(
            "leaving told better than by the page alone", "visits", high=0, compares=True, must=False,
            source="page-only model fitted on past visits", form="+.3f",
        ),
        Criterion(
            "orders at least 0.85 of the recommenders' pairs right", "decision pairs", low=0.85, must=False,
            source="an item mean orders .91 on MovieLens-1M, an MF from other rows all",
        ),
        *[
            Criterion(
                f"loss rises: {name}", f"disturbed {name}", low=0, compares=True, must=name == _REQUIRED,
                source="what users are told must matter", form="+.4f",
            )
            for name in disturbances
            if name not in _CHANGES
        ],
    )  # fmt: skip
