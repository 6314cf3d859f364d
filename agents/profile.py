"""Profiles: Ms as numbers, for B users at once, from their contexts only. Words are agents/description.py's business.

One way for training (fresh random contexts every epoch) and serving (each user's known rows). Knows no prompts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from simenv.agents.columns import read, write
from simenv.agents.crowd import Crowd
from simenv.agents.cues import Taste
from simenv.agents.description import Liking, Profile
from simenv.agents.trait import TraitCuts, conformity, diversity
from simenv.agents.written import Stage, pack, unpack
from simenv.catalogue import Catalogue
from simenv.errors import DataError, StoreError
from simenv.log import InteractionLog
from simenv.scale import RatingScale

__all__ = ["Profile", "Profiles", "TraitCuts"]

Float = NDArray[np.float32]
TOP = 5
"""Liked and disliked genres kept."""
_MIN_COUNT = 2
"""A genre needs so many rated items to be called liked or disliked; one says nothing."""
_MIN_DEVIATION = 0.05
"""Rating points; less would print as 0.0."""
_BLOCK = 256


@final
@dataclass(frozen=True, eq=False)
class Profiles:
    """B users' Ms. R: values of the scale; G: genres; E: all known ratings of the B users. NaN: unknown.

    A user without ratings has count 0, NaN mean, spread, conformity and diversity, zero shares and zero deviations.
    """

    count: NDArray[np.int64]
    """int64[B]: known ratings."""
    mean: Float
    """float32[B]; NaN without ratings."""
    spread: Float
    """float32[B]: standard deviation of the ratings; NaN below two ratings."""
    severity: Float
    """float32[B]: shrunk offset against the crowd on the same items; negative: harsher."""
    recent: Float
    """float32[B]: shrunk mean residual of the last ten ratings; positive: milder than before."""
    obscure: Float
    """float32[B]: slope of the residual on popularity (0..1); positive: prefers the well known."""
    share: Float
    """float32[B, R]: share of each rating value."""
    trait: Float
    """float32[B, 3]: activity (known ratings), conformity (mean squared gap to the crowd's shrunk item mean; low:
    follows the crowd; NaN without ratings), diversity (top genres with 80 % of the genre mass; NaN without genres)."""
    genre: Float
    """float32[B, G]: shrunk mean residual per genre, order of `catalogue.vocabulary`."""
    genre_count: NDArray[np.int64]
    """int64[B, G]: rated items that carry the genre."""
    liked: NDArray[np.int64]
    """int64[B, 5]: genres with at least two rated items, by falling deviation, all above 0; -1: none."""
    disliked: NDArray[np.int64]
    """int64[B, 5]: the same from the lowest deviation up, all below 0; -1: none."""
    start: NDArray[np.int64]
    """int64[B+1]: the context of user b stands at start[b]:start[b+1] of `item` and `residual`."""
    item: NDArray[np.int64]
    """int64[E], oldest first within a user."""
    residual: Float
    """float32[E]: rating minus what the crowd and the user's severity let expect."""
    cuts: TraitCuts
    catalogue: Catalogue
    scale: RatingScale
    written: tuple[tuple[Stage, ...], ...] = ()
    """[B]: what a language model wrote of each user, stage by stage, the last one whole; (): nothing, of all or of one.
    Its levels and its description take the place of those that are counted."""

    @classmethod
    def of(
        cls,
        crowd: Crowd,
        catalogue: Catalogue,
        scale: RatingScale,
        item: NDArray[np.int64],
        rating: NDArray[np.floating],
        *,
        cuts: TraitCuts | None = None,
        taste: Taste | None = None,
    ) -> Profiles:
        """Return the profiles of B contexts (item [B, H] padded with -1, rating [B, H] padded with NaN).

        cuts: those of the population; None: of this very batch. taste: `Taste.of(crowd, item, rating)` where at hand.

        Raises:
            DataError: shapes differ, a rating is off the scale, or (without cuts) no user has a rating.

        """
        if item.ndim != 2 or item.shape != rating.shape:
            raise DataError(f"a context is item and rating of one shape [B, H]; got {item.shape} and {rating.shape}.")
        taste = taste or Taste.of(crowd, item, rating)
        known = item >= 0
        count = known.sum(axis=1)
        films = _incidence(item, known, crowd)
        trait = np.stack([count, conformity(crowd, item, rating, count), diversity(taste.genre_count)], axis=1)
        mean, spread = _moments(rating, known, count)
        return cls(
            count, mean, spread, taste.offset, taste.recent, taste.obscure,
            _share(scale, rating, known, count), trait.astype(np.float32), taste.genre, films,
            _top(taste.genre, films), _top(-taste.genre, films),
            np.concatenate([[0], np.cumsum(count)]).astype(np.int64), item[known], taste.residual[known],
            cuts or TraitCuts.of(trait), catalogue, scale,
        )  # fmt: skip

    @classmethod
    def of_log(
        cls,
        log: InteractionLog,
        user: NDArray[np.int64],
        crowd: Crowd,
        catalogue: Catalogue,
        *,
        cuts: TraitCuts | None = None,
    ) -> Profiles:
        """Return the profiles of users [B] from their rows of a log of *known* rows, in blocks that bound memory."""
        blank = cuts or TraitCuts((0, 0), (0, 0), (0, 0))
        parts = []
        for first in range(0, max(len(user), 1), _BLOCK):
            context = log.padded(user[first : first + _BLOCK])
            parts.append(cls.of(crowd, catalogue, log.scale, *context, cuts=blank))
        made = cls.stack(parts)
        return made if cuts else replace(made, cuts=TraitCuts.of(made.trait))

    @classmethod
    def stack(cls, parts: Sequence[Profiles]) -> Profiles:
        """Return the users of several batches as one; cuts, catalogue and scale are those of the first."""
        arrays: dict[str, Any] = {n: np.concatenate([getattr(p, n) for p in parts]) for n in _ARRAYS if n != "start"}
        written = tuple(w for p in parts for w in p.written or ((),) * len(p)) if any(p.written for p in parts) else ()
        start = np.concatenate([[0], np.cumsum(arrays["count"])]).astype(np.int64)
        return replace(parts[0], **arrays, start=start, written=written)

    def __len__(self) -> int:
        return len(self.count)

    def __iter__(self) -> Iterator[Profile]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> Profile:
        """Return one user's view, in words."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} profiles.")
        row %= len(self)
        own = slice(self.start[row], self.start[row + 1])
        a, c, d = self.trait[row].tolist()
        la, lc, ld = self.level[row].tolist()
        return Profile(
            int(self.count[row]), float(self.mean[row]), float(self.spread[row]), float(self.severity[row]),
            float(self.recent[row]), float(self.obscure[row]), (a, c, d), (la, lc, ld),
            self.scale.values, tuple(self.share[row].tolist()),
            self._likings(row, self.liked), self._likings(row, self.disliked),
            self.item[own], self.residual[own], self.catalogue,
            self.written[row][-1].description if self.written and self.written[row] else "",
        )  # fmt: skip

    @cached_property
    def level(self) -> NDArray[np.int8]:
        """int8[B, 3]: activity, conformity, diversity; 0 low, 1 middle, 2 high, -1 unknown (`TraitCuts.level`)."""
        level = self.cuts.level(self.trait)
        for row, stage in enumerate(self.written):
            if stage:
                level[row] = stage[-1].level
        return level

    @cached_property
    def genre_name(self) -> tuple[str, ...]:
        """[G] names of the genre axis; one empty name where the catalogue has no genres."""
        return self.catalogue.vocabulary or ("",)

    def compact(self) -> list[str]:
        """Return one short line per user: the numbers and at most five genres each way, one decimal, about 50 words."""
        head = np.stack([self.mean, self.spread], axis=1).tolist()
        signed = np.stack([self.severity, self.recent, self.obscure], axis=1).tolist()
        share = np.rint(100 * np.nan_to_num(self.share)).astype(int).tolist()
        liked, disliked = self._short(self.liked), self._short(self.disliked)
        rows = zip(self.count.tolist(), head, signed, self.level.tolist(), share, liked, disliked, strict=True)
        return [
            f"ratings {n} mean {_number(m)} spread {_number(s)} severity {h:+.1f} recent {r:+.1f} popular {o:+.1f} "
            f"activity {_LOW_HIGH[a]} conformity {_LOW_HIGH[c]} diversity {_LOW_HIGH[d]} "
            f"shares {' '.join(map(str, p))} likes {yes} dislikes {no}"
            for n, (m, s), (h, r, o), (a, c, d), p, yes, no in rows
        ]

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Profiles:
        """Return the chosen users, in the order given; cuts stay."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else np.asarray(rows, np.int64)
        size = self.count[rows]
        start = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
        event = np.arange(start[-1]) + np.repeat(self.start[rows] - start[:-1], size)
        arrays: dict[str, Any] = {n: getattr(self, n)[rows] for n in _ARRAYS if n not in ("start", "item", "residual")}
        written = tuple(self.written[r] for r in rows.tolist()) if self.written else ()
        return replace(
            self, **arrays, start=start, item=self.item[event], residual=self.residual[event], written=written
        )

    def save(self, folder: Path) -> None:
        """Write one file per array into a folder; the catalogue stays outside and is named by its fingerprint."""
        arrays = {n: getattr(self, n) for n in _ARRAYS} | ({"written": pack(self.written)} if self.written else {})
        scale = {"values": list(self.scale.values), "symbols": list(self.scale.symbols)}
        write(folder, _KIND, arrays, {"cuts": self.cuts.to_dict(), **scale, "items": self.catalogue.items.fingerprint})

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue) -> Profiles:
        """Open what `save` wrote; users are read from the files when they are looked at.

        Raises:
            StoreError: not such a folder, or made for other items than the catalogue's.

        """
        data, about = read(folder, _KIND)
        if about["items"] != catalogue.items.fingerprint:
            raise StoreError(
                f"{folder.name} was made for other items than this catalogue's; load the catalogue saved with it."
            )
        cuts = TraitCuts.from_dict(about["cuts"])
        scale = RatingScale(tuple(about["values"]), tuple(about["symbols"]))
        written = unpack(data["written"]) if "written" in data else ()
        return cls(**{n: data[n] for n in _ARRAYS}, cuts=cuts, catalogue=catalogue, scale=scale, written=written)

    def _likings(self, row: int, chosen: NDArray[np.int64]) -> tuple[Liking, ...]:
        return tuple(
            Liking(self.genre_name[g], float(self.genre[row, g]), int(self.genre_count[row, g]))
            for g in chosen[row]
            if g >= 0
        )

    def _short(self, chosen: NDArray[np.int64]) -> list[str]:
        deviation = np.take_along_axis(self.genre, np.maximum(chosen, 0), axis=1).tolist()
        name = self.genre_name
        return [
            ", ".join(f"{name[g]} {x:+.1f}" for g, x in zip(own, by, strict=True) if g >= 0) or "-"
            for own, by in zip(chosen.tolist(), deviation, strict=True)
        ]


