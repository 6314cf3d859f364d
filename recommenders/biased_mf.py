"""BiasedMF: predicted ratings by factors and biases. Knows ratings only, no text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from simenv.catalogue import Catalogue
from simenv.log import InteractionLog
from simenv.randomness import generator
from simenv.recommenders import history
from simenv.recommenders.ranking import inner, top
from simenv.session import Session, Slate


@final
@dataclass(frozen=True)
class BiasedMF:
    """Matrix factorisation of the ratings themselves: mu + b_user + b_item + p_user . q_item.

    The model is that of Koren, Bell, Volinsky 2009, fitted by alternating ridge regressions. The user's part is solved
    anew from the session at each page, so users unseen at fit time work and ratings of this visit count; without
    ratings it is 0, which ranks by the item's bias. Memory: I x (factors + 1)^2 numbers.
    """

    factors: int = 16
    """Length D of the vectors."""
    regularization: float = 8.0
    """Ridge penalty on biases and vectors, in ratings: a bias known from this many ratings is halved."""
    iterations: int = 15
    """Passes over users and items."""
    name: str = "mf"
    """How reports call it."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> BiasedMFPolicy:
        """Factorise the ratings."""
        mu = float(log.rating.mean()) if len(log) else 0.0
        by_user = log.matrix().astype(np.float64)
        by_user.data -= mu
        by_item = by_user.T.tocsr()
        item = np.zeros((log.n_items, self.factors + 1))
        item[:, 1:] = generator(seed, "biased mf").normal(scale=0.1, size=(log.n_items, self.factors))
        with threadpool_limits(1, "blas"):
            for _ in range(self.iterations):
                user = ridge(by_user, item, self.regularization)
                item = ridge(by_item, user, self.regularization)
        return BiasedMFPolicy(mu, item, self.regularization)


@final
@dataclass(frozen=True, eq=False)
class BiasedMFPolicy:
    """See BiasedMF."""

    mu: float
    """Mean of all ratings."""
    item: NDArray[np.float64]
    """float64[I, D+1]: bias, then vector."""
    regularization: float
    """Ridge penalty for the user's part."""

    def score(self, session: Session) -> NDArray[np.floating]:
        """Return float64[B, I]: predicted ratings, not clipped to the scale."""
        rated = history.ratings(session)
        rated.data -= self.mu
        user = ridge(rated, self.item, self.regularization)
        user_part = np.concatenate([np.ones((len(user), 1)), user[:, 1:]], axis=1)
        return self.mu + user[:, :1] + inner(user_part, self.item)

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k items with the highest predicted rating."""
        return top(self.score(session), session, k)


def ridge(rated: csr_matrix, other: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
    """Return (bias, vector) [N, D+1] of each row, given those of the columns [M, D+1].

    Minimises per row: sum over its entries of (entry - b_other - bias - vector . v_other)^2
    + penalty * |(bias, vector)|^2. Rows without entries are 0. All sums run in the order of columns, so a row's
    solution does not depend on the other rows.
    """
    feature = np.concatenate([np.ones((len(other), 1)), other[:, 1:]], axis=1)
    width = feature.shape[1]
    one = csr_matrix((np.ones_like(rated.data), rated.indices, rated.indptr), shape=rated.shape)
    rest = csr_matrix((rated.data - other[rated.indices, 0], rated.indices, rated.indptr), shape=rated.shape)
    outer = (feature[:, :, None] * feature[:, None, :]).reshape(len(feature), width**2)
    gram = np.asarray(one @ outer).reshape(-1, width, width) + penalty * np.eye(width)
    return np.asarray(np.linalg.solve(gram, np.asarray(rest @ feature)[..., None])[..., 0])
