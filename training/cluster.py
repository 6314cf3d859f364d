"""Clusters of users by their profiles: KMeans++, the elbow for K, a lower bound on sizes, and the random arm beside it.

Knows profiles as numbers and words; knows no ratings after the cut, no prompts and no weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.embedding import Embedder, Tfidf
from simenv.agents.profile import Profiles
from simenv.errors import ConfigError
from simenv.randomness import derive, generator

Float = NDArray[np.float32]
FeatureKind = Literal["text", "numbers", "both"]
Method = Literal["kmeans", "random"]
_SILHOUETTE = 2000
"""Users sampled for the silhouette, whose cost grows with the square."""


class CurvePoint(NamedTuple):
    """What K clusters give."""

    k: int
    inertia: float
    """Sum of squared distances to the cluster centres."""
    silhouette: float
    """Mean silhouette (Rousseeuw 1987), on at most 2,000 users; NaN for K = 1 and K = users."""


@final
@dataclass(frozen=True)
class ClusterSettings:
    """How users are grouped."""

    k: int | Literal["elbow"] = "elbow"
    """Number of clusters; "elbow": chosen on the curve."""
    k_max: int = 10
    """Largest K on the curve."""
    min_users: int = 5
    """Smallest cluster allowed, users."""
    min_share: float = 0.05
    """Smallest cluster allowed, share of all users; the larger of both bounds holds."""
    method: Method = "kmeans"
    """"random": the same K and sizes with users dealt at random, the arm that shows what clustering is worth."""
    restarts: int = 5
    """KMeans++ starts; the best is kept."""
    seed: int = 0


@final
@dataclass(frozen=True, eq=False)
class Clustering:
    """Which users belong together."""

    label: NDArray[np.int64]
    """int64[B], 0..K-1, by falling size (equal sizes: by first member)."""
    centre: Float
    """float32[K, D]: means of the features of the members."""
    curve: tuple[CurvePoint, ...]
    """For reports: K = 1 .. k_max."""
    note: str
    """How K came about, and what the bound on sizes changed."""
    method: Method

    @property
    def k(self) -> int:
        """Number of clusters."""
        return len(self.centre)

    @property
    def size(self) -> NDArray[np.int64]:
        """int64[K]: users per cluster."""
        return np.bincount(self.label, minlength=self.k)


def features(profiles: Profiles, kind: FeatureKind = "both", embedder: Embedder | None = None) -> Float:
    """Return float32[B, D] to cluster on.

    kind:
        "numbers": standardised profile numbers (unknown ones count as average): log count, mean, spread, severity,
            conformity, diversity, recent, obscure, genre deviations and log genre shares (together worth four numbers).
        "text": `Profile.text` embedded, and beside it what is liked and what is disliked, embedded apart. embedder
            None: Tfidf.
        "both": side by side, each scaled to the same total variance.

    The default was chosen on known events only: those of the ML-100K users dealt into two halves, five times; the
    labels of the halves agree (adjusted Rand index, mean of the deals, K = 3 / 4 / 5) .40 / .35 / .20 for both,
    .38 / .27 / .20 for numbers and .12 / .08 / .09 for text. Whole texts alone agree more (.56 / .42 / .35), but a bag
    of words cannot tell liked from disliked, so that is the stability of not looking.

    Raises:
        ConfigError: no such kind.

    """
    if kind not in ("numbers", "text", "both"):
        raise ConfigError(f'unknown kind of features {kind!r}; choose "numbers", "text" or "both".')
    parts = []
    if kind != "text":
        parts.append(_numbers(profiles))
    if kind != "numbers":
        parts.append(_text(profiles, embedder or Tfidf()))
    total = [np.sqrt(max(float(x.var(axis=0).sum()), 1e-12)) for x in parts]
    return np.concatenate([x / t for x, t in zip(parts, total, strict=True)], axis=1).astype(np.float32)


def cluster(x: Float, settings: ClusterSettings | None = None) -> Clustering:
    """Group users by features [B, D].

    The bound on sizes: with "elbow", K falls from the elbow until every cluster is large enough (K = 1 always is). With
    a K that was asked for, K stays: clusters that are too small take the users nearest to their centre from clusters
    that can spare them, smallest first.

    Raises:
        ConfigError: no users, features that are not numbers, or a K too large for the users and the bound.

    """
    settings = settings or ClusterSettings()
    _check(x, settings)
    least = _least(len(x), settings)
    runs, curve = _curve(x, settings)
    elbow = _elbow(curve)
    if settings.k == "elbow":
        k = max((k for k in runs if k <= elbow and np.bincount(runs[k], minlength=k).min() >= least), default=1)
        fell = "" if k == elbow else f"; K fell to {k} because every cluster needs {least} users"
        note, label = f"elbow (farthest from the chord) at K = {elbow}{fell}", runs[k]
    else:
        k = settings.k
        label, moved = _fill(x, runs[k] if k in runs else _kmeans(x, k, settings)[0], least)
        note = f"K = {k} as asked (elbow at {elbow}); {moved} users moved so that every cluster has {least}"
    if settings.method == "random":
        label, note = generator(settings.seed, "random clusters").permutation(label), note + "; users dealt at random"
    label = _by_size(label)
    centre = np.stack([x[label == c].mean(axis=0) for c in range(k)]).astype(np.float32)
    return Clustering(label, centre, curve, note, settings.method)


def _check(x: Float, settings: ClusterSettings) -> None:
    if x.ndim != 2 or len(x) == 0 or not np.isfinite(x).all():
        raise ConfigError(f"clusters need finite features [B, D] of at least one user; got shape {x.shape}.")
    if settings.k_max < 1 or not 0 <= settings.min_share <= 1:
        raise ConfigError(f"need k_max >= 1 and min_share in 0..1; got {settings.k_max}, {settings.min_share}.")
    if settings.method not in ("kmeans", "random"):
        raise ConfigError(f'unknown method {settings.method!r}; choose "kmeans" or "random".')
    if settings.k == "elbow":
        return
    least, distinct = _least(len(x), settings), len(np.unique(x, axis=0))
    if not 1 <= settings.k <= distinct or settings.k * least > len(x):
        raise ConfigError(
            f"{settings.k} clusters of at least {least} users do not fit {len(x)} users ({distinct} distinct); "
            "lower k, min_users or min_share."
        )


def _least(users: int, settings: ClusterSettings) -> int:
    return max(settings.min_users, int(np.ceil(settings.min_share * users - 1e-9)), 1)


def _numbers(profiles: Profiles) -> Float:
    head = np.column_stack([
        np.log1p(profiles.count), profiles.mean, profiles.spread, profiles.severity, profiles.trait[:, 1:],
        profiles.recent, profiles.obscure,
    ])  # fmt: skip
    mass = profiles.genre_count / np.maximum(profiles.genre_count.sum(axis=1, keepdims=True), 1)
    tastes = np.column_stack([profiles.genre, np.log(mass + 0.02)])
    weight = np.sqrt(4 / tastes.shape[1])
    return np.column_stack([_standard(head), weight * _standard(tastes)]).astype(np.float32)


def _text(profiles: Profiles, embedder: Embedder) -> Float:
    """Return the whole text, what is liked and what is disliked, embedded apart: a bag of words knows no "not"."""
    whole: list[str] = []
    liked: list[str] = []
    disliked: list[str] = []
    for p in profiles:
        whole.append(p.text)
        for words, likings in ((liked, (*p.liked, *p.people[0])), (disliked, (*p.disliked, *p.people[1]))):
            words.append(", ".join(x.name for x in likings) or "nothing")
    return np.concatenate([embedder.embed(t) for t in (whole, liked, disliked)], axis=1)


def _standard(x: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return columns with mean 0 and standard deviation 1 over known values; unknown and constant ones are 0."""
    known = np.isfinite(x)
    value = np.where(known, x, 0.0).astype(np.float64)
    n = np.maximum(known.sum(axis=0), 1)
    value = np.where(known, value - value.sum(axis=0) / n, 0.0)
    spread = np.sqrt((value**2).sum(axis=0) / n)
    return value / np.where(spread > 1e-9, spread, np.inf)


