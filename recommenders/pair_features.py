"""Pair features: what a ranker may know of a user and an item, as numbers of one kind for any catalogue.

Predicted ratings, popularity, text, and what this visit has shown so far: what the contextual greedy and the learned
ranker weigh. All of it is read from the log that was handed in and from the Session. B users; C candidates; I items;
F features; D numbers of a context; E numbers of a text vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.log import InteractionLog
from simenv.randomness import derive
from simenv.recommenders.bandit_belief import Belief, Evidence, Space
from simenv.recommenders.baseline import popularity, shrunk_mean
from simenv.recommenders.biased_mf import BiasedMF
from simenv.recommenders.content import Content
from simenv.recommenders.factorisation import ALS, ALSPolicy
from simenv.recommenders.ranking import inner, top
from simenv.session import Session, Slate

Floats = NDArray[np.float64]
FEATURES: Final = ("rating", "doubt", "liked", "text", "mean", "popular", "visit", "last page")
"""Expected rating by factors; its standard deviation; score of ALS; likeness in text to what was rated well or badly in
past and visit; shrunk mean of the item; log of its number of ratings; likeness in text to what was rated well or badly
in this visit alone; likeness in text to the last page."""
CONTEXT: Final = (
    "page", "past", "past mean", "past spread", "ratings here", "mean here", "taken here", "mean of last page",
    "best expected", "mean expected", "spread expected", "mean doubt",
)  # fmt: skip
"""Pages answered; log of past ratings; their mean and spread; ratings given in this visit, their mean above the past
mean, share of places taken; mean of the last page above the past mean; of the expected ratings among the candidates
that are left: mean of the best ten, mean, standard deviation, and mean doubt."""
_RANK = 60.0
"""Constant of reciprocal rank fusion (Cormack, Clarke, Buettcher 2009)."""
_PRIOR = 2.0
"""Ratings that the prior of a user's mean is worth, as in Content."""


@final
@dataclass(frozen=True)
class PairFeatureSettings:
    """What the features rest on."""

    pool: int = 150
    """C, candidates per user: those that five recommenders together rank highest. At least the places of a visit and
    one page more, else other items fill up, ranked by the five."""
    factors: int = 16
    """Factors of the expected rating, and of ALS."""
    regularization: float = 8.0
    """Ratings that the prior of a taste is worth."""
    text_factors: int = 16
    """E, length of text vectors (singular vectors of TF-IDF)."""

    def __post_init__(self) -> None:
        if min(self.pool, self.factors, self.text_factors) < 1:
            raise ConfigError(f"pool, factors and text_factors must be at least 1; got {self}.")

    def fit(self, log: InteractionLog, catalogue: Catalogue, *, seed: int) -> PairFeatures:
        """Learn from the log and the catalogue's words."""
        space = Space.fit(log, catalogue, BiasedMF(self.factors, self.regularization), seed=derive(seed, "rating"))
        als = ALS(factors=self.factors).fit(log, catalogue, seed=derive(seed, "liked"))
        popular = np.log1p(popularity(log))
        scale = log.scale.values[0], log.scale.values[-1]
        mu = float(log.rating.mean()) if len(log) else sum(scale) / 2
        text = _text(catalogue, self.text_factors, seed)
        return PairFeatures(space, als, text, shrunk_mean(log, 10.0), popular, mu, (scale[1] - scale[0]), self.pool)


@final
@dataclass(frozen=True, eq=False)
class Start:
    """What the past says of B users; the same on every page of their visits, so loops keep it."""

    item: NDArray[np.int64]
    """int64[B, C]: the candidates, -1 padded; those of the session where it has some."""
    fixed: Floats
    """float64[B, C, 3]: features "liked", "mean" and "popular"."""
    order: Floats
    """float64[B, I]: fused rank of all items, higher is better; fills up what the candidates leave empty."""
    evidence: Evidence
    text: Floats
    """float64[B, E]: rating-weighted sum of the text vectors of the past."""
    count: NDArray[np.int64]
    """int64[B]: past ratings."""
    mean: Floats
    """float64[B]: their mean, shrunk."""
    spread: Floats
    """float64[B]: their standard deviation."""

    def of(self, row: NDArray[np.int64]) -> Start:
        """Return the users at rows [b]."""
        rest: dict[str, Any] = {n: v[row] for n, v in vars(self).items() if isinstance(v, np.ndarray)}
        return Start(evidence=self.evidence.of(row), **rest)


