"""Contextual greedy: the pair features weighed as the log's ratings say, the best first. No exploration, no planning.

The supervised twin of the learned ranker: the same candidates and features, weights from logged ratings instead of
from trial and error in a simulator. Whoever trains a policy should beat it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.randomness import derive
from simenv.recommenders.pair_features import FEATURES, PairFeatures, PairFeatureSettings
from simenv.session import Session, Slate

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class ContextualGreedy:
    """Ridge regression of ratings on pair features; see `PairFeatureSettings` for these.

    The log is halved at random per user: features come from one half, the ratings they should explain from the other;
    then features are made anew from all rows. Ratings are measured from their user's mean. The two features of a visit
    in progress are 0 in a log, and so are their weights.
    """

    features: PairFeatureSettings = PairFeatureSettings()  # noqa: RUF009 - frozen
    penalty: float = 10.0
    """Ridge penalty on the weights, in ratings."""
    name: str = "contextual"
    """How reports call it."""

    def __post_init__(self) -> None:
        if not self.penalty > 0:
            raise ConfigError(f"penalty must be positive; got {self.penalty}.")

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> ContextualGreedyPolicy:
        """Learn the weights, then the features from the whole log."""
        known, asked = log.split_worlds(derive(seed, "halves"), 0.5)
        half = self.features.fit(known, catalogue, seed=seed)
        weight = _weights(half, known, asked, self.penalty)
        return ContextualGreedyPolicy(self.features.fit(log, catalogue, seed=seed), weight)


@final
@dataclass(frozen=True, eq=False)
class ContextualGreedyPolicy:
    """See ContextualGreedy."""

    features: PairFeatures
    weight: Floats
    """float64[F], rating points per standard deviation of each feature; in the order of FEATURES."""

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k items that weigh most."""
        start = self.features.start(session)
        view = self.features.view(start, session, k)
        return view.slate(session, start, np.broadcast_to(self.weight, (len(session), len(self.weight))), k)


def _weights(features: PairFeatures, known: InteractionLog, asked: InteractionLog, penalty: float) -> Floats:
    """Return float64[F]: the ridge solution over all users of `asked`."""
    gram, moment = penalty * np.eye(len(FEATURES)), np.zeros(len(FEATURES))
    for user in np.array_split(np.flatnonzero(asked.count), max(1, int((asked.count > 0).sum()) // 256)):
        x, y = _examples(features, known, asked, user)
        gram, moment = gram + x.T @ x, moment + x.T @ y
    return np.asarray(np.linalg.solve(gram, moment))


def _examples(
    features: PairFeatures, known: InteractionLog, asked: InteractionLog, user: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return features [N, F] and ratings [N], from their user's mean, of what users [B] rated in `asked`.

    Features are standardised over what could have been shown: the pool and the rated items.
    """
    session = Session.begin(user, known)
    target, rating = asked.padded(user)
    free = np.take_along_axis(session.available(), np.maximum(target, 0), axis=1)  # rated twice: known already
    target = np.where(free, target, -1)
    pool = features.start(session).item
    pool = np.where((pool[:, :, None] == target[:, None, :]).any(axis=2), -1, pool)
    offered = replace(session, candidate=np.concatenate([target, pool], axis=1))
    view = features.view(features.start(offered), offered, 1)
    row, place = np.nonzero(target >= 0)
    value = rating[row, place].astype(np.float64)
    count = np.maximum(np.bincount(row, minlength=len(user)), 1)
    mean = np.bincount(row, value, len(user)) / count
    return view.feature[row, place], value - mean[row]
