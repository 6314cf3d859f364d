"""Chapters on what the simulator knows: what it adds to other scores, and whether a trained eye tells it from users.

Knows cases and measures; decides words and columns. Averages over refits, each measured as if it were the only one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simenv.evaluation.fidelity.answers import remembered, told
from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.fidelity.coverage import user_mean_coverage
from simenv.evaluation.fidelity.gather import Gathered
from simenv.evaluation.fidelity.section import PARTS, Chapter, cells, parts, pooled
from simenv.evaluation.fidelity.signal import incremental_r2
from simenv.evaluation.fidelity.two_sample import DRAWS, c2st, session_c2st
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating import Prediction
from simenv.evaluation.report import Column, Row, Section

if TYPE_CHECKING:
    from simenv.evaluation.fidelity.study import Fidelity

BASES = {"bias": "user+item bias", "prior": "prior alone", "MF": "biased MF"}
"""What others know already: key -> predictor."""
COVERED = 0.9
"""Central part of the simulated means that real ones are looked for in."""
_ADDED = ("simulator", "language model alone")
_TESTS: dict[str, tuple[str, Callable[..., Interval]]] = {
    "c2st": ("one rating", c2st),
    "session_c2st": ("a user's held-out part", session_c2st),
}


def added(settings: Fidelity, cases: Sequence[Case]) -> Chapter:
    """Return how much of real ratings the simulator explains beyond the bias score, the prior, and factors."""
    rows: list[Row] = []
    value: dict[str, dict[str, Any]] = {}
    light: dict[str, Interval] = {}
    for key, base in BASES.items():
        for name in _ADDED:
            if base in cases[0].prediction and name in cases[0].simulator:
                found = pooled([[_gain(settings, c, base, name)] for c in cases], cases[0].users)
                rows.append({"beyond": base, "added": name, "gain": found.total, **cells(found)})
                value.setdefault(base, {})[name] = parts(found)
                light |= {f"incremental_r2 {key}": found.total} if name == "simulator" else {}
    columns = (
        Column("beyond"),
        Column("added"),
        Column("gain", "measured", "R2", "high", "Incremental R2, regressions fitted on other users.", "+.4f"),
        *PARTS,
    )
    text = "What the simulator's mean rating adds to a score that is known already; 0: nothing, however near it comes."
    return Chapter("incremental_r2", Section("What it adds", text, columns, tuple(rows)), value, light)


def _gain(settings: Fidelity, case: Case, base: str, name: str) -> Interval:
    known = {base: case.prediction[base].point}
    how = {"resamples": settings.resamples, "seed": settings.seed}
    return incremental_r2(case.truth, known, case.simulator[name].point, **how, level=settings.level)


def two_samples(settings: Fidelity, gathered: Gathered) -> Chapter:
    """Return whether a classifier tells real ratings, and whole users, from sampled ones; draws of MF stand beside."""
    cases = gathered.cases
    who = {"simulator": [c.answer for c in cases]}
    if "biased MF" in cases[0].yardstick:
        who["biased MF"] = [cases[0].yardstick["biased MF"]]
    rows: list[Row] = []
    value: dict[str, dict[str, Any]] = {}
    light: dict[str, Interval] = {}
    for key, (word, _) in _TESTS.items():
        for name, predictions in who.items():
            found = pooled([_told(settings, gathered, p, key) for p in predictions], cases[0].users)
            rows.append({"looks at": word, "sampled from": name, "AUC": found.total, **cells(found)})
            value.setdefault(key, {})[name] = parts(found)
            light |= {key: found.total} if name == "simulator" else {}
    columns = (
        Column("looks at"),
        Column("sampled from"),
        Column("AUC", "measured", "0.5 = cannot tell", "low", "Classifier two-sample test (Lopez-Paz, Oquab 2016)."),
        *PARTS,
    )
    text = (
        "A classifier learns on some users to tell real ratings from sampled ones and is scored on others. It also "
        "sees means and counts of user and item among the known rows. A better classifier may still tell."
    )
    section = Section("Can sampled ratings be told from real ones?", text, columns, tuple(rows))
    return Chapter("two_sample", section, value, light)


def coverage(settings: Fidelity, cases: Sequence[Case]) -> Chapter:
    """Return how often users' real means lie where their simulated means say, with and without luck in common."""
    who = {"simulator": [(c.answer, c.rho) for c in cases]}
    who |= {"simulator, each rating by itself": [(c.answer, 0.0) for c in cases]} if cases[0].rho > 0 else {}
    who |= {n: [(cases[0].yardstick[n], 0.0)] for n in ("biased MF",) if n in cases[0].yardstick}
    rows: list[Row] = []
    value: dict[str, Any] = {}
    for name, predictions in who.items():
        found = pooled([[_covered(settings, cases[0], p, rho)] for p, rho in predictions], cases[0].users)
        rows.append({"users of": name, "covered": found.total, **cells(found)})
        value[name] = parts(found)
    columns = (
        Column("users of"),
        Column("covered", "measured", f"{COVERED:g} is right", None, "Share of users; less: too sure of them."),
        *PARTS,
    )
    text = (
        f"A simulated user's mean over the held-out pairs varies from visit to visit; the real one should lie in its "
        f"central {COVERED:.0%} for {COVERED:.0%} of the users. {cases[0].rho:.2f} of a simulated user's luck is kept "
        "through a visit."
    )
    return Chapter("coverage", Section("Are users' means as sure as they claim?", text, columns, tuple(rows)), value)


def _covered(settings: Fidelity, case: Case, prediction: Prediction, rho: float) -> Interval:
    assert prediction.p is not None
    p, seed = prediction.p, settings.seed
    return user_mean_coverage(case.truth, p, rho, level=COVERED, seed=seed, confidence=settings.level)


def _told(settings: Fidelity, gathered: Gathered, prediction: Prediction, key: str) -> list[Interval]:
    """Return the AUC of each draw, so that their luck can be told from the users'."""
    assert prediction.draws is not None
    case, test = gathered.cases[0], _TESTS[key][1]
    how = {"resamples": settings.resamples, "seed": settings.seed, "level": settings.level}
    context = [how, case.known.fingerprint, *told(case.truth.user, case.truth.rating, case.item)]
    draws = np.asarray(prediction.draws)[:DRAWS, None]
    return [
        remembered(
            gathered.store, key, [*context, *told(draw)],
            partial(test, case.truth, case.item, draw, case.known, **how), [Interval],
        )
        for draw in draws
    ]  # fmt: skip
