"""Embedders: texts to unit vectors. Heavy libraries are loaded when first used. Knows nothing of users or items.

Rows of one call may be compared with each other by dot product; rows of two calls may not, since weights, axes and the
corpus mean come from the texts of the call.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from simenv.errors import ConfigError, DataError, StoreError

Float = NDArray[np.float32]
_WORD = re.compile(r"\w+")


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors."""

    def embed(self, text: list[str]) -> Float:
        """Return float32[N, D] of texts [N]: rows of length 1, or 0 where a text holds nothing known."""
        ...


@final
@dataclass(frozen=True)
class Tfidf:
    """TF-IDF of words, reduced by truncated SVD (latent semantic analysis, Deerwester et al. 1990). Deterministic."""

    size: int = 64
    """Dimensions D at most; fewer where texts or words are fewer (then the plain TF-IDF rows, no reduction)."""
    seed: int = 0
    """Of the randomised SVD."""

    def embed(self, text: list[str]) -> Float:
        """Return float32[N, D].

        Raises:
            DataError: no text has a word.

        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer
        from threadpoolctl import threadpool_limits

        if not any(_WORD.search(t) for t in text):
            raise DataError(f"none of {len(text)} texts has a word to embed; give the catalogue titles or genres.")
        weight = TfidfVectorizer(sublinear_tf=True, token_pattern=r"\w+").fit_transform(text)
        if min(weight.shape) <= self.size:
            return _unit(weight.toarray())
        with threadpool_limits(1):
            return _unit(TruncatedSVD(self.size, random_state=self.seed).fit_transform(weight))


@final
@dataclass(frozen=True)
class WordVectors:
    """Mean of the unit vectors of a text's known words, minus the mean over the call's texts, made unit again."""

    folder: Path
    """Holds vocab.txt (one lower-case word a line) and embeddings.safetensors (tensor "embeddings", row = line)."""

    @cached_property
    def _table(self) -> tuple[dict[str, int], Float]:
        from safetensors.numpy import load_file

        for name in ("vocab.txt", "embeddings.safetensors"):
            if not (self.folder / name).is_file():
                raise StoreError(
                    f"word vectors need vocab.txt and embeddings.safetensors; {self.folder / name} is missing."
                )
        word = (self.folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        vector = load_file(self.folder / "embeddings.safetensors")["embeddings"].astype(np.float32)
        word = word[:-1] if word and not word[-1] else word
        if len(word) != len(vector):
            raise StoreError(f"vocab.txt has {len(word)} words for {len(vector)} vectors; take both from one source.")
        return {w: n for n, w in enumerate(word)}, _unit(vector)

    def embed(self, text: list[str]) -> Float:
        """Return float32[N, D].

        Raises:
            StoreError: the folder's files are missing or do not fit each other.

        """
        number, vector = self._table
        out = np.zeros((len(text), vector.shape[1]), np.float32)
        for row, t in enumerate(text):
            known = [number[w] for w in _WORD.findall(t.lower()) if w in number]
            if known:
                out[row] = vector[known].mean(axis=0)
        filled = out.any(axis=1)
        if filled.sum() > 1:
            out[filled] -= out[filled].mean(axis=0)
        return _unit(out)


@final
@dataclass(frozen=True)
class SentenceTransformerEmbedder:
    """A model of the sentence-transformers library, by name or path."""

    name: str

    def embed(self, text: list[str]) -> Float:
        """Return float32[N, D].

        Raises:
            ConfigError: the library is not installed.

        """
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ConfigError(
                f"embedder {self.name!r} needs the sentence-transformers library: pip install 'simenv-personas[embed]'."
            ) from error
        return _unit(np.asarray(SentenceTransformer(self.name).encode(text, show_progress_bar=False)))


def by_name(name: str) -> Embedder:
    """Return the embedder called "tfidf", "glove:FOLDER" or "st:NAME".

    Raises:
        ConfigError: no such kind.

    """
    kind, _, rest = name.partition(":")
    if kind == "tfidf" and not rest:
        return Tfidf()
    if kind == "glove" and rest:
        return WordVectors(Path(rest))
    if kind == "st" and rest:
        return SentenceTransformerEmbedder(rest)
    raise ConfigError(f'unknown embedder {name!r}; choose "tfidf", "glove:FOLDER" or "st:NAME".')


def _unit(rows: NDArray[np.floating]) -> Float:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(length > 1e-9, length, np.inf)).astype(np.float32)
