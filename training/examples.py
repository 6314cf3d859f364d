"""RAFT examples: (Ms, Ml, item, cues) -> the rating the user gave.

A target never stands in its own profile, memory or averages. Every epoch draws fresh splits of each user's known rows
into context and targets. Crowd statistics come from other folds of users, so no target's own row is behind a number it
is predicted from. Knows nothing of weights.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd, CrowdSettings
from simenv.agents.cues import Cues, Taste, cues
from simenv.agents.prior import Prior
from simenv.agents.profile import Profiles, TraitCuts
from simenv.agents.prompt import PromptWriter
from simenv.agents.reason import Past
from simenv.agents.retrieval import ItemSpace, nearest
from simenv.catalogue import Catalogue
from simenv.log import InteractionLog
from simenv.randomness import generator
from simenv.training.exit_model import PersonPeriods
from simenv.training.told import Told


@final
@dataclass(frozen=True, eq=False)
class Contexts:
    """B users' known rows cut into context [B, H] and N targets."""

    user: NDArray[np.int64]
    """int64[B]"""
    item: NDArray[np.int64]
    """int64[B, H], oldest first, -1 padded."""
    rating: NDArray[np.float32]
    """float32[B, H]"""
    row: NDArray[np.int64]
    """int64[N]: which user a target belongs to (a position in `user`)."""
    target: NDArray[np.int64]
    """int64[N]: items"""
    answer: NDArray[np.float32]
    """float32[N]: ratings"""
    first: NDArray[np.bool_] | None = None
    """bool[B]: the context is what the user did first, so that a profile written from it knows no target; None: no."""


def draw_contexts(
    log: InteractionLog,
    user: NDArray[np.int64],
    seed: int,
    *,
    fraction: float | None = None,
    targets: int = 48,
    in_time: Container[int] = (),
) -> Contexts:
    """Split each user's rows into context and at most `targets` targets.

    fraction: cut in time at this share (validation mimics the test); None: 60 % of users are cut in time at 35-75 %,
    the others at random at 40-80 %, so that both kinds of past are learned.
    in_time: users who are always cut in time.
    """
    context, target, first = [], [], []
    for u in user:
        rng = generator(seed, "context", int(u))
        item, rating = log.history(int(u))
        timed = fraction is not None or rng.random() < 0.6 or int(u) in in_time
        share = fraction or (rng.uniform(0.35, 0.75) if timed else rng.uniform(0.4, 0.8))
        order = np.arange(len(item)) if timed else rng.permutation(len(item))
        known, asked = np.sort(order[: round(len(item) * share)]), order[round(len(item) * share) :]
        asked = asked if len(asked) <= targets else rng.choice(asked, targets, replace=False)
        context.append((item[known], rating[known]))
        target.append((item[asked], rating[asked]))
        first.append(timed)
    width = max((len(i) for i, _ in context), default=0)
    items = np.full((len(user), width), -1, np.int64)
    ratings = np.full((len(user), width), np.nan, np.float32)
    for b, (i, r) in enumerate(context):
        items[b, : len(i)], ratings[b, : len(r)] = i, r
    return Contexts(
        np.asarray(user, np.int64),
        items,
        ratings,
        np.repeat(np.arange(len(user)), [len(i) for i, _ in target]),
        np.concatenate([i for i, _ in target]) if target else np.zeros(0, np.int64),
        np.concatenate([r for _, r in target]) if target else np.zeros(0, np.float32),
        np.array(first, bool),
    )


@final
@dataclass(frozen=True, eq=False)
class Lesson:
    """One prefix with m suffixes, their true answers and what the prior expects."""

    prefix: tuple[str, ...]
    suffix: list[tuple[str, ...]]
    place: NDArray[np.int64]
    """int64[m]: position of the answer among the options."""
    expected: NDArray[np.float32]
    """float32[m]: the prior's expected rating; NaN: no teacher."""
    exit: bool = False
    """True: the options are EXIT_OPTIONS, not the scale."""


