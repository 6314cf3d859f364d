"""The pass that trains small models: the library's own numbers and gradients, for whatever stands in a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from simenv.errors import ConfigError
from simenv.training.finetune import LoraSettings, attach
from simenv.training.lean import Lean
from simenv.training.learn import shared_prefix

Made = Callable[..., Any]
Rows = list[list[int]]


def llama(**changes: Any) -> Any:
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 2, "vocab_size": 50, "max_position_embeddings": 40}
    return LlamaForCausalLM(LlamaConfig(**(shape | changes)))


def with_lora(model: Any) -> Any:
    """With a LoRA that does something: both factors are random."""
    made = attach(model, LoraSettings(rank=2, alpha=4))
    for name, p in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.3)
    return made


def whole(model: Any, prefix: Rows, page: list[Rows]) -> Tensor:
    """Logits behind each prompt, prompts one by one and undivided."""
    asked = [own + line for own, lines in zip(prefix, page, strict=True) for line in lines]
    return torch.cat([model(input_ids=torch.tensor([ids])).logits[:, -1] for ids in asked])


def lean(model: Any, prefix: Rows, page: list[Rows]) -> Tensor:
    made = Lean.of(model)
    assert made is not None
    return made.logits(prefix, page)


def gradients(model: Any, logits: Tensor) -> dict[str, Tensor]:
    """Of a loss in which every logit has its own weight."""
    model.zero_grad()
    weight = torch.linspace(-1, 1, logits.numel()).view_as(logits)
    (logits * weight).sum().backward()  # type: ignore[no-untyped-call]
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


ids = st.integers(1, 49)
line = st.lists(ids, min_size=1, max_size=9)
batch = st.lists(
    st.tuples(st.lists(ids, min_size=1, max_size=12), st.lists(line, min_size=1, max_size=4)), min_size=1, max_size=3
)


@settings(max_examples=15, deadline=None)
@given(batch=batch, lora=st.booleans(), layers=st.integers(1, 3), tied=st.booleans())
def test_logits_and_gradients_are_those_of_whole_prompts(
    batch: list[tuple[list[int], Rows]], lora: bool, layers: int, tied: bool
) -> None:
    model = llama(num_hidden_layers=layers, tie_word_embeddings=tied)
    model = with_lora(model) if lora else model
    prefix, page = [p for p, _ in batch], [lines for _, lines in batch]
    wanted = whole(model, prefix, page)
    for way in (lean, shared_prefix):
        made = way(model, prefix, page)
        torch.testing.assert_close(made, wanted, atol=2e-5, rtol=1e-4)
        found, right = gradients(model, made), gradients(model, whole(model, prefix, page))
        assert found.keys() == right.keys()
        for name, g in right.items():
            torch.testing.assert_close(found[name], g, atol=2e-4, rtol=2e-3, msg=lambda m, n=name: f"{n}: {m}")  # type: ignore[misc]


def test_gradients_have_the_same_bits_each_time() -> None:
    model, rng = llama(), np.random.default_rng(0)
    prefix = [rng.integers(1, 50, n).tolist() for n in (5, 9)]
    page = [[rng.integers(1, 50, n).tolist() for n in own] for own in ((3, 7, 7), (4,))]
    first, second = (gradients(model, lean(model, prefix, page)) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_prompt_that_is_too_long() -> None:
    model = llama(max_position_embeddings=10)
    lean(model, [[1] * 7], [[[2] * 3]])
    with pytest.raises(ConfigError, match="a prompt has 11 tokens and the model 10 positions"):
        lean(model, [[1] * 7], [[[2] * 3, [2] * 4]])


@pytest.mark.parametrize(
    "other",
    [
        lambda: GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=40)),
        lambda: llama(num_key_value_heads=1),
        lambda: llama(attention_bias=True),
        lambda: llama(hidden_act="gelu"),
        lambda: llama(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}),
    ],
    ids=["another family", "shared keys", "biases", "another gate", "other angles"],
)
def test_what_it_cannot_read_is_left_to_the_library(other: Made) -> None:
    assert Lean.of(llama()) is not None
    assert Lean.of(with_lora(llama())) is not None
    assert Lean.of(other()) is None


def test_a_lora_with_dropout_is_left_to_the_library() -> None:
    from peft import LoraConfig, get_peft_model

    assert Lean.of(get_peft_model(llama(), LoraConfig(target_modules=["q_proj"], lora_dropout=0.1))) is None
