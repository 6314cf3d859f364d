"""What a page is worth to the recommender, as functions of (Response, Slate, scale) -> float64[B].

A page with no filled place is worth 0 under every reward of this module.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.scale import RatingScale
from simenv.session import Response, Slate


class Reward(Protocol):
    """Worth of one page for each of B users."""

    def __call__(self, response: Response, slate: Slate, scale: RatingScale, /) -> NDArray[np.float64]:
        """Return float64[B], finite."""
        ...


def rating(response: Response, slate: Slate, scale: RatingScale) -> NDArray[np.float64]:
    """Return the mean rating given on the page, in units of the scale; 0 where no rating was given."""
    return _mean(response.rating, (slate.item >= 0) & ~np.isnan(response.rating))


def expected(response: Response, slate: Slate, scale: RatingScale) -> NDArray[np.float64]:
    """Return the mean expected rating per shown place, in units of the scale: no luck of choice or draw in it.

    The headline of the benchmark. It reads the simulator's probabilities: no real system sees this reward.
    """
    return _mean(scale.expectation(response.p_rating), slate.item >= 0)


def consumed(response: Response, slate: Slate, scale: RatingScale) -> NDArray[np.float64]:
    """Return the share of shown places that were consumed, 0..1."""
    return _mean(response.consumed, slate.item >= 0)


def satisfaction(response: Response, slate: Slate, scale: RatingScale) -> NDArray[np.float64]:
    """Return the mean over shown places of (rating given - middle of the scale) / half its range: -1..1.

    A place that was skipped or not rated counts 0, so a page of dislikes costs more than a page of indifference.
    """
    low, high = scale.values[0], scale.values[-1]
    liking = (np.nan_to_num(response.rating, nan=(low + high) / 2) - (low + high) / 2) / ((high - low) / 2)
    return _mean(liking, slate.item >= 0)


REWARDS: dict[str, Reward] = {
    "rating": rating,
    "expected": expected,
    "consumed": consumed,
    "satisfaction": satisfaction,
}
"""Rewards by name, for `SlateEnv(reward="...")`."""


def by_name(reward: str | Reward) -> Reward:
    """Return the named reward, or the function itself.

    Raises:
        ConfigError: no reward has that name.

    """
    if callable(reward):
        return reward
    if reward not in REWARDS:
        raise ConfigError(
            f"reward {reward!r} is unknown; names are {', '.join(REWARDS)}. "
            "A function (response, slate, scale) -> float64[B] also does."
        )
    return REWARDS[reward]


def _mean(value: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean of value [B, K] over the places `where` [B, K]; 0 where there are none."""
    total = np.where(where, value, 0.0).sum(axis=1, dtype=np.float64)
    return np.asarray(total / np.maximum(where.sum(axis=1), 1), dtype=np.float64)
