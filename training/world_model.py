"""The embedded small language model: a domain tokenizer and a causal LM of about a million parameters.

Trained from nothing: it learns the log of *other* users, rendered through the one prompt of agents/prompt.py. Knows
nothing of how examples are made (training/examples.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


@final
@dataclass(frozen=True)
class WorldModelSize:
    """Shape of the embedded model (a Llama-type decoder with tied embeddings)."""

    hidden: int = 64
    """Width."""
    layers: int = 2
    """Decoder blocks."""
    heads: int = 2
    """Attention heads."""
    vocabulary: int = 4096
    """Entries of the tokenizer, single-token numbers included."""
    positions: int = 2048
    """Longest prompt in tokens."""


SMALL = WorldModelSize(vocabulary=2048)
"""About 0.23 M parameters: tests, the demo and examples."""
LARGE = WorldModelSize(hidden=128, layers=3, heads=4)
"""About 1.1 M parameters, at seven times the cost of a training step on two cores; not measured to the end yet."""


def train_tokenizer(texts: Iterable[str], numbers: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer: every given number or symbol is one token, blank before it included."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    single = [AddedToken(n, single_word=True, lstrip=True, normalized=False) for n in dict.fromkeys(numbers)]
    trainer = trainers.BpeTrainer(
        vocab_size=max(size - len(single), 300),
        special_tokens=["<pad>", "<s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens(single)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>")


def new_model(size: WorldModelSize, tokenizer: Any, seed: int) -> LlamaForCausalLM:
    """Return the model with random weights, reproducible by seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=size.hidden,
            intermediate_size=8 * size.hidden // 3 // 8 * 8,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            max_position_embeddings=size.positions,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=None,
            pad_token_id=tokenizer.pad_token_id,
        )
        return LlamaForCausalLM(config)
