"""Greedy continuations in batches: prefixes once, then suffixes and one token after another against their key/values.

The most probable token at every place, up to a limit or the end the model was taught. Knows tensors, no prompts.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from simenv.agents.packing import PrefixCache, Ragged


def ends(model: Any, tokenizer: Any) -> list[int]:
    """Return the ids that end an answer: the model's own and the tokenizer's; empty where neither knows one."""
    configured = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    own = configured if isinstance(configured, list) else [configured]
    return sorted({int(i) for i in (*own, tokenizer.eos_token_id) if i is not None})


def continued(
    model: Any, prefix: PrefixCache, row: Tensor, suffixes: Ragged, max_tokens: int, end: list[int], **extra: Any
) -> list[list[int]]:
    """Return the ids [N] that follow left-padded suffixes [N, T], cut before the first of `end`.

    Suffix n continues prefix row[n]. extra: what the model's forward wants beside the tensors.
    """
    past = DynamicCache(config=model.config)
    for number, (keys, values) in enumerate(prefix.layers):
        past.update(keys[row], values[row], number)
    ids, mask = suffixes.ids, torch.cat([prefix.mask[row], suffixes.mask], dim=1)
    position = prefix.length[row][:, None] + suffixes.position
    made: list[Tensor] = []
    stop = torch.tensor(end, device=ids.device, dtype=ids.dtype)
    over = torch.zeros(len(ids), dtype=torch.bool, device=ids.device)
    while len(made) < max_tokens and not bool(over.all()):
        ids = _next(model, past, ids, mask, position, **extra)
        made.append(ids)
        over |= torch.isin(ids[:, 0], stop)
        mask, position = torch.cat([mask, torch.ones_like(ids)], dim=1), position[:, -1:] + 1
    rows: list[list[int]] = torch.cat(made, dim=1).tolist() if made else [[] for _ in range(len(ids))]
    return [_before(r, end) for r in rows]


def _next(model: Any, past: DynamicCache, ids: Tensor, mask: Tensor, position: Tensor, **extra: Any) -> Tensor:
    """Return the most probable next token [N, 1]; `past` grows."""
    logits: Tensor = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=position,
        past_key_values=past,
        use_cache=True,
        logits_to_keep=1,
        **extra,
    ).logits
    return logits[:, -1].argmax(dim=-1, keepdim=True)


def _before(ids: list[int], end: list[int]) -> list[int]:
    return ids[: next((n for n, i in enumerate(ids) if i in end), len(ids))]
