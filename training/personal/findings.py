"""What the answers of an experiment say: F1-macro by contestant, what knowing the person adds, for whom and when.

Numbers and verdicts; every difference is paired by user. How they are shown stands in report.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.datasets.annotators import Annotations
from simenv.training.personal.arm import ARMS
from simenv.training.personal.experiment import Experiment
from simenv.training.personal.plain import TWIN, Answers, decide, shares
from simenv.training.personal.score import Gain, Scores, change, counts, f1_macro
from simenv.training.personal.tune import Probability, log_loss

Ints = NDArray[np.int64]
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Powers of the class shares among which the fitted decision rule is chosen, see `decide`."""
FITTED = "{}, fitted"
"""Name of an arm on new users once their vectors were fitted to their context."""


def twin_of(name: str) -> str | None:
    """Return the contestant that differs only in knowing nobody; None: this is one of those."""
    return ARMS[name].twin if name in ARMS else TWIN.get(name)


@final
@dataclass(frozen=True, eq=False)
class Findings:
    """All that is computed from the answers."""

    experiment: Experiment
    answers: Mapping[str, Answers]

    @cached_property
    def power(self) -> dict[str, float]:
        """Power of the fitted rule by contestant: the best F1-macro on the validation rows."""
        rows = self.experiment.parts.valid
        found = {n: [self._f1(said.valid, rows, power) for power in POWERS] for n, said in self.answers.items()}
        return {name: POWERS[int(np.argmax(f1))] for name, f1 in found.items()}

    @cached_property
    def test(self) -> Scores:
        """Known users, answered by the most probable class."""
        return self._scores(self._test(), self.experiment.parts.test)

    @cached_property
    def test_fitted_rule(self) -> Scores:
        """Known users, answered by the rule fitted on the validation rows."""
        return self._scores(self._test(), self.experiment.parts.test, self.power)

    @cached_property
    def new(self) -> Scores | None:
        """New users, answered by the most probable class; None: fewer than two."""
        rows = self.experiment.parts.new
        return self._scores(self._new(), rows) if len(np.unique(self._data.user[rows])) > 1 else None

    @cached_property
    def halves(self) -> tuple[Scores, Scores] | None:
        """Known users' earlier and later test rows, of users with both; None: there is no order."""
        late = self.experiment.parts.late
        if late is None:
            return None
        rows = self.experiment.parts.test
        both = np.intersect1d(self._data.user[rows[late]], self._data.user[rows[~late]])
        here = np.isin(self._data.user[rows], both)
        if len(both) < 2:
            return None
        halves = [self._scores(_of(self._test(), here & half), rows[here & half]) for half in (~late, late)]
        return halves[0], halves[1]

    def loss(self, name: str) -> float:
        """Return the mean -log p (nats per label) on the known users' test rows."""
        return log_loss(self.answers[name].test, self._data.value[self.experiment.parts.test])

    def gains(self, scores: Scores) -> dict[tuple[str, str], Gain]:
        """Return (personal contestant, its twin) -> the gain, for all that are among the scores."""
        pairs = [(name, twin_of(name.removesuffix(FITTED.format("")))) for name in scores.names]
        return {(a, b): scores.gain(a, b) for a, b in pairs if b is not None and b in scores.names}

    def drift(self) -> dict[str, tuple[Gain, Gain | None]]:
        """Return, by contestant, late less early: of itself, and of its lead over its twin (None: it has none)."""
        if self.halves is None:
            return {}
        early, late = self.halves
        out = {}
        for name in early.names:
            twin = twin_of(name)
            lead = change(early, late, name, twin) if twin in early.names else None
            out[name] = (change(early, late, name), lead)
        return out

    @property
    def _data(self) -> Annotations:
        return self.experiment.data

    def _test(self) -> dict[str, Probability]:
        return {name: said.test for name, said in self.answers.items()}

    def _new(self) -> dict[str, Probability]:
        fitted = {FITTED.format(n): said.fitted for n, said in self.answers.items() if said.fitted is not None}
        return {name: said.new for name, said in self.answers.items()} | fitted

    def _scores(self, said: Mapping[str, Probability], rows: Ints, power: Mapping[str, float] | None = None) -> Scores:
        counted = {n: self._counts(p, rows, 0.0 if power is None else power[n]) for n, p in said.items()}
        return Scores.of(counted, self.experiment.seed)

    def _counts(self, p: Probability, rows: Ints, power: float) -> NDArray[np.float64]:
        data = self._data
        prior = shares(data, self.experiment.parts.train)
        classes = [len(label.options) for label in data.labels]
        return counts(data.user[rows], data.value[rows], decide(p, prior, power), classes)

    def _f1(self, p: Probability, rows: Ints, power: float) -> float:
        return float(f1_macro(self._counts(p, rows, power).sum(axis=0)).mean())


def _of(said: Mapping[str, Probability], rows: NDArray[np.bool_]) -> dict[str, Probability]:
    return {name: [label[rows] for label in p] for name, p in said.items()}
