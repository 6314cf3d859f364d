"""From segments to tensors, and one forward pass in two stages: prefixes, then all suffixes against their key/values.

Training and serving share this room, so that a model is asked exactly as it was taught. Knows no users and no items.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
import torch
from jinja2 import TemplateError
from numpy.typing import NDArray
from torch import Tensor
from transformers import DynamicCache

from simenv.errors import ConfigError

Ids = tuple[int, ...]


@final
@dataclass(frozen=True)
class ChatForm:
    """The fixed text an instruct model expects around system prompt and question."""

    head: str = ""
    middle: str = ""
    tail: str = ""

    @classmethod
    def of(cls, tokenizer: Any) -> ChatForm:
        """Return the form of a tokenizer's chat template; empty without one.

        A template without a system role gets the prefix as the opening of the user's turn.
        """
        if getattr(tokenizer, "chat_template", None) is None:
            return cls()
        user = {"role": "user", "content": "@@USER@@"}
        try:
            turns = [{"role": "system", "content": "@@SYSTEM@@"}, user]
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError:
            text = ""
        if "@@SYSTEM@@" not in text:
            turns = [{"role": "user", "content": "@@SYSTEM@@@@USER@@"}]
            text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        head, rest = text.split("@@SYSTEM@@")
        middle, tail = rest.split("@@USER@@")
        return cls(head, middle, tail)


@final
@dataclass
class SegmentTokenizer:
    """Turns segments into ids, one by one, and remembers them."""

    tokenizer: Any
    """A transformers tokenizer."""
    chat: ChatForm = ChatForm()
    """Wrapped around every prompt."""
    memory: dict[str, Ids] = field(default_factory=dict)
    limit: int = 400_000
    """Segments remembered before the memory is emptied (about 100 bytes each)."""

    def ids(self, segments: Sequence[str]) -> list[int]:
        """Return the ids of all segments in order."""
        out: list[int] = []
        for segment in segments:
            known = self.memory.get(segment)
            out.extend(known if known is not None else self._learn(segment))
        return out

    def learn(self, segments: Iterable[str]) -> None:
        """Read segments not met before in one go: many short calls cost the tokenizer more than their text."""
        new = [s for s in dict.fromkeys(segments) if s not in self.memory]
        if new and len(self.memory) + len(new) <= self.limit:
            read = self.tokenizer(new, add_special_tokens=False)["input_ids"]
            self.memory.update((s, tuple(ids)) for s, ids in zip(new, read, strict=True))

    def _learn(self, segment: str) -> Ids:
        if len(self.memory) >= self.limit:
            self.memory.clear()
        made = tuple(self.tokenizer(segment, add_special_tokens=False)["input_ids"])
        self.memory[segment] = made
        return made

    def prefix_ids(self, segments: Sequence[str]) -> list[int]:
        """Return the ids of a prefix, opened by the beginning-of-sequence token where the tokenizer has one."""
        start = self.tokenizer.bos_token_id
        opening = [] if start is None or self.chat.head else [start]
        return opening + self.ids([part for part in (self.chat.head, *segments, self.chat.middle) if part])

    def suffix_ids(self, segments: Sequence[str], glue: Sequence[int]) -> list[int]:
        """Return the ids of a suffix, up to the place of the answer; glue: as `answer_ids` returned it."""
        return [*self.ids([*segments, self.chat.tail] if self.chat.tail else segments), *glue]

    def answer_ids(self, question: str, options: Sequence[str]) -> tuple[list[int], list[int]]:
        """Return (glue, option): ids to put after the question, and the one token of each option behind them.

        Tokenizers differ in where the blank before an answer goes; the first form in which every option is one
        distinct token at its place is taken.

        Raises:
            ConfigError: there is no such form for this tokenizer.

        """
        question = self.chat.tail or question
        asked = self.ids([question])
        for glue, lead in (("", " "), (" ", ""), ("\n", ""), ("", "")):
            before = self.ids([question + glue])
            whole = [self.ids([question + glue + lead + option]) for option in options]
            single = all(w[:-1] == before for w in whole) and len({w[-1] for w in whole}) == len(options)
            if single and before[: len(asked)] == asked:
                return before[len(asked) :], [w[-1] for w in whole]
        raise ConfigError(
            f"options {list(options)} are not one distinct token each after {question!r} for this tokenizer. "
            "Give the RatingScale other symbols (digits or letters), or take another base model."
        )


@final
@dataclass(frozen=True, eq=False)
class Ragged:
    """Padded ids [N, T] and their mask [N, T]."""

    ids: Tensor
    mask: Tensor

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], device: torch.device, *, left: bool) -> Ragged:
        """Return rows of different length as one tensor, padded on the left or the right (id 0, masked everywhere)."""
        length = np.fromiter((len(r) for r in rows), np.int64, len(rows))
        flat: NDArray[np.int64] = np.fromiter((t for r in rows for t in r), np.int64, int(length.sum()))
        width = int(length.max(initial=1))
        place = np.arange(width)[None, :]
        mask = place >= width - length[:, None] if left else place < length[:, None]
        ids = np.zeros(mask.shape, np.int64)
        ids[mask] = flat
        return cls(torch.from_numpy(ids).to(device), torch.from_numpy(mask.astype(np.int64)).to(device))

    @property
    def position(self) -> Tensor:
        """int64[N, T]: number of each real token in its row; 0 at left padding."""
        return (self.mask.cumsum(dim=1) - 1).clamp(min=0)


@final
@dataclass(frozen=True, eq=False)
class PrefixCache:
    """Key/values of P prefixes: per layer (keys, values) [P, heads, T, d], right-padded."""

    layers: tuple[tuple[Tensor, Tensor], ...]
    mask: Tensor

    @property
    def length(self) -> Tensor:
        """int64[P]: real tokens of each prefix."""
        return self.mask.sum(dim=1)


def encode_prefixes(model: Any, prefixes: Ragged, **extra: Any) -> PrefixCache:
    """Run P right-padded prefixes through the model once and keep their key/values."""
    cache = DynamicCache(config=model.config)
    model(
        input_ids=prefixes.ids,
        attention_mask=prefixes.mask,
        position_ids=prefixes.position,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
        **extra,
    )
    return PrefixCache(tuple((layer.keys, layer.values) for layer in cache.layers), prefixes.mask)


def last_logits(model: Any, prefix: PrefixCache, row: Tensor, suffixes: Ragged, **extra: Any) -> Tensor:
    """Return next-token logits [N, V] behind left-padded suffixes [N, T]; suffix n continues prefix row[n]."""
    check_length(int((prefix.length[row] + suffixes.mask.sum(dim=1)).max()), context(model.config))
    cache = DynamicCache(config=model.config)
    for number, (keys, values) in enumerate(prefix.layers):
        cache.update(keys[row], values[row], number)
    logits: Tensor = model(
        input_ids=suffixes.ids,
        attention_mask=torch.cat([prefix.mask[row], suffixes.mask], dim=1),
        position_ids=prefix.length[row][:, None] + suffixes.position,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
        **extra,
    ).logits
    return logits[:, -1]


def context(config: Any) -> int:
    """Return how many tokens a prompt may have: the model's positions, or its window where that is narrower."""
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    limits = getattr(config, "max_position_embeddings", None), window
    return min((limit for limit in limits if limit), default=2**31)


def check_length(longest: int, limit: int) -> None:
    """Raise ConfigError if the longest prompt has more tokens than the model may see."""
    if longest > limit:
        raise ConfigError(
            f"a prompt has {longest} tokens and the model {limit} positions; take a shorter prompt preset, fewer "
            "memories, or a base with a longer context."
        )
