"""Classifier two-sample tests: whether a trained eye can tell real ratings from sampled ones.

After Lopez-Paz and Oquab 2016 (arXiv 1610.06545): a classifier learns on some users and is scored on others; an AUC of
.5 means that it could not tell. Two levels: single ratings beside what is known of user and item, and a user's whole
held-out part. Knows ratings and the known log; nothing of who sampled. A better classifier may still tell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv.errors import DataError
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Truth
from simenv.evaluation.statistics import RESAMPLES, check_level
from simenv.evaluation.user_total import UserTotals, correlation, deal
from simenv.log import InteractionLog
from simenv.randomness import derive, generator

Float = NDArray[np.float64]
DRAWS = 3
"""Draws that are tested, the first ones; the AUC is their average."""
_CHUNK = 2_000_000
"""Numbers held at a time while users are resampled."""


def c2st(
    truth: Truth,
    item: NDArray[np.int64],
    draws: NDArray[np.floating],
    known: InteractionLog,
    *,
    folds: int = 5,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the AUC of telling real ratings [N] from `draws` [D, N] of the same pairs, users held out.

    Gradient-boosted trees see the rating (one column per value, and the number), the item's mean and log count and the
    user's mean and log count in `known`; a mean without ratings is missing to them, not filled in. Pairs are compared
    within a fold only: there the AUC is .5 in expectation if the draws come from the true distribution. Averaged over
    the first `DRAWS` draws. The interval resamples users of out-of-fold scores, and is widened for classifiers that
    learn on overlapping users.

    Raises:
        ConfigError: fewer than two folds, or level is no coverage.
        DataError: fewer than two users, shapes that differ, a draw off the scale, or numbers unknown to `known`.

    """
    check_level(level)
    _check(truth, item, draws, known)
    context, fold = _context(truth, item, known), deal(truth.user, folds, seed)

    def features(rating: NDArray[np.floating]) -> Float:
        place = truth.scale.encode(rating)
        return np.column_stack([_one_hot(place, truth), truth.scale.array[place], context])

    real, drawn = features(truth.rating), [features(d) for d in draws[:DRAWS]]
    score = [_held_out(_trees(seed), np.vstack([real, d]), np.tile(fold, 2)) for d in drawn]
    return _auc(score, truth.user, fold, resamples=resamples, seed=seed, level=level)


