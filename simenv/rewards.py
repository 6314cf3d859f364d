"""What a page is worth to the recommender, as functions of (Response, Slate, scale) -> float64[B].

A page with no filled place is worth 0 under every reward of this module: nobody is kept by being shown nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.protocols import Population
from simenv.scale import RatingScale
from simenv.session import Response, Slate, UserState


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


def retention(response: Response, slate: Slate, scale: RatingScale) -> NDArray[np.float64]:
    """Return 1 per page on which something was shown: the sum over an episode is pages until the user leaves."""
    return np.asarray((slate.item >= 0).any(axis=1), np.float64)


@runtime_checkable
class EndReward(Protocol):
    """What a Reward also is that pays for how a visit ends."""

    def at_end(self, population: Population, state: UserState) -> NDArray[np.float64]:
        """Return float64[B], finite: added to the last page of a visit, whatever ended it.

        Raises:
            ConfigError: the population cannot tell.

        """
        ...


@final
@dataclass(frozen=True)
class LongTerm:
    """Satisfaction of each page and, when a visit ends, what it is worth that the user may come back.

    In an episode of one visit that is worth * P(back within `within` days), of which no luck is part; a population that
    knows when users return has `p_return`. Where users do come back in an episode (`visits` above 1), nothing is added:
    later visits are lived, and discounted by `day_discount`.
    """

    worth: float = 5.0
    """Page rewards that a return is worth; assumed, about a visit of ten pages half of which please."""
    within: float = 7.0
    """Days; assumed."""

    def __call__(self, response: Response, slate: Slate, scale: RatingScale) -> NDArray[np.float64]:
        """Return `satisfaction` of the page."""
        return satisfaction(response, slate, scale)

    def at_end(self, population: Population, state: UserState) -> NDArray[np.float64]:
        """Return worth * P(back in time)."""
        p_return: Callable[[UserState, float], NDArray[np.float64]] | None = getattr(population, "p_return", None)
        if p_return is None:
            raise ConfigError(
                'reward "long_term" needs a population with p_return(state, days): one whose users come back.'
            )
        return self.worth * p_return(state, self.within)


REWARDS: dict[str, Reward] = {
    "rating": rating,
    "expected": expected,
    "consumed": consumed,
    "satisfaction": satisfaction,
    "retention": retention,
    "long_term": LongTerm(),
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


def end_worth(
    reward: str | Reward, population: Population, state: UserState, visits: int
) -> Callable[[Population, UserState], NDArray[np.float64]] | None:
    """Return what is added where a visit ends, None: nothing.

    state: users of the population, to find out at once whether it can tell. visits: of an episode.

    Raises:
        ConfigError: it cannot.

    """
    paid = by_name(reward)
    if not isinstance(paid, EndReward) or visits > 1:
        return None
    paid.at_end(population, state)
    return paid.at_end


def _mean(value: NDArray[Any], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean of value [B, K] over the places `where` [B, K]; 0 where there are none."""
    total = np.add.reduce(np.where(where, value, 0.0), axis=1, dtype=np.float64)
    return np.asarray(total / np.maximum(np.add.reduce(where, axis=1), 1), dtype=np.float64)
