"""Builder: how studies train populations, one folder each, so that interrupted work goes on.

The bridge from `build(log, split, seed)`, which cards and audits ask for, to the training pipeline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simenv.agents.population import SimulatedPopulation
from simenv.catalogue import Catalogue
from simenv.log import InteractionLog, Split
from simenv.training.pipeline import TrainSettings, train

Build = Callable[[InteractionLog, Split, int], SimulatedPopulation]
"""build(log, split, seed) -> the population of the users of `split.future`, trained on `split.past`; see `builder`."""


def builder(
    catalogue: Catalogue,
    folder: str | Path,
    settings: TrainSettings | None = None,
    *,
    member: NDArray[np.int64] | None = None,
    random_personas: bool = False,
    show: Any = None,
) -> Build:
    """Return build(log, split, seed), which trains in a folder of its own under `folder`; `log` is not read.

    settings: all but the seed; None: the usual ones.
    member: int64[M], users to simulate; None: those of `split.future`.
    random_personas: deal members to personas at random, the control arm.
    show: as `train` takes it.
    """
    method = "random" if random_personas else (settings or TrainSettings()).cluster.method
    root, usual = Path(folder), settings or TrainSettings()

    def build(log: InteractionLog, split: Split, seed: int) -> SimulatedPopulation:
        how = replace(usual, seed=seed, cluster=replace(usual.cluster, method=method, seed=seed))
        who = np.unique(split.future.user) if member is None else member
        return train(split.past, catalogue, who, root / f"{method}-{seed}", how, cut=split.cut, show=show)

    return build
