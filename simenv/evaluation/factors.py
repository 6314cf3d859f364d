"""Least-squares and Bayesian factors of a ratings matrix: the arithmetic under the matrix-factorisation yardsticks.

Knows arrays and a seed; nothing of validation, distributions or reports. The normal equations of all rows come out of
one sparse product, so a sweep costs no Python loop over users or items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv.log import InteractionLog

Float = NDArray[np.float64]
_CHUNK = 8192


@final
@dataclass(frozen=True, eq=False)
class Factors:
    """mean + user_bias + item_bias + user_factor . item_factor; U users, I items, F factors."""

    mean: float
    user_bias: Float
    """float64[U]"""
    item_bias: Float
    """float64[I]"""
    user_factor: NDArray[np.floating]
    """[U, F]"""
    item_factor: NDArray[np.floating]
    """[I, F]"""

    def __call__(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Float:
        """Return float64[N], not clipped to the scale."""
        out = self.mean + self.user_bias[user] + self.item_bias[item]
        for start in range(0, len(user), _CHUNK):
            part = slice(start, start + _CHUNK)
            out[part] += np.einsum("nf,nf->n", self.user_factor[user[part]], self.item_factor[item[part]])
        return out


def average(models: list[Factors]) -> Factors:
    """Return one model whose predictions are the average of the models' predictions (factors side by side)."""
    scale = 1 / np.sqrt(len(models))
    return Factors(
        float(np.mean([m.mean for m in models])),
        np.mean([m.user_bias for m in models], axis=0),
        np.mean([m.item_bias for m in models], axis=0),
        np.hstack([np.float32(scale) * m.user_factor for m in models]),
        np.hstack([np.float32(scale) * m.item_factor for m in models]),
    )


@final
class _Side:
    """One side of the log (rows = users or rows = items), ready for normal equations."""

    def __init__(self, row: NDArray[np.int64], column: NDArray[np.int64], shape: tuple[int, int]) -> None:
        self._order = np.lexsort((column, row))
        self._column = column[self._order]
        self._indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=shape[0]))])
        self._shape = shape
        self._mask = self._matrix(np.ones(len(row)))

    def _matrix(self, value: Float) -> csr_matrix:
        return csr_matrix((value, self._column, self._indptr), shape=self._shape)

    def normal(self, target: Float, design: Float) -> tuple[Float, Float]:
        """Return sum x x' [rows, D, D] and sum x y [rows, D] over each row's events; design x is [columns, D]."""
        size = design.shape[1]
        left, right = np.triu_indices(size)
        gram = np.empty((self._shape[0], size, size))
        gram[:, left, right] = self._mask @ (design[:, left] * design[:, right])
        gram[:, right, left] = gram[:, left, right]
        return gram, np.asarray(self._matrix(target[self._order]) @ design, np.float64)


def _with_one(factor: Float) -> Float:
    return np.hstack([np.ones((len(factor), 1)), factor])


def _sides(log: InteractionLog) -> tuple[_Side, _Side, Float, float]:
    mean = float(log.rating.mean(dtype=np.float64))
    by_user = _Side(log.user, log.item, (log.n_users, log.n_items))
    by_item = _Side(log.item, log.user, (log.n_items, log.n_users))
    return by_user, by_item, log.rating.astype(np.float64) - mean, mean


def biases(
    log: InteractionLog, user_damping: float, item_damping: float, sweeps: int = 20
) -> tuple[float, Float, Float]:
    """Return (mean, user bias [U], item bias [I]) by alternating shrunk means.

    Regularised baseline predictor: Koren 2010, "Factor in the Neighbors", equation 1 with ridge penalties; the
    dampings are pseudo-ratings.
    """
    mean = float(log.rating.mean(dtype=np.float64))
    rating, user, item = log.rating.astype(np.float64) - mean, np.zeros(log.n_users), np.zeros(log.n_items)
    n_user, n_item = log.count + user_damping, np.bincount(log.item, minlength=log.n_items) + item_damping
    for _ in range(sweeps):
        item = np.bincount(log.item, rating - user[log.user], minlength=log.n_items) / n_item
        user = np.bincount(log.user, rating - item[log.item], minlength=log.n_users) / n_user
    return mean, user, item