def session_c2st(
    truth: Truth,
    item: NDArray[np.int64],
    draws: NDArray[np.floating],
    known: InteractionLog,
    *,
    folds: int = 5,
    resamples: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Return the AUC of telling users' whole real parts from sampled ones: one row per user and side.

    Logistic regression on the user's mean, standard deviation, share of each scale value and correlation with the
    item's mean in `known` (0, and marked as such, where it has none), and on their squares, so that users who are too
    much alike are told too. Folds, averaging, interval and errors as in `c2st`.
    """
    check_level(level)
    _check(truth, item, draws, known)
    crowd, (user, row) = _item_mean(known)[item], np.unique(truth.user, return_inverse=True)
    row, fold = row.ravel(), deal(user, folds, seed)
    real, drawn = _profile(truth, row, truth.rating, crowd), [_profile(truth, row, d, crowd) for d in draws[:DRAWS]]
    score = [_held_out(_logistic, np.vstack([real, d]), np.tile(fold, 2)) for d in drawn]
    return _auc(score, user, fold, resamples=resamples, seed=seed, level=level)


def _check(truth: Truth, item: NDArray[np.int64], draws: NDArray[np.floating], known: InteractionLog) -> None:
    n = len(truth.rating)
    if np.ndim(draws) != 2 or np.shape(draws)[1] != n or not len(draws):
        raise DataError(f"draws must be [D, {n}] sampled ratings, D > 0; got shape {np.shape(draws)}.")
    for name, number, size in (("user", truth.user, known.n_users), ("item", item, known.n_items)):
        if np.shape(number) != (n,) or (n and not (np.min(number) >= 0 and np.max(number) < size)):
            raise DataError(f"{name} must be {n} numbers below {size}, those of the known log; check the index.")


def _item_mean(known: InteractionLog) -> Float:
    return _mean(known.item, known.rating, known.n_items)


def _mean(group: NDArray[np.int64], rating: NDArray[np.floating], size: int) -> Float:
    """Return the mean rating of each group, NaN where it has none."""
    count = np.bincount(group, minlength=size)
    return np.where(count > 0, np.bincount(group, rating, size) / np.maximum(count, 1), np.nan)


def _context(truth: Truth, item: NDArray[np.int64], known: InteractionLog) -> Float:
    """Return float64[N, 4]: mean and log count of the pair's item and user among the known rows."""
    count = np.log1p(np.bincount(known.item, minlength=known.n_items))
    own = _mean(known.user, known.rating, known.n_users)
    return np.column_stack([_item_mean(known)[item], count[item], own[truth.user], np.log1p(known.count)[truth.user]])


def _one_hot(place: NDArray[np.int64], truth: Truth) -> Float:
    return np.asarray(place[:, None] == np.arange(len(truth.scale)), np.float64)


def _profile(truth: Truth, row: NDArray[np.int64], rating: NDArray[np.floating], crowd: Float) -> Float:
    """Return float64[M, R+4] of each user: mean, sd, shares, correlation with the crowd [N], whether it has one."""
    place, users = truth.scale.encode(rating), UserTotals(row)
    y = truth.scale.array[place]  # the same number for real and drawn, whatever their precision
    mean = users.sum(y) / users.count
    sd = np.sqrt(users.sum((y - mean[row]) ** 2) / users.count)
    has, c = np.isfinite(crowd), np.nan_to_num(crowd)
    moments = users.sum(np.column_stack([has, has * y, has * c, has * y**2, has * c**2, has * c * y]))
    moments[:, 0] = np.maximum(moments[:, 0], 1)
    r = correlation(moments)
    shares = users.sum(_one_hot(place, truth)) / users.count[:, None]
    return np.column_stack([mean, sd, shares, np.nan_to_num(r), np.isfinite(r)])


def _trees(seed: int) -> Callable[[], Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    luck = derive(seed, "two samples") % 2**32
    fixed = {"max_iter": 60, "learning_rate": 0.1, "max_leaf_nodes": 15, "min_samples_leaf": 20}
    return lambda: HistGradientBoostingClassifier(**fixed, early_stopping=False, random_state=luck)


def _logistic() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    squares = FunctionTransformer(lambda x: np.hstack([x, x**2]))
    return make_pipeline(StandardScaler(), squares, StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))


def _held_out(new: Callable[[], Any], x: Float, fold: NDArray[np.int64]) -> Float:
    """Return the score [2N] of rows x [2N, Q], real ones first, each fold's by a classifier of the other folds."""
    label, out = np.arange(len(x)) < len(x) // 2, np.empty(len(x))
    for f in np.unique(fold):
        held = fold == f
        out[held] = new().fit(x[~held], label[~held]).predict_proba(x[held])[:, 1]
    return out


def _auc(
    score: list[Float], user: NDArray[np.int64], fold: NDArray[np.int64], *, resamples: int, seed: int, level: float
) -> Interval:
    """Return the AUC of scores [2N] (real rows first) of users [N], averaged over draws, with users resampled.

    Classifiers of different folds learn on overlapping users, so their errors go together: the resampled spread is
    widened by sqrt(1 + k / (k - 1)) for k folds (Nadeau and Bengio 2003, "Inference for the generalization error").
    Without it, about one interval in five of draws from the truth left out .5, measured on 60 and 200 users.
    """
    ids, row = np.unique(user, return_inverse=True)
    size = len(ids)
    times = generator(seed, "bootstrap").multinomial(size, np.full(size, 1 / size), size=resamples)
    weight = np.vstack([np.ones((1, size)), times])
    each = np.mean([_weighted(s, row.ravel(), fold, weight) for s in score], axis=0)
    drawn = np.nanquantile(each[1:], [(1 - level) / 2, (1 + level) / 2])
    k = len(np.unique(fold))
    low, high = np.clip(each[0] + np.sqrt(1 + k / (k - 1)) * (drawn - each[0]), 0.0, 1.0)
    return Interval(float(each[0]), float(low), float(high), level)


def _weighted(score: Float, row: NDArray[np.int64], fold: NDArray[np.int64], weight: Float) -> Float:
    """Return the AUC [B] over pairs (real, drawn) of one fold, users weighted by weight [B, M]; ties count half."""
    won, pairs = np.zeros(len(weight)), np.zeros(len(weight))
    for f in np.unique(fold):
        real, drawn = _places(score[np.tile(fold == f, 2)], row[fold == f], weight.shape[1])
        step = max(1, _CHUNK // real.shape[0])
        for b in range(0, len(weight), step):
            r, d = (np.asarray(side @ weight[b : b + step].T) for side in (real, drawn))
            won[b : b + step] += (r * (d.cumsum(axis=0) - d / 2)).sum(axis=0)
            pairs[b : b + step] += r.sum(axis=0) * d.sum(axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray(won / pairs)


def _places(score: Float, row: NDArray[np.int64], size: int) -> tuple[csr_matrix, csr_matrix]:
    """Return, for real and for drawn rows, how many of each user stand at each distinct score: csr [G, M], rising."""
    values, place = np.unique(score, return_inverse=True)
    shape, one = (len(values), size), np.ones(len(row))
    real, drawn = (csr_matrix((one, (p, row)), shape=shape) for p in np.split(place.ravel(), 2))
    return real, drawn
