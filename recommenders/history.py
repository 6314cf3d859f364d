"""What a session says of its users' taste, as sparse matrices. Past and this visit count alike; the latest rating wins.

Reading taste from the session rather than from the training log is what makes users unseen at fit time work. Knows
nothing of any recommender.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv.session import Session

Like = float | Literal["own_mean", "all"]
"""Which ratings count as liking: "own_mean": those at or above the mean of the user's ratings; "all": every rating,
whatever its value; a number: ratings at or above it."""


def ratings(session: Session) -> csr_matrix:
    """Return csr float64[B, I]: the latest rating of each pair; items consumed without a rating are left out.

    A rating of 0 is a stored entry, so count entries, not non-zeros.
    """
    item = np.concatenate([session.past_item, np.where(session.consumed, session.shown, -1)], axis=1)
    rating = np.concatenate([session.past_rating, session.rating], axis=1).astype(np.float64)
    row, place = np.nonzero((item >= 0) & ~np.isnan(rating))
    key = row * session.n_items + item[row, place]
    latest = len(key) - 1 - np.unique(key[::-1], return_index=True)[1]
    row, place = row[latest], place[latest]
    return csr_matrix((rating[row, place], (row, item[row, place])), shape=(len(session), session.n_items))


def count(matrix: csr_matrix) -> NDArray[np.int64]:
    """Return int64[B]: stored entries per row."""
    return np.diff(matrix.indptr).astype(np.int64)


def mean(matrix: csr_matrix, prior: float = 0.0, weight: float = 0.0) -> NDArray[np.float64]:
    """Return float64[B]: mean of each row's entries, shrunk to `prior` as if `weight` more entries had said so.

    Rows without entries have the prior.
    """
    n = count(matrix)
    total = np.bincount(_row(matrix), matrix.data, len(n)) + weight * prior
    shrunk = np.divide(total, n + weight, out=np.full(len(n), float(prior)), where=n + weight > 0)
    return np.asarray(shrunk)


def centred(matrix: csr_matrix, prior: float, weight: float) -> csr_matrix:
    """Return the matrix with each row's shrunk mean (see `mean`) taken off its entries."""
    data = matrix.data - mean(matrix, prior, weight)[_row(matrix)]
    return csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def liked(matrix: csr_matrix, like: Like) -> csr_matrix:
    """Return csr float64[B, I] with 1 where a rating counts as liking."""
    threshold = mean(matrix)[_row(matrix)] if like == "own_mean" else -np.inf if like == "all" else float(like)
    # The mean of equal ratings may round to just above them.
    keep = matrix.data >= threshold - 1e-6
    return csr_matrix((np.ones(int(keep.sum())), (_row(matrix)[keep], matrix.indices[keep])), shape=matrix.shape)


def _row(matrix: csr_matrix) -> NDArray[np.int64]:
    return np.repeat(np.arange(matrix.shape[0]), count(matrix))
