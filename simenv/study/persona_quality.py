"""Persona quality: what Ms says of users beside what their held-out ratings show, for everyone who writes profiles.

Three truths about genres, all from a user's held-out ratings: liked more than others like it (the mean of what is left
of the ratings after the crowd's opinion of the items and the user's own severity lies above 0: what is personal); rated
above the user's own mean (what the crowd likes, too, is in that); often chosen (one of the five genres with most
ratings of the scale's upper part). Trait levels in truth are those of the held-out rows alone, cut at the same
percentiles among the same users.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.agents.profile import Profiles
from simenv.catalogue import Catalogue
from simenv.errors import DataError
from simenv.evaluation.interval import Interval
from simenv.evaluation.user_total import Statistic, bootstrap, ratio
from simenv.log import InteractionLog
from simenv.study.persona_quality_claim import Claims, counted, everybody, texts

Float = NDArray[np.float64]
Truth = Literal["liked more than others do", "rated above own mean", "often chosen"]
TRUTH: tuple[Truth, ...] = ("liked more than others do", "rated above own mean", "often chosen")
TRAIT = ("activity", "conformity", "diversity")
_ENOUGH = 3
"""Held-out ratings of a genre from which a user's opinion of it counts."""
_MANY = 5
"""Genres that are often chosen, and genres that everybody is said to like."""


