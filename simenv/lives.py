"""Lives: what follows a visit where users come back. Knows populations by protocol; nothing of actions or Gymnasium."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.protocols import Population, Returning
from simenv.rules import STOPS, Rules
from simenv.session import Session, StopReason, UserState

LEFT, VISIT_CAP = STOPS.index(StopReason.LEFT), STOPS.index(StopReason.VISIT_CAP)


@final
@dataclass(frozen=True, eq=False)
class Next:
    """What comes after the visits of b users that have ended."""

    stop: NDArray[np.int8]
    """int8[b]: 0 for who comes back, else how the life ended: a code of `STOPS`."""
    session: Session
    state: UserState
    """Users [b] before their next visits; the rows of those who stay away mean nothing."""


def check_lives(population: Population, rules: Rules, state: UserState) -> None:
    """Raise ConfigError where users shall come back who cannot."""
    if rules.visits > 1 and (not isinstance(population, Returning) or state.visit is None or state.day is None):
        raise ConfigError(
            f"visits={rules.visits} needs users who come back: give the population a life with return times, "
            "population.with_(life=Life(returning=ReturnTime()))."
        )


def after_visit(
    population: Population, rules: Rules, session: Session, state: UserState, stop: NDArray[np.int8]
) -> Next:
    """Return what follows the visits of users [b] that ended for reasons `stop` [b].

    Whoever never comes back has left for good, also where our page cap ended the visit. Whoever would come back after
    our clock (visits, days) is cut off: truncation, not an end of the world's own.
    """
    assert isinstance(population, Returning)
    fresh, away = population.return_visit(state)
    assert fresh.visit is not None
    assert fresh.day is not None
    gone = ~np.isfinite(away)
    late = (fresh.visit >= rules.visits) | (fresh.day > (np.inf if rules.days is None else rules.days))
    reason = np.where(stop == STOPS.index(StopReason.PAGE_CAP), LEFT, stop)
    code = np.where(gone, reason, np.where(late, VISIT_CAP, 0)).astype(np.int8)
    return Next(code, session.again(), fresh)
