"""Trial: a log cut into what the judge knows, what contestants know and what nobody knows; kept beside a population.

Built from the log alone, before anything is trained. Knows nothing of models or recommenders.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from simenv.agents.population import SimulatedPopulation
from simenv.errors import DataError, StoreError
from simenv.log import InteractionLog, SplitKind
from simenv.randomness import derive, generator

_FILE = "trial.json"
_VERSION = 1
_ENOUGH = 5
"""Known ratings below which a user cannot be simulated."""


@final
@dataclass(frozen=True)
class Cut:
    """How a log is cut for a trial."""

    users: int | None = None
    """Users to simulate, drawn at random (seeded) among those eligible; None: all of these."""
    min_ratings: int = 100
    max_ratings: int = 200
    """Users with so many ratings in the whole log are eligible; 100 to 200 is the protocol of Thakur et al. 2025."""
    split: SplitKind = "user_time"
    """"user_time", "random": other users' rows of any time are known (the `world` arm); "global_time": nothing of
    anybody after one moment (the `global_cut` arm)."""
    fraction: float = 0.6
    """Share of each history that is past."""
    share: float = 0.5
    """Share of the past rows that simulated users are made from; contestants learn from the rest. 1: both from all."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise DataError(f"the judge's share of the past lies above 0 and at most at 1; got {self.share:g}.")
        if self.users is not None and self.users < 2:
            raise DataError(f"at least two users are needed; got {self.users}.")
        if not 0 <= self.min_ratings <= self.max_ratings:
            raise DataError(f"min and max ratings must be ascending; got {self.min_ratings} and {self.max_ratings}.")


@final
@dataclass(frozen=True, eq=False)
class Trial:
    """Who knows what. All logs share the indices of the data."""

    judge: InteractionLog
    """What simulated users may be made from."""
    contestants: InteractionLog
    """What recommenders may learn from; disjoint from `judge` unless `shared`."""
    future: InteractionLog
    """What nobody knows: the yardstick."""
    member: NDArray[np.int64]
    """int64[M]: users to simulate, ascending."""
    cut: NDArray[np.int64] | None
    """int64[U]: first forbidden second of each user; None: no times, or not cut in time."""
    shared: bool
    """True: judge and contestants know the same rows."""
    note: str
    """How all this was cut, for reports."""

    @classmethod
    def of(cls, log: InteractionLog, how: Cut) -> Trial:
        """Cut a log.

        Raises:
            DataError: too few users are eligible, or a temporal split of a log without times.

        """
        member = _members(log, how)
        strict = how.split == "global_time"
        split = log.split(how.split, how.fraction, seed=how.seed, users=None if strict else member)
        worlds = (split.past, split.past)
        if how.share < 1:
            worlds = split.past.split_worlds(derive(how.seed, "worlds"), how.share)
        able = member[(worlds[0].count[member] >= _ENOUGH) & (split.future.count[member] > 0)]
        if len(able) < 2:
            raise DataError(
                f"of {len(member)} users only {len(able)} have {_ENOUGH} known ratings left for the simulator and one "
                "held out; take users with more ratings, a larger share or another split."
            )
        arm = "global_cut" if strict else "world"
        rows = "shared with the contestants" if how.share == 1 else f"{how.share:g} of the past, disjoint from theirs"
        note = f"{split.note}; {arm} arm; {len(able)} users with {how.min_ratings}-{how.max_ratings} ratings; {rows}"
        moment = None if how.split == "random" else split.cut
        return cls(*worlds, split.future.of_users(able), able, moment, how.share == 1, note)

    @property
    def past(self) -> InteractionLog:
        """Judge's and contestants' rows together."""
        if self.shared:
            return self.judge
        a, b = self.judge, self.contestants
        user, item, rating = (np.concatenate([getattr(x, n) for x in (a, b)]) for n in ("user", "item", "rating"))
        time = None if a.time is None or b.time is None else np.concatenate([a.time, b.time])
        return InteractionLog.of(a.users, a.items, user, item, rating, time, a.scale, time_note=a.time_note)

    def half(self, number: int, seed: int) -> InteractionLog:
        """Return the judge's rows without a random half of the users who are not simulated.

        Fitting again on such halves shows how much a population depends on whom it learned from: half-samples vary as
        bootstrap samples do (McCarthy 1969), and nobody stands in them twice, which would spoil inner folds.
        """
        other = np.setdiff1d(np.flatnonzero(self.judge.count > 0), self.member)
        kept = generator(seed, "half", number).choice(other, len(other) // 2, replace=False)
        return self.judge.of_users(np.concatenate([self.member, kept]))

    def save(self, folder: Path, about: dict[str, Any]) -> None:
        """Write judge's and held-out rows, and `about` (JSON-able: where the data came from, settings)."""
        folder.mkdir(parents=True, exist_ok=True)
        logs = {"judge": self.judge, "future": self.future}
        for name, log in logs.items():
            columns = {"user": log.user, "item": log.item, "rating": log.rating}
            times = {} if log.time is None else {"time": log.time}
            pd.DataFrame(columns | times).to_parquet(folder / f"{name}.parquet")
        content = {"version": _VERSION, "note": self.note, "shared": self.shared, "time_note": self.judge.time_note}
        content |= {"fingerprint": {n: log.fingerprint for n, log in logs.items()}, "about": about}
        (folder / _FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, population: SimulatedPopulation) -> tuple[Trial, dict[str, Any]]:
        """Return (trial, about) as saved beside a population.

        Raises:
            StoreError: nothing there, of another version, or damaged.

        """
        path = folder / _FILE
        if not path.is_file() or population.training_log is None:
            raise StoreError(
                f"{folder.parent} holds no held-out rows to judge by; populations made with `simenv train` do. From "
                "Python, hand your own logs to simenv.evaluation.benchmark.Benchmark."
            )
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != _VERSION:
            raise StoreError(f"{path} has version {content['version']}; this simenv reads {_VERSION}. Train again.")
        judge, future = (_read(folder / f"{n}.parquet", population, content, n) for n in ("judge", "future"))
        contestants = replace(population.training_log, time_note=judge.time_note)
        parts = judge, contestants, future, population.member, population.cut, content["shared"], content["note"]
        return cls(*parts), content["about"]


def _members(log: InteractionLog, how: Cut) -> NDArray[np.int64]:
    count = log.count
    able = np.flatnonzero((count >= max(how.min_ratings, 1)) & (count <= how.max_ratings))
    wanted = how.users or 2
    if len(able) < max(wanted, 2):
        known = count[count > 0]
        raise DataError(
            f"{len(able)} users have {how.min_ratings} to {how.max_ratings} ratings and {max(wanted, 2)} are wanted; "
            f"the log has {len(known)} users with {known.min(initial=0)} to {known.max(initial=0)} ratings, "
            f"{int(np.median(known)) if len(known) else 0} in the middle. Change "
            "--min-ratings, --max-ratings or --users."
        )
    if how.users is None:
        return able
    return np.sort(generator(how.seed, "members").choice(able, how.users, replace=False))


def _read(path: Path, population: SimulatedPopulation, content: dict[str, Any], name: str) -> InteractionLog:
    try:
        frame = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} cannot be read ({error}); train the population again.") from error
    time = frame["time"].to_numpy() if "time" in frame else None
    events = frame["user"], frame["item"], frame["rating"], time
    p = population
    log = InteractionLog.of(p.users, p.items, *events, p.scale, time_note=content["time_note"])
    if log.fingerprint != content["fingerprint"][name]:
        raise StoreError(f"{path} is damaged: its fingerprint differs from {_FILE}. Train the population again.")
    return log
