"""One forward pass, whatever the family: a causal decoder, or an encoder-decoder such as T5.

In: embedded prompts, so that a learned vector can stand among the tokens. Out: the state a head reads, or the logits of
the answer to each question. Knows no users, no labels, no words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutput

from simenv.agents.packing import Ragged, context

Pool = Literal["last", "mean"]


@final
@dataclass(frozen=True, eq=False)
class Front:
    """N prompts up to the question, padded on the left: embedded float[N, T, H] and mask int64[N, T]."""

    embedded: Tensor
    mask: Tensor


class Backbone(Protocol):
    """What an arm needs of a language model."""

    model: Any
    """A transformers model, or a peft model around one."""

    @property
    def limit(self) -> int:
        """Longest input in tokens."""
        ...

    def state(self, front: Front) -> Tensor:
        """Return float[N, H]: what the model makes of each prompt."""
        ...

    def logits(self, front: Front, cues: Sequence[Sequence[int]]) -> Tensor:
        """Return float[N, L, V]: next-token logits behind each of L cues, each put after every prompt."""
        ...


def backbone_of(model: Any, pool: Pool = "last") -> Backbone:
    """Return the backbone of a transformers model, by its kind. pool: of a decoder; encoders are averaged."""
    return EncoderDecoder(model) if model.config.is_encoder_decoder else DecoderOnly(model, pool)


@final
@dataclass(eq=False)
class DecoderOnly:
    """A causal language model."""

    model: Any
    pool: Pool = "last"
    """What is its state: the last token's, or the mean over tokens. A model that has read little learns more from the
    mean, since every word has a short way to the head."""

    @property
    def limit(self) -> int:
        """The model's positions, or its window where that is narrower."""
        return context(self.model.config)

    def state(self, front: Front) -> Tensor:
        """Return the last layer's state, pooled."""
        out = self.model(
            inputs_embeds=front.embedded,
            attention_mask=front.mask,
            position_ids=_position(front.mask),
            output_hidden_states=True,
            logits_to_keep=1,
            use_cache=False,
        )
        states: Tensor = out.hidden_states[-1]
        return states[:, -1] if self.pool == "last" else _mean(states, front.mask)

    def logits(self, front: Front, cues: Sequence[Sequence[int]]) -> Tensor:
        """Return logits [N, L, V]; several cues share the prompt's keys and values."""
        rows, size = len(front.mask), len(cues)
        cue = Ragged.of(cues, front.mask.device, left=True)
        if size == 1:
            return self._behind(front, cue)[:, None]
        cache = DynamicCache(config=self.model.config)
        self.model(
            inputs_embeds=front.embedded,
            attention_mask=front.mask,
            position_ids=_position(front.mask),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        cache.batch_repeat_interleave(size)
        before = front.mask.repeat_interleave(size, dim=0)
        out = self.model(
            input_ids=cue.ids.repeat(rows, 1),
            attention_mask=torch.cat([before, cue.mask.repeat(rows, 1)], dim=1),
            position_ids=before.sum(dim=1, keepdim=True) + cue.position.repeat(rows, 1),
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return torch.unflatten(out, 0, (rows, size))

    def _behind(self, front: Front, cue: Ragged) -> Tensor:
        rows = len(front.mask)
        asked = self.model.get_input_embeddings()(cue.ids).expand(rows, -1, -1)
        mask = torch.cat([front.mask, cue.mask.expand(rows, -1)], dim=1)
        logits: Tensor = self.model(
            inputs_embeds=torch.cat([front.embedded, asked], dim=1),
            attention_mask=mask,
            position_ids=_position(mask),
            logits_to_keep=1,
            use_cache=False,
        ).logits
        return logits[:, -1]


@final
@dataclass(eq=False)
class EncoderDecoder:
    """An encoder-decoder: the prompt is encoded once, each cue begins an answer. State: the encoder's mean."""

    model: Any

    @property
    def limit(self) -> int:
        """The encoder's positions; T5 has none, its places are relative."""
        return context(self.model.config)

    def _encoded(self, front: Front) -> Tensor:
        encoder = self.model.get_encoder()
        states: Tensor = encoder(inputs_embeds=front.embedded, attention_mask=front.mask).last_hidden_state
        return states

    def state(self, front: Front) -> Tensor:
        """Return the mean of the encoder's states over the tokens."""
        return _mean(self._encoded(front), front.mask)

    def logits(self, front: Front, cues: Sequence[Sequence[int]]) -> Tensor:
        """Return logits [N, L, V]."""
        rows, size = len(front.mask), len(cues)
        start = self.model.config.decoder_start_token_id
        cue = Ragged.of([[start, *c] for c in cues], front.mask.device, left=False)
        logits = self.model(
            encoder_outputs=BaseModelOutput(self._encoded(front).repeat_interleave(size, dim=0)),
            attention_mask=front.mask.repeat_interleave(size, dim=0),
            decoder_input_ids=cue.ids.repeat(rows, 1),
            decoder_attention_mask=cue.mask.repeat(rows, 1),
            use_cache=False,
        ).logits
        last = (cue.mask.sum(dim=1) - 1).repeat(rows)
        answer = logits[torch.arange(len(last), device=logits.device), last]
        return torch.unflatten(answer, 0, (rows, size))


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    weight = mask[..., None].to(states.dtype)
    return (states * weight).sum(dim=1) / weight.sum(dim=1)


def _position(mask: Tensor) -> Tensor:
    return (mask.cumsum(dim=1) - 1).clamp(min=0)
