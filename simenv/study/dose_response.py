"""Dose-response: who still orders recommenders as the truth does when users choose ever more what they rate.

Invented worlds, so the truth is known. One kind of selection grows at a time, by true rating or by popularity; at dose
0 items are rated uniformly at random. Finished units are kept as JSON files, so that an interrupted study goes on and
ends with the same bytes. Knows nothing of how one unit is computed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError, StoreError
from simenv.evaluation.report import stable_json
from simenv.evaluation.unit import digest, recommender_fingerprint
from simenv.study.dose_curve import Crossing, Curve, crossing
from simenv.study.dose_unit import JUDGES, NDCG, DoseWorld, Kind, compute, recommenders

KINDS: tuple[Kind, ...] = ("rating", "popularity")
FORMAT = 1
"""Raised when the meaning of stored numbers changes: older units are then computed again."""
Progress = Callable[[int, int, str], None]
"""(units done, units in all, what comes next)"""


@final
@dataclass(frozen=True)
class DoseResponse:
    """Settings of the study."""

    doses: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
    """Strengths of selection, ascending, the first 0; see `simenv.datasets.synthetic.generate`."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One world each; the same users and items at every dose."""
    world: DoseWorld = field(default_factory=DoseWorld)

    def __post_init__(self) -> None:
        if len(self.doses) < 2 or self.doses[0] != 0 or list(self.doses) != sorted(set(self.doses)):
            raise ConfigError(f"doses ascend from 0, at least two of them; got {self.doses}.")
        if len(set(self.seeds)) != len(self.seeds) or len(self.seeds) < 2:
            raise ConfigError(f"intervals count worlds, so at least two different seeds are needed; got {self.seeds}.")

    def units(self) -> Iterator[tuple[Kind, float, int]]:
        """Yield kind, dose and seed of every unit; dose 0, the same world for both kinds, once."""
        for seed in self.seeds:
            for kind in KINDS:
                yield from ((kind, d, seed) for d in self.doses if d or kind == KINDS[0])

    def run(self, folder: Path, progress: Progress | None = None) -> list[dict[str, Any]]:
        """Return all units, in order; those finished before are read from `folder`.

        Raises:
            StoreError: a finished unit's file is damaged.

        """
        todo, found = list(self.units()), []
        for number, (kind, dose, seed) in enumerate(todo):
            if progress is not None:
                progress(number, len(todo), f"selection by {kind}, dose {dose:g}, world {seed}")
            path = folder / f"{kind}-{dose:g}-{seed}-{self._key(kind, dose, seed)}.json"
            if not path.exists():
                _compute(self.world, kind, dose, seed, path)
            found.append(_read(path))
        if progress is not None:
            progress(len(todo), len(todo), "done")
        return found

    def _key(self, kind: Kind, dose: float, seed: int) -> str:
        fitted = [recommender_fingerprint(r) for r in recommenders(self.world)]
        return digest(FORMAT, repr(self.world), fitted, kind, dose, seed)


def _compute(world: DoseWorld, kind: Kind, dose: float, seed: int, path: Path) -> None:
    """Compute a unit and write its file in one move; what training leaves behind goes on after an interruption."""
    scratch = path.with_suffix(".training")
    content = stable_json(compute(world, kind, dose, seed, scratch))
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(content, encoding="utf-8")
    os.replace(draft, path)
    shutil.rmtree(scratch, ignore_errors=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise StoreError(f"unit {path} cannot be read ({error}); delete it and run again.") from error


Curves = dict[Kind, dict[str, Curve]]


def curves(study: DoseResponse, units: Sequence[dict[str, Any]]) -> Curves:
    """Return, per kind of selection, the curve of each judge that the units have, in the order of `JUDGES`."""
    found = {(u["kind"], u["dose"], u["seed"]): u["judge"] for u in units}

    def of(kind: Kind, judge: str) -> Curve:
        cells = [[found[kind if d else "none", d, s][judge] for s in study.seeds] for d in study.doses]

        def number(name: str) -> NDArray[np.float64]:
            return np.array([[np.nan if c[name] is None else c[name] for c in row] for row in cells], np.float64)

        return Curve(study.doses, number("right"), number("regret"), number("tau"))

    return {kind: {judge: of(kind, judge) for judge in JUDGES if judge in units[0]["judge"]} for kind in KINDS}


def crossings(found: Curves) -> dict[Kind, dict[str, Crossing]]:
    """Return, per kind of selection, where each judge but NDCG crosses NDCG and where it breaks."""
    return {k: {j: crossing(c, by[NDCG]) for j, c in by.items() if j != NDCG} for k, by in found.items()}
