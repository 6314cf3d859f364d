"""Engine: how pages of suffixes are scored behind prefixes whose key/values are kept, least recently used first to go.

Two of them: Decoder (agents/decoder.py) for Llama-like models, and TransformersEngine for every other family and for
adapters mixed in a batch. Knows token ids; no words, users or items.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, final

import numpy as np
import torch
from torch import Tensor

from simenv.agents.decoder import Decoder, Ids, Keys
from simenv.agents.packing import PrefixCache, Ragged, encode_prefixes, last_logits


class Engine(Protocol):
    """Scores the lines of pages; line by line in the order given."""

    def encode(self, prefix: Sequence[Ids], names: Sequence[str | None]) -> list[Any]:
        """Return what is kept of each prefix, under the adapter named."""
        ...

    def logits(self, kept: Sequence[Any], page: Sequence[Sequence[Ids]], names: Sequence[str | None]) -> Tensor:
        """Return next-token logits [N, V] behind all suffixes; page u continues what is kept of prefix u."""
        ...


@final
@dataclass(frozen=True, eq=False)
class DecoderEngine:
    """The decoder, of one set of weights: adapters are merged into them."""

    decoder: Decoder

    def encode(self, prefix: Sequence[Ids], names: Sequence[str | None]) -> list[Keys]:
        """See `Engine`."""
        return self.decoder.encode(prefix)

    def logits(self, kept: Sequence[Keys], page: Sequence[Sequence[Ids]], names: Sequence[str | None]) -> Tensor:
        """See `Engine`."""
        return self.decoder.logits(kept, page)


@final
@dataclass(frozen=True, eq=False)
class Layers:
    """Key/values of one prefix in a transformers model: per layer [heads, T, d] each."""

    layer: tuple[tuple[Tensor, Tensor], ...]
    length: int

    @property
    def bytes(self) -> int:
        """Memory taken."""
        return sum(t.numel() * t.element_size() for pair in self.layer for t in pair)


@final
@dataclass(frozen=True, eq=False)
class TransformersEngine:
    """The library's own forward pass; with `base`, peft mixes the adapters named in a batch."""

    model: Any
    base: str | None = None
    """What peft calls the bare base in a mixed batch; None: no adapters are loaded."""
    rows: int = 256
    """Suffixes per forward pass, sorted by length."""

    def encode(self, prefix: Sequence[Ids], names: Sequence[str | None]) -> list[Layers]:
        """See `Engine`. Prefixes of one length go together, so that nothing kept is padding, whatever the layers do."""
        out: list[Layers | None] = [None] * len(prefix)
        for size in {len(p) for p in prefix}:
            row = [n for n, p in enumerate(prefix) if len(p) == size]
            ids = Ragged.of([prefix[n] for n in row], self.model.device, left=False)
            cache = encode_prefixes(self.model, ids, **self._extra([names[n] for n in row]))
            for k, n in enumerate(row):
                out[n] = Layers(tuple((keys[k].clone(), values[k].clone()) for keys, values in cache.layers), size)
        return [kept for kept in out if kept is not None]

    def logits(self, kept: Sequence[Layers], page: Sequence[Sequence[Ids]], names: Sequence[str | None]) -> Tensor:
        """See `Engine`."""
        suffix = [line for lines in page for line in lines]
        owner = np.repeat(np.arange(len(page)), [len(lines) for lines in page])
        cache = _padded(kept)
        order = np.argsort([len(s) for s in suffix], kind="stable")
        parts = [order[start : start + self.rows] for start in range(0, len(order), self.rows)]
        found = torch.cat([self._rows(cache, owner[p], [suffix[n] for n in p], names) for p in parts])
        return found[torch.from_numpy(np.argsort(order)).to(found.device)]

    def _rows(self, cache: PrefixCache, owner: Any, suffix: Sequence[Ids], names: Sequence[str | None]) -> Tensor:
        row = torch.from_numpy(owner).to(self.model.device)
        ids = Ragged.of(suffix, self.model.device, left=True)
        return last_logits(self.model, cache, row, ids, **self._extra([names[u] for u in owner]))

    def _extra(self, names: Sequence[str | None]) -> dict[str, Any]:
        return {} if self.base is None else {"adapter_names": [name or self.base for name in names]}


def _padded(kept: Sequence[Layers]) -> PrefixCache:
    """Return the key/values of prefixes as one right-padded cache."""
    wide = max(k.length for k in kept)
    mask = torch.zeros((len(kept), wide), dtype=torch.int64, device=kept[0].layer[0][0].device)
    layers = []
    for row, k in enumerate(kept):
        mask[row, : k.length] = 1
    for n in range(len(kept[0].layer)):
        both = []
        for side in (0, 1):
            tensors = [k.layer[n][side] for k in kept]
            size = max(t.shape[1] for t in tensors)
            out = tensors[0].new_zeros((len(kept), tensors[0].shape[0], size, tensors[0].shape[2]))
            for row, t in enumerate(tensors):
                out[row, :, : t.shape[1]] = t
            both.append(out)
        layers.append((both[0], both[1]))
    return PrefixCache(tuple(layers), mask)


@final
@dataclass
class PrefixStore:
    """What is kept of prefixes, up to a number of bytes; the least recently used goes first."""

    limit: int
    """Bytes."""
    bytes: int = 0
    """Bytes in use."""
    hits: int = 0
    misses: int = 0
    kept: OrderedDict[Hashable, Any] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self.kept)

    def take(self, key: Sequence[Hashable], make: Callable[[list[int]], Sequence[Any]]) -> list[Any]:
        """Return what is kept of each key, after making what is missing; make: positions -> what to keep of them."""
        missing = [n for n, k in enumerate(key) if k not in self.kept]
        made = dict(zip(missing, make(missing), strict=True)) if missing else {}
        out = [made[n] if n in made else self.kept[k] for n, k in enumerate(key)]
        for k, value in zip(key, out, strict=True):
            self._keep(k, value)
        self.hits += len(key) - len(missing)
        self.misses += len(missing)
        return out

    def _keep(self, key: Hashable, value: Any) -> None:
        if key in self.kept:
            self.kept.move_to_end(key)
            return
        self.kept[key] = value
        self.bytes += value.bytes
        while self.bytes > self.limit and self.kept:
            self.bytes -= self.kept.popitem(last=False)[1].bytes