@final
@dataclass(frozen=True, eq=False)
class View:
    """What there is to weigh on one page."""

    item: NDArray[np.int64]
    """int64[B, C]: the candidates, -1 padded."""
    feature: Floats
    """float64[B, C, F]: in the order of FEATURES, each with mean 0 and variance 1 over the candidates that are left;
    0 for those that are not."""
    left: NDArray[np.bool_]
    """bool[B, C]: may still be shown."""
    context: NDArray[np.float32]
    """float32[B, D] in -5..5: in the order of CONTEXT."""

    def slate(self, session: Session, start: Start, weight: NDArray[np.floating], k: int) -> Slate:
        """Return the k candidates with the largest weighted sums of features, weights [B, F]; then by fused rank."""
        worth = np.asarray(inner(np.asarray(weight, np.float64), self.feature), np.float64)
        score = start.order - start.order.max(axis=1, keepdims=True) - 1.0
        row, place = np.nonzero(self.left)
        # Above all other items, whatever their weights.
        score[row, self.item[row, place]] = (worth - worth.min(axis=1, keepdims=True))[row, place]
        return top(score, session, k)


@final
@dataclass(frozen=True, eq=False)
class PairFeatures:
    """See the head of this module."""

    space: Space
    als: ALSPolicy
    text: Floats
    """float64[I, E]: text vectors of length 1, or 0."""
    mean: Floats
    """float64[I]: shrunk mean ratings."""
    popular: Floats
    """float64[I]: log of 1 + number of ratings."""
    mu: float
    """Mean of all ratings."""
    width: float
    """Highest minus lowest value of the scale."""
    pool: int
    """C"""

    def start(self, session: Session) -> Start:
        """Return what the past of users [B] says; of the visit nothing is read but the candidates."""
        item, rating = session.past_item, session.past_rating.astype(np.float64)
        count, mean, spread = _moments(rating, self.mu)
        evidence = self.space.evidence(item, rating)
        taste = self._taste(item, rating - mean[:, None])
        before = Session(
            session.user, item, session.past_rating, session.shown[:, :0], session.consumed[:, :0],
            session.rating[:, :0], np.zeros_like(session.page), session.n_items, session.candidate,
        )  # fmt: skip
        expected = self.space.expected(self.space.belief(evidence))
        liked = np.asarray(self.als.score(before), np.float64)
        order = _fused([expected, liked, inner(taste, self.text), self.mean, self.popular])
        chosen = session.candidate if session.candidate is not None else top(order, before, self.pool).item
        fixed = [np.take_along_axis(liked, np.maximum(chosen, 0), axis=1), self.mean[chosen], self.popular[chosen]]
        return Start(chosen, np.stack(fixed, axis=2), order, evidence, taste, count, mean, spread)

    def view(self, start: Start, session: Session, k: int) -> View:
        """Return features and context of users [B] now. k: places of a page."""
        here, now = self._here(session), session.rating.astype(np.float64)
        belief = self.space.belief(start.evidence + self.space.evidence(here, now))
        item = start.item
        left = (item >= 0) & np.take_along_axis(session.available(), np.maximum(item, 0), axis=1)
        feature = self._raw(start, session, belief, k)
        return View(item, _standard(feature, left), left, self._context(start, session, feature, left, k))

    def _raw(self, start: Start, session: Session, belief: Belief, k: int) -> Floats:
        """Return float64[B, C, F] of the candidates, not standardised."""
        level = start.mean[:, None]
        visit = self._taste(self._here(session), session.rating.astype(np.float64) - level)
        last = _mean_text(session.shown[:, -k:], self.text)
        vector = self.text[start.item]
        likeness = [np.asarray(inner(t, vector), np.float64) for t in (start.text + visit, visit, last)]
        expected, doubt = self.space.at(belief, start.item)
        liked, mean, popular = np.moveaxis(start.fixed, 2, 0)
        return np.stack([expected, doubt, liked, likeness[0], mean, popular, *likeness[1:]], axis=2)

    def _taste(self, item: NDArray[np.int64], gap: Floats) -> Floats:
        """Return float64[B, E]: sum of the text vectors of items [B, T], each times its `gap`; NaN: left out."""
        row, place = np.nonzero((item >= 0) & ~np.isnan(gap))
        weight = csr_matrix((gap[row, place], (row, item[row, place])), (len(item), len(self.text)))
        return np.asarray(weight @ self.text)

    def _here(self, session: Session) -> NDArray[np.int64]:
        return np.where(session.consumed, session.shown, -1)

    def _context(
        self, start: Start, session: Session, feature: Floats, left: NDArray[np.bool_], k: int
    ) -> NDArray[np.float32]:
        """Return float32[B, D]; rating points are measured in halves of the scale."""
        half = self.width / 2
        given = session.rating.astype(np.float64)
        number, mean, _ = _moments(given, 0.0, 0.0)
        shown = np.maximum((session.shown >= 0).sum(axis=1), 1)
        final = _moments(given[:, -k:], 0.0, 0.0)
        best, average, spread, doubt = _summary(feature, left)
        column = [
            session.page / 10,
            np.log1p(start.count) / 5,
            (start.mean - self.mu) / half,
            start.spread / half,
            number / 50,
            np.where(number > 0, mean - start.mean, 0.0) / half,
            session.consumed.sum(axis=1) / shown,
            np.where(final[0] > 0, final[1] - start.mean, 0.0) / half,
            (best - start.mean) / half,
            (average - start.mean) / half,
            spread / half,
            doubt / half,
        ]
        return np.asarray(np.clip(np.stack(column, axis=1), -5, 5), np.float32)


