"""Decision: does a judge order recommenders as the truth does? The true side is what users really rated.

Each recommender ranks what a user rated in held-out rows (it is told which, never how), the first k are what it would
show; their mean true rating is its true value, and a judge says what it expects of the same items. Knows policies, logs
and populations by protocol; `simenv.evaluation.order` holds the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation.estimate import Estimate
from simenv.evaluation.fidelity.replay import replay
from simenv.evaluation.offline import held_out_shown, shown_rating
from simenv.evaluation.order import Decision, TrueOrder, decide
from simenv.evaluation.statistics import RESAMPLES
from simenv.log import InteractionLog
from simenv.protocols import Policy, Population

__all__ = [
    "Decision",
    "Estimate",
    "Judge",
    "TrueOrder",
    "decide",
    "held_out_decision",
    "held_out_values",
    "judge_values",
    "population_judge",
]

Floats = NDArray[np.float64]
Judge = Callable[[NDArray[np.int64], NDArray[np.int64]], Floats]
"""judge(user int64[N], item int64[N]) -> float64[N], expected ratings; NaN where it says nothing."""


def held_out_values(
    policies: Mapping[str, Policy],
    past: InteractionLog,
    future: InteractionLog,
    user: NDArray[np.int64],
    *,
    k: int = 5,
    seed: int = 0,
) -> tuple[Floats, NDArray[np.int64]]:
    """Return (true [M, A], shown int64[A, M, k]): what A policies show M users of their held-out items, and its worth.

    past: rows the policies may know of the users. true: mean real rating of what is shown, NaN for users with k
    held-out items or fewer. shown: -1 padded.

    Raises:
        ActionError: a policy showed an item that was not among the candidates.

    """
    shown = [held_out_shown(policy, past, future, user, k=k, seed=seed) for policy in policies.values()]
    return np.stack([shown_rating(item, future, user) for item in shown], axis=1), np.stack(shown)


def judge_values(judge: Judge, user: NDArray[np.int64], shown: NDArray[np.int64]) -> Floats:
    """Return float64[M, A]: what a judge expects on average of the items shown [A, M, k] to users [M].

    NaN where nothing was shown, or the judge says nothing of an item. Each pair is put to the judge once.
    """
    filled = shown >= 0
    place = np.broadcast_to(np.arange(len(user))[None, :, None], shown.shape)[filled]
    pair, back = np.unique(np.stack([place, shown[filled]], axis=1), axis=0, return_inverse=True)
    said = np.zeros(shown.shape)
    said[filled] = np.asarray(judge(user[pair[:, 0]], pair[:, 1]), np.float64)[np.ravel(back)]
    count = filled.sum(axis=2)
    return np.asarray(np.where(count > 0, said.sum(axis=2), np.nan) / np.maximum(count, 1)).T


def population_judge(population: Population, *, seed: int = 0) -> Judge:
    """Return what simulated users expect to give, as a judge; users must be members."""

    def judge(user: NDArray[np.int64], item: NDArray[np.int64]) -> Floats:
        return population.scale.expectation(replay(population, user, item, seed=seed).p)

    return judge


def held_out_decision(
    policies: Mapping[str, Policy],
    past: InteractionLog,
    future: InteractionLog,
    user: NDArray[np.int64],
    judges: Mapping[str, Judge],
    *,
    k: int = 5,
    seed: int = 0,
    alpha: float = 0.05,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> dict[str, Decision]:
    """Return, per judge, how well it orders fitted policies as the held-out ratings of users [M] do.

    past: the contestants' rows. Judges must not have seen `future`; whether they saw `past` is the caller's choice.

    Raises:
        ActionError: a policy showed an item that was not among the candidates.
        DataError: fewer than two users have more than k held-out items, or there are fewer than two policies.

    """
    true, shown = held_out_values(policies, past, future, user, k=k, seed=seed)
    order = TrueOrder.of(true, alpha=alpha, resamples=resamples, seed=seed, level=level)
    return {name: order.judge(judge_values(judge, user, shown)) for name, judge in judges.items()}
