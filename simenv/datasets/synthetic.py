"""The synthetic world: a log and a catalogue from a seed, with the truth known. No file is read.

Users have latent tastes, ratings come from an ordinal model, visits end by a known hazard. Knows nothing of the agents
and recommenders that are measured on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

from simenv.catalogue import Catalogue
from simenv.datasets.invented import GENRES, TONES, Cast, catalogue_of, draw_cast
from simenv.errors import ConfigError
from simenv.index import Index
from simenv.log import InteractionLog
from simenv.randomness import generator
from simenv.scale import RatingScale

Floats = NDArray[np.float64]

SHARES = (0.06, 0.11, 0.27, 0.34, 0.22)
"""Target shares of 1..5 stars among ratings, those of MovieLens 100K (Harper and Konstan 2015) rounded."""
PAGE = 10
"""Ratings per page of a visit in the generated log."""
_DIMENSION = 8
_END = 1_009_843_200


@final
@dataclass(frozen=True)
class Behaviour:
    """The true choice and exit of the synthetic users; same formulae as Choice and ExitHazard of simenv.agents."""

    position_decay: float = 0.9
    """Probability of examining place k is position_decay**k."""
    choice_intercept: float = 0.0
    """Logit of taking an examined item that is worth the user's mean."""
    choice_slope: float = 1.0
    """Logits per rating point above the user's mean."""
    page_logit: tuple[float, ...] = (-1.0, -1.2, -1.3, -1.4, -1.4, -1.3, -1.2, -1.1, -1.0, -0.9)
    """Logit of leaving after page 1, 2, ...; the last entry goes on."""
    frailty_sd: float = 0.5
    """Logits; in the log a user's frailty is the same in all visits."""
    slope_utility: float = -2.0
    """Logits per rating point of the running utility."""
    slope_best: float = -0.3
    """Logits per rating point of the best place of the last page above the user's mean."""
    slope_repeat: float = 1.0
    """Logits for a page of repeats only (the log has none)."""
    slope_activity: float = -0.25
    """Logits per standard deviation of activity."""
    decay: float = 0.7
    """Weight of the past in the running utility."""


