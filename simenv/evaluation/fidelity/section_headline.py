"""Chapters on the measures themselves: beside the yardsticks, the differences, the sources of uncertainty, the shares.

Knows finished numbers; decides words, columns and pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from simenv.evaluation import figure
from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.fidelity.headline import COMPARED, Headline
from simenv.evaluation.fidelity.section import PARTS, Chapter, cells, parts
from simenv.evaluation.interval import Interval
from simenv.evaluation.rating_table import shares
from simenv.evaluation.report import Column, Row, Section
from simenv.evaluation.statistics import Uncertainty

BASELINE = "biased MF"
"""The yardstick to beat."""
_COLUMNS: tuple[tuple[str, Column], ...] = (
    ("rmse", Column("RMSE", "measured", "rating", "low", "Of the mean of the distribution.")),
    ("mae_median", Column("MAE", "measured", "rating", "low", "Of the median of the distribution.")),
    ("nll", Column("NLL", "measured", "nats", "low", "Negative log-likelihood; yardsticks through an ordinal map.")),
    ("rps", Column("RPS", "measured", "0..1", "low", "Ranked probability score (Epstein 1969).")),
    ("ece_top", Column("ECE", "measured", "0..1", "low", "Calibration of the most likely rating, 15 bins.")),
    ("ece_like", Column("ECE, like", "measured", "0..1", "low", "Calibration of the probability of a like.")),
    ("macro_f1", Column("macro-F1", "measured", "0..1", "high", "Of the most likely rating, all values alike.")),
    ("off_scale", Column("off scale", "measured", "0..1", "low", "Probability outside the scale before restriction.")),
    ("sampled_within_variance_ratio", Column("variance within", "measured", "real = 1", None,
        "Variance of a user's sampled ratings against the real ones.")),
    ("sampled_between_sd_ratio", Column("sd between", "measured", "real = 1", None,
        "Standard deviation of users' mean sampled ratings against the real one.")),
    ("sampled_w1", Column("W1", "measured", "rating", "low", "Wasserstein distance of sampled to real shares.")),
)  # fmt: skip

_REFITS = (
    "; the simulator averaged over {} training seeds. So are comparisons, what it adds, two-sample tests and coverage; "
    "all other chapters are of the first seed."
)
_WORD = {m: c.name for m, c in _COLUMNS}
_JUDGED = ("mae_median", "off_scale", "ece_top", "sampled_within_variance_ratio", "sampled_w1")
"""Measures that are criteria of the light."""


def yardsticks(found: Headline, cases: tuple[Case, ...]) -> Chapter:
    """Return the table of all predictors, the simulator first, the seven yardsticks always beside it."""
    known = [(m, c) for m, c in _COLUMNS if any(m in row for row in found.value.values())]
    kind = {n: "simulator" for n in cases[0].simulator} | {n: "yardstick" for n in cases[0].yardstick}
    rows: list[Row] = [
        {"predictor": n, "kind": kind.get(n, "published")} | {c.name: row[m] for m, c in known if m in row}
        for n, row in found.value.items()
    ]
    case = cases[0]
    text = (
        f"{len(case.item)} held-out pairs of {case.users} users; yardsticks are tuned and fitted on the rows the "
        "simulator learned from. Intervals over users, the same resampled ones for every row"
        + (_REFITS.format(len(cases)) if len(cases) > 1 else ".")
    )
    dots = figure.dots("RMSE of the mean rating", {n: row["rmse"] for n, row in found.value.items()}, "rating points")
    columns = (Column("predictor"), Column("kind"), *[c for _, c in known])
    value = {n: dict(row) for n, row in found.value.items()}
    return Chapter("measures", Section("Beside the yardsticks", text, columns, tuple(rows), (dots,)), value)


def comparisons(found: Headline, difference: Mapping[tuple[str, str], Uncertainty], alpha: float) -> Chapter:
    """Return the simulator's losses against everybody else's, corrected together after Holm.

    difference: (measure, other) -> simulator minus other, with the sources of its uncertainty.
    """
    columns = (
        Column("against"),
        Column("measure"),
        Column("difference", "measured", "simulator minus other", "low", "Interval from all sources.", "+.4f"),
        Column("p", "measured", "", None, "Two-sided, bootstrap over users."),
        Column("p, Holm", "measured", "", None, "Corrected over all rows of this table."),
        Column("simulator is"),
    )
    rows: list[Row] = []
    value: list[dict[str, Any]] = []
    for c in found.comparison:
        gap, sure = difference[c.measure, c.other], c.p_holm < alpha
        word = "as good" if not sure else "better" if c.difference.mean < 0 else "worse"
        row = (c.other, _WORD[c.measure], gap.total, c.p, c.p_holm, word)
        rows.append(dict(zip([k.name for k in columns], row, strict=True)))
        told = {"measure": c.measure, "other": c.other, "p": c.p, "p_holm": c.p_holm, "simulator is": word}
        value.append(told | {"difference": parts(gap)})
    light = {f"{m} - {BASELINE}": difference[m, BASELINE].total for m in COMPARED if (m, BASELINE) in difference}
    text = (
        "Proper losses, paired over the same users: below zero the simulator is nearer to what users really said. "
        '"As good" says only that no difference is sure.'
    )
    return Chapter("comparisons", Section("Against each of them", text, columns, tuple(rows)), {"rows": value}, light)


def uncertainty(
    measure: Mapping[str, Uncertainty],
    difference: Mapping[tuple[str, str], Uncertainty],
    own: Mapping[str, Interval],
    refits: int,
    draws: int,
) -> Chapter:
    """Return where the uncertainty of the simulator's numbers comes from, those on which the light is judged first.

    own: intervals over users alone; judged by where the sources of a measure cannot be told.
    """
    measure = {m: replace(u, total=_possible(m, u.total)) for m, u in measure.items()}
    named = {c.name: measure[m] for m, c in _COLUMNS if m in measure}
    named |= {f"{_WORD[m]} minus {n}": u for (m, n), u in difference.items() if n == BASELINE}
    columns = (
        Column("number"),
        Column("estimate", "measured", "", None, "Student interval from all sources together.", ".4f"),
        *PARTS,
    )
    rows: tuple[Row, ...] = tuple({"number": n, "estimate": u.total, **cells(u)} for n, u in named.items())
    text = (
        f"{refits} training seed(s), {draws} draw(s) of each rating, and the users, by pseudo-values (Tukey 1958; for "
        "calibration errors and W1 rough). A dash: one level only, or nothing is drawn for this number."
    )
    light = {m: measure[m].total if m in measure else i for m, i in own.items() if m in _JUDGED}
    section = Section("Where the uncertainty comes from", text, columns, rows)
    return Chapter("uncertainty", section, {n: parts(u) for n, u in named.items()}, light)


def _possible(measure: str, found: Interval) -> Interval:
    """Return a Student interval without the part that a measure cannot reach: none of these is negative."""
    low = found.low if measure in ("mean_error", "user_mean_correlation") else max(0.0, found.low)
    return replace(found, low=low)


def rating_shares(case: Case) -> Chapter:
    """Return how often each value of the scale is given: really, by the simulator's users, by the yardstick to beat."""
    own = shares(case.truth, case.answer)
    named = {"real": own["real"], "simulator": own["sampled"]}
    if BASELINE in case.yardstick:
        named[BASELINE] = shares(case.truth, case.yardstick[BASELINE])["sampled"]
    labels = [f"{v:g}" for v in case.truth.scale.values]
    value = {n: {k: float(s) for k, s in zip(labels, share, strict=True)} for n, share in named.items()}
    columns = (Column("rating"), *[Column(n, "measured", "share", None, "", ".3f") for n in named])
    rows = tuple({"rating": k} | {n: value[n][k] for n in named} for k in labels)
    picture = figure.columns("Share of each rating: real and sampled", value, "share of ratings")
    section = Section("How ratings are used", "Of sampled ratings on the same pairs.", columns, rows, (picture,))
    return Chapter("shares", section, value)
