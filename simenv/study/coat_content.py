"""What tags and user features say about ratings: a ridge regression, as a judge and as a recommender.

Knows logs, catalogues and demographics; nothing of simulated users.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags, hstack

from simenv.catalogue import Catalogue
from simenv.datasets.dataset import Dataset
from simenv.log import InteractionLog
from simenv.randomness import generator
from simenv.recommenders.ranking import top
from simenv.session import Session, Slate

Floats = NDArray[np.float64]
_FOLDS = 4
"""Parts of the known rows over which penalties are chosen."""


@final
@dataclass(frozen=True, eq=False)
class Features:
    """One-hot features of U users and I items."""

    user: Floats
    """float64[U, G]; G = 0: nothing is known."""
    item: Floats
    """float64[I, F]: tags."""

    @classmethod
    def of(cls, dataset: Dataset) -> Features:
        """Return the features in demographics and in the catalogue's genres."""
        people, catalogue = dataset.demographics, dataset.catalogue
        user = np.zeros((dataset.log.n_users, 0))
        if people is not None:
            user = pd.get_dummies(people.drop(columns="user").astype(str)).to_numpy(np.float64)
        item = [[g in own for g in catalogue.vocabulary] for own in catalogue.genres]
        return cls(user, np.asarray(item, np.float64))

    def design(self, log: InteractionLog, ids: float) -> csr_matrix:
        """Return csr [E, G + F + G F + U + I]: features, their products, user and item themselves times `ids`."""
        u, i = self.user[log.user], self.item[log.item]
        both = (u[:, :, None] * i[:, None, :]).reshape(len(log), -1)
        one, row = np.full(len(log), ids), np.arange(len(log))
        who = csr_matrix((one, (row, log.user)), shape=(len(log), len(self.user)))
        what = csr_matrix((one, (row, log.item)), shape=(len(log), len(self.item)))
        return csr_matrix(hstack([csr_matrix(np.concatenate([u, i, both], axis=1)), who, what]))

    def table(self, weight: Floats, ids: float) -> Floats:
        """Return float64[U, I]: the regression's value for every pair; weight: as the columns of `design`."""
        size = [self.user.shape[1], self.item.shape[1]]
        ends = np.cumsum([*size, size[0] * size[1], len(self.user)])
        by_user, by_item, product, who, what = np.split(weight, ends)
        own = self.user @ product.reshape(size)
        return np.asarray(
            (self.user @ by_user + ids * who)[:, None] + self.item @ by_item + own @ self.item.T + ids * what
        )


@final
@dataclass(frozen=True, eq=False)
class ContentRidge:
    """Ridge on tags, user features, their products, and biases of users and items; penalties by cross-validation."""

    features: Features
    penalty: tuple[float, ...] = (5.0, 15.0, 50.0)
    """Ridge penalties to choose from."""
    ids: tuple[float, ...] = (1.0, 2.0)
    """Size of the bias columns: at 2 a bias is penalised a quarter as much as a tag. 0: no biases."""

    def fit(self, log: InteractionLog, *, seed: int, weight: Floats | None = None) -> Floats:
        """Return float64[U, I], predicted ratings, clipped to the scale. weight: [E], of the rows; None: all alike."""
        one = np.ones(len(log)) if weight is None else weight
        error = {}
        for ids in self.ids:
            design = self.features.design(log, ids)
            for penalty in self.penalty:
                error[ids, penalty] = _validate(design, log, one, penalty, seed)
        ids, penalty = min(error, key=lambda setting: error[setting])
        mean = float(np.average(log.rating, weights=one))
        solved = _ridge(self.features.design(log, ids), log.rating - mean, one, penalty)
        return np.clip(mean + self.features.table(solved, ids), log.scale.values[0], log.scale.values[-1])


def _validate(design: csr_matrix, log: InteractionLog, weight: Floats, penalty: float, seed: int) -> float:
    """Return the weighted squared error over folds of the rows."""
    fold = generator(seed, "content folds").permutation(len(log)) % _FOLDS
    total = 0.0
    for f in range(_FOLDS):
        train, held = fold != f, fold == f
        mean = float(np.average(log.rating[train], weights=weight[train]))
        solved = _ridge(design[train], log.rating[train] - mean, weight[train], penalty)
        total += float(weight[held] @ (log.rating[held] - mean - design[held] @ solved) ** 2)
    return total


def _ridge(design: csr_matrix, target: NDArray[np.floating], weight: Floats, penalty: float) -> Floats:
    from scipy.linalg import solve

    gram = (design.T @ diags(weight) @ design).toarray() + penalty * np.eye(design.shape[1])
    return np.asarray(solve(gram, design.T @ (weight * target), assume_a="pos"), np.float64)


@final
@dataclass(frozen=True)
class UserContent:
    """A recommender: tags that people with the same features rate well. Knows no user and no item by itself."""

    features: Features = field(repr=False, compare=False)
    penalty: float = 15.0
    """Ridge penalty."""
    name: str = "user-content"
    """How reports call it."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> TablePolicy:
        """Fit the regression."""
        return TablePolicy(ContentRidge(self.features, (self.penalty,), (0.0,)).fit(log, seed=seed))


@final
@dataclass(frozen=True, eq=False)
class TablePolicy:
    """Ranks by a table."""

    table: Floats
    """float64[U, I]"""

    def score(self, session: Session) -> Floats:
        """Return float64[B, I]."""
        return np.asarray(self.table[session.user])

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k items with the highest value."""
        return top(self.score(session), session, k)
