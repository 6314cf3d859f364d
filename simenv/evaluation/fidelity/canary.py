"""The canary: give the held-out ratings other values, build everything anew, and no byte of it may change.

The strongest check of "no held-out rating reaches what is built": it runs the whole way, the split included. Knows
logs and folders; what is built, and how prompts are read from it, is handed in.
"""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.errors import ConfigError, DataError
from simenv.log import InteractionLog, Split
from simenv.randomness import generator

Make = Callable[[InteractionLog, int], Path]
"""make(log, n) -> the folder of build number n (0 or 1), from a *whole* log, which it must cut itself."""
SplitOf = Callable[[InteractionLog], Split]
"""How `make` cuts a log."""
Prompts = Callable[[Path, NDArray[np.int64], NDArray[np.int64]], Sequence[str]]
"""prompts(folder, user [N], item [N]) -> what the language model is asked of the pairs [N]."""


@final
@dataclass(frozen=True)
class Canary:
    """What changed when the held-out ratings did. Nothing should."""

    changed: int
    """Held-out ratings that were given another value."""
    held: int
    """Held-out ratings in all."""
    files: int
    """Files compared, byte by byte."""
    differing: tuple[str, ...]
    """Those that differ, or stand in one folder only, by path inside the folder."""
    prompts: int
    """Prompts of held-out pairs compared; 0: none were asked for."""
    differing_prompts: tuple[int, ...]
    """Positions, among the held-out pairs, of prompts that differ."""
    same_split: bool
    """Whether the log was cut into the same rows."""

    @property
    def exact(self) -> bool:
        """Whether nothing changed."""
        return self.same_split and not self.differing and not self.differing_prompts


def canary(
    make: Make,
    log: InteractionLog,
    split_of: SplitOf,
    *,
    prompts: Prompts | None = None,
    ignore: Sequence[str] = (),
    seed: int = 0,
) -> Canary:
    """Build twice, from the log and from the log with other held-out ratings, and compare.

    Held-out ratings are turned upside down (the best becomes the worst) and then dealt anew: a mean over them changes,
    too, which a deal alone would leave as it is. Who rated what, and when, stays.

    prompts: None: no prompts are compared.
    ignore: patterns of files that hold held-out rows by design, such as "trial/*"; they are not compared.

    Raises:
        DataError: nothing is held out, or all held-out ratings lie in the middle of the scale; or nothing was built.
        ConfigError: both builds lie in one folder, which would be compared with itself.

    """
    split = split_of(log)
    other = other_ratings(log, split, seed)
    first, second = make(log, 0), make(other, 1)
    if first.resolve() == second.resolve():
        raise ConfigError(f"both builds lie in {first}; make(log, n) must use another folder for each n.")
    names, differing = _files(first, second, ignore)
    pairs = split.future.user, split.future.item
    told = [] if prompts is None else [list(prompts(folder, *pairs)) for folder in (first, second)]
    changed = int((other.rating != log.rating).sum())
    asked, unlike = _prompts(told)
    same = _same(split, split_of(other))
    return Canary(changed, len(split.future), len(names), differing, asked, unlike, same)


def other_ratings(log: InteractionLog, split: Split, seed: int) -> InteractionLog:
    """Return the log with the held-out ratings turned upside down and dealt anew, everything else as it was.

    Rows of which a twin is known (same user, item, rating and second) are left alone: they cannot be told apart.

    Raises:
        DataError: see `canary`.

    """
    rows = _keys(log)
    held = np.flatnonzero(rows.isin(_keys(split.future)) & ~rows.isin(_keys(split.past)))
    if not len(held):
        raise DataError("nothing is held out, so nothing could leak; give a split with a future.")
    mirrored = log.scale.array[::-1][log.scale.encode(log.rating[held])]
    rating = log.rating.copy()
    rating[held] = generator(seed, "canary").permutation(mirrored)
    if (rating == log.rating).all():
        raise DataError(
            "all held-out ratings have the one value that stays when they are turned upside down; the canary needs a "
            "log whose held-out ratings differ."
        )
    return replace(log, rating=rating)


def _keys(log: InteractionLog) -> pd.MultiIndex:
    time = np.zeros(len(log), np.int64) if log.time is None else log.time
    return pd.MultiIndex.from_arrays([log.user, log.item, log.rating, time])


def _files(first: Path, second: Path, ignore: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Return all names compared, and those that differ."""
    found = [_names(folder, ignore) for folder in (first, second)]
    names = sorted(found[0] | found[1])
    if not names:
        raise DataError(f"{first} and {second} hold no file to compare; make(log, n) must return what it built.")
    both = found[0] & found[1]
    unlike = [n for n in names if n not in both or not filecmp.cmp(first / n, second / n, shallow=False)]
    return names, tuple(unlike)


def _names(folder: Path, ignore: Sequence[str]) -> set[str]:
    names = {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file()}
    return {n for n in names if not any(fnmatch(n, pattern) for pattern in ignore)}


def _prompts(told: list[list[str]]) -> tuple[int, tuple[int, ...]]:
    """Return how many prompts were compared, and the positions of those that differ."""
    if not told:
        return 0, ()
    first, second = told
    size = max(len(first), len(second))
    padded = [[*t, *[""] * (size - len(t))] for t in told] if len(first) != len(second) else [first, second]
    return size, tuple(n for n, (a, b) in enumerate(zip(*padded, strict=True)) if a != b)


def _same(one: Split, two: Split) -> bool:
    """Return whether two splits cut the same rows (held-out ratings apart) at the same moments."""
    cuts = [np.zeros(0) if s.cut is None else s.cut for s in (one, two)]
    return (
        one.past.fingerprint == two.past.fingerprint
        and np.array_equal(cuts[0], cuts[1])
        and np.array_equal(one.future.user, two.future.user)
        and np.array_equal(one.future.item, two.future.item)
    )
