"""Satiation in real logs: the order effect under two residuals, beside a world without any and one with a planted one.

Knows logs and catalogues; no populations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.boredom import kinds_of
from simenv.catalogue import Catalogue
from simenv.datasets.synthetic import World
from simenv.evaluation.yardstick import BiasedMF, UserItemBias, Yardstick
from simenv.log import InteractionLog
from simenv.pages import visits
from simenv.randomness import generator
from simenv.training.satiation import Satiation, exposures, satiation

Floats = NDArray[np.float64]

RESIDUALS: dict[str, Yardstick] = {"user and item bias": UserItemBias(), "matrix factorisation": BiasedMF()}
"""What a rating is held against; fitted on the other folds of the log's ratings."""


@final
@dataclass(frozen=True)
class SatiationStudy:
    """How satiation is looked for."""

    keep: tuple[float, ...] = (0.7, 0.9, 0.97)
    """Weights of the past: about 3, 10 and 30 ratings back."""
    shuffles: int = 100
    folds: int = 5
    planted: float = -0.5
    """Rating points planted in the invented world, as an item loses whose predecessors were all of its kind."""
    seed: int = 0

    def real(self, log: InteractionLog, catalogue: Catalogue) -> dict[str, Any]:
        """Return the effect per residual and weight of the past."""
        kinds, out = kinds_of(catalogue), {}
        for name, yardstick in RESIDUALS.items():
            residual = out_of_fold(log, yardstick, self.folds, self.seed)
            out[name] = {f"keep {k:g}": self._told(log, kinds, residual, k) for k in self.keep}
        return out

    def truth(self, world: World) -> dict[str, Any]:
        """Return the effect found in an invented world that has none, and in the same with one planted."""
        log, kinds, keep = world.log, kinds_of(world.catalogue), 0.9
        residual = np.asarray(log.rating - world.truth.expected[log.user, log.item], np.float64)
        same_second = np.arange(len(log))  # no two ratings of the invented world are of one second
        exposed = exposures(log.item, visits(log), same_second, kinds, keep)
        planted = residual + self.planted * exposed
        return {
            "none": self._told(log, kinds, residual, keep),
            f"planted {self.planted:g}": self._told(log, kinds, planted, keep),
        }

    def _told(self, log: InteractionLog, kinds: Floats, residual: Floats, keep: float) -> dict[str, Any]:
        return told(satiation(log, kinds, residual, keep=keep, shuffles=self.shuffles, seed=self.seed))


def told(found: Satiation) -> dict[str, Any]:
    """Return it for JSON; intervals as [mean, low, high]."""
    effect, plain = ([i.mean, i.low, i.high] for i in (found.effect, found.plain))
    counts = {"events": found.events, "users": found.users, "shuffles": found.shuffles}
    return {"effect": effect, "p": found.p, "plain_slope": plain, **counts}


def out_of_fold(log: InteractionLog, yardstick: Yardstick, folds: int, seed: int) -> Floats:
    """Return float64[E]: each rating minus what is foretold from the ratings of the other folds."""
    fold = generator(seed, "satiation folds").permutation(len(log)) % folds
    out = np.zeros(len(log))
    for n in range(folds):
        here = fold == n
        predict = yardstick.fit(log.take(~here), seed=seed)
        out[here] = log.rating[here] - predict(log.user[here], log.item[here])
    return out