def least_squares(
    log: InteractionLog,
    size: int,
    damping: float,
    user_damping: float,
    item_damping: float,
    sweeps: int,
    seed: int,
) -> Factors:
    """Return biases and F = `size` factors fitted together by alternating ridge regressions.

    Zhou et al. 2008 (ALS) with the biases of Koren, Bell, Volinsky 2009 as one more regressor. All dampings are in
    pseudo-ratings; a row without events gets zeros.
    """
    by_user, by_item, rating, mean = _sides(log)
    _, user_bias, item_bias = biases(log, user_damping, item_damping)
    item_factor = np.random.default_rng(seed).normal(0, 0.1, (log.n_items, size))
    user_factor = np.zeros((log.n_users, size))
    for _ in range(sweeps):
        gram, moment = by_user.normal(rating - item_bias[log.item], _with_one(item_factor))
        user_bias, user_factor = _ridge(gram, moment, user_damping, damping)
        gram, moment = by_item.normal(rating - user_bias[log.user], _with_one(user_factor))
        item_bias, item_factor = _ridge(gram, moment, item_damping, damping)
    return Factors(mean, user_bias, item_bias, user_factor, item_factor)


def _ridge(gram: Float, moment: Float, bias_damping: float, damping: float) -> tuple[Float, Float]:
    penalty: Float = np.full(gram.shape[1], damping)
    penalty[0] = bias_damping
    solved: Float = np.asarray(np.linalg.solve(gram + np.diag(penalty), moment[..., None])[..., 0], np.float64)
    return solved[:, 0], solved[:, 1:]


def gibbs(log: InteractionLog, size: int, burn_in: int, draws: int, seed: int) -> Factors:
    """Return the posterior mean of Bayesian matrix factorisation with biases, by Gibbs sampling.

    Salakhutdinov and Mnih 2008 (BPMF): Gaussian rows with Normal-Wishart hyperpriors, here also over the biases, and a
    sampled noise precision; nothing is tuned. `draws` sweeps after `burn_in` are averaged.
    """
    by_user, by_item, rating, mean = _sides(log)
    rng = np.random.default_rng(seed)
    user = np.hstack([np.zeros((log.n_users, 1)), rng.normal(0, 0.1, (log.n_users, size))])
    item = np.hstack([np.zeros((log.n_items, 1)), rng.normal(0, 0.1, (log.n_items, size))])
    precision = 1.0
    kept: list[Factors] = []
    for sweep in range(burn_in + draws):
        normal = by_user.normal(rating - item[log.item, 0], _with_one(item[:, 1:]))
        user = _draw_rows(*normal, precision, user, rng)
        normal = by_item.normal(rating - user[log.user, 0], _with_one(user[:, 1:]))
        item = _draw_rows(*normal, precision, item, rng)
        model = Factors(mean, user[:, 0], item[:, 0], user[:, 1:].astype(np.float32), item[:, 1:].astype(np.float32))
        error = rating + mean - model(log.user, log.item)
        precision = float(rng.gamma(1 + len(error) / 2, 1 / (1 + float(error @ error) / 2)))
        if sweep >= burn_in:
            kept.append(model)
    return average(kept)


def _draw_rows(gram: Float, moment: Float, precision: float, old: Float, rng: np.random.Generator) -> Float:
    """Return rows [n, D] drawn from their conditional posterior given the other side."""
    centre, prior = _draw_hyper(old, rng)
    posterior = precision * gram + prior
    mean = np.linalg.solve(posterior, (precision * moment + prior @ centre)[..., None])
    root = np.swapaxes(np.linalg.cholesky(posterior), 1, 2)
    return np.asarray((mean + np.linalg.solve(root, rng.normal(size=mean.shape)))[..., 0])


def _draw_hyper(rows: Float, rng: np.random.Generator) -> tuple[Float, Float]:
    """Return (mean [D], precision [D, D]) of rows [n, D] under Normal-Wishart(0, 2, D, identity): BPMF, section 3.2."""
    n, size = rows.shape
    average_row = rows.mean(axis=0)
    centred = rows - average_row
    inverse = np.eye(size) + centred.T @ centred + 2 * n / (n + 2) * np.outer(average_row, average_row)
    triangle = np.tril(rng.normal(size=(size, size)), -1) + np.diag(np.sqrt(rng.chisquare(size + n - np.arange(size))))
    # Bartlett: if inverse = R R', then (R'^-1 A)(R'^-1 A)' is Wishart with scale inverse^-1.
    root = np.linalg.solve(np.linalg.cholesky(inverse).T, triangle)
    precision = root @ root.T
    noise = np.linalg.solve(np.linalg.cholesky((n + 2) * precision).T, rng.normal(size=size))
    return n * average_row / (n + 2) + noise, precision
