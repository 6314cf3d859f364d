"""Decoder and engines: the same logits as the library's own forward pass, for every family that can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from simenv.agents.decoder import Decoder
from simenv.agents.engine import DecoderEngine, Engine, PrefixStore, TransformersEngine
from simenv.errors import ConfigError

VOCABULARY = 60
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
READABLE: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SHAPE)),
    "llama, tied": lambda: LlamaForCausalLM(LlamaConfig(tie_word_embeddings=True, **SHAPE)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**SHAPE)),
    "phi3 with a window": lambda: Phi3ForCausalLM(Phi3Config(sliding_window=20, **SHAPE)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(head_dim=8, **SHAPE)),
}
OTHERS: dict[str, Callable[[], Any]] = {
    "stretched angles": lambda: LlamaForCausalLM(
        LlamaConfig(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}, **SHAPE)
    ),
    "a bias at the output": lambda: LlamaForCausalLM(LlamaConfig(attention_bias=True, **SHAPE)),
    "another gate": lambda: LlamaForCausalLM(LlamaConfig(hidden_act="gelu", **SHAPE)),
    "another family": lambda: GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=1, eos_token_id=2
        )
    ),
}


def random(make: Callable[[], Any]) -> Any:
    """Weights large enough that a wrong place, head or norm shows."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = make().eval()
        for weight in model.parameters():
            weight.data = torch.rand_like(weight) + 0.5 if weight.dim() == 1 else torch.randn_like(weight) * 0.3
    return model


def drawn(lines: tuple[tuple[int, ...], ...], prefix: tuple[int, ...]) -> tuple[list[list[int]], list[list[list[int]]]]:
    rng = np.random.default_rng(0)

    def ids(size: int) -> list[int]:
        return [int(i) for i in rng.integers(3, VOCABULARY, size)]

    return [ids(n) for n in prefix], [[ids(n) for n in page] for page in lines]


PAGES = [
    (((4, 1, 9), (2,), (5, 5)), (3, 7, 5)),  # ragged lines, pages of one, two and three
    (((1,),), (1,)),
    (((3, 3), (3, 3)), (4, 4)),  # no padding anywhere
]


def plainly(model: Any, prefix: list[list[int]], page: list[list[list[int]]]) -> torch.Tensor:
    whole = [prefix[u] + line for u, lines in enumerate(page) for line in lines]
    return torch.stack([model(input_ids=torch.tensor([ids])).logits[0, -1] for ids in whole])


def engines(model: Any) -> list[Engine]:
    decoder = Decoder.of(model)
    found: list[Engine] = [] if decoder is None else [DecoderEngine(decoder)]
    return [*found, TransformersEngine(model, rows=2), TransformersEngine(model)]


@pytest.mark.parametrize(("lines", "prefix"), PAGES)
@pytest.mark.parametrize("family", [*READABLE, "another family"])
def test_every_engine_is_the_forward_pass(family: str, lines: Any, prefix: Any) -> None:
    model = random((READABLE | OTHERS)[family])
    ids, page = drawn(lines, prefix)
    with torch.inference_mode():
        wanted = plainly(model, ids, page)
        for engine in engines(model):
            got = engine.logits(engine.encode(ids, [None] * len(ids)), page, [None] * len(ids))
            torch.testing.assert_close(got, wanted, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["llama", "phi3 with a window"])
def test_prompts_longer_than_what_a_model_sees(family: str) -> None:
    model = random(READABLE[family])
    limit = {"llama": 64, "phi3 with a window": 20}[family]
    fits, too_long = ([[[3] * (size - 4)]] for size in (limit, limit + 1))
    with torch.inference_mode():
        for engine in engines(model):
            kept = engine.encode([[5] * 4], [None])
            assert engine.logits(kept, fits, [None]).isfinite().all()
            with pytest.raises(ConfigError, match=f"a prompt has {limit + 1} tokens and the model {limit} positions"):
                engine.logits(kept, too_long, [None])


@pytest.mark.parametrize("family", READABLE)
def test_readable(family: str) -> None:
    assert Decoder.of(random(READABLE[family])) is not None


@pytest.mark.parametrize("family", OTHERS)
def test_what_cannot_be_read_is_left_to_the_library(family: str) -> None:
    assert Decoder.of(random(OTHERS[family])) is None


def test_prefixes_encoded_together_or_alone_are_the_same() -> None:
    decoder = Decoder.of(random(READABLE["llama"]))
    assert decoder is not None
    ids, _ = drawn(((1,),), (3, 9, 5))
    with torch.inference_mode():
        for one, kept in zip(ids, decoder.encode(ids), strict=True):
            assert kept.length == len(one)
            torch.testing.assert_close(kept.value, decoder.encode([one])[0].value, atol=1e-5, rtol=1e-5)


class Kept:
    """Something of ten bytes."""

    bytes = 10

    def __init__(self, name: str) -> None:
        self.name = name


def test_the_store_keeps_what_was_used_last() -> None:
    store = PrefixStore(limit=20)
    made: list[str] = []

    def take(names: str) -> list[str]:
        def make(missing: list[int]) -> list[Kept]:
            made.extend(names[n] for n in missing)
            return [Kept(names[n]) for n in missing]

        return [kept.name for kept in store.take(list(names), make)]

    assert [take("ab"), take("a"), take("c"), take("ab")] == [["a", "b"], ["a"], ["c"], ["a", "b"]]
    assert made == ["a", "b", "c", "b"]  # b was the least recently used when c came
    assert (store.hits, store.misses, len(store), store.bytes) == (2, 4, 2, 20)


def test_a_store_too_small_for_one_step_still_answers() -> None:
    store = PrefixStore(limit=5)
    found = store.take(["a", "b"], lambda missing: [Kept("ab"[n]) for n in missing])
    assert [kept.name for kept in found] == ["a", "b"]
    assert (len(store), store.bytes) == (0, 0)
