"""ALS and BPR by the library `implicit`: factors of what is liked. The only module that imports implicit.

Factors are taken from the library and ranked here: its own filtering pads with sentinel rows (score -3.4e38) when
items run out. Knows ratings only, no text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from simenv.catalogue import Catalogue
from simenv.log import InteractionLog
from simenv.randomness import derive
from simenv.recommenders import history
from simenv.recommenders.baseline import popularity
from simenv.recommenders.history import Like
from simenv.recommenders.ranking import cold, inner, top
from simenv.session import Session, Slate


@final
@dataclass(frozen=True)
class ALS:
    """Alternating least squares on implicit feedback (Hu, Koren, Volinsky 2008): everything not liked is a weak no.

    The factors of a user are computed anew from the session at each page, so users unseen at fit time work, and likes
    of this visit count. Users who like nothing so far get the popular list.
    """

    factors: int = 32
    """Length D of the vectors."""
    regularization: float = 10.0
    """Ridge penalty on the vectors."""
    confidence: float = 2.0
    """Weight of a liked item against 1 of an item not liked (alpha of the paper)."""
    iterations: int = 15
    """Passes over users and items."""
    like: Like = "own_mean"
    """Which ratings are positive; see `history.Like`. Other ratings are treated as missing."""
    name: str = "als"
    """How reports call it."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> ALSPolicy:
        """Factorise the liked items; the same seed gives the same factors whatever the number of threads."""
        liked = _liked(log, self.like)
        with threadpool_limits(1, "blas"):
            from implicit.cpu.als import AlternatingLeastSquares

            model = AlternatingLeastSquares(
                self.factors,
                self.regularization,
                self.confidence,
                iterations=self.iterations,
                random_state=_small(derive(seed, "als")),
            )
            model.fit(liked, show_progress=False)
            model.YtY  # noqa: B018 (computed once here, so that the policy does not change when used)
        return ALSPolicy(model, self.like, popularity(log))


@final
@dataclass(frozen=True, eq=False)
class ALSPolicy:
    """See ALS."""

    model: Any
    """The fitted implicit.cpu.als.AlternatingLeastSquares."""
    like: Like
    """Which ratings are positive."""
    popular: NDArray[np.float64]
    """float64[I]: number of ratings, for users who like nothing."""

    def score(self, session: Session) -> NDArray[np.floating]:
        """Return float[B, I]: inner products of vectors, or number of ratings for users who like nothing."""
        liked = history.liked(history.ratings(session), self.like).astype(np.float32)
        with threadpool_limits(1, "blas"):
            user = self.model.recalculate_user(session.user, liked)
        return cold(inner(user, self.model.item_factors), history.count(liked) > 0, self.popular)

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k items with the highest score."""
        return top(self.score(session), session, k)


@final
@dataclass(frozen=True)
class BPR:
    """Bayesian personalised ranking (Rendle, Freudenthaler, Gantner, Schmidt-Thieme 2009): liked above not liked.

    Users with likes at fit time keep their trained vector. Others are folded in: the mean vector of the items they
    like in the session, mapped by the linear map that best turns such means into the trained vectors of the others.
    Users who like nothing get the popular list. Items nobody liked get the lowest bias there is.
    """

    factors: int = 32
    """Length D of the vectors, without the item's bias."""
    learning_rate: float = 0.02
    """Step of the stochastic gradient."""
    regularization: float = 0.01
    """Ridge penalty on vectors and biases."""
    iterations: int = 30
    """Passes over the liked pairs."""
    like: Like = "own_mean"
    """Which ratings are positive; see `history.Like`. Other ratings are treated as missing."""
    name: str = "bpr"
    """How reports call it."""

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> BPRPolicy:
        """Factorise the liked items on one thread (more would race, and no fit could be repeated)."""
        liked = _liked(log, self.like)
        with threadpool_limits(1, "blas"):
            from implicit.cpu.bpr import BayesianPersonalizedRanking

            model = BayesianPersonalizedRanking(
                self.factors,
                self.learning_rate,
                self.regularization,
                iterations=self.iterations,
                num_threads=1,
                random_state=_small(derive(seed, "bpr")),
            )
            model.fit(liked, show_progress=False)
            known = history.count(liked) > 0
            user, item = np.array(model.user_factors, np.float64), np.array(model.item_factors, np.float64)
            never = np.bincount(liked.indices, minlength=log.n_items) == 0
            item[never, -1] = item[:, -1].min(initial=0.0)
            fold = _fold(_mean_vector(liked[known], item), user[known, :-1])
        return BPRPolicy(user, item, known, fold, self.like, popularity(log))


@final
@dataclass(frozen=True, eq=False)
class BPRPolicy:
    """See BPR. The last column of the vectors is the item's bias, and 1 for users."""

    user: NDArray[np.float64]
    """float64[U, D+1]"""
    item: NDArray[np.float64]
    """float64[I, D+1]"""
    known: NDArray[np.bool_]
    """bool[U]: liked something at fit time."""
    fold: NDArray[np.float64]
    """float64[D, D]: from the mean vector of liked items to a user's vector."""
    like: Like
    """Which ratings are positive."""
    popular: NDArray[np.float64]
    """float64[I]: number of ratings, for users who like nothing."""

    def score(self, session: Session) -> NDArray[np.floating]:
        """Return float64[B, I]: inner products of vectors, or number of ratings for users who like nothing."""
        liked = history.liked(history.ratings(session), self.like)
        known = self.known[session.user]
        folded = np.ones((len(session), self.item.shape[1]))
        folded[:, :-1] = inner(_mean_vector(liked, self.item), self.fold.T)
        user = np.where(known[:, None], self.user[session.user], folded)
        return cold(inner(user, self.item), known | (history.count(liked) > 0), self.popular)

    def recommend(self, session: Session, k: int, *, seed: int) -> Slate:
        """Return the k items with the highest score."""
        return top(self.score(session), session, k)


def _liked(log: InteractionLog, like: Like) -> csr_matrix:
    return history.liked(log.matrix().astype(np.float64), like).astype(np.float32)


def _small(seed: int) -> int:
    """Return a seed of 32 bits, which is all implicit takes."""
    return seed % 2**32


def _mean_vector(liked: csr_matrix, item: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64[B, D]: mean vector, without bias, of the items each row likes; zeros where there are none."""
    return np.asarray(liked @ item[:, :-1]) / np.maximum(history.count(liked), 1)[:, None]


def _fold(mean: NDArray[np.float64], user: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ridge solution W [D, D] of mean @ W = user, its penalty a thousandth of the mean square of `mean`."""
    width = mean.shape[1]
    ridge = 1e-3 * float((mean**2).sum()) / max(1, width) + 1e-12
    return np.linalg.solve(mean.T @ mean + ridge * np.eye(width), mean.T @ user)
