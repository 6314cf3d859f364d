"""Randomness that belongs to a user, not to a place in a queue.

Every draw is a hash of (episode key, counters, purpose): it does not depend on batch order, batch size or cache
hits, and two recommenders shown to the same user in the same episode meet the same luck (common random numbers).
The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").
"""

import hashlib
import math
from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.array(0x9E3779B97F4A7C15, np.uint64)  # arrays without axes: NumPy takes them faster than scalars
_SHIFT = tuple(np.array(bits, np.uint64) for bits in (30, 27, 31))
_FACTOR = tuple(np.array(factor, np.uint64) for factor in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_G, _F0, _F1, _ALL = int(_GOLDEN), int(_FACTOR[0]), int(_FACTOR[1]), 2**64 - 1
_BELOW_53 = np.array(11, np.uint64)
"""Bits that a float64 cannot hold."""


class Purpose(IntEnum):
    """What a draw is for; draws of different purposes are independent."""

    RATING = 1
    EXAMINE = 2
    CONSUME = 3
    EXIT = 4
    FRAILTY = 5
    MOOD = 6
    EPISODE = 7
    CANDIDATE = 8
    RETURN = 9
    VISIT = 10
    LOYALTY = 11
    ARRIVAL = 12


def derive(seed: int, *keys: object) -> int:
    """Return a 63-bit child seed that depends on the seed and on every key, and on nothing else."""
    text = repr((int(seed), *[k.item() if isinstance(k, np.generic) else k for k in keys]))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *keys: object) -> np.random.Generator:
    """Return a NumPy generator seeded with `derive(seed, *keys)`."""
    return np.random.default_rng(derive(seed, *keys))


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    y = x >> _SHIFT[0]
    y ^= x
    y *= _FACTOR[0]
    z = y >> _SHIFT[1]
    z ^= y
    z *= _FACTOR[1]
    y = z >> _SHIFT[2]
    y ^= z
    return y


def word(counter: ArrayLike) -> NDArray[np.uint64]:
    """Return a counter (non-negative integers or -1) as `absorb` wants it; a counter of many hashes is mixed once.

    Arrays of at least one axis only: sums that wrap round are silent there, and warned of elsewhere.
    """
    return _mix(np.asarray(counter).astype(np.uint64, copy=False) + _GOLDEN)


def absorb(state: NDArray[np.uint64], word: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the hash of all that `state` is the hash of and of one counter more, given as `word`.

    `counter_hash(key, a, b)` is `absorb(absorb(word(key), word(a)), word(b))`: hashes that begin alike share the work.
    """
    x = state ^ word
    x += _GOLDEN
    return _mix(x)


def pair(key: NDArray[np.uint64], counter: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Return `counter_hash(key, counter)` of two arrays [B]; a single one by hand, which takes a fifth of the time."""
    if len(key) > 1 or not len(key):
        return absorb(word(key), word(counter))
    state = _mixed((int(key[0]) + _G) & _ALL) ^ _mixed((int(counter[0]) + _G) & _ALL)
    return np.array([_mixed((state + _G) & _ALL)], np.uint64)


def _mixed(x: int) -> int:
    x = ((x ^ x >> 30) * _F0) & _ALL
    x = ((x ^ x >> 27) * _F1) & _ALL
    return x ^ x >> 31


def counter_hash(key: ArrayLike, *counters: ArrayLike) -> NDArray[np.uint64]:
    """Return one uint64 per broadcast element of key and counters (non-negative integers or -1)."""
    with np.errstate(over="ignore"):
        state = word(key)
        for counter in counters:
            state = absorb(state, word(counter))
    return np.asarray(state, dtype=np.uint64)


@cache
def _word_of(purpose: Purpose) -> NDArray[np.uint64]:
    return word([int(purpose)])[0, ...]


def quantile(bits: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return hashes as uniforms in the open interval (0, 1)."""
    return ((bits >> _BELOW_53).astype(np.float64) + 0.5) * 2.0**-53


def uniform(key: ArrayLike, *counters: ArrayLike, purpose: Purpose) -> NDArray[np.float64]:
    """Return uniforms in the open interval (0, 1), one per broadcast element of key and counters."""
    state = counter_hash(key, *counters)
    return quantile(absorb(state, _word_of(purpose)) if state.ndim else counter_hash(key, *counters, int(purpose)))


def shared_luck(own: NDArray[np.float64], mood: NDArray[np.float64], rho: float) -> NDArray[np.float64]:
    """Return the quantiles at which one user's answers are drawn: a share `rho` of their luck is common.

    A Gaussian copula with one factor, Phi(sqrt(rho) Phi^-1(mood) + sqrt(1 - rho) Phi^-1(own)), for uniforms `own`
    (each answer's) and `mood` (the user's), broadcast. Uniform for every rho; 0 returns `own`.
    """
    if rho == 0:
        return own
    from scipy.special import ndtr, ndtri

    return np.asarray(ndtr(math.sqrt(rho) * ndtri(mood) + math.sqrt(1 - rho) * ndtri(own)), np.float64)
