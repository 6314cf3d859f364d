"""Yardsticks: the predictors that need no language model, tuned and fitted in the same run as what they measure.

Each is a frozen dataclass with `fit(log, seed=...)`, which sees known rows only and returns a predictor of ratings.
Knows logs; nothing of agents, recommenders or prompts (a ridge on an agent's cues is handed in from outside).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Literal, Protocol, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import DataError
from simenv.evaluation.factors import Factors, average, biases, gibbs, least_squares
from simenv.evaluation.ordinal import OrdinalMap, ordinal_map
from simenv.log import InteractionLog
from simenv.randomness import derive, generator

Float = NDArray[np.float64]
Predictor = Callable[[NDArray[np.int64], NDArray[np.int64]], Float]
"""predict(user int64[N], item int64[N]) -> float64[N], within the ends of the scale."""


class Yardstick(Protocol):
    """A way to become a predictor of ratings."""

    def fit(self, log: InteractionLog, *, seed: int) -> Predictor:
        """Return a predictor fitted on known rows alone; the same log and seed give the same predictor."""
        ...


def _clipped(predict: Predictor, log: InteractionLog) -> Predictor:
    low, high = log.scale.values[0], log.scale.values[-1]
    return lambda user, item: np.clip(predict(user, item), low, high)


def _bias(mean: float, user: Float, item: Float) -> Predictor:
    return lambda u, i: mean + user[u] + item[i]


@final
@dataclass(frozen=True)
class Constant:
    """The same value for everybody: what a program that looks at nothing scores."""

    rule: Literal["mean", "median", "mode"] = "mean"
    """Which middle of the known ratings; the median and the mode lie on the scale."""

    def fit(self, log: InteractionLog, *, seed: int = 0) -> Predictor:
        """Return the constant predictor."""
        shares = np.bincount(log.scale.encode(log.rating), minlength=len(log.scale)) / len(log)
        middle = {
            "mean": float(log.rating.mean(dtype=np.float64)),
            "median": float(log.scale.median(shares)),
            "mode": log.scale.values[int(shares.argmax())],
        }[self.rule]
        return lambda user, item: np.full(len(user), middle)


@final
@dataclass(frozen=True)
class UserMean:
    """Each user's own mean rating, shrunk to the mean of all."""

    damping: float = 1.0
    """Pseudo-ratings at the mean of all."""

    def fit(self, log: InteractionLog, *, seed: int = 0) -> Predictor:
        """Return the predictor; a user without known rows gets the mean of all."""
        mean = float(log.rating.mean(dtype=np.float64))
        offset = np.bincount(log.user, log.rating - mean, minlength=log.n_users) / (log.count + self.damping)
        return _clipped(_bias(mean, offset, np.zeros(log.n_items)), log)


@final
@dataclass(frozen=True)
class ItemMean:
    """Each item's mean rating, shrunk to the mean of all."""

    damping: float = 5.0
    """Pseudo-ratings at the mean of all."""

    def fit(self, log: InteractionLog, *, seed: int = 0) -> Predictor:
        """Return the predictor; an item without known rows gets the mean of all."""
        mean, count = float(log.rating.mean(dtype=np.float64)), np.bincount(log.item, minlength=log.n_items)
        offset = np.bincount(log.item, log.rating - mean, minlength=log.n_items) / (count + self.damping)
        return _clipped(_bias(mean, np.zeros(log.n_users), offset), log)


@final
@dataclass(frozen=True)
class UserItemBias:
    """mean + user bias + item bias, regularised (Koren 2010)."""

    user_damping: float = 8.0
    """Pseudo-ratings that pull a user's bias to zero."""
    item_damping: float = 5.0
    """The same for items."""

    def fit(self, log: InteractionLog, *, seed: int = 0) -> Predictor:
        """Return the predictor; nothing in it is random."""
        return _clipped(_bias(*biases(log, self.user_damping, self.item_damping)), log)


@final
@dataclass(frozen=True)
class BiasedMF:
    """Biases and factors by alternating least squares (Zhou et al. 2008; Koren, Bell, Volinsky 2009)."""

    factors: int = 8
    """Latent dimensions F."""
    damping: float = 12.0
    """Ridge of the factors in pseudo-ratings, the same for every user and item."""
    user_damping: float = 8.0
    """Ridge of a user's bias, in pseudo-ratings."""
    item_damping: float = 1.0
    """Ridge of an item's bias, in pseudo-ratings."""
    sweeps: int = 12
    """Alternations."""
    starts: int = 1
    """Random starts whose predictions are averaged."""

    def fit(self, log: InteractionLog, *, seed: int) -> Predictor:
        """Return the predictor."""
        return _clipped(average([self._fit_once(log, derive(seed, "start", n)) for n in range(self.starts)]), log)

    def _fit_once(self, log: InteractionLog, seed: int) -> Factors:
        ridge = (self.damping, self.user_damping, self.item_damping)
        return least_squares(log, self.factors, *ridge, self.sweeps, seed)


