"""Proof: one learner beside its rivals, trained on some replicas and users, tried on others, and on the truth if known.

One unit of work with one seed; its result is plain numbers that JSON holds. What they mean is `findings.py`'s business.
Knows policies, learners and populations by protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.evaluation.offline import held_out_rating
from simenv.protocols import Policy, Population, Recommender
from simenv.randomness import derive
from simenv.rl.exploitation import Surroundings, signs
from simenv.rl.learner import Learner
from simenv.rl.replicas import Disagreement, Proving
from simenv.rl.value import Horizon, per_place

PLACES = ("trained on", "held out", "true")
"""Training replicas with the users that trained; other replicas with held-out users; the truth with held-out users."""

RATED = 5
"""Held-out items ranked first whose true ratings are averaged."""


@final
@dataclass(frozen=True, eq=False)
class Bench:
    """Where and beside whom learners are tried."""

    proving: Proving
    rivals: tuple[Recommender, ...]
    """Fitted on the contestants' rows."""
    horizon: Horizon
    around: Surroundings
    """Of the contestants' log."""
    dispute: Disagreement | None
    """Of all replicas over the held-out users; None: not asked for."""
    ready: Mapping[str, Policy]
    """Policies that need no fit, as a control that cheats."""

    @classmethod
    def of(
        cls,
        proving: Proving,
        rivals: Sequence[Recommender],
        horizon: Horizon,
        *,
        ready: Mapping[str, Policy] | None = None,
        seed: int = 0,
    ) -> Bench:
        """Look at the log and ask the replicas where they disagree.

        Raises:
            ConfigError: names that stand twice, or no rival.

        """
        name = [r.name for r in rivals] + list(ready or {})
        if not rivals or len(set(name)) < len(name):
            raise ConfigError(f"learners are compared with rivals of different names; got {name}.")
        around = Surroundings.of(
            proving.log, proving.catalogue,
            slate_size=horizon.slate_size, max_pages=horizon.max_pages, seed=seed,
        )  # fmt: skip
        replicas = (*proving.train, *proving.test)
        dispute = Disagreement.of(replicas, proving.held_out) if len(replicas) > 1 else None
        return cls(proving, tuple(rivals), horizon, around, dispute, dict(ready or {}))

    def places(self) -> dict[str, tuple[tuple[Population, ...], NDArray[np.int64]]]:
        """Return populations and users of each place there is, in the order of PLACES."""
        p = self.proving
        truth = {} if p.truth is None else {"true": ((p.truth,), p.held_out)}
        return {"trained on": (p.train, p.learner), "held out": (p.test, p.held_out)} | truth

    def value(self, policy: Policy, seed: int) -> dict[str, list[list[float]]]:
        """Return, per place, the expected rating per shown place of each replica's users [F][M]."""
        return {name: [self._one(policy, p, user, seed) for p in many] for name, (many, user) in self.places().items()}

    def glance(self, policy: Policy, seed: int) -> dict[str, float]:
        """Return the same as one mean per place, of its first replica only: a point of a learning curve."""
        return {
            name: float(np.mean(self._one(policy, many[0], user, seed))) for name, (many, user) in self.places().items()
        }

    def _one(self, policy: Policy, population: Population, user: NDArray[np.int64], seed: int) -> list[float]:
        luck = derive(seed, "visit")
        record = self.horizon.record(policy, population, self.proving.log, user, seed=luck)
        return [round(v, 6) for v in per_place(record.shown()).tolist()]

    def rated(self, policy: Policy, seed: int) -> list[float | None]:
        """Return, per held-out user, the mean true rating of the RATED held-out items ranked first; None: too few."""
        p = self.proving
        if p.future is None:
            return []
        found = held_out_rating(policy, p.log, p.future, p.held_out, k=RATED, seed=derive(seed, "rated"))
        return [None if np.isnan(v) else round(float(v), 6) for v in found]

    def signs(self, policy: Policy, seed: int) -> dict[str, float | None]:
        """Return `exploitation.signs` of the held-out users' visits to the first test replica."""
        p = self.proving
        record = self.horizon.record(policy, p.test[0], p.log, p.held_out, seed=derive(seed, "visit"))
        found = asdict(signs(record, p.log, self.around, self.dispute))
        return {name: None if np.isnan(value) else round(float(value), 6) for name, value in found.items()}


def prove(bench: Bench, learners: Sequence[Learner], *, seed: int) -> dict[str, Any]:
    """Return what learners and rivals are worth under one seed: values per user, learning curves, signs.

    The seed fixes fits, training and the luck of visits; held-out users and test replicas reach no training.

    Raises:
        ConfigError: a learner has the name of a rival.

    """
    names = [x.name for x in learners]
    taken = {r.name for r in bench.rivals} | set(bench.ready)
    if len(set(names)) < len(names) or taken & set(names):
        raise ConfigError(f"learners need names of their own; got {names} beside {sorted(taken)}.")
    p = bench.proving
    policy: dict[str, Policy] = dict(bench.ready)
    policy |= {r.name: r.fit(p.log, p.catalogue, seed=derive(seed, "fit")) for r in bench.rivals}
    curve: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for learner in learners:

        def watch(step: int, seen: Policy, held: list[dict[str, float]] = curve[learner.name]) -> None:
            held.append({"step": float(step), **bench.glance(seen, seed)})

        policy[learner.name] = learner.learn(
            p.train, p.learner, p.log, p.catalogue, seed=derive(seed, learner.name), watch=watch
        )
    return {
        "seed": seed,
        "learners": names,
        "settings": {x.name: repr(x) for x in learners},
        "rivals": [r.name for r in bench.rivals],
        "value": {name: bench.value(one, seed) for name, one in policy.items()},
        "signs": {name: bench.signs(one, seed) for name, one in policy.items()},
        "rated": {name: bench.rated(one, seed) for name, one in policy.items()},
        "curve": curve,
    }
