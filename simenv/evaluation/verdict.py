"""From paired differences to one plain sentence: who is best, by how much, and what cannot be said.

Knows names and numbers only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.evaluation.interval import Interval
from simenv.evaluation.statistics import Pair, paired_differences


@final
@dataclass(frozen=True)
class League:
    """A contestants over the same M users on one number, best first."""

    names: tuple[str, ...]
    """[A], in the order of the values given; `order` sorts them."""
    mean: tuple[float, ...]
    """[A]"""
    pairs: tuple[Pair, ...]
    """All A (A - 1) / 2 pairs, corrected together."""

    @classmethod
    def of(cls, value: Mapping[str, NDArray[np.float64]], *, resamples: int, seed: int, level: float = 0.95) -> League:
        """Return the league of values [M] by name; users without a finite value for every name are left out.

        Raises:
            DataError: fewer than two users are left.

        """
        table = np.column_stack(list(value.values()))
        table = table[np.isfinite(table).all(axis=1)]
        pairs = paired_differences(table, resamples=resamples, seed=seed, level=level)
        return cls(tuple(value), tuple(float(m) for m in table.mean(axis=0)), pairs)

    @property
    def order(self) -> tuple[int, ...]:
        """Numbers of the contestants, best first; equal ones in the order given."""
        return tuple(int(n) for n in np.argsort(-np.asarray(self.mean), kind="stable"))

    def pair(self, first: int, second: int) -> Pair:
        """Return the pair read as first - second."""
        for one in self.pairs:
            if (one.first, one.second) == (first, second):
                return one
            if (one.first, one.second) == (second, first):
                d = one.difference
                return Pair(first, second, Interval(-d.mean, -d.high, -d.low, d.level), one.p, one.p_holm)
        raise KeyError((first, second))

    def tied(self, alpha: float) -> tuple[int, ...]:
        """Return the leader and, after it, all that are not significantly below it."""
        order = self.order
        return (order[0], *[n for n in order[1:] if not self.pair(order[0], n).significant(alpha)])


def sentence(
    league: League, *, unit: str, alpha: float, unsupported: Mapping[str, float] | None = None, limit: float = 1.0
) -> str:
    """Return the verdict. `unsupported`: share of places without support by name; above `limit` nobody is judged.

    The leader above the limit withholds the verdict; another contestant above it is only named.
    """
    share = unsupported or {}
    names, leader = league.names, league.order[0]
    if share.get(names[leader], 0.0) > limit:
        return (
            f"Verdict withheld: {names[leader]} leads by number, but {share[names[leader]]:.0%} of the places it fills "
            f"show items about which the simulated users know next to nothing (limit {limit:.0%})."
        )
    barred = [n for n in range(len(names)) if share.get(names[n], 0.0) > limit]
    rest = [n for n in league.order[1:] if n not in barred]
    ties = [n for n in league.tied(alpha) if n not in barred and n != leader]
    words = _alone(league, leader, rest, unit) if not ties else _together(league, leader, ties, rest, unit)
    if barred:
        words += f" No verdict on {_list([names[n] for n in barred])}: too many places without support."
    return words


def _alone(league: League, leader: int, rest: Sequence[int], unit: str) -> str:
    name = league.names[leader]
    if not rest:
        return f"{name} stands alone: {league.mean[leader]:.3f} {unit}; nothing to compare it with."
    gap = league.pair(leader, rest[0]).difference
    words = f"{name} serves these users best: {gap:+.2f} {unit} over {league.names[rest[0]]}"
    return words + (f" and more over {_list([league.names[n] for n in rest[1:]])}." if rest[1:] else ".")


def _together(league: League, leader: int, ties: Sequence[int], rest: Sequence[int], unit: str) -> str:
    first = league.pair(leader, ties[0]).difference
    group = _list([league.names[n] for n in (leader, *ties)])
    words = (
        f"Tie between {group}: {league.names[leader]} is {first:+.2f} {unit} ahead of {league.names[ties[0]]}, "
        "within chance."
    )
    below = [n for n in rest if n not in ties]
    if below:
        gap = league.pair(leader, below[0]).difference
        words += f" {league.names[leader]} is ahead of {league.names[below[0]]} by {gap:+.2f}."
    return words


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
