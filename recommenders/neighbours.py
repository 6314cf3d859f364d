"""ItemKNN: what is liked by those who like what you like. Knows ratings only, no text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from simenv.catalogue import Catalogue
from simenv.log import InteractionLog
from simenv.recommenders import history
from simenv.recommenders.baseline import popularity, shrunk_mean
from simenv.recommenders.history import Like
from simenv.recommenders.ranking import cold, largest, top
from simenv.session import Session, Slate

_BLOCK_CELLS = 4_000_000
"""Cells of a dense block of similarities held at once (32 MB)."""


@final
@dataclass(frozen=True)
class ItemKNN:
    """Item-based nearest neighbours.

    Similarity of items i and j over the users who rated both: cosine of their columns times n / (n + shrink), n the
    number of those users (adjusted cosine: Sarwar, Karypis, Konstan, Riedl 2001; the shrinkage: Koren 2008).

    form "rating": columns are ratings minus the user's mean; the score is the predicted difference from the user's
        mean: item's own (shrunk) difference + sum of s * (rating of the neighbour - what was expected of it) /
        (sum of |s| + regularization), over neighbours the user rated.
    form "liked": columns are 1 where liked (see `like`); the score is the sum of similarities to liked items
        (Deshpande, Karypis 2004). Users who like nothing get the popular list.

    Users are read from the session, so those unseen at fit time, and ratings given in this visit, count alike.
    """

    neighbours: int = 50
    """Most similar items kept per item; only positive similarities are."""
    form: Literal["rating", "liked"] = "rating"
    """What is predicted; see above."""
    shrink: float = 20.0
    """Number of common users at which a similarity is halved."""
    regularization: float = 1.0
    """Form "rating": sum of similarities at which the neighbours' opinion is halved."""
    prior_weight: float = 10.0
    """Form "rating": ratings that the prior of a user's mean and an item's mean is worth."""
    like: Like = "own_mean"
    """Form "liked": which ratings count; see `history.Like`."""
    name: str = "item-knn"
    """How reports call it."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> NeighbourPolicy:
        """Compute the similarities; `seed` is not used."""
        matrix = log.matrix().astype(np.float64)
        if self.form == "liked":
            columns = history.liked(matrix, self.like)
            return NeighbourPolicy(self, similarity(columns, self.neighbours, self.shrink), popularity(log), 0.0)
        mu = float(log.rating.mean()) if len(log) else 0.0
        base = shrunk_mean(log, self.prior_weight) - mu
        columns = history.centred(matrix, mu, self.prior_weight)
        return NeighbourPolicy(self, similarity(columns, self.neighbours, self.shrink), base, mu)


@final
@dataclass(frozen=True, eq=False)
class NeighbourPolicy:
    """See ItemKNN."""

    setting: ItemKNN
    """What it was fitted with."""
    near: csr_matrix
    """csr float64[I, I]: row j holds the similarity of j to each item that has j among its neighbours."""
    base: NDArray[np.float64]
    """float64[I]: form "rating": item's shrunk mean minus the mean of all; form "liked": number of ratings."""
    mu: float
    """Mean of all ratings; 0 in the form "liked", which does not use it."""

    def score(self, session: Session) -> NDArray[np.floating]:
        """Return float64[B, I]: predicted difference from the user's mean, or summed similarity."""
        rated = history.ratings(session)
        if self.setting.form == "liked":
            liked = history.liked(rated, self.setting.like)
            return cold((liked @ self.near).toarray(), history.count(liked) > 0, self.base)
        taste = history.centred(rated, self.mu, self.setting.prior_weight)
        taste.data -= self.base[taste.indices]
        one = csr_matrix((np.ones_like(taste.data), taste.indices, taste.indptr), shape=taste.shape)
        weight = (one @ self.near).toarray() + self.setting.regularization
        opinion = (taste @ self.near).toarray()
        return np.asarray(self.base + np.divide(opinion, weight, out=np.zeros_like(opinion), where=weight > 0))

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k items with the highest score."""
        return top(self.score(session), session, k)


def similarity(columns: csr_matrix, neighbours: int, shrink: float) -> csr_matrix:
    """Return csr float64[I, I]: entry [j, i] is the shrunk cosine of columns i and j if j is a neighbour of i.

    columns: csr [U, I]; stored zeros count as rated. Kept are the `neighbours` largest positive ones per i (of equal
    ones those of lower number), never i itself. Done in blocks of i, so memory is one block and the result.
    """
    n_items = columns.shape[1]
    rated = csr_matrix((np.ones_like(columns.data), columns.indices, columns.indptr), shape=columns.shape)
    norm = np.sqrt(np.asarray(columns.multiply(columns).sum(axis=0)).ravel())
    by_item, rated_by_item = columns.T.tocsr(), rated.T.tocsr()
    step = max(1, _BLOCK_CELLS // max(1, n_items))
    blocks = [csr_matrix((0, n_items))]
    for start in range(0, n_items, step):
        rows = slice(start, start + step)
        dot, n = (by_item[rows] @ columns).toarray(), (rated_by_item[rows] @ rated).toarray()
        scale = norm[rows, None] * norm * (n + shrink)
        cosine = np.divide(dot * n, scale, out=np.zeros_like(dot), where=scale > 0)
        np.fill_diagonal(cosine[:, start:], 0.0)
        keep = largest(cosine, min(neighbours, n_items)) & (cosine > 0)
        blocks.append(csr_matrix(np.where(keep, cosine, 0.0)))
    return csr_matrix(vstack(blocks).T.tocsr())
