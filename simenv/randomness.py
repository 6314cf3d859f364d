"""Randomness that belongs to a user, not to a place in a queue.

Every draw is a hash of (episode key, counters, purpose): it does not depend on batch order, batch size or cache
hits, and two recommenders shown to the same user in the same episode meet the same luck (common random numbers).
The mixer is the finaliser of SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators").
"""

import hashlib
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


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


def derive(seed: int, *keys: object) -> int:
    """Return a 63-bit child seed that depends on the seed and on every key, and on nothing else."""
    text = repr((int(seed), *[k.item() if isinstance(k, np.generic) else k for k in keys]))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *keys: object) -> np.random.Generator:
    """Return a NumPy generator seeded with `derive(seed, *keys)`."""
    return np.random.default_rng(derive(seed, *keys))


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)), dtype=np.uint64)


def counter_hash(key: ArrayLike, *counters: ArrayLike) -> NDArray[np.uint64]:
    """Return one uint64 per broadcast element of key and counters (non-negative integers or -1)."""
    with np.errstate(over="ignore"):
        state = _mix(np.asarray(key).astype(np.uint64) + _GOLDEN)
        for counter in counters:
            word = np.asarray(counter).astype(np.int64).astype(np.uint64)
            state = _mix((state ^ _mix(word + _GOLDEN)) + _GOLDEN)
    return state


def uniform(key: ArrayLike, *counters: ArrayLike, purpose: Purpose) -> NDArray[np.float64]:
    """Return uniforms in the open interval (0, 1), one per broadcast element of key and counters."""
    bits = counter_hash(key, *counters, int(purpose))
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def shared_luck(own: NDArray[np.float64], mood: NDArray[np.float64], rho: float) -> NDArray[np.float64]:
    """Return the quantiles at which one user's answers are drawn: a share `rho` of their luck is common.

    A Gaussian copula with one factor, Phi(sqrt(rho) Phi^-1(mood) + sqrt(1 - rho) Phi^-1(own)), for uniforms `own`
    (each answer's) and `mood` (the user's), broadcast. Uniform for every rho; 0 returns `own`.
    """
    if rho == 0:
        return own
    from scipy.special import ndtr, ndtri

    return np.asarray(ndtr(np.sqrt(rho) * ndtri(mood) + np.sqrt(1 - rho) * ndtri(own)), np.float64)
