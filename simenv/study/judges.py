"""Judges that read held-out ratings to put the recommenders of a contest in order: NDCG, top rated, propensities.

None of them knows the truth, and none looks at what the others say.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation import offline
from simenv.evaluation.estimate import Estimate
from simenv.log import InteractionLog
from simenv.randomness import derive
from simenv.study.contest import Contest, page_seed

Floats = NDArray[np.float64]


def ndcg(contest: Contest, held_out: InteractionLog, *, places: int) -> Estimate:
    """Return NDCG@places over the whole catalogue, of users with a relevant held-out item.

    Relevant are ratings from three quarters up the scale (4 of 1..5).
    """
    relevant = offline.relevance_threshold(held_out.scale)
    data, seed = (contest.known, held_out, contest.user), page_seed(contest.seed)
    gain = [offline.catalogue_ndcg(p, *data, k=places, relevant=relevant, seed=seed) for p in contest.policy]
    return Estimate.of(np.stack(gain, axis=1))


def top_rated(contest: Contest, held_out: InteractionLog, *, places: int) -> Estimate:
    """Return the mean rating of the `places` held-out items ranked first, of users with more of them than that."""
    data, seed = (contest.known, held_out, contest.user), derive(contest.seed, "offline")
    rated = [offline.held_out_rating(p, *data, k=places, seed=seed) for p in contest.policy]
    return Estimate.of(np.stack(rated, axis=1))


def snips(contest: Contest, held_out: InteractionLog, propensity: Floats) -> Estimate:
    """Return self-normalised inverse propensity scores (Swaminathan and Joachims 2015) of the pages shown.

    sum(r / q) / sum(1 / q) over the held-out ratings r of pairs that a recommender shows. propensity: q [I], how likely
    an item is rated, up to a factor. NaN for a recommender none of whose pairs has a held-out rating.
    """
    rating = np.full((contest.known.n_users, contest.known.n_items), np.nan)
    rating[held_out.user, held_out.item] = held_out.rating
    seen = np.where(contest.shown >= 0, rating[contest.user[None, :, None], contest.shown], np.nan)
    weight = np.where(np.isnan(seen), 0.0, 1 / propensity[contest.shown])
    return Estimate((((np.nan_to_num(seen) * weight).sum(axis=2).T, weight.sum(axis=2).T),))


def popularity_propensity(log: InteractionLog) -> Floats:
    """Return float64[I]: each item's share of a log's rows, one row added to every item."""
    count = np.bincount(log.item, minlength=log.n_items) + 1.0
    return np.asarray(count / count.sum(), np.float64)