@final
@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of every user and item, rated or not. Same indices as the log."""

    scale: RatingScale
    mu: NDArray[np.float32]
    """float32[U, I]: location of the ordinal model in logits."""
    threshold: Floats
    """float64[R-1], ascending: P(rating <= value r) = sigmoid(threshold[r] - mu)."""
    expected: NDArray[np.float32]
    """float32[U, I]: mean of the true rating distribution."""
    mean: Floats
    """float64[U]: mean of `expected` over the items the user rated."""
    activity: Floats
    """float64[U]: log history length, standardised."""
    group: NDArray[np.int64]
    """int64[U]: the taste group (the true persona)."""
    taste: Floats
    """float64[U, D]"""
    severity: Floats
    """float64[U]: logits added to everything a user rates; high is lenient."""
    spread: Floats
    """float64[U]: how widely a user uses the scale; 1 is usual."""
    vector: Floats
    """float64[I, D]: what the items are, in the space of tastes."""
    quality: Floats
    """float64[I]: logits that all users agree on."""
    popularity: Floats
    """float64[I]: relative chance of being noticed; sums to 1."""
    behaviour: Behaviour

    def p(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Floats:
        """Return float64[N, R]: the true rating distributions of users [N] for items [N]."""
        below = expit(self.threshold - self.mu[user, item].astype(np.float64)[:, None])
        return np.diff(below, axis=1, prepend=0.0, append=1.0)


@final
@dataclass(frozen=True, eq=False)
class World:
    """A generated world; unpack `log` and `catalogue` as from any other data set."""

    log: InteractionLog
    catalogue: Catalogue
    truth: Truth
    name: str


def generate(
    seed: int = 0,
    *,
    n_users: int = 600,
    n_items: int = 400,
    selection: float = 1.0,
    selection_popularity: float = 1.0,
    n_genres: int = 12,
    n_groups: int = 5,
    median_history: float = 70.0,
    max_history: int = 400,
    behaviour: Behaviour | None = None,
) -> World:
    """Return a world made from a seed; equal arguments give equal bytes.

    selection: strength with which users rate what they would like (log-odds of choosing an item rise by
        selection / 2 per logit of true utility); 0: regardless of taste.
    selection_popularity: exponent of the items' Zipf-like popularity in that choice; both 0: uniformly at random.
    n_genres: 8 to 14. n_groups: taste groups. median_history: ratings of the median user; lengths are lognormal above
        20 and end at max_history and at three quarters of the catalogue. behaviour: None: the default Behaviour().

    A user rates an item once. Which items are rated does not depend on time: there is no drift, but the ratings of one
    page are more alike than those of a visit, as in lists. Visits follow each other after a day or more; a visit ends
    by the true hazard; a user's last visit is cut off when the log stops, at the start of 2002 for everyone.

    Raises:
        ConfigError: sizes too small or out of range.

    """
    if n_users < 1 or n_items < 8 or not 8 <= n_genres <= len(GENRES) or n_groups < 1:
        raise ConfigError(
            f"a synthetic world needs n_users >= 1, n_items >= 8, n_genres in 8..{len(GENRES)} and n_groups >= 1; "
            f"got {n_users}, {n_items}, {n_genres} and {n_groups}."
        )
    behaviour = behaviour or Behaviour()
    users, items = Index(tuple(range(1, n_users + 1)), "user"), Index(tuple(range(1, n_items + 1)), "item")
    cast = draw_cast(seed, n_items, n_genres)
    vector, quality, popularity = _items(seed, cast)
    taste, group, severity, spread = _users(seed, n_users, n_groups)
    mu = _location(taste, severity, spread, vector, quality)
    length = _lengths(seed, n_users, n_items, median_history, max_history)
    item = _selected(seed, mu, popularity, length, selection, selection_popularity)
    threshold = _thresholds(mu[np.nonzero(item >= 0)[0], item[item >= 0]])
    scale = RatingScale()
    expected = _expectation(mu, threshold, scale)
    logged = np.log(length)
    activity = (logged - logged.mean()) / max(float(logged.std()), 1e-9)
    mean = np.array([expected[u, row[row >= 0]].mean() for u, row in enumerate(item)], np.float64)
    truth = Truth(
        scale, mu, threshold, expected, mean, activity, group, taste, severity, spread, vector, quality, popularity,
        behaviour,
    )  # fmt: skip
    log = _log(seed, truth, item, users, items)
    name = f"synthetic-{n_users}x{n_items}-selection{selection:g}-seed{seed}"
    return World(log, catalogue_of(seed, cast, items), truth, name)


def _unit(x: Floats) -> Floats:
    return np.asarray((x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-9))


def _items(seed: int, cast: Cast) -> tuple[Floats, Floats, Floats]:
    """Return vectors [I, D], quality [I] and popularity [I], composed of genres, people, tone and something own."""
    rng = generator(seed, "items")
    shape = len(cast.director), _DIMENSION
    genre, tone = rng.normal(size=(cast.genre.shape[1], _DIMENSION)), rng.normal(size=(len(TONES), _DIMENSION))
    actor, director = rng.normal(size=(cast.n_actors, _DIMENSION)), rng.normal(size=(cast.n_directors, _DIMENSION))
    of_genre = cast.genre @ genre / cast.genre.sum(axis=1, keepdims=True)
    people = 0.5 * director[cast.director] + 0.5 * actor[cast.actor].mean(axis=1)
    vector = of_genre + 0.6 * people + 0.5 * tone[cast.tone] + 0.3 * rng.normal(size=shape)
    skill_director, skill_actor = rng.normal(size=cast.n_directors), rng.normal(size=cast.n_actors)
    quality = 0.8 * skill_director[cast.director] + 0.8 * skill_actor[cast.actor].mean(axis=1)
    # Of old films only the better ones are still around.
    quality = quality + 0.02 * (2000 - cast.year) + 0.7 * rng.normal(size=shape[0])
    noticed = 0.5 * _unit(quality) + rng.normal(size=shape[0])
    popularity = 1.0 / (1.0 + shape[0] / 15 + np.argsort(np.argsort(-noticed)))
    return _unit(vector), 0.85 * _unit(quality), popularity / popularity.sum()


def _users(seed: int, n_users: int, n_groups: int) -> tuple[Floats, NDArray[np.int64], Floats, Floats]:
    """Return tastes [U, D] (60 % of the variance between groups), groups [U], severity [U] and spread [U]."""
    rng = generator(seed, "users")
    group = rng.choice(n_groups, size=n_users, p=rng.dirichlet(np.full(n_groups, 8.0)))
    centre = rng.normal(size=(n_groups, _DIMENSION))
    centre *= np.sqrt(_DIMENSION) / np.linalg.norm(centre, axis=1, keepdims=True)
    taste = np.sqrt(0.6) * centre[group] + np.sqrt(0.4) * rng.normal(size=(n_users, _DIMENSION))
    return taste, group, rng.normal(0, 0.75, n_users), np.exp(rng.normal(0, 0.25, n_users))


def _location(taste: Floats, severity: Floats, spread: Floats, vector: Floats, quality: Floats) -> NDArray[np.float32]:
    liking = (taste / np.sqrt(_DIMENSION)).astype(np.float32) @ vector.T.astype(np.float32)
    mu = spread[:, None].astype(np.float32) * (liking * np.float32(0.95) + quality.astype(np.float32))
    return np.asarray(mu + severity[:, None].astype(np.float32), np.float32)


def _lengths(seed: int, n_users: int, n_items: int, median: float, longest: int) -> NDArray[np.int64]:
    top = max(1, min(longest, n_items * 3 // 4))
    floor = min(20, top)
    draw = floor + max(median - floor, 1.0) * np.exp(generator(seed, "lengths").normal(size=n_users))
    return np.clip(draw, floor, top).astype(np.int64)


def _selected(
    seed: int, mu: NDArray[np.float32], popularity: Floats, length: NDArray[np.int64], by_taste: float, by_fame: float
) -> NDArray[np.int64]:
    """Return int64[U, H], -1 padded: what each user rates, in order (sampling without replacement by Gumbel noise)."""
    rng = generator(seed, "selection")
    chosen = np.full((len(mu), int(length.max())), -1, np.int64)
    for user, row in enumerate(mu):
        score = by_taste / 2 * row + by_fame * np.log(popularity) + rng.gumbel(size=len(row))
        best = np.argpartition(-score, length[user] - 1)[: length[user]]
        chosen[user, : length[user]] = _in_pages(rng, best, row[best])
    return chosen


def _in_pages(rng: np.random.Generator, item: NDArray[np.int64], mu: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return the items in random order of pages, alike within a page; the odd page comes last."""
    likeness = 0.5 * (mu - mu.mean()) / max(float(mu.std()), 1e-9) + rng.normal(size=len(mu))
    order = np.argsort(likeness)
    odd = rng.choice(len(order), len(order) % PAGE, replace=False)
    whole = rng.permutation(np.delete(order, odd).reshape(-1, PAGE))
    return np.concatenate([item[whole.ravel()], item[order[odd]]])


