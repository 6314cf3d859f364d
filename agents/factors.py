"""Item factors with their uncertainty, and a user's part given them: variational Bayesian matrix factorisation.

rating = mean + b_i + a_u + q_i . p_u + noise, with one Gaussian prior over users' rows (a, p) and one over items' rows
(b, q). Rows are independent in the approximate posterior (Lim and Teh 2007, "Variational Bayesian approach to movie
rating prediction"), priors and noise are learned as Salakhutdinov and Mnih 2008 set them up, so nothing is tuned but
the size. What a context says of a user is one linear system, in which the items' uncertainty counts.
Knows arrays and a log; nothing of cues or prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv.log import InteractionLog
from simenv.randomness import generator

Float = NDArray[np.float64]


@final
@dataclass(frozen=True, eq=False)
class Rows:
    """Posterior of n rows (bias, then F factors); D = F + 1."""

    mean: Float
    """float64[n, D]"""
    covariance: Float
    """float64[n, D, D]"""


@final
@dataclass(frozen=True, eq=False)
class Belief:
    """Gaussian prior over the rows of one side, with the precision of the noise."""

    mean: Float
    """float64[D]"""
    precision: Float
    """float64[D, D]"""
    noise: float
    """Precision (one over variance) of a rating around its expectation."""


def fit_items(log: InteractionLog, mean: float, size: int, sweeps: int, seed: int) -> tuple[Rows, Belief]:
    """Return the items' rows [I] and the belief about a user of whom nothing is known.

    mean: what ratings are counted from. size: F. Items without ratings get the mean of the other items' prior.
    """
    rating, shape = log.rating.astype(np.float64) - mean, (log.n_users, log.n_items)
    value = csr_matrix((rating, (log.user, log.item)), shape=shape)
    seen = csr_matrix((np.ones(len(log)), (log.user, log.item)), shape=shape)
    turned, turned_seen = value.T.tocsr(), seen.T.tocsr()
    some_user, some_item = log.count > 0, np.bincount(log.item, minlength=log.n_items) > 0
    start = generator(seed, "factors").normal(0, 0.3, (log.n_items, size))  # small and unequal, to break symmetry
    width = size + 1
    item = Rows(np.pad(start, ((0, 0), (1, 0))), np.tile(0.01 * np.eye(width), (log.n_items, 1, 1)))
    of_user = of_item = Belief(np.zeros(width), 5.0 * np.eye(width), 1.0)
    for _ in range(sweeps):
        user, _, _ = _update(seen, value, item, of_user)
        of_user = _believe(user, some_user, of_user.noise)
        item, gram, moment = _update(turned_seen, turned, user, of_item)
        error = _squared_error(rating, log.user, user, item, gram, moment)
        of_user = Belief(of_user.mean, of_user.precision, len(rating) / error)
        of_item = _believe(item, some_item, of_user.noise)
    return item, of_user


def fold_in(
    item: Rows, belief: Belief, known_item: NDArray[np.int64], rating: NDArray[np.floating], mean: float
) -> Float:
    """Return the posterior means [B, D] of users with contexts known_item, rating [B, H] (-1 and NaN padded)."""
    known = known_item >= 0
    where = (np.nonzero(known)[0], known_item[known])
    shape = (len(known_item), len(item.mean))
    value = csr_matrix((rating[known].astype(np.float64) - mean, where), shape=shape)
    seen = csr_matrix((np.ones(int(known.sum())), where), shape=shape)
    return _update(seen, value, item, belief)[0].mean


def _update(seen: csr_matrix, value: csr_matrix, other: Rows, belief: Belief) -> tuple[Rows, Float, Float]:
    """Return the posterior of rows [n] given the other side, with the sums of E[x x'] and E[x y] it rests on."""
    width = other.mean.shape[1]
    x = np.concatenate([np.ones((len(other.mean), 1)), other.mean[:, 1:]], axis=1)
    outer = x[:, :, None] * x[:, None, :]
    outer[:, 1:, 1:] += other.covariance[:, 1:, 1:]
    left, right = np.triu_indices(width)
    gram = np.empty((seen.shape[0], width, width))
    gram[:, left, right] = seen @ outer[:, left, right]
    gram[:, right, left] = gram[:, left, right]
    with_bias = x * other.mean[:, :1]  # E[x bias of the other side]
    with_bias[:, 1:] += other.covariance[:, 1:, 0]
    moment = np.asarray(value @ x - seen @ with_bias)
    covariance = np.asarray(np.linalg.inv(belief.noise * gram + belief.precision), np.float64)
    right_side = belief.noise * moment + belief.precision @ belief.mean
    return Rows(np.einsum("nde,ne->nd", covariance, right_side), covariance), gram, moment


def _believe(rows: Rows, chosen: NDArray[np.bool_], noise: float) -> Belief:
    """Return the prior that fits chosen rows best, drawn to a standard one by a few pseudo-rows."""
    mean, covariance = rows.mean[chosen], rows.covariance[chosen]
    n, width = mean.shape
    centre = mean.sum(axis=0) / (n + 2)
    scatter = (mean - centre).T @ (mean - centre) + covariance.sum(axis=0) + np.eye(width)
    return Belief(centre, np.linalg.inv(scatter / (n + width)), noise)


def _squared_error(rating: Float, of: NDArray[np.int64], user: Rows, item: Rows, gram: Float, moment: Float) -> float:
    """Return the expected squared error of all ratings [E]; of: their users; gram, moment: behind the items' update."""
    target = ((rating - user.mean[of, 0]) ** 2 + user.covariance[of, 0, 0]).sum()
    second = item.mean[:, :, None] * item.mean[:, None, :] + item.covariance
    return float(target - 2 * (item.mean * moment).sum() + (gram * second).sum())
