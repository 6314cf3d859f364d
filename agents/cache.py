"""CachedModel: a language model whose answers are kept, or that has nothing but kept answers (replay).

An answer is found by what was asked: weights, tokenizer, adapter, options and every segment of the prompt. What is
kept is exact to the bit. An answer computed anew may differ in its last bits (about 1e-6 in a log-probability), since
these depend on the batch it was scored in; with a cache it is computed once, so a cache makes answers more
reproducible, never less. Draws are hashed elsewhere and know nothing of this. Knows no users and no items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.answer_file import AnswerFile
from simenv.agents.forgetting import forget
from simenv.agents.language_model import LanguageModel, PartialAnswerError, Prompt
from simenv.errors import CacheMissError, ConfigError, StoreError

_FORM = 1
"""Raised when the same segments would reach a model as other tokens: older answers are then not found any more."""


@final
@dataclass(eq=False)
class CachedModel:
    """Asks the model behind it only what was never asked before."""

    inner: LanguageModel | None
    """None: replay; what is not in the file raises."""
    file: AnswerFile
    identity: Mapping[str | None, str]
    """By adapter (None: the bare base), what tells its weights and tokenizer from all others."""
    name: str = "population"
    """Whose answers these are, for messages."""
    hits: int = 0
    """Prompts so far that needed no asking."""
    misses: int = 0
    """Prompts asked of the model behind, each distinct one once."""
    served: str = ""
    """How a server computed the answers; "": they were computed in this process."""

    def score(
        self, prompts: Sequence[Prompt], options: Sequence[str], *, adapters: Sequence[str | None]
    ) -> NDArray[np.float32]:
        """Return float32[N, O] log-probabilities; see `LanguageModel.score`.

        Raises:
            CacheMissError: in replay, an answer is not in the file.
            StoreError: the file is damaged.
            PartialAnswerError: the model behind answered some prompts only; these are kept.

        """
        key = self._keys(prompts, options, adapters)
        place = {k: n for n, k in enumerate(key)}
        found = self.file.get(list(place))
        missing = [n for k, n in place.items() if k not in found]
        if missing and self.inner is None:
            raise CacheMissError(self._words(len(missing), len(place)))
        if missing:
            found |= self._ask(key, missing, prompts, options, adapters)
        self.hits += len(key) - len(missing)
        self.misses += len(missing)
        said = np.frombuffer(b"".join([found[k] for k in key]), "<f4")
        if said.size != len(key) * len(options):
            raise StoreError(f"{self.file.path} holds an answer of another form; record it again.")
        return said.reshape(len(key), len(options)).astype(np.float32)

    def write(
        self, prompts: Sequence[Prompt], *, adapters: Sequence[str | None], max_tokens: int, seed: int
    ) -> list[str]:
        """Return what the model behind writes; texts are not kept.

        Raises:
            CacheMissError: in replay.

        """
        if self.inner is None:
            raise CacheMissError(f"{self.name} is a replay of {self.file.path}: texts are not recorded, only answers.")
        return self.inner.write(prompts, adapters=adapters, max_tokens=max_tokens, seed=seed)

    def forget(self) -> None:
        """Let the model behind forget, and the file go: the next question opens it again."""
        self.file.close()
        forget(self.inner)

    def settle(self) -> str:
        """Leave the file in order, and return in words what became of it."""
        words = f"{self.hits:,} answers found in {self.file.path}"
        if self.inner is not None:
            words += f", {self.misses:,} computed and kept; it holds {len(self.file):,}"
            (self.file.settle if self.misses else self.file.close)()
            words += f" in {self.file.path.stat().st_size / 1e6:,.2f} MB"
        return words + "."

    def _keys(self, prompts: Sequence[Prompt], options: Sequence[str], adapters: Sequence[str | None]) -> list[bytes]:
        if len(adapters) != len(prompts):
            raise ConfigError(f"{len(prompts)} prompts need as many adapters; got {len(adapters)}.")
        begun: dict[tuple[str | None, tuple[str, ...]], hashlib.blake2b] = {}
        out = []
        for prompt, adapter in zip(prompts, adapters, strict=True):
            start = begun.get((adapter, prompt.prefix))
            if start is None:
                start = begun[adapter, prompt.prefix] = self._begin(adapter, options, prompt.prefix)
            whole = start.copy()
            whole.update(_framed(prompt.suffix))
            out.append(whole.digest())
        return out

    def _begin(self, adapter: str | None, options: Sequence[str], prefix: Sequence[str]) -> hashlib.blake2b:
        if adapter not in self.identity:
            known = [name for name in self.identity if name is not None]
            raise ConfigError(f"unknown adapter {adapter!r}; known are {known or 'none'}.")
        start = hashlib.blake2b(f"{_FORM} {self.identity[adapter]} ".encode(), digest_size=16)
        start.update(_framed(options))
        start.update(_framed(prefix))
        return start

    def _ask(
        self,
        key: Sequence[bytes],
        missing: Sequence[int],
        prompts: Sequence[Prompt],
        options: Sequence[str],
        adapters: Sequence[str | None],
    ) -> dict[bytes, bytes]:
        assert self.inner is not None
        own = [adapters[n] for n in missing]
        try:
            said = np.asarray(self.inner.score([prompts[n] for n in missing], options, adapters=own), "<f4")
        except PartialAnswerError as part:
            self.file.put({key[missing[n]]: np.asarray(row, "<f4").tobytes() for n, row in part.answered.items()})
            raise
        return self.file.put({key[n]: row.tobytes() for n, row in zip(missing, said, strict=True)})

    def _words(self, missing: int, asked: int) -> str:
        return (
            f"replay of {self.name}: {missing:,} of the {asked:,} prompts of this step are not among the "
            f"{len(self.file):,} answers in {self.file.path}. Repeat exactly what was recorded (recommenders, users, "
            "pages, seeds; where NumPy rounds otherwise, prompts may differ too), or fetch the weights and use a cache."
        )


def _framed(segments: Sequence[str]) -> bytes:
    """Return bytes that only these segments give: each with its length before it."""
    text = "".join([f"{len(s)}:{s}" for s in segments])
    return f"{len(segments)};{text}".encode("utf-8", "surrogatepass")
