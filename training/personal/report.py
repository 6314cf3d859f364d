"""The experiment as tables and sentences.

Verdicts are computed from the numbers; a finding against the personal arms is said as such.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simenv.evaluation.report import Column, Report, Row, Section
from simenv.training.personal.arm import ARMS
from simenv.training.personal.findings import FITTED, Findings
from simenv.training.personal.plain import PLAIN
from simenv.training.personal.score import Gain, Scores

_TITLE = "Ways to be personal"
_F1 = "F1-macro: mean over classes, then over labels, of 2 TP / (2 TP + FP + FN)."
_WHAT = {
    "majority": "class shares of the training rows",
    "user majority": "the user's own class shares, shrunk by one judgement",
    "words": "logistic regression on TF-IDF of words and pairs of words",
    "words and user": "the same, with one indicator per user",
}
_HOW = {"ask": "base, not tuned, asked", "generate": "tuned to write the label", "head": "classification head, tuned"}
_PERSON = {"nobody": "", "examples": ", own labels shown", "text": ", id as text", "vector": ", learned vector"}


def report(found: Findings) -> Report:
    """Return the report of an experiment."""
    experiment = found.experiment
    parts, data = experiment.parts, experiment.data
    provenance = {
        "data": f"{data.name}, {len(data)} judgements, fingerprint {data.fingerprint}",
        "base": about_base(found),
        "split": split_words(found),
        "seed": str(experiment.seed),
        "settings": repr(experiment.settings),
        "notes": data.note,
    }
    sections = [_known(found), _gains("What knowing the person adds", _ADDS, found, found.test)]
    if len(data.labels) > 1:
        sections.append(_by_label(found))
    if found.new is not None:
        text = f"{_users(found, parts.new)} users of whom nothing was learned; {len(parts.new)} judgements. {_NEW}"
        sections.append(_gains("New users", text, found, found.new))
    sections.append(_drift(found))
    return Report(
        title=f"{_TITLE}: {data.name}", verdict=sentence(found), sections=tuple(sections), provenance=provenance
    )


_ADDS = "Gain: F1-macro less that of the twin that knows nobody, on the same resampled users. p is not corrected."
_NEW = (
    'To an arm with id or vector they are "unknown"; "fitted" is the arm once each new user\'s vector, and nothing '
    "else, was fitted to a few of their labels; Q-nS and the user majority see those labels too."
)


def sentence(found: Findings) -> str:
    """Return the finding in words: whether each personal arm beats its twin, then the best arm and yardstick."""
    said = [f"{a} against {b}: {_words(gain)}" for (a, b), gain in found.gains(found.test).items() if a in ARMS]
    mean = {name: float(found.test.mean(name).mean) for name in found.test.names}
    best = {kind: max((n for n in mean if n in names), key=mean.__getitem__, default=None)
            for kind, names in (("arm", ARMS), ("yardstick", PLAIN))}  # fmt: skip
    arm, yard = best["arm"], best["yardstick"]
    end = ""
    if arm is not None and yard is not None:
        gap = found.test.gain(arm, yard)
        end = f" Best arm {arm} ({mean[arm]:.3f}) against the best yardstick, {yard} ({mean[yard]:.3f}): {_words(gap)}."
    return f"On {found.experiment.data.name}, base {found.experiment.base_name}. {'; '.join(said)}.{end}"


def _words(gain: Gain) -> str:
    return f"{gain.words}, {gain.difference:+.3f}"


def about_base(found: Findings) -> str:
    """Return what the language model is, so that no number goes without it."""
    experiment = found.experiment
    if experiment.base is not None:
        return f"{experiment.base_name}, pre-trained; Q arms ask it as it is"
    own = experiment.settings.embedded
    read = f"{own.steps} steps of reading the training texts" if own.kind == "decoder" and own.steps else "no reading"
    return (
        f"{experiment.base_name}, made here from random weights: {own.size}; {read}, no label and no user. Its Q arms "
        "are prompts to a model that was never taught to answer: a floor, not what a large model would do"
    )


def split_words(found: Findings) -> str:
    """Return how the data was parted."""
    parts = found.experiment.parts
    apart = "no text of the test parts stands in training" if parts.text_disjoint else "texts recur in training"
    sizes = {n: len(getattr(parts, n)) for n in ("train", "valid", "test", "context", "new")}
    words = ", ".join(f"{n} {size}" for n, size in sizes.items())
    users = f"{_users(found, parts.test)} known users tested, {_users(found, parts.new)} new"
    return f"{parts.kind}; {apart}; judgements: {words}; {users}"


def _users(found: Findings, rows: Any) -> int:
    return len(np.unique(found.experiment.data.user[rows]))


def _known(found: Findings) -> Section:
    columns = (
        Column("contestant"), Column("what it is"),
        Column("F1-macro", "measured", better="high", note=_F1),
        Column("F1-macro, fitted rule", "fitted", better="high", note="Power of class shares chosen on validation."),
        Column("log loss", "measured", "nats", "low", "Mean of -log p per label."),
        Column("off", "measured", note="Share of probability outside the classes, before restriction.", form=".4f"),
    )  # fmt: skip
    rows: list[Row] = []
    for name in found.test.names:
        off = found.answers[name].told.get("outside the classes", {}).get("test")
        rows.append(dict(zip(
            (c.name for c in columns),
            (name, what(name), found.test.mean(name), found.test_fitted_rule.mean(name), found.loss(name), off),
            strict=True,
        )))  # fmt: skip
    text = (
        f"{split_words(found)}. Intervals (95 %) resample the tested users, so they count users, not texts or luck of "
        "training. The answer is the most probable class; beside it a rule fitted on validation rows."
    )
    return Section("Known users", text, columns, tuple(rows))


def what(name: str) -> str:
    """Return a contestant in words."""
    if name in _WHAT:
        return _WHAT[name]
    arm = ARMS[name]
    return _HOW[arm.how] + _PERSON[arm.person]


def _gains(title: str, text: str, found: Findings, scores: Scores) -> Section:
    columns = (
        Column("contestant"), Column("F1-macro", "measured", better="high"), Column("against"),
        Column("gain", "measured", better="high", form="+.3f"), Column("p", "measured", form=".4f"), Column("finding"),
    )  # fmt: skip
    gains = {a: (b, g) for (a, b), g in found.gains(scores).items()}
    rows: list[Row] = []
    for name in scores.names:
        twin, gain = gains.get(name, (None, None))
        rows.append({
            "contestant": name, "F1-macro": scores.mean(name), "against": twin or "",
            "gain": gain and gain.difference, "p": gain and gain.p, "finding": gain.words if gain else "",
        })  # fmt: skip
    return Section(title, text, columns, tuple(rows))


def _by_label(found: Findings) -> Section:
    labels = found.experiment.data.labels
    columns = (Column("contestant"), *(Column(la.name, "measured", better="high") for la in labels))
    rows = [
        {"contestant": name} | {la.name: found.test.label(name, n) for n, la in enumerate(labels)}
        for name in found.test.names
    ]
    return Section("By label", "F1-macro of known users, most probable class.", columns, tuple(rows))


def _drift(found: Findings) -> Section:
    title = "Late against early"
    if found.halves is None:
        return Section(title, "Not measured: the data gives no order in which users judged, and none is made up.")
    early, late = found.halves
    columns = (
        Column("contestant"), Column("early", "measured", better="high"), Column("late", "measured", better="high"),
        Column("late - early", "measured", form="+.3f"),
        Column("lead over twin, late - early", "measured", form="+.3f"),
    )  # fmt: skip
    rows = [
        {
            "contestant": name, "early": early.mean(name), "late": late.mean(name), "late - early": own.difference,
            "lead over twin, late - early": lead and lead.difference,
        }
        for name, (own, lead) in found.drift().items()
    ]  # fmt: skip
    text = (
        "F1-macro on the earlier and the later half of each known user's test rows. The last column is whether what "
        "knowing the person adds grows or fades with the distance in time from what was learned."
    )
    return Section(title, text, columns, tuple(rows))


def to_dict(found: Findings) -> dict[str, Any]:
    """Return all numbers for machines."""
    experiment = found.experiment
    new = found.new
    names = found.test.names
    return {
        "sentence": sentence(found),
        "base": about_base(found),
        "split": split_words(found),
        "settings": repr(experiment.settings),
        "known users": {n: _contestant(found, n) for n in names},
        "gain on known users": _gain_rows(found, found.test),
        "gain on known users, fitted rule": _gain_rows(found, found.test_fitted_rule),
        "new users": None if new is None else {n: new.mean(n) for n in new.names},
        "gain on new users": None if new is None else _gain_rows(found, new),
        "late less early": {
            n: {"itself": own.difference, "lead over twin": lead and lead.difference}
            for n, (own, lead) in found.drift().items()
        },
        "about fitted": f"{FITTED.format('an arm')}: after each new user's vector alone was fitted to a few labels",
    }


def _contestant(found: Findings, name: str) -> dict[str, Any]:
    labels = found.experiment.data.labels
    return {
        "what": what(name),
        "model": found.experiment.base_name if name in ARMS else "no language model",
        "F1-macro": found.test.mean(name),
        "by label": {la.name: found.test.label(name, n) for n, la in enumerate(labels)},
        "F1-macro, fitted rule": found.test_fitted_rule.mean(name),
        "power of the fitted rule": found.power[name],
        "log loss": found.loss(name),
        "how it was made": found.answers[name].told,
    }


def _gain_rows(found: Findings, scores: Scores) -> list[dict[str, Any]]:
    return [
        {"contestant": a, "against": b, "gain": g.difference, "p": g.p, "finding": g.words}
        for (a, b), g in found.gains(scores).items()
    ]
