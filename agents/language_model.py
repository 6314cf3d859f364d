"""LanguageModel: the only door to weights.

It is asked for probabilities of options, and for text only where text is the result.

A prompt is a prefix (task and Ms: one per user, so its key/values can be shared by all items of a step) and a suffix
(Ml, item, cues, question). Both are tuples of segments; a segment is tokenised on its own, in training and in serving.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError, RemoteError


@final
@dataclass(frozen=True)
class Prompt:
    """What a model is asked: the concatenation of all segments, answer next."""

    prefix: tuple[str, ...]
    suffix: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole prompt as one string."""
        return "".join(self.prefix) + "".join(self.suffix)


class PartialAnswerError(RemoteError):
    """A model answered some prompts of a call and could not answer the others; what it answered is kept here."""

    def __init__(self, words: str, answered: Mapping[int, NDArray[np.float32]]) -> None:
        """Take the message and, by position in the call, the log-probabilities [O] of what was answered."""
        super().__init__(words)
        self.answered = answered


class LanguageModel(Protocol):
    """Scores options and writes text."""

    def score(
        self, prompts: Sequence[Prompt], options: Sequence[str], *, adapters: Sequence[str | None]
    ) -> NDArray[np.float32]:
        """Return float32[N, O]: log-probability over the *full vocabulary* of each option as the next token.

        adapters: one name per prompt; None: the bare base. 1 - sum(exp) is the off-scale mass.

        Raises:
            ConfigError: an option is not one token at its place, or an adapter is unknown.

        """
        ...

    def write(
        self, prompts: Sequence[Prompt], *, adapters: Sequence[str | None], max_tokens: int, seed: int
    ) -> list[str]:
        """Return a continuation of each prompt. Raises NotImplementedError where a model can only score."""
        ...


@final
@dataclass(frozen=True)
class UniformModel:
    """Every option of a vocabulary of `vocabulary` tokens is equally likely: the model that knows nothing."""

    vocabulary: int = 100

    def score(
        self, prompts: Sequence[Prompt], options: Sequence[str], *, adapters: Sequence[str | None]
    ) -> NDArray[np.float32]:
        """Return -log(vocabulary) everywhere."""
        return np.full((len(prompts), len(options)), -float(np.log(self.vocabulary)), np.float32)

    def write(
        self, prompts: Sequence[Prompt], *, adapters: Sequence[str | None], max_tokens: int, seed: int
    ) -> list[str]:
        """Raise: this model only scores."""
        raise NotImplementedError("UniformModel only scores options; it writes no text.")


@final
@dataclass(frozen=True)
class ScriptedModel:
    """Answers by a function of prompt, option and adapter; for tests, and to look at the pipeline without weights."""

    probability: Callable[[str, str, str | None], float]
    """(prompt text, option, adapter) -> probability of the option; over all options at most 1."""

    def score(
        self, prompts: Sequence[Prompt], options: Sequence[str], *, adapters: Sequence[str | None]
    ) -> NDArray[np.float32]:
        """Return the scripted log-probabilities.

        Raises:
            ConfigError: the script gives a total above 1, or lengths disagree.

        """
        if len(adapters) != len(prompts):
            raise ConfigError(f"{len(prompts)} prompts need as many adapters; got {len(adapters)}.")
        asked = zip(prompts, adapters, strict=True)
        said = [self.probability(q.text, option, a) for q, a in asked for option in options]
        p = np.array(said, np.float64).reshape(len(prompts), len(options))
        if (p.sum(axis=1) > 1 + 1e-6).any():
            raise ConfigError("scripted probabilities of the options sum to more than 1.")
        return np.asarray(np.log(np.maximum(p, 1e-30)), np.float32)

    def write(
        self, prompts: Sequence[Prompt], *, adapters: Sequence[str | None], max_tokens: int, seed: int
    ) -> list[str]:
        """Raise: this model only scores."""
        raise NotImplementedError("ScriptedModel only scores options; it writes no text.")
