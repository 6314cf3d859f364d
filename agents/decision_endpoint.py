"""The public shape of an answer: typed questions, a probability for every option, no text.

The shape is that of /v1/systemone as transformers 5.23 and vLLM 0.32 answer it: `score` (ordered levels) and `noul`
(yes or no). Users who were tuned on their own prompt are asked on that prompt; a request chooses user, item and
questions, never the wording. The shape is young and moves: whatever depends on it stands here, under VERSION.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simenv.agents.population import SimulatedPopulation
from simenv.errors import ConfigError, DataError
from simenv.session import Slate

VERSION = "systemone/2026-11"
"""Raised when a reader of today's answers could misread tomorrow's."""
QUESTIONS = {"rating": "score", "take": "noul", "leave": "noul"}
"""What users can be asked, and the type of each: how they rate the item, whether they take it from the top of a page,
whether they leave after a page that holds nothing else (first page, usual patience)."""
_EXACT = 1e-3


@final
@dataclass(frozen=True, eq=False)
class ScoreAnswer:
    """A distribution over ordered levels."""

    levels: tuple[str, ...]
    """[R]: what each level is called, lowest first."""
    probability: NDArray[np.float64]
    """float64[R], of all levels 1 in sum."""
    label_mass: float | None = None
    """Probability the language model put on the levels before restriction; None: not said."""

    @classmethod
    def of(cls, levels: Sequence[str], probability: ArrayLike, label_mass: float | None = None) -> ScoreAnswer:
        """Return the answer after a check.

        Raises:
            DataError: not one probability for each level, or no distribution, or a mass outside 0..1.

        """
        p = np.asarray(probability, np.float64)
        if p.shape != (len(levels),) or len(levels) < 2:
            raise DataError(f"{len(levels)} levels need as many probabilities, at least two; got shape {p.shape}.")
        if not (np.isfinite(p).all() and (p >= 0).all() and abs(p.sum() - 1) <= _EXACT):
            raise DataError(f"probabilities of a score lie in 0..1 and sum to 1; got {p.tolist()}.")
        if label_mass is not None and not 0 <= label_mass <= 1 + _EXACT:
            raise DataError(f"the mass of the labels lies in 0..1; got {label_mass}.")
        return cls(tuple(levels), p, label_mass)

    @property
    def score(self) -> float:
        """The expected level, the lowest being 0: how the field counts."""
        return float(self.probability @ np.arange(len(self.levels)))

    @property
    def confidence(self) -> float:
        """1 minus the mean distance from the likeliest level, in mean distances of a uniform answer from the middle."""
        level = np.arange(len(self.levels))
        spread = float(self.probability @ np.abs(level - int(np.argmax(self.probability))))
        return max(0.0, 1 - spread / float(np.abs(level - level.mean()).mean()))

    def to_wire(self) -> dict[str, Any]:
        """Return the answer as endpoints write it: levels by number, a legend, no label mass (see `decide`)."""
        place = [str(n) for n in range(len(self.levels))]
        return {
            "type": "score",
            "score": self.score,
            "legend": dict(zip(place, self.levels, strict=True)),
            "confidence": self.confidence,
            "probabilities": dict(zip(place, self.probability.tolist(), strict=True)),
        }


@final
@dataclass(frozen=True)
class YesNoAnswer:
    """The probability of yes."""

    yes: float

    def __post_init__(self) -> None:
        if not 0 <= self.yes <= 1:
            raise DataError(f"a probability lies in 0..1; got {self.yes}.")

    def to_wire(self) -> dict[str, Any]:
        """Return the answer as endpoints write it."""
        return {"type": "noul", "noul": self.yes, "probabilities": {"yes": self.yes, "no": 1 - self.yes}}


def read(answer: Mapping[str, Any], diagnostics: Mapping[str, Any] | None = None) -> ScoreAnswer | YesNoAnswer:
    """Return an answer that any such endpoint wrote.

    diagnostics: what vLLM says beside it (`label_mass`); None: nothing.

    Raises:
        DataError: another type, or no distribution.

    """
    try:
        if answer["type"] == "noul":
            return YesNoAnswer(float(answer["noul"]))
        if answer["type"] == "score":
            given = answer["probabilities"]
            legend = answer.get("legend") or {}
            order = sorted(given, key=int)
            mass = (diagnostics or {}).get("label_mass")
            return ScoreAnswer.of([str(legend.get(n, n)) for n in order], [float(given[n]) for n in order], mass)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"this is no answer of {VERSION}: {dict(answer)!r:.200}.") from error
    raise DataError(f"answers of {VERSION} are of type score or noul; got {answer['type']!r}.")


def decide(population: SimulatedPopulation, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a simulated user says to typed questions about an item.

    request: {"state": {"user": ID, "item": ID}, "questions": {"rating": {"type": "score"}, ...}}, with QUESTIONS.
    The result has `answers` by question; `diagnostics`, where "label_mass" says how much of its probability the
    language model put on the scale; `version`. Probabilities of a rating are the population's answer, in which
    language model and prior may be pooled.

    Raises:
        ConfigError: other questions, or a wording of one's own.
        DataError: a state without user or item.
        UnknownIdError: no such item, or nobody who is simulated here.

    """
    asked = _questions(request.get("questions"))
    state = request.get("state")
    if not isinstance(state, Mapping) or not {"user", "item"} <= state.keys():
        raise DataError(f'a state names one user and one item, as in {{"user": 42, "item": 7}}; got {state!r}.')
    user, item = population[state["user"]].number, population.items.encode([state["item"]])
    begun = population.begin(np.array([user]), np.zeros(1, np.uint64))
    said, _ = population.respond(replace(begun, frailty=np.zeros(1)), Slate.certain(item[None, :]))
    p, mass = said.p_rating[0, 0], float(1 - said.off_scale[0, 0])
    rating = ScoreAnswer.of([f"{v:g}" for v in population.scale.values], p, mass)
    expected = population.scale.expectation(said.p_rating[:, 0])[:, None]
    take = float(population.choice.probability(expected, population.user_mean[[user]])[0, 0])
    known: dict[str, ScoreAnswer | YesNoAnswer] = {
        "rating": rating,
        "take": YesNoAnswer(take),
        "leave": YesNoAnswer(float(said.p_exit[0])),
    }
    return {
        "version": VERSION,
        "answers": {name: known[name].to_wire() for name in asked},
        "diagnostics": {name: {"label_mass": mass} for name in asked if name == "rating"},
    }


def _questions(asked: Any) -> list[str]:
    known = ", ".join(f"{name} ({kind})" for name, kind in QUESTIONS.items())
    if not isinstance(asked, Mapping) or not asked:
        raise ConfigError(f"a request asks at least one question; known are {known}.")
    for name, question in asked.items():
        if not isinstance(question, Mapping) or QUESTIONS.get(name) != question.get("type"):
            raise ConfigError(f"users answer {known}; got {name!r}: {question!r:.100}.")
        own = [part for part in ("instructions", "criteria") if question.get(part)]
        if own:
            raise ConfigError(
                f"{name!r} has {' and '.join(own)} of its own: these users were tuned on one prompt and are asked on "
                "no other. Leave them out."
            )
    return list(asked)
