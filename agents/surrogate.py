"""SurrogateRatingModel: small networks' answers in a slow model's place, each with a bound on the gap.

Answers users who are simulated nowhere too, from the ratings known of them. Made by
simenv.training.distil_surrogate; saved as a folder of npz and JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.surrogate_network import Ensemble
from simenv.agents.surrogate_vector import UserVectors, VectorSpace
from simenv.errors import ConfigError, StoreError, UnknownIdError
from simenv.protocols import Answer
from simenv.scale import RatingScale

Float = NDArray[np.float32]
_BLOCK = 512
"""Pairs at a time: their hidden values stay in the processor's cache."""


@final
@dataclass(frozen=True)
class Margin:
    """From disagreement to a bound: gap <= factor * (disagreement + floor) for `coverage` of a new user's pairs.

    Split conformal over users (Lee, Barber and Willett 2023, "Distribution-free inference with hierarchical data"):
    holds for users drawn like those it was calibrated on, and pairs drawn as theirs were.
    """

    coverage: float
    expected: float
    """Factor of the gap between expected ratings."""
    variation: float
    """Factor of the total variation between distributions."""
    floor_expected: float
    """Rating points: mean disagreement on pairs learned from."""
    floor_variation: float
    users: int
    """Users it was calibrated on."""


@final
@dataclass(frozen=True, eq=False)
class Bound:
    """How far N answers are from those of the model learned from, at most, with the margin's coverage each."""

    expected: Float
    """float32[N]: rating points."""
    variation: Float
    """float32[N]: total variation distance, at most 1."""


