"""The study of learners: invented worlds (the gate) and, beside them, a population of one's own.

A unit is one learner seed in one proving ground, kept as a JSON file, so that interrupted work goes on and ends with
the same bytes. Knows nothing of how a unit is computed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from simenv.errors import ConfigError, StoreError
from simenv.evaluation.report import stable_json
from simenv.evaluation.unit import digest, recommender_fingerprint
from simenv.protocols import Recommender
from simenv.recommenders import by_name
from simenv.rl.gate import Gate
from simenv.rl.learner import Learner, PPORanker
from simenv.rl.proof import Bench, prove
from simenv.rl.replicas import Proving
from simenv.rl.value import Horizon
from simenv.study.rl_world import EXPLOITER, RLWorld, Say, exploiter

FORMAT = 1
"""Raised when the meaning of stored numbers changes: older units are then computed again."""
RIVALS = ("random", "popular", "best-rated", "als", "mf", "linucb", "contextual")
MUST_BEAT = ("popular", "best-rated", "als")
"""Rivals over whom a gain decides; the others stand beside them."""
HORIZON = Horizon(slate_size=5, max_pages=6)
"""Thirty places: where a fourth of a small catalogue is shown, all that is good has been shown by everybody."""
Unit = dict[str, Any]
Ground = Callable[[], Proving]
"""Makes the proving ground; called only where a unit is missing."""


def usual_learner(horizon: Horizon = HORIZON) -> PPORanker:
    """Return PPO for the pages of a horizon, everyone staying to the last."""
    return PPORanker(leave=False, slate_size=horizon.slate_size, max_pages=horizon.max_pages)


@final
@dataclass(frozen=True)
class RLStudy:
    """Settings of the study."""

    learners: tuple[Learner, ...] = field(default_factory=lambda: (usual_learner(),))
    """The first is the one the verdict is about."""
    rivals: tuple[str, ...] = RIVALS
    """Names of `simenv.recommenders`."""
    must_beat: tuple[str, ...] = MUST_BEAT
    worlds: tuple[int, ...] = (0, 1, 2)
    """Seeds of invented worlds; the gate's intervals count them."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of learners: training, fits and the luck of visits."""
    world: RLWorld = field(default_factory=RLWorld)
    horizon: Horizon = HORIZON

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < 2 or not self.learners:
            raise ConfigError(f"a learner is judged by two or more different seeds; got {self.seeds}.")
        missing = sorted(set(self.must_beat) - set(self.rivals))
        if missing:
            raise ConfigError(f"{missing[0]!r} must be beaten, so it must be among the rivals: {self.rivals}.")

    def gate(self, folder: Path, say: Say = lambda text: None) -> tuple[Gate, list[list[Unit]]]:
        """Return the gate of the first learner, and the units of every world, from `folder` where they are done."""
        worlds = [self._world(seed, folder / f"world-{seed}", say) for seed in self.worlds]
        return Gate.of(worlds, self.learners[0].name, self.must_beat), worlds

    def _world(self, seed: int, folder: Path, say: Say) -> list[Unit]:
        def tell(text: str) -> None:
            say(f"world {seed}: {text}")

        return self.units(lambda: self.world.proving(seed, folder, tell), digest(repr(self.world), seed), folder, tell)

    def units(self, ground: Ground, told: str, folder: Path, say: Say = lambda text: None) -> list[Unit]:
        """Return one unit per seed in a proving ground.

        told: what distinguishes the ground from others; part of the names of the files.

        Raises:
            StoreError: a finished unit's file is damaged.

        """
        key = digest(FORMAT, told, [repr(x) for x in self.learners], self._rivals(), repr(self.horizon))
        paths = {seed: folder / f"unit-{seed}-{key}.json" for seed in self.seeds}
        if not all(path.exists() for path in paths.values()):
            bench = self._bench(ground())
            for seed, path in paths.items():
                if not path.exists():
                    say(f"learning, seed {seed}")
                    _write(path, prove(bench, self.learners, seed=seed))
        return [_read(path) for path in paths.values()]

    def _bench(self, proving: Proving) -> Bench:
        return Bench.of(proving, self._fresh(), self.horizon, ready=exploiter(proving))

    def _fresh(self) -> list[Recommender]:
        return by_name(self.rivals)

    def _rivals(self) -> list[str]:
        return [recommender_fingerprint(r) for r in self._fresh()]


def small(study: RLStudy, *, steps: int, users: int) -> RLStudy:
    """Return the study with less of everything, for a look."""
    learners = tuple(replace(x, steps=steps) if isinstance(x, PPORanker) else x for x in study.learners)
    return replace(study, learners=learners, world=replace(study.world, n_users=users, members=users // 3))


def policies(units: Sequence[Unit]) -> list[str]:
    """Return the names of all policies of units: learners, rivals, the control."""
    names = [*units[0]["learners"], *units[0]["rivals"]]
    return [*names, EXPLOITER] if EXPLOITER in units[0]["value"] else names


def _write(path: Path, unit: Unit) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(stable_json(unit), encoding="utf-8")
    os.replace(draft, path)


def _read(path: Path) -> Unit:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise StoreError(f"unit {path} cannot be read ({error}); delete it and run again.") from error
