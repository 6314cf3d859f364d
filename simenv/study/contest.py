"""Contest: fitted recommenders and the first page each shows to the same users, from the whole catalogue.

Knows recommenders and logs by protocol; nothing of how a page is judged, of models or of truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError, DataError
from simenv.log import InteractionLog
from simenv.protocols import Policy, Recommender
from simenv.randomness import derive
from simenv.session import Session


@final
@dataclass(frozen=True, eq=False)
class Contest:
    """A recommenders, M users, K places."""

    name: tuple[str, ...]
    """[A], all different."""
    policy: tuple[Policy, ...]
    """[A], fitted on `known`."""
    known: InteractionLog
    """The contestants' rows: what policies learned from and know of the users' past."""
    user: NDArray[np.int64]
    """int64[M]"""
    shown: NDArray[np.int64]
    """int64[A, M, K]: the page, from all items the user has no row of in `known`; -1: an empty place."""
    seed: int
    """Of the fits and of the page; NDCG ranks with the same luck (`page_seed`)."""

    @classmethod
    def hold(
        cls,
        recommenders: Sequence[Recommender],
        known: InteractionLog,
        catalogue: Catalogue,
        user: NDArray[np.int64],
        *,
        places: int = 10,
        seed: int = 0,
    ) -> Contest:
        """Fit the recommenders on `known` and show each user one page.

        Raises:
            ConfigError: fewer than two recommenders, or two of one name.
            DataError: one of them shows some user nothing.

        """
        name = tuple(r.name for r in recommenders)
        if len(set(name)) < max(len(name), 2):
            raise ConfigError(f"a contest needs two or more recommenders with different names; got {list(name)}.")
        policy = tuple(r.fit(known, catalogue, seed=derive(seed, "fit")) for r in recommenders)
        session = Session.begin(user, known)
        shown = np.stack([p.recommend(session, places, seed=page_seed(seed)).item for p in policy])
        fewest = (shown >= 0).sum(axis=2).min(axis=1)
        if not fewest.all():
            raise DataError(
                f"{name[int(fewest.argmin())]} shows some user nothing; take users with items they have not rated."
            )
        return cls(name, policy, known, np.asarray(user, np.int64), shown, seed)


def page_seed(seed: int) -> int:
    """Return the seed of a contest's page."""
    return derive(seed, "policy", 0)
