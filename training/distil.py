"""Distillers: from known histories to Ms (Profiles) and Ml (Memory). The statistical one is instant and needs no model.

A distiller is handed the past only, and refuses anything else. Knows nothing of clusters, prompts and weights.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.agents.embedding import Embedder, Tfidf
from simenv.agents.memory import Memory
from simenv.agents.profile import Profiles, TraitCuts
from simenv.agents.retrieval import ItemSpace
from simenv.catalogue import Catalogue
from simenv.errors import DataError
from simenv.log import InteractionLog


@runtime_checkable
class Distiller(Protocol):
    """A way from histories to what users know of themselves."""

    def distil(
        self,
        past: InteractionLog,
        catalogue: Catalogue,
        crowd: Crowd,
        user: NDArray[np.int64],
        *,
        cut: NDArray[np.int64] | None = None,
    ) -> tuple[Profiles, Memory]:
        """Return the profiles of users [B], in that order, and the memory of all users of the past.

        past: known rows only. cut: int64[U], each user's first forbidden second, of a split in time (`Split.cut`);
        None: no times, or a random split, where no second parts past from future.

        Raises:
            LeakageError: the past holds a row at or after its user's cut.

        """
        ...


@final
@dataclass(frozen=True)
class StatisticalDistiller:
    """Profiles and memories by counting; no language model, no cost."""

    embedder: Embedder = field(default_factory=Tfidf)
    """Of item texts."""
    mix: float = 0.05
    """Weight of text against collaborative similarity in recall, 0..1; 1 (with floor None): the paper's form.

    The two have different scales (similarities are shrunk), hence the small weight. Chosen on known events only, the
    earlier 60 % of ML-100K cut again in three ways: residuals of five recalled entries correlate .12-.17 with the
    target's at .05, .12-.15 at .1, .10-.14 at 0 (no text) and .07-.11 at 1; .05 was best in every cut and for every k.
    """
    floor: float | None = 0.0
    """Items whose affinity is not above this are not recalled; None: the nearest are, however far."""
    cuts: TraitCuts | None = None
    """Where trait levels part; None: made from all users with rows in the past, and then frozen in the profiles."""

    def distil(
        self,
        past: InteractionLog,
        catalogue: Catalogue,
        crowd: Crowd,
        user: NDArray[np.int64],
        *,
        cut: NDArray[np.int64] | None = None,
    ) -> tuple[Profiles, Memory]:
        """Return the profiles of users [B] and the memory of all users of the past; see `Distiller.distil`.

        Raises:
            LeakageError: the past holds a row at or after its user's cut, or has no times to prove otherwise.
            DataError: the log was simulated, numbers its items unlike the catalogue, or holds no rows.

        """
        if past.simulated:
            raise DataError("this log was simulated; users are distilled from what real people did.")
        space = ItemSpace.of(crowd, catalogue, self.embedder, mix=self.mix, floor=self.floor)
        memory = Memory.of(past, crowd, catalogue, space)
        memory.check(cut)
        cuts = self.cuts or Profiles.of_log(past, np.flatnonzero(past.count), crowd, catalogue).cuts
        return Profiles.of_log(past, np.asarray(user, np.int64), crowd, catalogue, cuts=cuts), memory
