"""What needs no language model: majorities, and logistic regression on words, with and without the person.

The yardsticks beside the arms. Each is fitted on the training rows; its one knob, where it has one, is chosen on the
validation rows. Knows texts as words, no prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.datasets.annotators import Annotations
from simenv.training.personal.partition import Partition
from simenv.training.personal.tune import Probability, log_loss

Ints = NDArray[np.int64]
PLAIN = ("majority", "user majority", "words", "words and user")
TWIN = {"user majority": "majority", "words and user": "words"}
"""Yardstick that knows the person -> the same without."""
_STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Inverse penalties C of logistic regression that are tried."""


@final
@dataclass(frozen=True, eq=False)
class Answers:
    """What a contestant says of the parts."""

    valid: Probability
    test: Probability
    new: Probability
    told: dict[str, Any] = field(default_factory=dict)
    """How it was made: JSON values, none of which differs between runs."""
    fitted: Probability | None = None
    """`new` again, after each new user's vector was fitted to their context; None: not done."""


def plain(name: str, data: Annotations, parts: Partition) -> Answers:
    """Return a yardstick's answers; name: one of `PLAIN`.

    A new user is the crowd to all but the user majority, which sees their context rows.
    """
    if name in ("majority", "user majority"):
        return _majority(data, parts, per_user=name == "user majority")
    return _regression(data, parts, with_user=name == "words and user")


def _majority(data: Annotations, parts: Partition, *, per_user: bool) -> Answers:
    """Return class shares: of all training rows, or the user's own shrunk towards them by one judgement."""
    known = np.concatenate([parts.train, parts.context]) if per_user else parts.train
    shares = []
    for number, label in enumerate(data.labels):
        crowd = _shares(data.value[parts.train, number], len(label.options))
        own = np.tile(crowd, (len(data.users), 1))
        if per_user:
            given = known[data.value[known, number] >= 0]
            np.add.at(own, (data.user[given], data.value[given, number]), 1)
        shares.append(own / own.sum(axis=1, keepdims=True))

    def of(rows: Ints) -> Probability:
        return [share[data.user[rows]].astype(np.float32) for share in shares]

    return Answers(of(parts.valid), of(parts.test), of(parts.new))


def _shares(value: Ints, classes: int) -> NDArray[np.float64]:
    count = np.bincount(value[value >= 0], minlength=classes).astype(np.float64)
    return np.asarray((count + 1e-3) / (count + 1e-3).sum(), np.float64)


def _regression(data: Annotations, parts: Partition, *, with_user: bool) -> Answers:
    words = _words(data, parts)
    of = {name: _features(data, words, getattr(parts, name), with_user) for name in ("train", "valid", "test", "new")}
    of["new"] = _features(data, words, parts.new, with_user, stranger=True)
    said: dict[str, Probability] = {name: [] for name in ("valid", "test", "new")}
    chosen = []
    for number, label in enumerate(data.labels):
        strength, fitted = _fitted(of, data.value[:, number], parts, len(label.options))
        chosen.append(strength)
        for name in said:
            said[name].append(_spread(fitted, of[name], len(label.options)))
    return Answers(said["valid"], said["test"], said["new"], {"inverse penalty by label": chosen})


def _words(data: Annotations, parts: Partition) -> Any:
    """Return TF-IDF of words and pairs of words, [T, W]: vocabulary and weights from the training texts alone."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    made = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=30_000)
    made.fit([data.text[i] for i in np.unique(data.item[parts.train])])
    return made.transform(data.text).tocsr()


def _features(data: Annotations, words: Any, rows: Ints, with_user: bool, *, stranger: bool = False) -> Any:
    from scipy.sparse import csr_matrix, hstack

    text = words[data.item[rows]]
    if not with_user:
        return text
    one = np.full(len(rows), 0.0 if stranger else 1.0)
    who = csr_matrix((one, (np.arange(len(rows)), data.user[rows])), shape=(len(rows), len(data.users)))
    return hstack([text, who]).tocsr()


def _fitted(of: dict[str, Any], value: Ints, parts: Partition, classes: int) -> tuple[float, Any]:
    from sklearn.linear_model import LogisticRegression

    there, held = value[parts.train] >= 0, value[parts.valid] >= 0
    best: tuple[float, float, Any] | None = None
    for strength in _STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=300, tol=1e-3)
        model.fit(of["train"][there], value[parts.train][there])
        p = _spread(model, of["valid"][held], classes)
        loss = log_loss([p], value[parts.valid][held][:, None]) if held.any() else -strength
        if best is None or loss < best[0]:
            best = (loss, strength, model)
    assert best is not None
    return best[1], best[2]


def _spread(model: Any, features: Any, classes: int) -> NDArray[np.float32]:
    """Return probabilities [N, C]; a class that was never seen in training has none."""
    out = np.zeros((features.shape[0], classes), np.float32)
    out[:, model.classes_] = model.predict_proba(features)
    return out


def decide(p: Sequence[NDArray[np.floating]], prior: Sequence[NDArray[np.floating]], power: float) -> Ints:
    """Return int64[N, L]: the class with the largest p / prior ** power; power 0: the most probable class."""
    return np.stack([np.argmax(q / c**power, axis=1) for q, c in zip(p, prior, strict=True)], axis=1)


def shares(data: Annotations, rows: Ints) -> list[NDArray[np.float64]]:
    """Return, per label, float64[C]: share of each class among the given labels of rows."""
    return [_shares(data.value[rows, n], len(label.options)) for n, label in enumerate(data.labels)]