_ARRAYS = tuple(f.name for f in fields(Profiles) if f.name not in ("cuts", "catalogue", "scale", "written"))
_KIND = "profiles"
_LOW_HIGH = {-1: "unknown", 0: "low", 1: "middle", 2: "high"}


def _number(x: float) -> str:
    return "unknown" if np.isnan(x) else f"{x:.1f}"


def _moments(rating: NDArray[np.floating], known: NDArray[np.bool_], count: NDArray[np.int64]) -> tuple[Float, Float]:
    value = np.where(known, rating, 0.0).astype(np.float64)
    mean = value.sum(axis=1) / np.where(count > 0, count, np.nan)
    square = np.where(known, (value - mean[:, None]) ** 2, 0.0).sum(axis=1)
    spread = np.sqrt(square / np.where(count > 1, count, np.nan))
    return mean.astype(np.float32), spread.astype(np.float32)


def _share(
    scale: RatingScale, rating: NDArray[np.floating], known: NDArray[np.bool_], count: NDArray[np.int64]
) -> Float:
    row = np.nonzero(known)[0]
    place = row * len(scale) + scale.encode(rating[known])
    found = np.bincount(place, minlength=len(count) * len(scale)).reshape(len(count), len(scale))
    return (found / np.maximum(count, 1)[:, None]).astype(np.float32)


def _incidence(item: NDArray[np.int64], known: NDArray[np.bool_], crowd: Crowd) -> NDArray[np.int64]:
    """Return how many rated items [B, G] carry each genre."""
    row = np.nonzero(known)[0]
    matrix = csr_matrix((np.ones(len(row)), (row, item[known])), shape=(len(item), len(crowd.genre)))
    return np.asarray(np.rint(matrix @ (crowd.genre > 0).astype(np.float64)), np.int64)


def _top(deviation: Float, count: NDArray[np.int64]) -> NDArray[np.int64]:
    key = np.where((count >= _MIN_COUNT) & (deviation >= _MIN_DEVIATION), deviation, -np.inf)
    order = np.argsort(-key, axis=1, kind="stable")[:, :TOP]
    found = np.where(np.take_along_axis(key, order, axis=1) > 0, order, -1)
    return np.pad(found, ((0, 0), (0, TOP - found.shape[1])), constant_values=-1).astype(np.int64)