def _thresholds(mu: NDArray[np.float32]) -> Floats:
    """Return float64[R-1] such that the expected shares of ratings at locations [E] are SHARES."""
    at = np.quantile(mu.astype(np.float64), (np.arange(2000) + 0.5) / 2000) if len(mu) > 2000 else mu.astype(np.float64)
    return np.array([brentq(lambda t, c=c: expit(t - at).mean() - c, -40, 40) for c in np.cumsum(SHARES)[:-1]])


def _expectation(mu: NDArray[np.float32], threshold: Floats, scale: RatingScale) -> NDArray[np.float32]:
    """Return float32[U, I]: highest value minus what is lost below each threshold."""
    expected = np.full(mu.shape, scale.values[-1], np.float32)
    for step, cut in zip(np.diff(scale.array), threshold, strict=True):
        expected -= np.float32(step) * expit(np.float32(cut) - mu)
    return expected


def _log(seed: int, truth: Truth, item: NDArray[np.int64], users: Index, items: Index) -> InteractionLog:
    rng = generator(seed, "log")
    user, chosen = np.nonzero(item >= 0)[0], item[item >= 0]
    rating = truth.scale.sample(truth.p(user, chosen), rng.random(len(user)))
    time = _times(rng, truth, item)[item >= 0]
    return InteractionLog.of(users, items, user, chosen, rating, time, truth.scale)


