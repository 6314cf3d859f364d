"""The ordered answers a user may give: 1..5, half stars, yes/no. From a distribution to a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simenv.errors import DataError

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@final
@dataclass(frozen=True)
class RatingScale:
    """R ordered values and the one-token symbol that stands for each in a prompt."""

    values: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 5.0)
    """Ascending."""
    symbols: tuple[str, ...] = ()
    """One per value; empty: the digits themselves if all are 0..9, letters from A otherwise (half stars)."""

    def __post_init__(self) -> None:
        if len(self.values) < 2 or any(b <= a for a, b in zip(self.values, self.values[1:], strict=False)):
            raise DataError(f"a rating scale needs at least two ascending values; got {self.values}.")
        if not self.symbols:
            digits = all(v == int(v) and 0 <= v <= 9 for v in self.values)
            made = [str(int(v)) for v in self.values] if digits else list(_LETTERS[: len(self.values)])
            object.__setattr__(self, "symbols", tuple(made))
        if len(set(self.symbols)) != len(self.values):
            raise DataError(f"{len(self.values)} rating values need as many distinct symbols; got {self.symbols}.")

    @classmethod
    def infer(cls, ratings: ArrayLike) -> RatingScale:
        """Return the narrowest usual scale of these ratings: 0/1, 1..5, 0..5, 0.5..5 in halves, or the values found."""
        found = np.unique(np.asarray(ratings, dtype=np.float64))
        if not np.isfinite(found).all():
            raise DataError("ratings contain NaN or infinite values; drop these rows first.")
        halves = tuple(np.arange(1, 11) / 2)
        for values in ((0.0, 1.0), (1.0, 2.0, 3.0, 4.0, 5.0), (0.0, 1.0, 2.0, 3.0, 4.0, 5.0), halves):
            if np.isin(found, values).all():
                return cls(tuple(float(v) for v in values))
        if len(found) > len(_LETTERS):
            raise DataError(
                f"ratings take {len(found)} different values ({found[:3]}...); simenv wants an ordered scale of "
                f"at most {len(_LETTERS)}. Round them, or give scale=RatingScale(...)."
            )
        return cls(tuple(float(v) for v in found))

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def array(self) -> NDArray[np.float64]:
        """The values as float64[R]; read-only."""
        array = np.asarray(self.values, dtype=np.float64)
        array.flags.writeable = False
        return array

    def encode(self, rating: ArrayLike) -> NDArray[np.int64]:
        """Return the position int64[N] of each rating [N] on the scale.

        Raises:
            DataError: a rating is not on the scale.

        """
        rating = np.asarray(rating, dtype=np.float64)
        place = np.searchsorted((self.array[1:] + self.array[:-1]) / 2, rating)  # nearest: float32 4.4 lies above 4.4
        off = ~np.isclose(self.array[place], rating)
        if off.any():
            raise DataError(f"rating {rating[off].flat[0]:g} is not on the scale {self.values}.")
        return np.asarray(place, dtype=np.int64)

    def expectation(self, p: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the mean [...] of distributions p [..., R]: the rule that minimises squared error."""
        return np.asarray(np.asarray(p, dtype=np.float64) @ self.array, dtype=np.float64)

    def median(self, p: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the smallest value [...] whose cumulative probability reaches 1/2: minimises absolute error."""
        cumulative = np.cumsum(np.asarray(p, dtype=np.float64), axis=-1)
        return np.asarray(self.array[np.argmax(cumulative >= 0.5 - 1e-12, axis=-1)])

    def sample(self, p: NDArray[np.floating], u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the value [...] at quantile u [...] of distributions p [..., R]."""
        cumulative = np.add.accumulate(p, axis=-1, dtype=np.float64)
        place = np.add.reduce(
            u[..., None] > cumulative[..., :-1], axis=-1
        )  # what rounding leaves over the last one takes
        return np.asarray(self.array[place])

    def round(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the nearest value on the scale for each number; ties go up."""
        x = np.asarray(x, dtype=np.float64)
        middle = (self.array[1:] + self.array[:-1]) / 2
        return self.array[np.searchsorted(middle, x, side="right")]

    def legend(self, words: Sequence[str] | None = None) -> str:
        """Return how symbols map to values, "" when each symbol is its own value."""
        if all(s == f"{v:g}" for s, v in zip(self.symbols, self.values, strict=True)):
            return ""
        names = words or [f"{v:g}" for v in self.values]
        return ", ".join(f"{s} = {n}" for s, n in zip(self.symbols, names, strict=True))