def _kmeans(x: Float, k: int, settings: ClusterSettings) -> tuple[NDArray[np.int64], float]:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # threads sum in another order, and labels would depend on the machine
        model = KMeans(k, n_init=settings.restarts, random_state=derive(settings.seed, "kmeans", k) % 2**31).fit(x)
    return model.labels_.astype(np.int64), float(model.inertia_)


def _curve(x: Float, settings: ClusterSettings) -> tuple[dict[int, NDArray[np.int64]], tuple[CurvePoint, ...]]:
    largest = min(settings.k_max, len(np.unique(x, axis=0)))
    runs, points = {}, []
    for k in range(1, largest + 1):
        runs[k], inertia = _kmeans(x, k, settings)
        points.append(CurvePoint(k, inertia, _silhouette(x, runs[k], settings.seed)))
    return runs, tuple(points)


def _silhouette(x: Float, label: NDArray[np.int64], seed: int) -> float:
    from sklearn.metrics import silhouette_score

    rows = np.sort(generator(seed, "silhouette").permutation(len(x))[:_SILHOUETTE])
    found = len(np.unique(label[rows]))
    return float(silhouette_score(x[rows], label[rows])) if 2 <= found < len(rows) else float("nan")


def _elbow(curve: tuple[CurvePoint, ...]) -> int:
    """Return the K whose point lies farthest below the chord from first to last (both axes scaled to 0..1)."""
    if len(curve) < 3 or curve[0].inertia - curve[-1].inertia <= 1e-9:
        return 1
    x = np.linspace(0, 1, len(curve))
    y = np.array([(p.inertia - curve[-1].inertia) / (curve[0].inertia - curve[-1].inertia) for p in curve])
    return curve[int(np.argmax(1 - x - y))].k


def _fill(x: Float, label: NDArray[np.int64], least: int) -> tuple[NDArray[np.int64], int]:
    """Return labels whose smallest cluster has `least` users, and how many users moved."""
    label, k = label.copy(), int(label.max()) + 1
    centre = np.stack([x[label == c].mean(axis=0) for c in range(k)])
    moved = 0
    for c in np.argsort(np.bincount(label, minlength=k), kind="stable"):
        near = np.argsort(((x - centre[c]) ** 2).sum(axis=1), kind="stable")
        for user in near:
            size = np.bincount(label, minlength=k)
            if size[c] >= least:
                break
            if label[user] != c and size[label[user]] > least:
                label[user], moved = c, moved + 1
    return label, moved


def _by_size(label: NDArray[np.int64]) -> NDArray[np.int64]:
    found, first, size = np.unique(label, return_index=True, return_counts=True)
    order = np.lexsort((first, -size))
    rank = np.empty(int(found.max()) + 1, np.int64)
    rank[found[order]] = np.arange(len(found))
    return rank[label]
