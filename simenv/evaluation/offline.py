"""Recommenders on held-out ratings, without any simulator: NDCG and the true ratings of what they rank first.

Knows policies by protocol. Only items that users chose to rate have ratings: both numbers carry that selection.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ActionError
from simenv.evaluation.metrics import Floats, ndcg
from simenv.log import InteractionLog
from simenv.protocols import Policy
from simenv.scale import RatingScale
from simenv.session import Session


def relevance_threshold(scale: RatingScale) -> float:
    """Return the usual rating from which an item counts as relevant: three quarters up the scale (4 of 1..5)."""
    want = scale.values[0] + 0.75 * (scale.values[-1] - scale.values[0])
    return min(v for v in scale.values if v >= want - 1e-9)


def catalogue_ndcg(
    policy: Policy,
    past: InteractionLog,
    future: InteractionLog,
    user: NDArray[np.int64],
    *,
    k: int,
    relevant: float,
    seed: int,
) -> Floats:
    """Return NDCG@k [B] over the whole catalogue: held-out items rated >= `relevant` are the hits.

    Items of the past are not ranked and count as no hit. NaN for users without a relevant held-out item.
    """
    session = Session.begin(user, past)
    rating = _ratings(future, user)
    hit = (np.nan_to_num(rating, nan=-np.inf) >= relevant) & ~session.seen()
    return ndcg(policy.recommend(session, k, seed=seed).item, hit)


def held_out_rating(
    policy: Policy, past: InteractionLog, future: InteractionLog, user: NDArray[np.int64], *, k: int, seed: int
) -> Floats:
    """Return the mean true rating [B] of the k items ranked first among those the user rated in `future`.

    NaN for users with k held-out items or fewer: there every ranking is equally good.

    Raises:
        ActionError: the policy showed an item that was not among the candidates.

    """
    return shown_rating(held_out_shown(policy, past, future, user, k=k, seed=seed), future, user)


def shown_rating(item: NDArray[np.int64], future: InteractionLog, user: NDArray[np.int64]) -> Floats:
    """Return the mean rating [B] in `future` of items [B, k] shown to users [B], -1: an empty place.

    NaN where nothing was shown, or something that the user did not rate.
    """
    value = np.where(item >= 0, _ratings(future, user)[np.arange(len(user))[:, None], item], 0.0)
    filled = (item >= 0).sum(axis=1)
    return np.asarray(np.where(filled > 0, value.sum(axis=1), np.nan) / np.maximum(filled, 1))


def held_out_shown(
    policy: Policy, past: InteractionLog, future: InteractionLog, user: NDArray[np.int64], *, k: int, seed: int
) -> NDArray[np.int64]:
    """Return int64[B, k]: the items ranked first among those the user rated in `future`, -1 padded.

    The policy is told which items these are, never a rating. A row of -1 for users with k held-out items or fewer.

    Raises:
        ActionError: the policy showed an item that was not among the candidates.

    """
    known = ~np.isnan(_ratings(future, user)) & ~Session.begin(user, past).seen()
    rows = np.flatnonzero(known.sum(axis=1) > k)
    out = np.full((len(user), k), -1, np.int64)
    if not len(rows):
        return out
    session = Session.begin(user[rows], past, candidates(known[rows]))
    item = policy.recommend(session, k, seed=seed).item
    if (~known[rows[:, None], item] & (item >= 0)).any() or (item < 0).all(axis=1).any():
        raise ActionError(
            "a policy must rank the items of session.candidate and nothing else, at least one of them; "
            "choose among session.available()."
        )
    out[rows] = item
    return out


def _ratings(log: InteractionLog, user: NDArray[np.int64]) -> Floats:
    """Return float64[B, I], NaN where there is none; the last rating where there are several."""
    out = np.full((len(user), log.n_items), np.nan)
    for row, u in enumerate(user):
        item, rating = log.history(int(u))
        out[row, item] = rating
    return out


def candidates(known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return int64[B, C], the items allowed by a mask bool[B, I], -1 padded at the end."""
    width = int(known.sum(axis=1).max(initial=0))
    out = np.full((len(known), width), -1, np.int64)
    row, column = np.nonzero(known)
    start = np.concatenate([[0], np.cumsum(known.sum(axis=1))])[row]
    out[row, np.arange(len(row)) - start] = column
    return out
