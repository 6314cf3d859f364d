"""What is fitted on users the models did not learn from: the readout's pool, and how much of a user's luck persists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from simenv.agents.language_model import LanguageModel, Prompt
from simenv.agents.readout import Readout, fit_readout
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


def calibrate(asked: Asked, seed: int) -> tuple[Readout, float]:
    """Return (readout, rho): the pool of least log-loss, and the persistence of luck under it."""
    readout = fit_readout(asked.logp, asked.prior, asked.place)
    p, _ = readout.read(asked.logp, asked.prior)
    return readout, persistence(p, asked.place, asked.user, seed)


def persistence(p: NDArray[np.floating], place: NDArray[np.int64], user: NDArray[np.int64], seed: int) -> float:
    """Return rho in [0, 0.5]: mean product of the normal scores of two answers of one user.

    The randomised probability integral transform (Czado et al. 2009) turns each true answer into a uniform under the
    predicted distribution; what a user's scores have in common is what the model does not know of the user.
    """
    below = np.concatenate([np.zeros((len(p), 1)), np.cumsum(p, axis=1)], axis=1)
    row = np.arange(len(p))
    low, high = below[row, place], below[row, place + 1]
    u = low + (high - low) * np.random.default_rng(seed).random(len(p))
    score = ndtri(np.clip(u, 1e-4, 1 - 1e-4))
    own = np.unique(user, return_inverse=True)[1]
    total, square, count = np.bincount(own, score), np.bincount(own, score**2), np.bincount(own)
    pairs = (count * (count - 1)).sum()
    return float(np.clip((total**2 - square).sum() / pairs, 0.0, 0.5)) if pairs else 0.0
