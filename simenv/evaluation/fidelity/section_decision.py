"""The chapter on decisions: whether the simulator orders recommenders as held-out ratings do.

Knows recommenders by protocol and finished predictions; decides words and columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.catalogue import Catalogue
from simenv.errors import ConfigError
from simenv.evaluation.decision import Decision, Judge, held_out_decision
from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.fidelity.section import Chapter, known
from simenv.evaluation.rating import Prediction
from simenv.evaluation.report import Column, Row, Section
from simenv.log import InteractionLog
from simenv.protocols import Policy, Recommender
from simenv.randomness import derive

if TYPE_CHECKING:
    from simenv.evaluation.fidelity.study import Fidelity

PLACES = 5
"""What a recommender shows of a user's held-out items."""

_SHARED = "The recommenders learned from the simulator's own rows, which flatters it."
_DISJOINT = "The recommenders learned from other rows than the simulator."


@final
@dataclass(frozen=True, eq=False)
class Contest:
    """Recommenders to be put in order."""

    recommenders: tuple[Recommender, ...]
    """Empty: no contest."""
    log: InteractionLog
    """Rows they learn from."""
    catalogue: Catalogue | None

    def __post_init__(self) -> None:
        if len(self.recommenders) == 1:
            raise ConfigError("an order needs at least two recommenders; got one.")
        if self.recommenders and self.catalogue is None:
            raise ConfigError("recommenders are fitted with a catalogue; give catalogue=... too.")

    def policies(self, seed: int) -> dict[str, Policy]:
        """Return the fitted recommenders by name."""
        assert self.catalogue is not None
        return {r.name: r.fit(self.log, self.catalogue, seed=derive(seed, "fit")) for r in self.recommenders}


def decision(settings: Fidelity, case: Case, future: InteractionLog, contest: Contest) -> Chapter:
    """Return how every predictor of the case, as a judge, orders recommenders fitted on the contestants' rows."""
    policies = contest.policies(settings.seed)
    judges = {name: _judge(case, p) for name, p in case.prediction.items()}
    found = held_out_decision(
        policies, contest.log, future, np.unique(future.user), judges, k=PLACES, seed=settings.seed,
        alpha=1 - settings.level, resamples=settings.resamples, level=settings.level,
    )  # fmt: skip
    columns = (
        Column("judge"),
        Column("pairs right", "measured", "share", "high", "Of truly different pairs; a tie counts half."),
        Column("regret", "measured", "rating", "low", "True value lost by taking the judge's first."),
        Column("value error", "measured", "rating", "low", "Mean over recommenders of |judged - true|."),
        Column("slope", "measured", "1 is right", None, "Of judged on true values."),
        Column("tau", "measured", "tau-b", "high", "Kendall's, between judged and true values."),
        Column("of ceiling", "measured", "share", "high", "tau over what the truth itself would reach on other users."),
    )
    rows = tuple(_row(name, d) for name, d in found.items())
    first = next(iter(found.values()))
    text = (
        f"{len(policies)} recommenders ({', '.join(policies)}) each rank what {first.users} users rated after the cut; "
        f"the mean real rating of their first {PLACES} is their true value, and {first.pairs} pairs truly differ "
        "(paired bootstrap over users, Holm). A judge sees none of these ratings. "
        + (_SHARED if contest.log.fingerprint == case.known.fingerprint else _DISJOINT)
    )
    value: dict[str, Any] = {"recommenders": list(policies), "judges": {n: vars(d) for n, d in found.items()}}
    light = {"decision pairs": first.pairs_right}
    return Chapter("decision", Section("Does it order recommenders right?", text, columns, rows), value, light)


def _judge(case: Case, prediction: Prediction) -> Judge:
    """Return a predictor as a judge of the pairs it was asked about; NaN elsewhere."""
    width = int(case.item.max()) + 1
    key = case.truth.user * width + case.item
    order = np.argsort(key, kind="stable")
    known, point = key[order], np.asarray(prediction.point, np.float64)[order]

    def judge(user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.float64]:
        asked = user * width + item
        place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        return np.where((known[place] == asked) & (item < width), point[place], np.nan)

    return judge


def _row(name: str, found: Decision) -> Row:
    return {
        "judge": name,
        "pairs right": known(found.pairs_right),
        "regret": known(found.regret),
        "value error": known(found.error_mean),
        "slope": known(found.spread),
        "tau": known(found.tau),
        "of ceiling": known(found.tau_of_ceiling),
    }
