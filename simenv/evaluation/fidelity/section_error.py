"""Chapters on where the simulator errs: reliability of probabilities, residuals by popularity and support, the cold.

Knows cases and measures; decides words and columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from simenv.evaluation.fidelity.case import Case
from simenv.evaluation.fidelity.reliability import Bin, figure, reliability, top_reliability
from simenv.evaluation.fidelity.residual import by_popularity, by_support
from simenv.evaluation.fidelity.residual import cold as cold_slices
from simenv.evaluation.fidelity.residual import figure as residual_figure
from simenv.evaluation.fidelity.section import Chapter, known
from simenv.evaluation.fidelity.section_headline import BASELINE
from simenv.evaluation.report import Column, Row, Section

if TYPE_CHECKING:
    from simenv.evaluation.fidelity.study import Fidelity


def calibration(settings: Fidelity, case: Case) -> Chapter:
    """Return of the answers said to come with a probability, how many come; likes, and the likeliest rating."""
    how: dict[str, Any] = {"resamples": settings.resamples, "seed": settings.seed, "level": settings.level}
    who = {"simulator": case.answer.p} | {n: p.p for n, p in case.yardstick.items() if n == BASELINE}
    kinds = {"a like": reliability, "the likeliest rating": top_reliability}
    bins = {k: {n: test(case.truth, p, **how) for n, p in who.items() if p is not None} for k, test in kinds.items()}
    columns = (
        Column("of"),
        Column("predicted", "measured", "probability", None, "Mean of a bin; bins hold equally many pairs."),
        Column("observed", "measured", "share", None, "How often it came true; intervals over users."),
        Column("pairs", "measured"),
    )
    rows = tuple(_row(kind, one) for kind, found in bins.items() for one in found["simulator"])
    text = f"A like is a rating from {case.truth.like_from:g} on. On the dashed line all comes as often as said."
    pictures = tuple(figure(f"Reliability of {kind}", found) for kind, found in bins.items())
    value = {k: {n: [vars(b) for b in found] for n, found in named.items()} for k, named in bins.items()}
    return Chapter("reliability", Section("Reliability", text, columns, rows, pictures), value)


def _row(kind: str, one: Bin) -> Row:
    return {"of": kind, "predicted": one.predicted, "observed": known(one.observed), "pairs": one.pairs}


def residuals(settings: Fidelity, case: Case) -> Chapter:
    """Return where the mean rating lies off the real ones: by popularity and user mean, then by support."""
    kinds = {"popularity": by_popularity, "support": by_support}
    groups = {name: grouped(case, level=settings.level) for name, grouped in kinds.items()}
    columns = (
        Column("pairs of"),
        Column("off by", "measured", "rating", None, "Mean of predicted - real; interval over users.", "+.3f"),
        Column("p, Holm", "measured", "", None, "Of no residual; popularity and user mean together, support apart."),
        Column("pairs", "measured"),
        Column("users", "measured"),
    )
    rows: tuple[Row, ...] = tuple(
        {"pairs of": g.label, "off by": g.residual, "p, Holm": g.p_holm, "pairs": g.pairs, "users": g.users}
        for found in groups.values()
        for g in found
    )
    sure = [g.label for found in groups.values() for g in found if g.p_holm < 1 - settings.level]
    text = "Popularity and support are of known rows. " + (
        f"Surely off (Holm): {', '.join(sure)}." if sure else "No group is surely off (Holm)."
    )
    pictures = tuple(residual_figure(f"Residuals by {name}", found) for name, found in groups.items())
    value = {name: [vars(g) for g in found] for name, found in groups.items()}
    return Chapter("residuals", Section("Where it is off", text, columns, rows, pictures), value)


def cold(settings: Fidelity, case: Case) -> Chapter:
    """Return the losses on cold items and cold users apart, every predictor beside."""
    slices = cold_slices(case, resamples=settings.resamples, seed=settings.seed, level=settings.level)
    short = dict(zip(("cold items", "cold users", "others"), slices, strict=True))
    losses = {"RMSE": "rmse", "NLL": "nll"}
    columns = (
        Column("predictor"),
        *[Column(f"{n}, {where}", "measured", "", "low") for where in short for n in losses],
    )
    rows: tuple[Row, ...] = tuple(
        {"predictor": name}
        | {f"{n}, {where}": getattr(s, key)[name] for where, s in short.items() for n, key in losses.items()}
        for name in case.prediction
    )
    text = "; ".join(f"{where}: {s.label}, {s.pairs} pairs of {s.users} users" for where, s in short.items()) + "."
    section = Section("Cold items and cold users", text, columns, rows)
    return Chapter("cold", section, {where: vars(s) for where, s in short.items()})
