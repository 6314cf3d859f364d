"""Decoder: a Llama-type forward pass made for scoring slates: key/values of a prefix once, all suffixes against them.

What a library's forward pass cannot save is saved here. Linear layers see every token once, without padding. A user's
items share the prefix's keys without copies. Behind the last block's keys and values only the place of the answer is
computed. tests/agents/test_decoder.py holds it to the plain path. Knows no prompts; reads weights of one family only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from simenv.agents.packing import check_length, context

Ids = Sequence[int]
_READABLE = ("llama", "mistral", "phi3", "qwen2", "qwen3")
"""Families of one shape: norm, rotary attention, gated SiLU feed-forward part."""


@final
@dataclass(frozen=True, eq=False)
class Block:
    """Weights of one decoder block."""

    before: Tensor
    """[D]: scale of the norm before attention."""
    qkv: Tensor
    """[(H + 2 G) d, D]: queries of H heads, keys and values of G heads."""
    out: Tensor
    """[D, H d]"""
    after: Tensor
    """[D]: scale of the norm before the feed-forward part."""
    gate_up: Tensor
    """[2 F, D]"""
    down: Tensor
    """[D, F]"""
    bias: Tensor | None = None
    """[(H + 2 G) d], added to queries, keys and values; None: no such bias."""
    query_norm: Tensor | None = None
    """[d]: scale of a norm of each query; None: none."""
    key_norm: Tensor | None = None
    """[d]: the same for keys."""


@final
@dataclass(frozen=True, eq=False)
class Keys:
    """Key/values of one prefix of P tokens in all L blocks."""

    value: Tensor
    """[L, 2, G, P, d]: keys (turned to their places) and values."""

    @property
    def length(self) -> int:
        """P."""
        return int(self.value.shape[3])

    @property
    def bytes(self) -> int:
        """Memory taken."""
        return self.value.numel() * self.value.element_size()


@final
@dataclass(frozen=True, eq=False)
class Decoder:
    """Weights of a whole model, ready to score."""

    embedding: Tensor
    """[V, D]"""
    block: tuple[Block, ...]
    norm: Tensor
    head: Tensor
    """[V, D]"""
    cos: Tensor
    """[positions, d]: rotary embedding (Su et al. 2021)."""
    sin: Tensor
    heads: int
    """H query heads."""
    groups: int
    """G key/value heads, a divisor of H."""
    eps: float

    @classmethod
    def of(cls, model: Any) -> Decoder | None:
        """Return the decoder of a transformers model, or None where the model is not of a kind it can read."""
        config = model.config
        if not _readable(model):
            return None
        weight = {name: tensor.detach() for name, tensor in model.state_dict().items()}
        blocks = tuple(_block(weight, f"model.layers.{n}.") for n in range(config.num_hidden_layers))
        norm, embedding = weight["model.norm.weight"], weight["model.embed_tokens.weight"]
        place = torch.arange(context(config), device=norm.device)[None]  # inside a window all attention is full
        with torch.no_grad():
            cos, sin = model.model.rotary_emb(norm, place)
        heads, groups, eps = config.num_attention_heads, config.num_key_value_heads, config.rms_norm_eps
        return cls(embedding, blocks, norm, model.lm_head.weight.detach(), cos[0], sin[0], heads, groups, eps)

    @property
    def positions(self) -> int:
        """The longest prompt, in tokens."""
        return len(self.cos)

    def encode(self, prefix: Sequence[Ids]) -> list[Keys]:
        """Return the key/values of prefixes, computed together."""
        check_length(max(map(len, prefix)), self.positions)
        pages = _Pages.of([[p] for p in prefix], self.embedding.device)
        kept: list[list[Tensor]] = [[] for _ in prefix]
        x = self.embedding[pages.ids]
        none = torch.zeros((2, len(prefix), self.groups, 0, self.cos.shape[1]), device=x.device, dtype=x.dtype)
        for n, block in enumerate(self.block):
            last = n == len(self.block) - 1
            q, k, v = self._heads(block, x, pages.position)
            for row, (start, stop) in enumerate(pages.span):
                kept[row].append(torch.stack([k[start:stop], v[start:stop]]).transpose(1, 2))
            if not last:
                x = self._after(block, x, self._attend(pages, q, k, v, none, None))
        return [Keys(torch.stack(layers)) for layers in kept]

    def logits(self, prefix: Sequence[Keys], page: Sequence[Sequence[Ids]]) -> Tensor:
        """Return next-token logits [N, V] behind every suffix, page by page; page u continues prefix u.

        page: for each of U prefixes its suffixes; N is how many there are in all.
        """
        start = [p.length for p in prefix]
        check_length(max(n + len(line) for n, lines in zip(start, page, strict=True) for line in lines), self.positions)
        pages = _Pages.of(page, self.embedding.device, start)
        stacked, hidden = _stack(prefix)
        x = self.embedding[pages.ids]
        for n, block in enumerate(self.block[:-1]):
            q, k, v = self._heads(block, x, pages.position)
            x = self._after(block, x, self._attend(pages, q, k, v, stacked[n], hidden))
        block, end = self.block[-1], pages.end
        q, k, v = self._heads(block, x, pages.position)
        x = self._after(block, x[end], self._attend_last(pages, q[end], k, v, stacked[-1], hidden))
        return functional.rms_norm(x, x.shape[-1:], self.norm, self.eps) @ self.head.T

    def _heads(self, block: Block, x: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return q [S, H, d], k, v [S, G, d] of S tokens; q (scaled) and k turned to their places."""
        d, h, g = self.cos.shape[1], self.heads, self.groups
        normed = functional.rms_norm(x, x.shape[-1:], block.before, self.eps)
        qkv = functional.linear(normed, block.qkv, block.bias).view(len(x), h + 2 * g, d)
        own = qkv[:, : h + g]
        if block.query_norm is not None and block.key_norm is not None:
            parts = (own[:, :h], block.query_norm), (own[:, h:], block.key_norm)
            own = torch.cat([functional.rms_norm(t, (d,), scale, self.eps) for t, scale in parts], dim=1)
        turned = _turn(own, self.cos[position][:, None], self.sin[position][:, None])
        return turned[:, :h] * d**-0.5, turned[:, h:], qkv[:, h + g :]

    def _after(self, block: Block, x: Tensor, attended: Tensor) -> Tensor:
        """Return x [S, D] after attention's output [S, H d] and the feed-forward part."""
        x = x + functional.linear(attended, block.out)
        gate, up = functional.linear(functional.rms_norm(x, x.shape[-1:], block.after, self.eps), block.gate_up).chunk(
            2, dim=-1
        )
        return x + functional.linear(functional.silu(gate) * up, block.down)

    def _attend(self, pages: _Pages, q: Tensor, k: Tensor, v: Tensor, prefix: Tensor, hidden: Tensor | None) -> Tensor:
        """Return attention's output [S, H d] of every token over its prefix and what stands before it on its line."""
        q, k, v = (pages.pad(t) for t in (q, k, v))  # [U, heads, K, T, d]
        k, v = self._shared(k), self._shared(v)
        past = self._shared(prefix[0]), self._shared(prefix[1])  # [U, H, P, d]
        u, h, lines, t, d = q.shape
        far = (q.reshape(u, h, lines * t, d) @ past[0].transpose(-1, -2)).view(u, h, lines, t, -1)
        if hidden is not None:
            far = far + hidden[:, None, None, None, :]
        near = (q @ k.transpose(-1, -2)).masked_fill(_later(t, q.device), -torch.inf)
        p = torch.cat([far, near], dim=-1).softmax(dim=-1)
        size = past[0].shape[2]
        seen = (p[..., :size].reshape(u, h, lines * t, size) @ past[1]).view(u, h, lines, t, d) + p[..., size:] @ v
        return pages.unpad(seen)

    def _attend_last(self, pages: _Pages, q: Tensor, k: Tensor, v: Tensor, prefix: Tensor, hidden: Tensor) -> Tensor:
        """Return the same [N, H d] for the last token of every line only; q [N, H, d]."""
        k, v = self._shared(pages.pad(k)), self._shared(pages.pad(v))
        past = self._shared(prefix[0]), self._shared(prefix[1])
        q = pages.pad_lines(q)  # [U, H, K, d]
        size = past[0].shape[2]
        far = q @ past[0].transpose(-1, -2) + hidden[:, None, None, :]
        near = (k @ q[..., None])[..., 0] + pages.beyond[:, None].to(q.dtype)
        p = torch.cat([far, near], dim=-1).softmax(dim=-1)
        seen = p[..., :size] @ past[1] + (p[..., None, size:] @ v)[..., 0, :]
        return pages.unpad_lines(seen)

    def _shared(self, t: Tensor) -> Tensor:
        """Return [U, H, ...] from [U, G, ...]: each key/value head serves H / G query heads."""
        return t if self.groups == self.heads else t.repeat_interleave(self.heads // self.groups, dim=1)


@final
@dataclass(frozen=True, eq=False)
class _Pages:
    """S tokens of N lines on U pages: packed for linear layers; padded to [U, K, T] for attention."""

    ids: Tensor
    position: Tensor
    """int64[S]: place in the whole prompt."""
    slot: Tensor
    """int64[S]: place among U * K * T."""
    line: Tensor
    """int64[N]: place among U * K."""
    end: Tensor
    """int64[N]: number of each line's last token among S."""
    span: list[tuple[int, int]]
    """[N]: first and last + 1 token of each line."""
    beyond: Tensor
    """[U, K, T]: 0 at tokens, -inf where a line has none; an absent line shows one token, so that softmax is finite."""

    @classmethod
    def of(cls, page: Sequence[Sequence[Ids]], device: torch.device, start: Sequence[int] | None = None) -> _Pages:
        """Return the layout of pages of lines; start: tokens before each page's lines."""
        length = np.array([len(line) for lines in page for line in lines], np.int64)
        lines = np.array([len(p) for p in page], np.int64)
        owner = np.repeat(np.arange(len(page)), lines)
        wide, tall = int(length.max(initial=1)), int(lines.max(initial=1))
        row = owner * tall + (np.arange(len(owner)) - np.repeat(np.cumsum(lines) - lines, lines))
        stop = np.cumsum(length)
        inside = np.arange(int(length.sum())) - np.repeat(stop - length, length)
        before = np.zeros(len(owner), np.int64) if start is None else np.asarray(start, np.int64)[owner]
        ids = np.fromiter((t for p in page for line in p for t in line), np.int64, int(length.sum()))
        beyond = np.full((len(page) * tall, wide), -np.inf, np.float32)
        beyond[:, 0] = 0
        beyond[row] = np.where(np.arange(wide) < length[:, None], 0.0, -np.inf)

        def tensor(array: Any) -> Tensor:
            return torch.from_numpy(array).to(device)

        return cls(
            tensor(ids),
            tensor(inside + np.repeat(before, length)),
            tensor(np.repeat(row, length) * wide + inside),
            tensor(row),
            tensor(stop - 1),
            [(int(b - n), int(b)) for b, n in zip(stop, length, strict=True)],
            tensor(beyond.reshape(len(page), tall, wide)),
        )

    def pad(self, t: Tensor) -> Tensor:
        """Return [U, heads, K, T, d] from [S, heads, d], zeros at padding."""
        u, k, wide = self.beyond.shape
        out = t.new_zeros((u * k * wide, *t.shape[1:]))
        out[self.slot] = t
        return out.view(u, k, wide, *t.shape[1:]).permute(0, 3, 1, 2, 4)

    def unpad(self, t: Tensor) -> Tensor:
        """Return [S, heads * d] from [U, heads, K, T, d]."""
        u, h, k, wide, d = t.shape
        return t.permute(0, 2, 3, 1, 4).reshape(u * k * wide, h * d)[self.slot]

    def pad_lines(self, t: Tensor) -> Tensor:
        """Return [U, heads, K, d] from [N, heads, d]."""
        u, k, _ = self.beyond.shape
        out = t.new_zeros((u * k, *t.shape[1:]))
        out[self.line] = t
        return out.view(u, k, *t.shape[1:]).transpose(1, 2)

    def unpad_lines(self, t: Tensor) -> Tensor:
        """Return [N, heads * d] from [U, heads, K, d]."""
        u, h, k, d = t.shape
        return t.transpose(1, 2).reshape(u * k, h * d)[self.line]


def _readable(model: Any) -> bool:
    """Whether the forward pass of this module is that of the model: family, gate, angles, biases."""
    config = model.config
    if config.model_type not in _READABLE or config.hidden_act != "silu":
        return False
    rotary: Any = model.model.rotary_emb
    wide = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    whole = rotary.rope_type == "default" and rotary.inv_freq.numel() * 2 == wide
    biased = (name for name in model.state_dict() if name.endswith(".bias"))
    usual = all(name.endswith(("q_proj.bias", "k_proj.bias", "v_proj.bias")) for name in biased)
    return whole and usual


def _block(weight: dict[str, Tensor], at: str) -> Block:
    """Return the block whose weights begin with `at`; families differ in which matrices are stored as one."""

    def of(whole: str, *parts: str, kind: str = "weight") -> Tensor:
        one = weight.get(f"{at}{whole}.{kind}")
        return torch.cat([weight[f"{at}{part}.{kind}"] for part in parts]) if one is None else one

    attention, names = "self_attn.", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
    biased = f"{at}{attention}q_proj.bias" in weight
    return Block(
        of("input_layernorm"),
        of(f"{attention}qkv_proj", *names),
        of(f"{attention}o_proj"),
        of("post_attention_layernorm"),
        of("mlp.gate_up_proj", "mlp.gate_proj", "mlp.up_proj"),
        of("mlp.down_proj"),
        of("none", *names, kind="bias") if biased else None,
        weight.get(f"{at}{attention}q_norm.weight"),
        weight.get(f"{at}{attention}k_norm.weight"),
    )


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate x [S, heads, d] by the angles of its places; halves are paired, as in Llama's weights."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


def _later(size: int, device: torch.device) -> Tensor:
    return torch.ones((size, size), dtype=torch.bool, device=device).triu(1)


def _stack(prefix: Sequence[Keys]) -> tuple[Tensor, Tensor]:
    """Return key/values [L, 2, U, G, P, d] of U prefixes, right-padded, and 0 / -inf [U, P] where they have none."""
    length = [p.length for p in prefix]
    one = prefix[0].value
    out = one.new_zeros((*one.shape[:2], len(prefix), one.shape[2], max(length), one.shape[4]))
    hidden = one.new_zeros((len(prefix), max(length)))
    for row, p in enumerate(prefix):
        out[:, :, row, :, : p.length] = p.value
        hidden[row, p.length :] = -torch.inf
    return out, hidden
