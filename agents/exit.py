"""Exit: when a user leaves. A discrete-time hazard per page, and the protocol for other forms.

Proportional odds in discrete time with a normal frailty (Singer and Willett 1993, "It's about time"). Reads UserState,
never slates, items or text; how the numbers were estimated is `simenv.training.exit_model`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from simenv.agents.forgetting import forget
from simenv.errors import ConfigError
from simenv.session import UserState

DECAY = 0.7
"""Assumed weight of the past in the running utility: utility = 0.7 * utility + 0.3 * (mean of the page)."""

SLOPES = ("slope_utility", "slope_best", "slope_repeat", "slope_fatigue", "slope_activity")


@runtime_checkable
class ExitModel(Protocol):
    """When users leave. Implement it to plug in another form, such as the persona's own continue/leave answer."""

    @property
    def frailty_sd(self) -> float:
        """Standard deviation, in logits, of a visit's own readiness to leave; `UserState.frailty` is drawn with it."""
        ...

    @property
    def assumption(self) -> dict[str, str]:
        """Each number by name with its tag, for reports."""
        ...

    def p_exit(self, state: UserState, activity: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return float64[B]: probability of leaving now.

        state: after the page was answered, so `state.page` >= 1. activity: float64[B], standardised trait.
        """
        ...

    def scaled(self, factor: float) -> ExitModel:
        """Return the model with its satisfaction slopes multiplied (0: blind to quality; 2: twice as touchy)."""
        ...


@runtime_checkable
class BaseLogit(Protocol):
    """A readiness to leave in logits that comes from elsewhere: a language model's leave against continue."""

    @property
    def assumption(self) -> dict[str, str]:
        """Where the logit comes from, for reports."""
        ...

    def logit(self, state: UserState, activity: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return float64[B]; `state.user` and `state.shown` say who saw what."""
        ...


@final
@dataclass(frozen=True)
class ExitHazard:
    """logit h = page step + frailty + slopes * what the user felt. Negative slopes keep users longer."""

    page_logit: tuple[float, ...] = (-1.7,)
    """One step per page answered (first entry: after page 1); later pages keep the last entry."""
    frailty_sd: float = 0.5
    """Logits; spread between visits of what nothing else explains. 0: none."""
    slope_utility: float = -2.0
    """Logits per rating point of the running utility."""
    slope_best: float = -0.3
    """Logits per rating point of (best expected rating of the last page - user mean)."""
    slope_repeat: float = 1.0
    """Logits when the whole last page was shown before, against none of it."""
    slope_fatigue: float = 0.0
    """Logits per 100 places shown in the visit, beyond what the page steps say."""
    slope_activity: float = 0.0
    """Logits per standard deviation of the activity trait."""
    tag: Mapping[str, str] = field(default_factory=dict)
    """"fitted" or "assumed" for each field by name; a field that is not named is "assumed"."""
    note: str = ""
    """How it was fitted, or why it could not be; for reports."""

    def __post_init__(self) -> None:
        if not self.page_logit:
            raise ConfigError("page_logit needs at least one step; give one number for a constant hazard.")
        numbers = [*self.page_logit, self.frailty_sd, *(getattr(self, s) for s in SLOPES)]
        if not np.isfinite(numbers).all() or self.frailty_sd < 0:
            raise ConfigError(f"an exit hazard needs finite numbers and frailty_sd >= 0; got {numbers}.")

    def slope(self, state: UserState, activity: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return float64[B]: the logit without the page step; add it to any base."""
        felt = (
            state.frailty
            + self.slope_utility * state.utility
            + self.slope_best * state.best
            + self.slope_repeat * state.repeat
        )
        if self.slope_fatigue:
            felt = felt + self.slope_fatigue * state.fatigue / 100
        return np.asarray(felt + self.slope_activity * activity if self.slope_activity else felt)

    def p_exit(self, state: UserState, activity: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return float64[B]: probability of leaving after the page just answered (0 before the first page)."""
        step = np.minimum(state.page, len(self.page_logit)) - 1
        p = expit(_array(self.page_logit)[step] + self.slope(state, activity))
        return np.where(state.page > 0, p, 0.0)

    def scaled(self, factor: float) -> ExitHazard:
        """Return the hazard with slope_utility and slope_best multiplied by `factor`, for the 0-2x sweep."""
        return replace(self, slope_utility=self.slope_utility * factor, slope_best=self.slope_best * factor)

    @property
    def assumption(self) -> dict[str, str]:
        """Each number by name with its tag, for reports."""
        steps = ", ".join(f"{a:.2f}" for a in self.page_logit)
        said = {"exit.page_logit": f"{self.tag.get('page_logit', 'assumed')} {steps}"}
        names = ("frailty_sd", *SLOPES)
        return said | {f"exit.{n}": f"{self.tag.get(n, 'assumed')} {getattr(self, n):g}" for n in names}


@cache
def _array(steps: tuple[float, ...]) -> NDArray[np.float64]:
    return np.asarray(steps, np.float64)


@final
@dataclass(frozen=True)
class CombinedExit:
    """A base logit from elsewhere plus the slopes of a hazard, whose page steps are not used."""

    base: BaseLogit
    """Readiness to leave, for example a persona's own answer."""
    hazard: ExitHazard
    """Its slopes and frailty are added."""
    page_logit_shift: float = 0.0
    """Logits added everywhere; calibrates the base to an observed rate of leaving. Assumed unless tagged otherwise."""

    @property
    def frailty_sd(self) -> float:
        """That of the hazard."""
        return self.hazard.frailty_sd

    def p_exit(self, state: UserState, activity: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return float64[B]: probability of leaving after the page just answered (0 before the first page)."""
        logit = self.page_logit_shift + self.base.logit(state, activity) + self.hazard.slope(state, activity)
        return np.where(state.page > 0, expit(logit), 0.0)

    def forget(self) -> None:
        """Let the base let go of what it keeps of earlier questions."""
        forget(self.base)

    def scaled(self, factor: float) -> CombinedExit:
        """Return it with the hazard's satisfaction slopes multiplied; the base is left alone."""
        return replace(self, hazard=self.hazard.scaled(factor))

    @property
    def assumption(self) -> dict[str, str]:
        """The base's own and the hazard's numbers by name with their tags."""
        slopes = {k: v for k, v in self.hazard.assumption.items() if k != "exit.page_logit"}
        return {**self.base.assumption, **slopes, "exit.page_logit_shift": f"assumed {self.page_logit_shift:g}"}
