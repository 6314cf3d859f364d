"""One split of the Coat study: who knows which rows, what each recommender shows, and what it is truly worth.

Judge and contestants learn from disjoint halves of the chosen ratings. The items drawn at random are the candidates;
their ratings make the true values and reach nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.datasets.dataset import Dataset
from simenv.errors import DataError
from simenv.evaluation.decision import held_out_values, judge_values
from simenv.evaluation.estimate import Estimate
from simenv.log import InteractionLog
from simenv.protocols import Policy, Recommender
from simenv.randomness import derive
from simenv.session import Session
from simenv.study.coat_content import Features

Floats = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Field:
    """A contestants fitted on their rows, and M users with candidates."""

    dataset: Dataset
    features: Features
    policy: dict[str, Policy]
    known: InteractionLog
    """What contestants learned from and know of the users' past."""
    judge: InteractionLog
    """What every evaluator has, and all it has."""
    drawn: InteractionLog
    """The random part: candidates, and the ratings behind the true values."""
    user: NDArray[np.int64]
    """int64[M]: users with more candidates than places."""
    true: Floats
    """float64[M, A]: mean true rating of what is shown."""
    shown: NDArray[np.int64]
    """int64[A, M, k]: the candidates each contestant ranks first."""
    places: int
    seed: int

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        recommenders: Sequence[Recommender],
        features: Features,
        *,
        seed: int,
        places: int = 5,
        shared: bool = False,
    ) -> Field:
        """Split the chosen ratings in half per user, fit the contestants, and let them rank the candidates.

        shared: the contestants learn from the judge's half instead of the other: the arm that shows what sharing does,
        with the same evaluators and equally many rows.

        Raises:
            DataError: the data has no random part, or a pair of it was chosen as well.

        """
        drawn = dataset.random_exposure
        if drawn is None:
            raise DataError(f"{dataset.name} has no ratings of items drawn at random; this study needs them.")
        _disjoint(dataset.log, drawn)
        judge, other = dataset.log.split_worlds(derive(seed, "halves"), 0.5)
        known = judge if shared else other
        policy = {r.name: r.fit(known, dataset.catalogue, seed=derive(seed, "fit")) for r in recommenders}
        user = np.flatnonzero(drawn.count > places)
        true, shown = held_out_values(policy, known, drawn, user, k=places, seed=derive(seed, "policy"))
        return cls(dataset, features, policy, known, judge, drawn, user, true, shown, places, seed)

    def worth(self, table: Floats) -> Estimate:
        """Return what a table of expected ratings [U, I] says of the contestants; it must know every candidate."""
        return Estimate.of(judge_values(lambda user, item: table[user, item], self.user, self.shown))

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """int64[A, E]: the place, from 0, of each of the judge's E rows in the contestant's ranking of all items."""
        everyone, rows = np.arange(self.judge.n_users), self.judge
        session = Session.begin(everyone, self.known)
        size, out = self.judge.n_items, np.empty((len(self.policy), len(rows)), np.int64)
        for a, policy in enumerate(self.policy.values()):
            item = policy.recommend(session, size, seed=derive(self.seed, "policy")).item
            place = np.full((len(everyone), size + 1), size, np.int64)
            np.put_along_axis(place, item, np.broadcast_to(np.arange(size), item.shape), axis=1)
            out[a] = place[rows.user, rows.item]
        return out

    @cached_property
    def inclusion(self) -> Floats:
        """float64[A, E]: how likely each of the judge's pairs would be shown if it stood among random candidates.

        That is the target of the study: the first k of C candidates drawn at random. With `rank` better items among n
        others, C - 1 of them drawn: P(hypergeometric < k).
        """
        from scipy.stats import hypergeom

        others = self.judge.n_items - self.known.count[self.judge.user] - 1
        drawn = np.maximum(self.drawn.count[self.judge.user] - 1, 0)
        better = np.minimum(self.rank, others)
        return np.asarray(hypergeom.cdf(self.places - 1, others, better, drawn), np.float64)

    def by_user(self, value: Floats) -> Floats:
        """Return float64[M, A]: sums of value [A, E] over the judge's rows of each of the M users."""
        size = self.judge.n_users
        return np.stack([np.bincount(self.judge.user, v, size)[self.user] for v in value], axis=1)


def _disjoint(log: InteractionLog, drawn: InteractionLog) -> None:
    both = np.intersect1d(log.user * log.n_items + log.item, drawn.user * log.n_items + drawn.item)
    if len(both):
        raise DataError(
            f"{len(both)} pairs of the random part stand in the chosen part too; leave them out, as "
            "simenv.datasets.coat does: their ratings are known to somebody."
        )