@final
@dataclass(frozen=True, eq=False)
class SurrogateRatingModel:
    """Answers of users who have a vector."""

    scale: RatingScale
    space: VectorSpace
    ensemble: Ensemble
    margin: Margin
    users: UserVectors
    """V users (`VectorSpace.users`), in memory or memory-mapped."""
    row: NDArray[np.int64] | None = None
    """int64[U]: position of each user's vector, -1: none; None: user numbers are the positions."""
    told: str = ""
    """Fingerprint of the population it was learned from; "" when that was built in memory only."""

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return the mean answers [N] of the networks; off_scale is 0, since they know nothing else.

        Raises:
            UnknownIdError: a user has no vector, or an item does not exist.

        """
        return self.told_apart(user, item)[0]

    def uncertainty(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Float:
        """Return float32[N]: `Bound.expected`, what routing goes by."""
        return self.told_apart(user, item)[1].expected

    def told_apart(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> tuple[Answer, Bound]:
        """Return the answers [N] and how far each may be from the model learned from."""
        row = self._rows(np.asarray(user, np.int64))
        item = np.asarray(item, np.int64)
        if len(item) and (item.min() < 0 or item.max() >= len(self.space.item)):
            raise UnknownIdError(f"items are numbers 0..{len(self.space.item) - 1}; got {item.min()}..{item.max()}.")
        p = np.empty((len(row), len(self.scale)), np.float32)
        gap, far = np.empty(len(row), np.float32), np.empty(len(row), np.float32)
        for start in range(0, len(row), _BLOCK):
            part = slice(start, start + _BLOCK)
            p[part], gap[part], far[part] = self._block(row[part], item[part])
        m = self.margin
        bound = Bound(
            np.asarray(np.float32(m.expected) * (gap + np.float32(m.floor_expected)), np.float32),
            np.minimum(np.float32(m.variation) * (far + np.float32(m.floor_variation)), np.float32(1)),
        )
        return Answer(p, np.zeros(len(row), np.float32), self.space.crowd.item_count[item]), bound

    def of_histories(self, item: NDArray[np.int64], rating: NDArray[np.floating]) -> SurrogateRatingModel:
        """Return a model of other users: number b is known by context item, rating [B, H] (-1 and NaN padded)."""
        return self.of_users(self.space.users(item, rating))

    def of_users(self, users: UserVectors) -> SurrogateRatingModel:
        """Return a model of other users, whose numbers are their positions.

        Raises:
            ConfigError: the vectors are not of this space.

        """
        if users.vector.ndim != 2 or users.vector.shape[1] != len(self.space.size):
            raise ConfigError(f"user vectors have {len(self.space.size)} columns here; got shape {users.vector.shape}.")
        return replace(self, users=users, row=None)

    def save(self, folder: str | Path) -> None:
        """Write space, networks, vectors and what they belong to."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.space.save(folder)
        self.ensemble.save(folder / "ensemble.npz")
        self.users.save(folder)
        np.save(folder / "row.npy", np.arange(len(self.users)) if self.row is None else self.row)
        about = {"format": "simenv-surrogate", "version": 1, "told": self.told, "scale": asdict(self.scale)}
        (folder / "surrogate.json").write_text(json.dumps(about | {"margin": asdict(self.margin)}, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path, *, told: str | None = None) -> SurrogateRatingModel:
        """Read what `save` wrote; vectors are memory-mapped.

        told: fingerprint of the population whose surrogate it must be; None: not checked.

        Raises:
            StoreError: no surrogate there, damaged, or learned from another population.

        """
        folder = Path(folder)
        about = _about(folder)
        if told is not None and about["told"] != told:
            raise StoreError(f"{folder} was distilled from another population; distil one from this population.")
        scale = RatingScale(tuple(about["scale"]["values"]), tuple(about["scale"]["symbols"]))
        try:
            space, ensemble = VectorSpace.load(folder), Ensemble.load(folder / "ensemble.npz")
            users, row = UserVectors.load(folder), np.load(folder / "row.npy")
        except StoreError:
            raise
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise StoreError(f"{folder} is damaged ({error}); distil it again.") from error
        return cls(scale, space, ensemble, Margin(**about["margin"]), users, row, about["told"])

    @cached_property
    def _item_share(self) -> Float:
        return self.ensemble.of_items(self.space.item)

    @cached_property
    def _values(self) -> Float:
        return self.scale.array.astype(np.float32)

    def _rows(self, user: NDArray[np.int64]) -> NDArray[np.int64]:
        size = len(self.users) if self.row is None else len(self.row)
        inside = (user >= 0) & (user < size)
        row = np.where(inside, user, 0) if self.row is None else self.row[np.where(inside, user, 0)]
        bad = ~inside | (row < 0)
        if bad.any():
            raise UnknownIdError(
                f"user number {int(user[bad][0])} has no vector here ({int(bad.sum())} such); "
                "make one from known ratings by of_histories."
            )
        return np.asarray(row, np.int64)

    def _block(self, row: NDArray[np.int64], item: NDArray[np.int64]) -> tuple[Float, Float, Float]:
        """Return p [N, R] and the networks' disagreement about the expected rating and the distribution, both [N]."""
        unique, place = np.unique(row, return_inverse=True)
        own, place = self.users.take(unique), place.ravel()
        share = self.ensemble.of_users(own.vector[:, : self.space.width[0]])[place]
        share += self._item_share[item]
        each = self.ensemble.answer(share, self.space.interaction(own, place, item))
        networks = each.shape[1]
        p = _summed(each, 1) / np.float32(networks)
        means = _summed(each * self._values, 2)
        middle = _summed(means, 1) / np.float32(networks)
        gap = np.sqrt(_summed((means - middle[:, None]) ** 2, 1) / np.float32(networks))
        far = _summed(_summed(np.abs(each - p[:, None]), 2), 1) / np.float32(2 * networks)
        return p, gap, far


def _summed(x: Float, axis: int) -> Float:
    """Return the sum along a short axis, term by term: in the same order whatever the batch."""
    return np.asarray(sum(np.take(x, n, axis=axis) for n in range(x.shape[axis])), np.float32)


def _about(folder: Path) -> dict[str, Any]:
    path = folder / "surrogate.json"
    if not path.is_file():
        raise StoreError(f"{folder} holds no surrogate; make one with simenv.training.distil_surrogate.")
    about: dict[str, Any] = json.loads(path.read_text())
    if about.get("format") != "simenv-surrogate" or about.get("version") != 1:
        raise StoreError(f"{path} was not written by this simenv; distil it again.")
    return about
