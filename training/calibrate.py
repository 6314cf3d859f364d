"""What is fitted on users the models did not learn from: the readout's pool, and how much of a user's luck persists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from simenv.agents.language_model import LanguageModel, Prompt
from simenv.agents.readout import Arm, Readout, fit_readout
from simenv.training.examples import Evidence, LessonWriter


@final
@dataclass(frozen=True, eq=False)
class Asked:
    """What model and prior said of N validation targets, and what was true."""

    user: NDArray[np.int64]
    """int64[N]"""
    logp: NDArray[np.float32]
    """float32[N, R]: option log-probabilities of the language model."""
    prior: NDArray[np.float32]
    """float32[N, R]: the prior's distribution."""
    place: NDArray[np.int64]
    """int64[N]: true position on the scale."""


def ask(lessons: LessonWriter, model: LanguageModel, drawn: Sequence[Evidence]) -> Asked:
    """Ask base model and prior about the targets of validation users."""
    user, logp, prior, place = [], [], [], []
    scale = lessons.writer.scale
    for e in drawn:
        profiles, suffix, row = lessons.profiles(e), lessons.suffixes(e), e.contexts.row
        prefix = [lessons.writer.prefix(profiles, b) for b in range(len(e.contexts.user))]
        prompts = [Prompt(prefix[b], suffix[n]) for n, b in enumerate(row)]
        logp.append(model.score(prompts, scale.symbols, adapters=[None] * len(prompts)))
        prior.append(lessons.prior.distribution(lessons.prior.expected(e.cues.feature, e.crowd.mean), e.spread))
        user.append(e.contexts.user[row])
        place.append(scale.encode(e.contexts.answer))
    return Asked(np.concatenate(user), np.concatenate(logp), np.concatenate(prior), np.concatenate(place))


def calibrate(asked: Asked, arm: Arm = "fused") -> tuple[Readout, float]:
    """Return (readout, rho): the pool of least log-loss, and the persistence of luck under the arm that is read."""
    readout = replace(fit_readout(asked.logp, asked.prior, asked.place), arm=arm)
    p, _ = readout.read(asked.logp, asked.prior)
    return readout, persistence(p, asked.place, asked.user)


def persistence(p: NDArray[np.floating], place: NDArray[np.int64], user: NDArray[np.int64]) -> float:
    """Return rho in [0, 0.5]: the correlation of luck (in normal scores) between two answers of one user.

    Under a Gaussian copula the answer tells the luck z up to an interval; m = E[z | answer] has variance
    v = sum_r p_r m_r^2, and E[m_i m_j] = rho v_i v_j up to terms of order rho^2 (Pearson 1900, first term
    of the tetrachoric series). What a user's luck has in common is what the model does not know of the user.
    """
    wide = np.asarray(p, np.float64)
    below = np.cumsum(wide, axis=1)[:, :-1] / wide.sum(axis=1, keepdims=True)
    edge = np.exp(-(ndtri(np.clip(below, 1e-12, 1 - 1e-12)) ** 2) / 2) / np.sqrt(2 * np.pi)
    mass = -np.diff(edge, axis=1, prepend=0.0, append=0.0)
    luck = mass / np.maximum(wide, 1e-12)
    own = np.unique(user, return_inverse=True)[1]
    shared = _pairs(own, luck[np.arange(len(p)), place])
    told = _pairs(own, (mass * luck).sum(axis=1))
    return float(np.clip(shared / told, 0.0, 0.5)) if told > 0 else 0.0


def _pairs(own: NDArray[np.int64], x: NDArray[np.float64]) -> float:
    """Return the sum of x_i x_j over all pairs i != j of one user."""
    return float((np.bincount(own, x) ** 2 - np.bincount(own, x**2)).sum())