def _mean_text(item: NDArray[np.int64], text: Floats) -> Floats:
    """Return float64[B, E]: mean text vector of the items [B, K] of a page; 0 where it is empty."""
    row, place = np.nonzero(item >= 0)
    total = csr_matrix((np.ones(len(row)), (row, item[row, place])), (len(item), len(text))) @ text
    return np.asarray(total / np.maximum((item >= 0).sum(axis=1, keepdims=True), 1))


def _moments(rating: Floats, prior: float, weight: float = _PRIOR) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return number, mean (shrunk to `prior`) and standard deviation of each row's ratings [B, T], NaN left out."""
    known = ~np.isnan(rating)
    count = known.sum(axis=1)
    # In the order of columns, whatever the padding: a user's numbers must not depend on the batch.
    row, place = np.nonzero(known)
    value = rating[row, place]
    total = np.bincount(row, value, len(rating)) + weight * prior
    mean = np.divide(total, count + weight, out=np.full(len(rating), prior), where=count + weight > 0)
    square = np.bincount(row, (value - mean[row]) ** 2, len(rating))
    return count, mean, np.sqrt(square / np.maximum(count, 1))


def _fused(score: list[NDArray[np.floating]]) -> Floats:
    """Return float64[B, I]: sum over rankings of 1 / (60 + rank); higher is better."""
    total = np.zeros(score[0].shape)
    for one in score:
        rank = np.argsort(np.argsort(-np.asarray(one), axis=-1, kind="stable"), axis=-1, kind="stable")
        total += 1.0 / (_RANK + 1 + rank)
    return total


def _standard(feature: Floats, left: NDArray[np.bool_]) -> Floats:
    """Return the features [B, C, F] with mean 0 and variance 1 over the candidates that are left; constants are 0."""
    where = left[:, :, None]
    n = np.maximum(left.sum(axis=1), 1)[:, None, None]
    centred = np.where(where, feature - np.where(where, feature, 0.0).sum(axis=1, keepdims=True) / n, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=1, keepdims=True) / n)
    return np.asarray(np.where(deviation > 1e-9, centred / np.maximum(deviation, 1e-9), 0.0))


def _summary(feature: Floats, left: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats, Floats]:
    """Return float64[B] four times, over candidates left: mean of the ten best expected, mean, spread, mean doubt."""
    n = np.maximum(left.sum(axis=1), 1)
    expected = np.where(left, feature[:, :, 0], 0.0)
    mean = expected.sum(axis=1) / n
    spread = np.sqrt((np.where(left, feature[:, :, 0] - mean[:, None], 0.0) ** 2).sum(axis=1) / n)
    ranked = -np.sort(np.where(left, -feature[:, :, 0], np.inf), axis=1)[:, :10]
    some = np.isfinite(ranked)
    best = np.where(some, ranked, 0.0).sum(axis=1) / np.maximum(some.sum(axis=1), 1)
    return best, mean, spread, np.where(left, feature[:, :, 1], 0.0).sum(axis=1) / n


def _text(catalogue: Catalogue, size: int, seed: int) -> Floats:
    """Return float64[I, E]: the first singular vectors of the items' TF-IDF, rows of length 1; 0 without words."""
    from sklearn.decomposition import TruncatedSVD

    words = Content()._text(catalogue)
    width = min(size, min(words.shape) - 1)
    if words.nnz == 0 or width < 1:
        return np.zeros((len(catalogue), 1))
    found = TruncatedSVD(width, random_state=derive(seed, "text") % 2**32).fit_transform(words)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(np.where(length > 1e-9, found / np.maximum(length, 1e-9), 0.0), np.float64)
