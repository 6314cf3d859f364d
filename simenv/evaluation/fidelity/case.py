"""Case: held-out pairs, what users really said of them, and what every predictor says; the card is measured on it.

Knows arrays and logs; nothing of models, prompts or recommenders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation.rating import Prediction, Truth
from simenv.log import InteractionLog


@final
@dataclass(frozen=True, eq=False)
class Case:
    """N held-out pairs and P predictors."""

    truth: Truth
    """Users [N], their real ratings [N], the scale."""
    item: NDArray[np.int64]
    """int64[N]"""
    known: InteractionLog
    """The rows the simulator and the yardsticks learned from; no held-out row stands in it."""
    simulator: Mapping[str, Prediction]
    """The population's answers first ("simulator"), then its arms, by name: prior alone, language model alone."""
    yardstick: Mapping[str, Prediction]
    """What must be beaten, by name, each fitted on `known`."""
    external: Mapping[str, Prediction]
    """Others' published answers to the same pairs, by name; usually none."""
    support: NDArray[np.float32]
    """float32[N]: ratings of the item among `known`, as the population counts them."""
    rho: float = 0.0
    """Share of luck a simulated user keeps through a visit; see SimulatedPopulation.rho."""
    persona: tuple[str, ...] = ()
    """[N]: name of the user's persona; (): the population has none."""

    @property
    def answer(self) -> Prediction:
        """What the simulator itself says."""
        return next(iter(self.simulator.values()))

    @property
    def users(self) -> int:
        """How many users there are."""
        return len(np.unique(self.truth.user))

    @property
    def prediction(self) -> dict[str, Prediction]:
        """All predictors by name, the simulator first."""
        return {**self.simulator, **self.yardstick, **self.external}
