"""Ensemble: a few small networks from user and item vectors to rating distributions, in plain NumPy.

Two hidden layers, linear up to 0 and from 8 on cut off. Inputs and hidden values lie on a grid of 1/128, weights on one
of 1/512, and no sum can leave float32's exact range, so the answers are the same in any batch and with any matrix
library. Knows nothing of users, items or how the weights came about.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.surrogate_vector import GRID, LIMIT
from simenv.errors import StoreError

Float = NDArray[np.float32]
WEIGHT_GRID = 512.0
REACH = 2.0**24 / (GRID * WEIGHT_GRID) / LIMIT - 1
"""Sum of the sizes of the weights and the bias into one unit at most: then every partial sum is exact in float32."""


@final
@dataclass(frozen=True, eq=False)
class Ensemble:
    """E networks side by side; inputs: user [A], item [Q] and interactions [X] of a pair; H, G hidden units."""

    user: Float
    """float32[A, E, H]"""
    item: Float
    """float32[Q, E, H]"""
    both: Float
    """float32[X, E, H]"""
    first: Float
    """float32[E, H]: bias."""
    hidden: Float
    """float32[E, H, G]"""
    second: Float
    """float32[E, G]: bias."""
    out: Float
    """float32[E, G, R]"""
    third: Float
    """float32[E, R]: bias."""

    @classmethod
    def rounded(cls, *weights: NDArray[np.floating]) -> Ensemble:
        """Return the networks of weights, in the order of the fields, put on the grid.

        A unit whose sums could leave the exact range is drawn in.
        """
        user, item, both, first, hidden, second, out, third = (np.asarray(w, np.float64) for w in weights)
        reach = np.abs(np.concatenate([user, item, both, first[None]])).sum(axis=0)
        shrink = np.minimum(1.0, (REACH - 1) / reach)
        inner = np.minimum(1.0, (REACH - 1) / (np.abs(hidden).sum(axis=1) + np.abs(second)))
        outer = np.minimum(1.0, (REACH - 1) / (np.abs(out).sum(axis=1) + np.abs(third)))
        made = (
            user * shrink, item * shrink, both * shrink, first * shrink,
            hidden * inner[:, None], second * inner, out * outer[:, None], third * outer,
        )  # fmt: skip
        return cls(*[(np.rint(w * WEIGHT_GRID) / WEIGHT_GRID).astype(np.float32) for w in made])

    @property
    def inputs(self) -> tuple[int, int, int]:
        """A, Q and X."""
        return len(self.user), len(self.item), len(self.both)

    def of_users(self, user: Float) -> Float:
        """Return float32[B, E H]: the users' [B, A] share of the first layer."""
        return np.asarray(user @ self._user, np.float32)

    def of_items(self, item: Float) -> Float:
        """Return float32[I, E H]: the items' [I, Q] share of the first layer, bias included."""
        return item @ self.item.reshape(len(self.item), -1) + self.first.reshape(-1)

    def answer(self, shares: Float, both: Float) -> Float:
        """Return p float32[N, E, R] from the summed shares [N, E H] and the interactions [N, X] of pairs."""
        e, h, _ = self.hidden.shape
        inner = np.add(shares, both @ self._both, out=shares)
        _cut(inner)
        inner = np.matmul(inner.reshape(-1, e, h).transpose(1, 0, 2), self.hidden) + self.second[:, None]
        _cut(inner)
        score = np.matmul(inner, self.out) + self.third[:, None]
        score -= score.max(axis=2, keepdims=True)
        odds = np.exp(score.astype(np.float64))
        total = odds[..., 0]
        for r in range(1, odds.shape[2]):
            total = total + odds[..., r]
        return np.asarray((odds / total[..., None]).transpose(1, 0, 2), np.float32)

    def save(self, path: Path) -> None:
        """Write one npz file without pickles."""
        np.savez(path, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Ensemble:
        """Read what `save` wrote.

        Raises:
            StoreError: not such a file.

        """
        with np.load(path, allow_pickle=False) as data:
            if missing := [f.name for f in fields(cls) if f.name not in data.files]:
                raise StoreError(f"{path.name} holds no surrogate: {missing[0]!r} is missing. Distil it again.")
            made: dict[str, Any] = {f.name: data[f.name] for f in fields(cls)}
            return cls(**made)

    @cached_property
    def _user(self) -> Float:
        return np.ascontiguousarray(self.user.reshape(len(self.user), -1))

    @cached_property
    def _both(self) -> Float:
        return np.ascontiguousarray(self.both.reshape(len(self.both), -1))


def _cut(x: Float) -> None:
    """Hold x within 0..8 and put it on the grid, in place."""
    np.clip(x, 0.0, LIMIT, out=x)
    np.multiply(x, GRID, out=x)
    np.rint(x, out=x)
    np.multiply(x, np.float32(1 / GRID), out=x)
