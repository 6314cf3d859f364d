"""The response test: whether users stay longer before items they like, and leave sooner before items they do not.

An exit that ignores what is shown cannot tell recommenders apart. Knows populations by protocol: users are asked what
they expect of some items, and are then shown the best, the worst, or any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.evaluation import figure
from simenv.evaluation.interval import Interval
from simenv.evaluation.report import Figure
from simenv.evaluation.statistics import RESAMPLES, Pair, bootstrap_mean, check_level, paired_differences
from simenv.play import episode_key
from simenv.protocols import Population
from simenv.randomness import derive, generator
from simenv.session import Slate

Float = NDArray[np.float64]
Ints = NDArray[np.int64]
ORDER = ("best", "random", "worst")
LIVES = 8
"""Times each user's visit is played, with another readiness to leave each time."""


@final
@dataclass(frozen=True, eq=False)
class ResponseTest:
    """The same users under best, random and worst slates."""

    pages: Mapping[str, Interval]
    """Pages seen until the user leaves, expected from the probabilities of leaving, at most the number shown."""
    difference: Mapping[str, Pair]
    """"best - random", "random - worst", "best - worst": over the same users and lives, Holm over the three."""
    length: Mapping[str, Ints]
    """int64[M * lives]: pages until each simulated user left, drawn; one more than shown: still there."""
    users: int
    shown: int
    """Pages shown at most."""
    candidates: int
    """Items per user from which the slates were made."""

    @property
    def right(self) -> bool:
        """Whether users surely stay longer the better the slates: both neighbouring differences (Holm)."""
        gaps = [self.difference[name] for name in ("best - random", "random - worst")]
        return all(g.difference.mean > 0 and g.significant(1 - g.difference.level) for g in gaps)

    @property
    def figure(self) -> Figure:
        """The share of users still there, by what they were shown."""
        return figure.survival("Share of visits going on, by what is shown", self.length, self.shown)


def response_test(
    population: Population,
    *,
    pages: int = 10,
    slate_size: int = 10,
    seed: int = 0,
    users: Ints | None = None,
    candidates: int | None = None,
    lives: int = LIVES,
    resamples: int = RESAMPLES,
    level: float = 0.95,
) -> ResponseTest:
    """Return how long the same users stay before the best, random and worst of some items.

    users: int64[M], numbers of members; None: all. candidates: items drawn per user, of which each kind of slate shows
    `pages * slate_size`; None: three times as many as are shown, or the whole catalogue where that is less. What is
    best and worst is each user's own expected rating.

    Raises:
        ConfigError: the candidates do not fill the pages, or are more than there are items; or level is no coverage.
        UnknownIdError: a user is not a member.
        DataError: fewer than two users.

    """
    check_level(level)
    user = np.asarray(population.member if users is None else users, np.int64)
    n_items, needed = len(population.items), pages * slate_size
    size = min(3 * needed, n_items) if candidates is None else candidates
    if not 0 < needed <= size <= n_items:
        raise ConfigError(
            f"{pages} pages of {slate_size} want {needed} items of {size} candidates; the catalogue has {n_items}. "
            "Show fewer pages, or smaller slates."
        )
    item = np.stack([generator(seed, "candidates", int(u)).permutation(n_items)[:size] for u in user])
    expected = _expected(population, user, item, seed)
    rank = np.argsort(-expected, axis=1, kind="stable")
    orders = {"best": rank, "random": np.tile(np.arange(size), (len(user), 1)), "worst": rank[:, ::-1]}
    value, length = {}, {}
    for name in ORDER:
        shown = np.take_along_axis(item, orders[name][:, :needed], axis=1).reshape(len(user), pages, slate_size)
        value[name], length[name] = _played(population, user, shown, seed, lives)
    return _result(value, length, (len(user), pages, size), resamples, seed, level)


def _expected(population: Population, user: Ints, item: Ints, seed: int) -> Float:
    """Return float64[M, C]: each user's expected rating of the candidates, said before one long slate."""
    response, _ = population.respond(population.begin(user, episode_key(seed, user)), Slate.certain(item))
    return population.scale.expectation(response.p_rating)


def _played(population: Population, user: Ints, shown: Ints, seed: int, lives: int) -> tuple[Float, Ints]:
    """Return expected pages [M] over lives, and drawn lengths [M * lives]; the same lives whatever is shown."""
    total, length = np.zeros(len(user)), []
    for life in range(lives):
        state = population.begin(user, episode_key(derive(seed, "life", life), user))
        there, left = np.ones(len(user)), np.full(len(user), shown.shape[1] + 1)
        for page in range(shown.shape[1]):
            total += there
            response, state = population.respond(state, Slate.certain(shown[:, page]))
            there = there * (1 - response.p_exit)
            left = np.where(response.exit, np.minimum(left, page + 1), left)
        length.append(left)
    return total / lives, np.concatenate(length).astype(np.int64)


def _result(
    value: Mapping[str, Float],
    length: Mapping[str, Ints],
    size: tuple[int, int, int],
    resamples: int,
    seed: int,
    level: float,
) -> ResponseTest:
    mean = {n: bootstrap_mean(v, resamples=resamples, seed=seed, level=level) for n, v in value.items()}
    column = np.column_stack([value[n] for n in ORDER])
    found = paired_differences(column, resamples=resamples, seed=seed, level=level)
    difference = {f"{ORDER[p.first]} - {ORDER[p.second]}": p for p in found}
    return ResponseTest(mean, difference, dict(length), *size)
