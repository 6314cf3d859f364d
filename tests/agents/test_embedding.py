"""Embedders: unit rows, like near like, the same every time; clear words where something is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from simenv.agents.embedding import Embedder, SentenceTransformerEmbedder, Tfidf, WordVectors, by_name
from simenv.errors import ConfigError, DataError, StoreError

TEXT = ["war in the desert", "desert war story", "a wedding in spring", "spring wedding comedy", ""]


def folder(path: Path, words: list[str], vector: list[list[float]]) -> Path:
    (path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    save_file({"embeddings": np.array(vector, np.float32)}, path / "embeddings.safetensors")
    return path


@pytest.mark.parametrize("size", [2, 64])
def test_tfidf(size: int) -> None:
    made = Tfidf(size).embed(TEXT)
    assert isinstance(Tfidf(), Embedder)
    assert made.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(made[:4], axis=1), 1, rtol=1e-5)
    assert not made[4].any()
    near = made @ made.T
    assert near[0, 1] > near[0, 3]
    assert near[2, 3] > near[2, 1]
    np.testing.assert_array_equal(made, Tfidf(size).embed(TEXT))


def test_tfidf_reduces_to_its_size() -> None:
    words = [" ".join(f"w{(i * j) % 37}" for j in range(6)) for i in range(50)]
    assert Tfidf(8).embed(words).shape == (50, 8)


def test_tfidf_without_words() -> None:
    with pytest.raises(DataError, match="none of 2 texts has a word"):
        Tfidf().embed(["", " - "])


def test_word_vectors_by_hand(tmp_path: Path) -> None:
    made = WordVectors(folder(tmp_path, ["sun", "rain"], [[2, 0], [0, 5]])).embed(
        ["Sun!", "rain, rain", "unheard-of", "sun sun"]
    )
    # unit words (1, 0) and (0, 1); mean of the three known texts (2/3, 1/3)
    half = 1 / np.sqrt(2)
    np.testing.assert_allclose(made, [[half, -half], [-half, half], [0, 0], [half, -half]], atol=1e-6)


def test_word_vectors_of_a_wrong_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"vocab\.txt is missing"):
        WordVectors(tmp_path).embed(["sun"])
    with pytest.raises(StoreError, match="3 words for 2 vectors"):
        WordVectors(folder(tmp_path, ["a", "b", "c"], [[1, 0], [0, 1]])).embed(["a"])


def test_sentence_transformer_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ConfigError, match=r"simenv-personas\[embed\]"):
        SentenceTransformerEmbedder("some-model").embed(["x"])


def test_by_name() -> None:
    assert by_name("tfidf") == Tfidf()
    assert by_name("glove:some/folder") == WordVectors(Path("some/folder"))
    assert by_name("st:all-mini") == SentenceTransformerEmbedder("all-mini")


@pytest.mark.parametrize("name", ["", "glove", "glove:", "st:", "bert", "tfidf:3"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ConfigError, match="choose"):
        by_name(name)
