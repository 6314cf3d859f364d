"""How sure a number is: bootstrap over users, tests of pairs, Holm, rank agreement, sources of uncertainty.

Knows arrays only: no record, no recommender, no report. Users are the unit of resampling throughout: places and pages
of one user are not independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simenv.errors import ConfigError, DataError
from simenv.evaluation.interval import Interval
from simenv.randomness import generator

RESAMPLES = 2000
"""Bootstrap resamples B unless told otherwise (Efron and Tibshirani 1993 ask for at least 1000 for intervals)."""
_CHUNK = 2_000_000
"""Random numbers drawn at a time: bounds memory at about 50 MB."""


@final
@dataclass(frozen=True)
class Pair:
    """Two columns compared over the same users."""

    first: int
    """Number of the column."""
    second: int
    difference: Interval
    """first - second, mean over users."""
    p: float
    """Two-sided bootstrap p of "no difference"."""
    p_holm: float
    """The same after Holm's correction over all pairs of the family."""

    def significant(self, alpha: float = 0.05) -> bool:
        """Return whether the corrected p lies below alpha."""
        return self.p_holm < alpha


def _users(value: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(value, np.float64)
    if array.ndim not in (1, 2) or len(array) < 2:
        raise DataError(f"a bootstrap over users needs values [M] or [M, A] of at least 2 users; got {array.shape}.")
    if not np.isfinite(array).all():
        raise DataError("a bootstrap over users needs a finite value of each user; drop users without one first.")
    return array


def resampled_means(value: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.float64]:
    """Return float64[B, ...]: means of value [M] or [M, A] over B resamples of the M users.

    All A columns meet the same resampled users, so differences of columns are paired.

    Raises:
        DataError: fewer than two users, or a value that is not finite.

    """
    array, rng = _users(value), generator(seed, "bootstrap")
    size, step = len(array), max(1, _CHUNK // len(array))
    out = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        pick = rng.integers(size, size=(rows, size)) + np.arange(rows)[:, None] * size
        count = np.bincount(pick.ravel(), minlength=rows * size).reshape(rows, size)
        out.append(count @ array / size)
    return np.concatenate(out)


def _interval(mean: float, sample: NDArray[np.float64], level: float) -> Interval:
    low, high = np.quantile(sample, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(mean), float(low), float(high), level)


def bootstrap_mean(value: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95) -> Interval:
    """Return the mean of value [M] over users with its percentile interval (Efron 1979).

    >>> bootstrap_mean([3.0, 3.0, 3.0])
    Interval(mean=3.0, low=3.0, high=3.0, level=0.95)
    """
    array = _users(value)
    return _interval(array.mean(), resampled_means(array, resamples=resamples, seed=seed), level)


def paired_bootstrap(
    first: ArrayLike, second: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> Pair:
    """Return the difference first - second, both [M] over the same users, as a family of one pair."""
    return paired_differences(np.column_stack([first, second]), resamples=resamples, seed=seed, level=level)[0]


def paired_differences(
    value: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> tuple[Pair, ...]:
    """Return all pairs (first < second) of the A columns of value [M, A], Holm-corrected together.

    A bootstrap p cannot fall below 2 / (B + 1), so B is raised to 4 P / (1 - level) where P pairs would otherwise be
    too many for any of them to pass the correction.
    """
    array = _users(value)
    both = list(combinations(range(array.shape[1]), 2))
    if not both:
        return ()
    enough = max(resamples, int(np.ceil(4 * len(both) / (1 - level))))
    # Differences are taken before resampling: exact zeros stay zeros.
    gap = np.column_stack([array[:, a] - array[:, b] for a, b in both])
    sample = resampled_means(gap, resamples=enough, seed=seed)
    p = [bootstrap_p(sample[:, n]) for n in range(len(both))]
    return tuple(
        Pair(a, b, _interval(gap[:, n].mean(), sample[:, n], level), p[n], float(fixed))
        for n, ((a, b), fixed) in enumerate(zip(both, holm(p), strict=True))
    )


def bootstrap_p(sample: NDArray[np.float64]) -> float:
    """Return the two-sided p of "the mean is 0" from resampled means [B]: twice the smaller tail, add-one.

    The share of resamples on the other side of zero, counting the observed sample once (Davison and Hinkley 1997).
    """
    tail = min(int((sample <= 0).sum()), int((sample >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(sample) + 1))


def sign_flip_p(difference: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """Return the two-sided permutation p of "no difference" for paired differences [M]: random flips of sign."""
    gap, rng = _users(difference), generator(seed, "sign flip")
    seen, step = 0, max(1, _CHUNK // len(gap))
    for start in range(0, resamples, step):
        sign = rng.integers(2, size=(min(step, resamples - start), len(gap))) * 2 - 1
        seen += int((np.abs(sign @ gap) >= abs(gap.sum()) - 1e-12).sum())
    return (seen + 1) / (resamples + 1)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Return Holm's adjusted p [P] of p [P] (Holm 1979): the k-th smallest times (P - k), never below a smaller one."""
    raw = np.asarray(p, np.float64)
    order = np.argsort(raw, kind="stable")
    step = raw[order] * np.arange(len(raw), 0, -1)
    out = np.empty_like(raw)
    out[order] = np.minimum(1.0, np.maximum.accumulate(step))
    return out


def kendall_tau(first: ArrayLike, second: ArrayLike) -> float:
    """Return Kendall's tau-b of two rankings [A] (ties allowed); NaN if one of them is constant."""
    from scipy.stats import kendalltau

    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if len(np.unique(a)) < 2 or len(np.unique(b)) < 2:
        return float("nan")
    return float(kendalltau(a, b, variant="b").statistic)


@final
@dataclass(frozen=True)
class Uncertainty:
    """Where the variance of a mean comes from."""

    total: Interval
    """Grand mean; Student interval from all sources together."""
    users: float
    """Standard error that only more users can lower."""
    refits: float | None
    """Standard error that only more refits of the population can lower; None: one population, so not known."""
    draws: float | None
    """Standard error that only more draws (luck of visits, luck of fitting) can lower; None: one draw, not known."""


_NAMES = ("refits", "draws", "users")


def decompose(value: ArrayLike, *, level: float = 0.95) -> Uncertainty:
    """Return the sources of uncertainty of the grand mean of value [F refits, D draws, M users].

    Crossed random effects, one observation per cell, fitted by the method of moments (Cornfield and Tukey 1956;
    Brennan 2001, "Generalizability Theory", ch. 3). With n_s levels of source s, MS(c) the mean square of effect c
    (a set of sources), sigma2(c) follows from E MS(c) = sum over e containing c of sigma2(e) * prod(n_s, s not in e),
    negative estimates set to 0, and

        Var(mean) = sum over c of sigma2(c) / prod(n_s, s in c).

    A term counts for draws if draws are in c, else for refits if refits are, else for users: so `draws` is what
    infinitely many draws would remove. The interval is Student's with Satterthwaite's degrees of freedom
    (V^2 / sum v_c^2 / df_c). Sources with one level are left out and reported as None: then their variance hides
    in the others, or is missing.

    Raises:
        DataError: not three axes, fewer than two users, or a value that is not finite.

    """
    from scipy.stats import t

    array = np.asarray(value, np.float64)
    if array.ndim != 3 or array.shape[2] < 2 or not np.isfinite(array).all():
        raise DataError(f"expected finite values [refits, draws, users >= 2]; got shape {array.shape}.")
    term, freedom = _terms(array)
    variance = sum(term.values())
    part = {name: sum(v for c, v in term.items() if _owner(c) == axis) for axis, name in enumerate(_NAMES)}
    weight = sum(v * v / freedom[c] for c, v in term.items())
    df = variance * variance / weight if weight > 0 else 1.0
    half = float(t.ppf((1 + level) / 2, df) * np.sqrt(variance))
    mean = float(array.mean())
    error = {name: float(np.sqrt(v)) if array.shape[a] > 1 else None for a, (name, v) in enumerate(part.items())}
    users = error["users"]
    assert users is not None
    return Uncertainty(Interval(mean, mean - half, mean + half, level), users, error["refits"], error["draws"])


def _owner(effect: tuple[int, ...]) -> int:
    return 1 if 1 in effect else 0 if 0 in effect else 2


def _terms(array: NDArray[np.float64]) -> tuple[dict[tuple[int, ...], float], dict[tuple[int, ...], int]]:
    """Return, per effect, its term of Var(mean) and its degrees of freedom."""
    axes = [a for a in range(3) if array.shape[a] > 1]
    effects = [c for n in range(len(axes), 0, -1) for c in combinations(axes, n)]
    freedom = {c: int(np.prod([array.shape[a] - 1 for a in c])) for c in effects}
    sigma: dict[tuple[int, ...], float] = {}
    for c in effects:
        square = float((_effect(array, c) ** 2).sum()) / freedom[c]
        above = sum(v * _replicates(array, e) for e, v in sigma.items() if set(c) < set(e))
        sigma[c] = max(0.0, (square - above) / _replicates(array, c))
    return {c: v / float(np.prod([array.shape[a] for a in c])) for c, v in sigma.items()}, freedom


def _replicates(array: NDArray[np.float64], effect: tuple[int, ...]) -> float:
    return float(np.prod([n for a, n in enumerate(array.shape) if a not in effect]))


def _effect(array: NDArray[np.float64], effect: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the estimated effect, broadcast over all cells: sweep the mean out of its axes, average the others."""
    rest = tuple(a for a in range(3) if a not in effect)
    out = array.mean(axis=rest, keepdims=True) if rest else array
    for axis in effect:
        out = out - out.mean(axis=axis, keepdims=True)
    return np.broadcast_to(out, array.shape)


def check_level(level: float) -> None:
    """Raise ConfigError unless a coverage lies strictly between 0 and 1."""
    if not 0 < level < 1:
        raise ConfigError(f"level must lie between 0 and 1, for example 0.95; got {level}.")
