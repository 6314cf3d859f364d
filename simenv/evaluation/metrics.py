"""What a record, or a policy on held-out ratings, is worth: a value per user first, means after.

Knows records, logs and catalogues; neither populations nor recommenders. All functions of a `Shown` return float64[V],
one value per visit, NaN where a visit says nothing (no rating given, no genres known).

A worked example, by hand. Two users saw one page of two places. The first was expected to give 4 and 2, the second 5
and had an empty place:

>>> import numpy as np
>>> from simenv.record import Shown
>>> shown = Shown(
...     row=np.array([0, 0, 1]), page=np.zeros(3, int), place=np.array([0, 1, 0]), item=np.array([7, 8, 7]),
...     consumed=np.array([True, False, True]), rating=np.array([4.0, np.nan, np.nan]),
...     expected=np.array([4.0, 2.0, 5.0]), support=np.array([9.0, 0.0, 9.0]),
...     user=np.array([0, 1]), pages=np.array([1, 1]), places=np.array([2, 2]),
... )
>>> expected_utility(shown)  # (4 + 2) / 2 for the first; an empty place is not a shown one
array([3., 5.])
>>> given_rating(shown)  # the second user gave none
array([ 4., nan])
>>> unsupported_share(shown, threshold=5)  # item 8 has no rating behind it
array([0.5, 0. ])
>>> filled_share(shown)
array([1. , 0.5])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simenv.catalogue import Catalogue
from simenv.log import InteractionLog
from simenv.record import Shown

Floats = NDArray[np.float64]
Counts = NDArray[np.int64] | NDArray[np.float64]
_CHUNK = 2048
"""Slates whose pairs are compared at a time."""


def _ratio(top: Counts, bottom: Counts) -> Floats:
    """Return top / bottom, NaN where bottom is 0."""
    good = bottom > 0
    return np.asarray(np.where(good, top, np.nan) / np.where(good, bottom, 1), np.float64)


def expected_utility(shown: Shown) -> Floats:
    """Return the mean expected rating per shown place, in units of the scale: sum_k E[rating_k] / places shown.

    Taken from the distribution, not from a draw: lower variance, and defined for places that were not consumed.
    """
    return shown.mean(shown.expected)


def consumed_share(shown: Shown) -> Floats:
    """Return the share of shown places that were consumed."""
    return shown.mean(shown.consumed)


def given_rating(shown: Shown) -> Floats:
    """Return the mean of the ratings given; NaN if none was."""
    return shown.mean(shown.rating)


def satisfaction(shown: Shown) -> Floats:
    """Return the mean expected rating of what was consumed in the visit; NaN if nothing was."""
    return shown.mean(np.where(shown.consumed, shown.expected, np.nan))


def pages(shown: Shown) -> Floats:
    """Return the number of pages each visit lasted."""
    return shown.pages.astype(np.float64)


def filled_share(shown: Shown) -> Floats:
    """Return the share of places that were not left empty."""
    filled = np.bincount(shown.row, minlength=len(shown.user))
    return np.asarray(filled / np.maximum(shown.places, 1), np.float64)


def unsupported_share(shown: Shown, threshold: float) -> Floats:
    """Return the share of shown places whose support (ratings of the item the model learned from) is < threshold."""
    return shown.mean(shown.support < threshold)


def novelty(shown: Shown, log: InteractionLog) -> Floats:
    """Return the mean self-information of the shown items in bits: -log2((n_i + 1) / (U + 1)).

    n_i: raters of item i in `log`, U: users with rows there (Zhou et al. 2010, PNAS 107; add-one so that items nobody
    rated stay finite).
    """
    share = (popularity(log) + 1) / (int((log.count > 0).sum()) + 1)
    return shown.mean(-np.log2(np.minimum(share, 1.0))[shown.item])


def popularity(log: InteractionLog) -> Floats:
    """Return float64[I], rows per item."""
    return np.bincount(log.item, minlength=log.n_items).astype(np.float64)


def popularity_percentile(log: InteractionLog) -> Floats:
    """Return float64[I] in 0..1: share of items less popular, ties counted half."""
    count = np.sort(popularity(log))
    low, high = (np.searchsorted(count, popularity(log), side=s) for s in ("left", "right"))
    return np.asarray((low + high) / 2 / max(1, len(count)), np.float64)


def popularity_bias(shown: Shown, log: InteractionLog) -> Floats:
    """Return how much more popular shown items are than the user's own rows: difference of mean percentiles.

    The user-side popularity lift of Abdollahpouri et al. (2019, RMSE workshop), as a difference. NaN without rows.
    """
    rank = popularity_percentile(log)
    own = np.bincount(log.user, weights=rank[log.item], minlength=log.n_users)
    mean = _ratio(own, log.count)
    return np.asarray(shown.mean(rank[shown.item]) - mean[shown.user], np.float64)


def diversity(shown: Shown, catalogue: Catalogue) -> Floats:
    """Return the mean over pairs of one slate of 1 - Jaccard(genres), then over slates (Ziegler et al. 2005).

    Pairs with an item of unknown genre are left out; NaN where no pair remains.
    """
    genre = _genre_matrix(catalogue)
    slate, where = np.unique(np.stack([shown.row, shown.page]), axis=1, return_inverse=True)
    item = np.full((slate.shape[1], int(shown.place.max(initial=-1)) + 1), -1, np.int64)
    item[where.ravel(), shown.place] = shown.item
    parts = [_unlike(item[s : s + _CHUNK], genre) for s in range(0, len(item), _CHUNK)]
    value = np.concatenate(parts) if parts else np.zeros(0)
    good = ~np.isnan(value)
    count = np.bincount(slate[0][good], minlength=len(shown.user)).astype(np.float64)
    total = np.bincount(slate[0][good], weights=value[good], minlength=len(shown.user))
    return _ratio(total, count)


def _genre_matrix(catalogue: Catalogue) -> NDArray[np.float32]:
    """Return float32[I + 1, G] of 0 and 1; the last row (an empty place) has no genre."""
    number = {g: n for n, g in enumerate(catalogue.vocabulary)}
    out = np.zeros((len(catalogue) + 1, max(1, len(number))), np.float32)
    for item, genres in enumerate(catalogue.genres):
        out[item, [number[g] for g in genres]] = 1
    return out


def _unlike(item: NDArray[np.int64], genre: NDArray[np.float32]) -> Floats:
    """Return float64[S], mean 1 - Jaccard over the pairs of slates [S, K]; -1 places and unknown genres left out."""
    own = genre[item]
    size = own.sum(axis=2)
    both = own @ own.transpose(0, 2, 1)
    union = size[:, :, None] + size[:, None, :] - both
    known = (size > 0)[:, :, None] & (size > 0)[:, None, :] & ~np.eye(item.shape[1], dtype=bool)
    unlike = np.where(known, 1 - both / np.maximum(union, 1), 0.0).sum(axis=(1, 2))
    count = known.sum(axis=(1, 2))
    return _ratio(unlike, count)


def exposure(shown: Shown, n_items: int) -> NDArray[np.int64]:
    """Return int64[I], how often each item was shown."""
    return np.bincount(shown.item, minlength=n_items).astype(np.int64)


def coverage(count: ArrayLike) -> float:
    """Return the share of items shown at least once, from exposure [I] (Ge et al. 2010, catalogue coverage)."""
    return float((np.asarray(count) > 0).mean())


def gini(count: ArrayLike) -> float:
    """Return the Gini coefficient of exposure [I]: 0 all items alike, near 1 one item gets all; NaN if nothing shown.

    With counts ascending x_1..x_I: sum_i (2 i - I - 1) x_i / (I sum x).

    >>> gini([1, 1, 1, 1]), gini([0, 0, 0, 4])
    (0.0, 0.75)
    """
    x = np.sort(np.asarray(count, np.float64))
    if x.sum() == 0:
        return float("nan")
    weight = 2 * np.arange(1, len(x) + 1) - len(x) - 1
    return float((weight * x).sum() / (len(x) * x.sum()))


def ndcg(item: NDArray[np.int64], relevant: NDArray[np.bool_]) -> Floats:
    """Return NDCG [B] of ranked lists item [B, K] (-1: empty) with relevant [B, I].

    DCG = sum_k rel_k / log2(k + 1), k from 1, over the DCG of a list that starts with min(K, relevant) hits
    (Jarvelin and Kekalainen 2002, binary gains). NaN for users with nothing relevant.

    >>> ndcg(np.array([[3, 0]]), np.array([[True, False, False, False]])).round(3)  # one hit, at rank 2: 1 / log2(3)
    array([0.631])
    """
    rows = np.arange(len(item))[:, None]
    hit = relevant[rows, item] & (item >= 0)
    gain = 1 / np.log2(np.arange(item.shape[1]) + 2)
    best = np.concatenate([[0.0], np.cumsum(gain)])[np.minimum(relevant.sum(axis=1), item.shape[1])]
    return _ratio(hit @ gain, best)
