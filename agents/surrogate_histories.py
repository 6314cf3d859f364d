"""Invented users: known ratings drawn from what a crowd believes of users in general, for populations of any size.

Users' bias and factors come from the crowd's Gaussian belief (agents/factors.py), items by popularity, ratings from the
factorisation and its noise, rounded to the scale. Nobody real is copied, and no real user is simulated.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.errors import ConfigError
from simenv.randomness import generator
from simenv.scale import RatingScale


def draw_histories(
    crowd: Crowd, scale: RatingScale, length: NDArray[np.int64], *, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return item [B, H] and rating [B, H] of users with `length` [B] ratings each, padded with -1 and NaN.

    Raises:
        ConfigError: a length is below 0 or above the number of items.

    """
    length = np.asarray(length, np.int64)
    if len(length) and (length.min() < 0 or length.max() > len(crowd.item_count)):
        raise ConfigError(f"lengths must lie in 0..{len(crowd.item_count)}; got {length.min()}..{length.max()}.")
    rng = generator(seed, "invented histories")
    width = int(length.max(initial=0))
    own = rng.multivariate_normal(crowd.taste_mean, np.linalg.inv(crowd.taste_precision.astype(float)), len(length))
    item = draw_items(crowd.item_count + 0.5, len(length), width, rng)
    other = crowd.factor[item]
    said = crowd.mean + crowd.item_offset[item] + other[..., 0] + own[:, :1]
    said += np.einsum("bhf,bf->bh", other[..., 1:], own[:, 1:]) + rng.normal(0, crowd.noise**-0.5, item.shape)
    gone = np.arange(width) >= length[:, None]
    rating = np.where(gone, np.nan, scale.round(said)).astype(np.float32)
    return np.where(gone, -1, item), rating


def draw_items(weight: NDArray[np.floating], rows: int, k: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return int64[rows, k]: k different items a row, drawn one after the other in proportion to weight [I]."""
    if k == 0 or rows == 0:
        return np.empty((rows, k), np.int64)
    edge = np.cumsum(np.asarray(weight, np.float64))
    drawn = np.searchsorted(edge, rng.random((rows, 2 * k + 8)) * edge[-1], side="right")
    order = np.argsort(drawn, axis=1, kind="stable")
    ranked = np.take_along_axis(drawn, order, axis=1)
    new = np.ones(drawn.shape, bool)  # a repeated draw is drawn again: the first k different ones count
    np.put_along_axis(new, order[:, 1:], ranked[:, 1:] != ranked[:, :-1], axis=1)
    place = np.cumsum(new, axis=1)
    few = place[:, -1] < k
    out = np.empty((rows, k), np.int64)
    out[~few] = drawn[~few][(new & (place <= k))[~few]].reshape(-1, k)
    if few.any():  # goes on where these rows stopped, among the other items: the smallest exponential clocks
        clock = rng.standard_exponential((int(few.sum()), len(edge))) / weight
        row, column = np.nonzero(new[few])
        clock[row, drawn[few][row, column]] = place[few][row, column] - 2.0 * len(edge)  # those drawn, in their order
        out[few] = np.argsort(clock, axis=1)[:, :k]
    return out