@final
@dataclass(frozen=True)
class BayesianMF:
    """Biases and factors averaged over their posterior (Salakhutdinov and Mnih 2008): the hardest plain yardstick.

    Rendle, Zhang, Koren 2019 ("On the Difficulty of Evaluating Baselines") found it ahead of many later methods.
    """

    factors: int = 8
    """Latent dimensions F."""
    burn_in: int = 20
    """Sweeps thrown away."""
    draws: int = 100
    """Sweeps averaged; memory is draws * F * (U + I) float32."""

    def fit(self, log: InteractionLog, *, seed: int) -> Predictor:
        """Return the predictor."""
        return _clipped(gibbs(log, self.factors, self.burn_in, self.draws, seed), log)


@final
@dataclass(frozen=True)
class HoldOut:
    """Which known rows choose between settings: the later part of some users, as in the test itself."""

    share: float = 1 / 3
    """Share of the users who give up their later part (drawn by the seed); all others stay whole."""
    fraction: float = 0.6
    """What those users keep, first in time; a random part where the log has no times."""
    least: int = 20
    """Known rows a user must have to be drawn."""

    def split(self, log: InteractionLog, *, seed: int) -> tuple[InteractionLog, InteractionLog]:
        """Return (rows to fit on, rows to validate on), both out of the known rows given.

        Raises:
            DataError: no user has enough rows.

        """
        eligible = np.flatnonzero(log.count >= self.least)
        if not len(eligible):
            raise DataError(f"no user has {self.least} known ratings to tune on; lower HoldOut(least=...).")
        size = max(1, round(self.share * len(eligible)))
        users = generator(seed, "hold out").permutation(eligible)[:size]
        kind: Literal["user_time", "random"] = "random" if log.time is None else "user_time"
        cut = log.split(kind, self.fraction, seed=seed, users=users)
        return cut.past, cut.future


@final
@dataclass(frozen=True)
class Tuned:
    """The candidate with the lowest validation RMSE, refitted on all known rows."""

    candidates: Sequence[Yardstick]
    """Settings to choose from; the first wins a tie."""
    hold_out: HoldOut = field(default_factory=HoldOut)
    finish: Callable[[Yardstick], Yardstick] = lambda best: best
    """What the winner turns into before the refit (more random starts, say)."""

    def validate(self, log: InteractionLog, *, seed: int) -> Float:
        """Return the validation RMSE of each candidate; uses known rows only."""
        train, held = self.hold_out.split(log, seed=seed)
        errors = [c.fit(train, seed=seed)(held.user, held.item) - held.rating for c in self.candidates]
        return np.array([np.sqrt(np.mean(e**2)) for e in errors])

    def choose(self, log: InteractionLog, *, seed: int) -> Yardstick:
        """Return the winner, finished but not fitted."""
        return self.finish(self.candidates[int(np.argmin(self.validate(log, seed=seed)))])

    def fit(self, log: InteractionLog, *, seed: int) -> Predictor:
        """Choose, then fit the winner on the whole log given."""
        return self.choose(log, seed=seed).fit(log, seed=seed)


def tuned_bias(user: Sequence[float] = (4, 8, 16, 32), item: Sequence[float] = (0.5, 1, 2, 4, 8)) -> Tuned:
    """Return the bias yardstick with both dampings tuned over the given pseudo-ratings."""
    return Tuned([UserItemBias(u, i) for u, i in product(user, item)])


def tuned_mf(
    factors: Sequence[int] = (4, 8, 16, 32), damping: Sequence[float] = (4, 6, 8, 12, 16, 32), starts: int = 3
) -> Tuned:
    """Return biased MF with factors and ridge tuned; the winner is refitted from `starts` random starts, averaged."""

    def more_starts(best: Yardstick) -> Yardstick:
        assert isinstance(best, BiasedMF)
        return replace(best, starts=starts)

    return Tuned([BiasedMF(f, d) for f, d in product(factors, damping)], finish=more_starts)


def standard() -> dict[str, Yardstick]:
    """Return the yardsticks that stand beside every result, by the name reports print."""
    return {
        "global mean": Constant("mean"),
        "constant": Constant("mode"),
        "user mean": UserMean(),
        "item mean": ItemMean(),
        "user+item bias": tuned_bias(),
        "biased MF": tuned_mf(),
        "Bayesian MF": BayesianMF(),
    }


@final
@dataclass(frozen=True, eq=False)
class Fitted:
    """A yardstick at work: a number and a distribution for every pair."""

    predict: Predictor
    """The number, fitted on all known rows."""
    to_distribution: OrdinalMap
    """From the number to p [N, R]; cut points fitted on validation rows that the number's fit there had not seen."""
    settings: str
    """What was chosen, for the report."""


def fit_with_distribution(
    yardstick: Yardstick, log: InteractionLog, *, seed: int, hold_out: HoldOut | None = None
) -> Fitted:
    """Tune (where it tunes), fit cut points on a validation part of the known rows, refit on all of them.

    Raises:
        DataError: no user has enough rows for a validation part.

    """
    chosen = yardstick.choose(log, seed=seed) if isinstance(yardstick, Tuned) else yardstick
    train, held = (hold_out or HoldOut()).split(log, seed=seed)
    score = chosen.fit(train, seed=seed)(held.user, held.item)
    return Fitted(chosen.fit(log, seed=seed), ordinal_map(score, held.rating, log.scale), repr(chosen))