@final
@dataclass(frozen=True, eq=False)
class Folds:
    """A Crowd, and the item space of its similarities, for each fold of users, fitted without that fold."""

    fold: NDArray[np.int64]
    """int64[U]"""
    crowd: tuple[Crowd, ...]
    space: tuple[ItemSpace, ...]

    @classmethod
    def fit(
        cls,
        log: InteractionLog,
        catalogue: Catalogue,
        settings: CrowdSettings,
        space: ItemSpace,
        seed: int,
        n_folds: int = 5,
        *,
        blind: bool = False,
        people: NDArray[np.floating] | None = None,
    ) -> Folds:
        """Cut all users into folds at random and fit.

        space: its text and mix are kept, its similarities replaced. blind: leave other users' opinions out. people: as
        `Crowd.fit` takes them.
        """
        fold = generator(seed, "folds").permutation(log.n_users) % n_folds
        crowd = tuple(
            Crowd.fit(log, catalogue, settings, without=np.flatnonzero(fold == f), people=people, seed=seed)
            for f in range(n_folds)
        )
        if blind:
            crowd = tuple(c.without_opinions() for c in crowd)
        return cls(fold, crowd, tuple(replace(space, similarity=c.similarity, core=c.core) for c in crowd))

    def parts(self, user: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield (fold, its users)."""
        for f in range(len(self.crowd)):
            own = user[self.fold[user] == f]
            if len(own):
                yield f, own


@final
@dataclass(frozen=True, eq=False)
class Evidence:
    """Contexts with everything computed from them: what one fold's examples are written from."""

    contexts: Contexts
    crowd: Crowd
    space: ItemSpace
    taste: Taste
    cues: Cues

    @property
    def spread(self) -> NDArray[np.float32]:
        """float32[N]: expected size of each target's residual."""
        return self.cues.spread


def evidence(log: InteractionLog, folds: Folds, user: NDArray[np.int64], seed: int, **how: Any) -> list[Evidence]:
    """Draw contexts of users and compute their cues, each fold against its own Crowd. how: as `draw_contexts`."""
    made = []
    for f, own in folds.parts(user):
        c, crowd = draw_contexts(log, own, seed, **how), folds.crowd[f]
        taste = Taste.of(crowd, c.item, c.rating, c.user)
        made.append(Evidence(c, crowd, folds.space[f], taste, cues(crowd, taste, c.row, c.target)))
    return made


def fit_prior(log: InteractionLog, folds: Folds, user: NDArray[np.int64], seed: int, epochs: int = 4) -> Prior:
    """Fit the prior on context splits of users."""
    drawn = [e for n in range(epochs) for e in evidence(log, folds, user, seed + n)]
    feature = np.concatenate([e.cues.feature for e in drawn])
    rating = np.concatenate([e.contexts.answer for e in drawn])
    mean = np.concatenate([np.full(len(e.contexts.row), e.crowd.mean) for e in drawn])
    return Prior.fit(feature, np.concatenate([e.spread for e in drawn]), rating, mean, log.scale)


@final
@dataclass(frozen=True, eq=False)
class Pages:
    """Pages of visits in a log, and whether the user left after them: what exit lessons are written from."""

    start: NDArray[np.int64]
    """int64[U+1]: pages of user u stand at start[u]:start[u+1]."""
    page: NDArray[np.int64]
    utility: NDArray[np.float64]
    best: NDArray[np.float64]
    left: NDArray[np.bool_]

    @classmethod
    def of(cls, table: PersonPeriods, truncated: NDArray[np.bool_]) -> Pages:
        """Return the pages whose outcome was seen. truncated: bool[U], users whose last visit may go on unseen."""
        final = np.append(table.user[1:] != table.user[:-1], True)[: len(table.user)]
        seen = ~table.censored & ~(final & truncated[table.user])
        count = np.bincount(table.user[seen], minlength=len(truncated))
        start = np.concatenate([[0], np.cumsum(count)]).astype(np.int64)
        return cls(start, table.page[seen], table.utility[seen], table.best[seen], table.left[seen])


@final
@dataclass(frozen=True, eq=False)
class LessonWriter:
    """Writes evidence into lessons with the one prompt."""

    writer: PromptWriter
    cuts: TraitCuts
    prior: Prior
    per_prefix: int = 16
    """Targets behind one prefix in a training row."""
    pages: Pages | None = None
    """Visits to learn leaving from; None: no exit lessons."""
    hide: float = 0.1
    """Probability that a cue is left out of a training prompt, so that the model also learns to do without."""
    told: Told | None = None
    """What a language model wrote of members, used where it knows no target; None: nothing was written."""

    def write(self, e: Evidence, seed: int) -> list[Lesson]:
        """Return the lessons of one fold's evidence."""
        c = e.contexts
        rng = generator(seed, "lessons", *c.user[:1].tolist())  # each fold has luck of its own
        profiles = self.profiles(e)
        suffix = self.suffixes(e, rng.random((len(c.row), 2)) < self.hide)
        expected = self.expected(e)
        place = self.writer.scale.encode(c.answer)
        lessons = []
        for b in range(len(c.user)):
            own = rng.permutation(np.flatnonzero(c.row == b))
            prefix = self.writer.prefix(profiles, b)
            for start in range(0, len(own), self.per_prefix):
                n = own[start : start + self.per_prefix]
                lessons.append(Lesson(prefix, [suffix[i] for i in n], place[n], expected[n]))
            lessons.extend(self._exit_lesson(prefix, int(c.user[b]), rng))
        return lessons

    def _exit_lesson(self, prefix: tuple[str, ...], user: int, rng: np.random.Generator) -> list[Lesson]:
        if self.pages is None or self.pages.start[user] == self.pages.start[user + 1]:
            return []
        own = np.arange(self.pages.start[user], self.pages.start[user + 1])
        n = rng.choice(own, min(len(own), self.per_prefix), replace=False)
        p = self.pages
        suffix = [self.writer.exit_suffix(int(p.page[i]), float(p.utility[i]), float(p.best[i]), 0.0) for i in n]
        nothing = np.full(len(n), np.nan, np.float32)
        return [Lesson(prefix, suffix, p.left[n].astype(np.int64), nothing, exit=True)]

    def expected(self, e: Evidence) -> NDArray[np.float32]:
        """Return the prior's expected ratings [N] of the targets."""
        return self.prior.expected(e.cues.feature, e.crowd.mean).astype(np.float32)

    def profiles(self, e: Evidence) -> Profiles:
        """Return Ms of the contexts' users."""
        c = e.contexts
        w = self.writer
        made = Profiles.of(e.crowd, w.catalogue, w.scale, c.item, c.rating, cuts=self.cuts, taste=e.taste)
        if self.told is None or c.first is None:
            return made
        known = np.where(c.first, made.count, 0)
        return replace(made, written=tuple(self.told.stages(u, k) for u, k in zip(c.user, known, strict=True)))

    def suffixes(self, e: Evidence, hide: NDArray[np.bool_] | None = None) -> list[tuple[str, ...]]:
        """Return one suffix per target; hide: bool[N, 2] (crowd, match) left out."""
        c = e.contexts
        recalled = self._recall(e)
        dark = np.zeros((len(c.row), 2), bool) if hide is None else hide
        expected = self.expected(e)
        return [
            self.writer.suffix(int(item), e.cues, n, expected[n], recalled[n], (bool(dark[n, 0]), bool(dark[n, 1])))
            for n, item in enumerate(c.target)
        ]

    def _recall(self, e: Evidence) -> list[list[str]]:
        c, k = e.contexts, self.writer.settings.memories
        if k == 0:
            return [[] for _ in c.row]
        place = nearest(e.space, c.item, c.row, c.target, k)
        rated = np.zeros(c.item.shape, np.int64)
        rated[c.item >= 0] = self.writer.scale.encode(c.rating[c.item >= 0])
        return [self._remember(e, rated, int(row), place[n]) for n, row in enumerate(c.row)]

    def _remember(self, e: Evidence, rated: NDArray[np.int64], row: int, place: NDArray[np.int64]) -> list[str]:
        c, w = e.contexts, self.writer
        kept = [int(p) for p in place[::-1] if p >= 0]
        why = [self._reason(e, row, p) if w.settings.reasons else "" for p in kept]
        return [w.memory(int(c.item[row, p]), int(rated[row, p]), y) for p, y in zip(kept, why, strict=True)]

    def _reason(self, e: Evidence, row: int, place: int) -> str:
        c, size, catalogue = e.contexts, int(e.taste.count[row]), self.writer.catalogue
        if self.told is not None and c.first is not None and c.first[row]:
            said = self.told.reason(c.user[row], size, place)
            if said:
                return said
        item, rating, residual = c.item[row, :size], c.rating[row, :size], e.taste.residual[row, :size]
        return Past(e.crowd, catalogue, item, rating, residual, float(e.taste.offset[row])).reason(place)