def _times(rng: np.random.Generator, truth: Truth, item: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return int64[U, H], seconds: ten ratings a page, a page in two or three minutes, visits a day or more apart."""
    n_users, width = item.shape
    leaves = _leaves(rng, truth, item)
    n_pages = leaves.shape[1]
    new_visit = np.concatenate([np.zeros((n_users, 1), bool), leaves[:, :-1]], axis=1)
    away = (86_400 * (1 + rng.exponential(9.0, (n_users, n_pages)))).astype(np.int64)
    step = np.where(new_visit, away, rng.integers(120, 200, (n_users, n_pages)))
    within = np.cumsum(rng.integers(3, 12, (n_users, n_pages, PAGE)), axis=2)
    time = (np.cumsum(step, axis=1)[:, :, None] + within).reshape(n_users, -1)[:, :width]
    last = np.take_along_axis(time, (item >= 0).sum(axis=1)[:, None] - 1, axis=1)
    # The log stops for everyone at one moment, with every user in mid-visit: last visits are cut off, not left.
    return np.asarray(time - last + _END - rng.integers(0, 600, (n_users, 1)), np.int64)


def _leaves(rng: np.random.Generator, truth: Truth, item: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return bool[U, P]: whether the user leaves after each page of a history, by the true hazard."""
    by, n_users = truth.behaviour, len(item)
    gap, filled = _page_gap(truth, item)
    page, utility = np.zeros(n_users, np.int64), np.zeros(n_users)
    frailty = by.frailty_sd * rng.normal(size=n_users) + by.slope_activity * truth.activity
    luck = rng.random(gap.shape[:2])
    leaves = np.zeros(gap.shape[:2], bool)
    for p in range(gap.shape[1]):
        some = filled[:, p].any(axis=1)
        average = gap[:, p].sum(axis=1) / np.maximum(filled[:, p].sum(axis=1), 1)
        best = np.where(some, np.where(filled[:, p], gap[:, p], -np.inf).max(axis=1), 0.0)
        utility = by.decay * utility + (1 - by.decay) * average
        base = np.asarray(by.page_logit)[np.clip(page, 0, len(by.page_logit) - 1)]
        hazard = expit(base + frailty + by.slope_utility * utility + by.slope_best * best)
        leaves[:, p] = luck[:, p] < hazard
        page, utility = np.where(leaves[:, p], 0, page + 1), np.where(leaves[:, p], 0.0, utility)
    return leaves


def _page_gap(truth: Truth, item: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
    """Return expected rating minus user mean float64[U, P, PAGE] (0 where empty) and which places are filled."""
    n_users, width = item.shape
    padded = np.pad(item, ((0, 0), (0, -width % PAGE)), constant_values=-1)
    gap = truth.expected[np.arange(n_users)[:, None], padded] - truth.mean[:, None]
    shape = n_users, -1, PAGE
    return np.where(padded >= 0, gap, 0.0).reshape(shape), (padded >= 0).reshape(shape)
