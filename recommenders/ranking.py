"""From scores to a slate. The one place where recommenders turn numbers into what is shown.

Knows Session and Slate; knows nothing of how scores came about.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ActionError
from simenv.session import Session, Slate


def top(score: NDArray[np.floating], session: Session, k: int) -> Slate:
    """Return the k best of `session.available()` for each user, best first, with propensity 1.

    score: float[B, I], higher is better. Equal scores are shown in the order of item numbers, so that the slate does
    not depend on the sorting algorithm. NaN and -inf mean "never show"; where fewer than k items remain, the last
    places are empty (-1).

    Raises:
        ActionError: score is not [B, I], or k is below 1.

    """
    if score.shape != (len(session), session.n_items):
        raise ActionError(f"expected scores of shape [B, I] = {(len(session), session.n_items)}; got {score.shape}.")
    if k < 1:
        raise ActionError(f"a slate needs at least one place; got k = {k}.")
    allowed = session.available() & ~np.isnan(score)
    value = np.where(allowed, score, -np.inf)
    width = min(k, session.n_items)
    item = np.nonzero(largest(value, width))[1].reshape(len(session), width)
    chosen = np.take_along_axis(value, item, axis=1)
    order = np.argsort(-chosen, axis=1, kind="stable")
    item, chosen = np.take_along_axis(item, order, axis=1), np.take_along_axis(chosen, order, axis=1)
    shown = np.full((len(session), k), -1, np.int64)
    shown[:, :width] = np.where(chosen == -np.inf, -1, item)
    return Slate.certain(shown)


def largest(value: NDArray[np.floating], width: int) -> NDArray[np.bool_]:
    """Return bool[B, I] with exactly `width` True per row: the largest, of equal ones the first."""
    if width == 0:
        return np.zeros(value.shape, bool)
    edge = np.partition(value, value.shape[1] - width, axis=1)[:, [-width]]
    above, at = value > edge, value == edge
    room = width - above.sum(axis=1, keepdims=True)
    return np.asarray(above | (at & (np.cumsum(at, axis=1) <= room)))


def inner(user: NDArray[np.floating], item: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the inner products [B, I] of user [B, D] and item [I, D] vectors.

    Each user is a matrix-vector product of its own, because one large product may round differently with the size of
    the batch, and then equal scores would be ordered differently.
    """
    return np.asarray((item @ user[..., None])[..., 0])


def cold(
    score: NDArray[np.floating], evidence: NDArray[np.bool_], substitute: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Return score [B, I] with the rows of users without evidence (bool[B]) replaced by one for all, [I]."""
    return np.where(evidence[:, None], score, substitute)
