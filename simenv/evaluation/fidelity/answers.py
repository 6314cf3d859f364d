"""Answers: what every predictor says of the held-out pairs, asked once and then remembered in a folder.

A file is named by a hash of all its numbers depend on; an interrupted card goes on where it stopped. Knows populations
by protocol and yardsticks by name; no measure, no report.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.evaluation.fidelity.held import Held
from simenv.evaluation.fidelity.plain import from_text, to_text
from simenv.evaluation.fidelity.replay import replay
from simenv.evaluation.rating import Prediction
from simenv.evaluation.unit import Unit, UnitStore, Values, digest, population_fingerprint
from simenv.evaluation.yardstick import (
    BayesianMF,
    HoldOut,
    Tuned,
    Yardstick,
    fit_with_distribution,
    standard,
    tuned_mf,
)
from simenv.log import InteractionLog
from simenv.protocols import Population
from simenv.randomness import generator, shared_luck
from simenv.scale import RatingScale

_FORMAT = 1
"""Raised when the meaning of stored answers changes: older ones are then asked for again."""
Progress = Callable[[str], None]
T = TypeVar("T")


@final
@dataclass(frozen=True, eq=False)
class Answers:
    """Asks, and remembers."""

    held: Held
    store: UnitStore
    draws: int
    seed: int
    progress: Progress = lambda words: None
    """Called with what comes next."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Wall time by what was asked, remembered answers with the time they once took."""
    described: dict[str, str] = field(default_factory=dict)
    """Settings of each yardstick as chosen, for provenance."""

    def yardstick(self, name: str, yardstick: Yardstick, note: str = "") -> Prediction:
        """Return what a yardstick fitted on the known rows says; its draws are independent between pairs."""
        key = digest(_FORMAT, "yardstick", self._data, _told(yardstick), self.seed, note)
        found = self._remembered(Unit(name, self.seed, "yardstick", 0, key), lambda: self._fitted(yardstick))
        self.described[name] = str(found["settings"])
        drawn = Prediction.of(found["p"], self.held.future.scale, draws=self.draws, seed=self.seed)
        return replace(drawn, point=found["point"])

    def population(self, name: str, population: Population, refit: int = 0) -> tuple[Prediction, NDArray[np.float32]]:
        """Return what a population says, and the support of each pair; its draws keep a user's luck through a visit."""
        key = digest(_FORMAT, "population", self._data, name, population_fingerprint(population))
        found = self._remembered(Unit(name, refit, "population", refit, key), lambda: self._asked(population))
        p, scale, rho = found["p"], population.scale, float(getattr(population, "rho", 0.0))
        draws = drawn(p, scale, self.held.user, rho, draws=self.draws, seed=self.seed)
        return Prediction(scale.expectation(p), p, draws, found["off_scale"]), found["support"].astype(np.float32)

    @property
    def _data(self) -> list[str]:
        return [self.held.known.fingerprint, self.held.future.fingerprint]

    def _remembered(self, unit: Unit, compute: Callable[[], Values]) -> Values:
        self.progress(unit.recommender)
        if self.store.has(unit):
            values, seconds = self.store.get(unit)
        else:
            values, seconds = self.store.make(unit, lambda: (compute(), None))
        self.seconds[unit.recommender] = self.seconds.get(unit.recommender, 0.0) + seconds
        return values

    def _fitted(self, yardstick: Yardstick) -> Values:
        hold_out = _short(yardstick.hold_out if isinstance(yardstick, Tuned) else HoldOut(), self.held.known)
        chosen = replace(yardstick, hold_out=hold_out) if isinstance(yardstick, Tuned) else yardstick
        fitted = fit_with_distribution(chosen, self.held.known, seed=self.seed, hold_out=hold_out)
        point = fitted.predict(self.held.user, self.held.item)
        settings = cast(Any, np.array(fitted.settings))
        return {"point": point, "p": fitted.to_distribution(point), "settings": settings}

    def _asked(self, population: Population) -> Values:
        said = replay(population, self.held.user, self.held.item, seed=self.seed)
        named = {"p": said.p, "off_scale": said.off_scale, "support": said.support}
        return {name: array.astype(np.float64) for name, array in named.items()}


def remembered(store: UnitStore, name: str, depends: object, compute: Callable[[], T], kinds: Iterable[type]) -> T:
    """Return a result that takes long, computed once for all it depends on (JSON-able, arrays by `told`).

    kinds: the dataclasses it is made of.
    """
    unit = Unit(name, 0, "measure", 0, digest(_FORMAT, name, depends))

    def values() -> tuple[Values, None]:
        return {"json": cast(Any, np.array(to_text(compute())))}, None

    # Read back even when just computed: tuples and number types are then the same in every run.
    found, _ = store.get(unit) if store.has(unit) else store.make(unit, values)
    return cast(T, from_text(str(found["json"]), kinds))


def told(*array: NDArray[Any]) -> list[str]:
    """Return a hash per array."""
    return [hashlib.blake2b(np.ascontiguousarray(a).tobytes(), digest_size=8).hexdigest() for a in array]


def drawn(
    p: NDArray[np.floating], scale: RatingScale, user: NDArray[np.int64], rho: float, *, draws: int, seed: int
) -> NDArray[np.float64]:
    """Return float64[D, N] ratings drawn from p [N, R], a user's luck kept within each draw.

    rho: share of luck that all pairs of one user have in common in one draw, as in one visit (`shared_luck`).
    """
    ids, row = np.unique(user, return_inverse=True)
    own = generator(seed, "sampled ratings").random((draws, len(p)))
    mood = generator(seed, "sampled moods").random((draws, len(ids)))[:, row.ravel()]
    u = shared_luck(own, mood, rho)
    return np.stack([scale.sample(p, line) for line in u])


def yardsticks(own: Mapping[str, Yardstick] | None, quick: bool) -> dict[str, Yardstick]:
    """Return the seven yardsticks by name, some of them replaced by `own`; quick: tuned over fewer settings.

    Raises:
        ConfigError: one of the seven is missing in `own`.

    """
    usual = standard()
    if own is not None:
        missing = [name for name in usual if name not in own]
        if missing:
            raise ConfigError(f"every card shows the same seven yardsticks; {', '.join(missing)} is missing in yours.")
        return dict(own)
    if quick:
        usual |= {"biased MF": tuned_mf((4, 8), (8, 12), starts=1), "Bayesian MF": BayesianMF(burn_in=10, draws=30)}
    return usual


def _short(hold_out: HoldOut, known: InteractionLog) -> HoldOut:
    """Return the validation rule; where most histories are shorter than it asks for, half of the users will do."""
    count = known.count[known.count > 0]
    return replace(hold_out, least=min(hold_out.least, int(np.median(count)))) if len(count) else hold_out


def _told(yardstick: Yardstick) -> str:
    """Return a yardstick in words that do not change from run to run; what a function closes over belongs to it."""
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(yardstick))
    if isinstance(yardstick, Tuned):
        text += repr([c.cell_contents for c in getattr(yardstick.finish, "__closure__", None) or ()])
    return text