@final
@dataclass(frozen=True, eq=False)
class Arena:
    """N users, their ratings cut into known and held out, and what is claimed of them."""

    name: str
    log: InteractionLog
    catalogue: Catalogue
    user: NDArray[np.int64]
    """int64[N]: numbers of the users."""
    known: NDArray[np.bool_]
    """bool[E]: rows that were known; rows of others are all."""
    claims: Mapping[str, Claims]
    activity: bool
    """Whether activity can be judged: False where the cut itself decides how many ratings are held out."""

    @classmethod
    def of(
        cls,
        name: str,
        log: InteractionLog,
        catalogue: Catalogue,
        user: NDArray[np.int64],
        known: NDArray[np.bool_],
        claims: Mapping[str, Claims],
        *,
        activity: bool,
    ) -> Arena:
        """Return the arena, with claims by counting the known rows and claims that all users are alike beside others'.

        known: bool[E], of these users' rows.

        Raises:
            DataError: a user stands twice, or nobody has a rating of both kinds.

        """
        if len(np.unique(user)) != len(user):
            raise DataError(f"{name}: a user is spoken of twice; keep one profile each.")
        known = known | ~np.isin(log.user, user)
        bare = cls(name, log, catalogue, user, known, {}, activity)
        able = (bare.held.count[user] > 0) & (log.take(known).count[user] > 0)
        if able.sum() < 2:
            raise DataError(f"{name}: fewer than two users have known and held-out ratings; give the log it is of.")
        kept = {n: replace(c, opinion=c.opinion[able], level=c.level[able]) for n, c in claims.items()}
        bare = replace(bare, user=user[able])
        return replace(bare, claims={**kept, **bare._own()})

    @property
    def held(self) -> InteractionLog:
        """The users' held-out rows."""
        return self.log.take(~self.known & np.isin(self.log.user, self.user))

    @cached_property
    def crowd(self) -> Crowd:
        """Item statistics of the known rows."""
        return Crowd.fit(self.log.take(self.known), self.catalogue)

    def _own(self) -> dict[str, Claims]:
        past, vocabulary = self.log.take(self.known), self.catalogue.vocabulary
        profiles = Profiles.of_log(past, self.user, self.crowd, self.catalogue)
        rows = int(past.count[self.user].sum())
        note = f"{rows / len(self.user):.0f} known ratings a user"
        return {
            "statistical": counted(profiles, note),
            "statistical, its text read": texts(
                [p.description for p in profiles],
                vocabulary,
                "counted",
                profiles.level,
                "the same words, read as others' are",
            ),
            "all alike: best rated": everybody(self._best(past, "mean"), len(self.user), "the five best rated genres"),
            "all alike: most chosen": everybody(self._best(past, "count"), len(self.user), "the five most chosen"),
        }

    def _best(self, past: InteractionLog, by: Literal["mean", "count"]) -> NDArray[np.int8]:
        """Return the claim for five genres by what the known rows of all say."""
        carries = (self.crowd.genre > 0).astype(np.float64)
        liked = past.rating >= _upper(past) if by == "count" else past.rating
        total = np.bincount(past.item, liked, minlength=past.n_items) @ carries
        value = (
            total if by == "count" else total / np.maximum(np.bincount(past.item, minlength=past.n_items) @ carries, 1)
        )
        claim = np.zeros(carries.shape[1], np.int8)
        claim[np.argsort(-value, kind="stable")[:_MANY]] = 1
        return claim

    @cached_property
    def liked(self) -> dict[Truth, tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
        """(true, decidable) bool[N, G] for each kind of truth."""
        held = self.held
        row = np.full(held.n_users, -1, np.int64)
        row[self.user] = np.arange(len(self.user))
        place, carries = row[held.user], (self.crowd.genre > 0).astype(np.float64)[held.item]
        apart = held.rating.astype(np.float64) - self.crowd.item_offset[held.item]
        mean, severity = (np.bincount(place, x) / np.bincount(place) for x in (held.rating, apart))
        upper = (held.rating >= _upper(held)).astype(np.float64)
        weight = (np.ones(len(held)), held.rating - mean[place], apart - severity[place], upper)
        count, gap, own, often = (_sum(place, carries * w[:, None], len(self.user)) for w in weight)
        rank = np.argsort(np.argsort(-often, axis=1, kind="stable"), axis=1)
        everything = np.ones(count.shape, bool) & (often.sum(axis=1) > 0)[:, None]
        enough = count >= _ENOUGH
        return dict(
            zip(TRUTH, ((own > 0, enough), (gap > 0, enough), ((rank < _MANY) & (often > 0), everything)), strict=True)
        )

    @cached_property
    def level(self) -> NDArray[np.int8]:
        """int8[N, 3]: trait levels of the held-out rows; activity -1 where it cannot be judged."""
        level = Profiles.of_log(self.held, self.user, self.crowd, self.catalogue).level.copy()
        if not self.activity:
            level[:, 0] = -1
        return level


def opinions(arena: Arena, name: str, truth: Truth, *, seed: int = 0) -> dict[str, Interval | None]:
    """Return how a writer's liked genres stand to the truth, over decidable pairs of user and genre.

    "precision": of the genres said to be liked, the share that is. "recall": of those liked, the share that is said.
    "base": the share of all decidable genres that is liked, which is the precision of words dealt at random.
    "lift": precision / base. "against": of the genres said to be disliked, the share that is not liked. None: nothing
    of the kind was said.
    """
    said, (true, able) = arena.claims[name].opinion, arena.liked[truth]
    yes, no = (said > 0) & able, (said < 0) & able
    hit, is_so = yes & true, true & able
    sums = {n: x.sum(axis=1).astype(np.float64) for n, x in {
        "hit": hit, "yes": yes, "true": is_so, "able": able, "no": no, "miss": no & ~true}.items()}  # fmt: skip

    def of(top: str, bottom: str) -> Interval | None:
        return _interval(Statistic(np.column_stack([sums[top], sums[bottom]]), ratio), seed)

    lift = Statistic(np.column_stack([sums[n] for n in ("hit", "yes", "true", "able")]), _lift)
    return {
        "precision": of("hit", "yes"),
        "recall": of("hit", "true"),
        "base": of("true", "able"),
        "lift": _interval(lift, seed),
        "against": of("miss", "no"),
    }


def traits(arena: Arena, name: str, trait: int, *, seed: int = 0) -> dict[str, Interval | None]:
    """Return how a writer's levels of a trait agree with the held-out ones.

    "accuracy": share of equal levels. "kappa": Cohen's, weighted by squares (Cohen 1968): 0 is chance. None: nothing
    was said, or it cannot be judged.
    """
    said, true = arena.claims[name].level[:, trait], arena.level[:, trait]
    able = (said >= 0) & (true >= 0)
    if able.sum() < 2:
        return {"accuracy": None, "kappa": None}
    table = np.zeros((int(able.sum()), 9))
    table[np.arange(len(table)), 3 * said[able].astype(int) + true[able]] = 1
    return {
        "accuracy": _interval(Statistic(table, _equal), seed),
        "kappa": _interval(Statistic(table, weighted_kappa), seed),
    }


def weighted_kappa(table: Float) -> Float:
    """Return Cohen's kappa [...] with quadratic weights of tables [..., 9] of 3 x 3 levels; NaN: undefined."""
    found = table.reshape(*table.shape[:-1], 3, 3)
    total = found.sum(axis=(-2, -1), keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = found / total
        expected = p.sum(axis=-1, keepdims=True) * p.sum(axis=-2, keepdims=True)
        weight = (np.arange(3)[:, None] - np.arange(3)) ** 2.0
        return np.asarray(1 - (weight * p).sum(axis=(-2, -1)) / (weight * expected).sum(axis=(-2, -1)), np.float64)


def _equal(table: Float) -> Float:
    return np.asarray(table[..., [0, 4, 8]].sum(axis=-1) / table.sum(axis=-1), np.float64)


def _lift(total: Float) -> Float:
    return np.asarray(ratio(total[..., :2]) / ratio(total[..., 2:]), np.float64)


def _interval(statistic: Statistic, seed: int) -> Interval | None:
    made = bootstrap(statistic, seed=seed)
    return made if np.isfinite(made.mean) else None


def _upper(log: InteractionLog) -> float:
    """Return the rating from which an item counts as liked: four fifths up the scale (4 of 5)."""
    low, high = log.scale.values[0], log.scale.values[-1]
    return min(v for v in log.scale.values if v >= low + 0.75 * (high - low))


def _sum(place: NDArray[np.int64], value: Float, size: int) -> Float:
    total = np.zeros((size, value.shape[1]))
    np.add.at(total, place, value)
    return total
