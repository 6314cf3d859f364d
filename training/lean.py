"""The forward pass that small models are trained with: nothing is computed that the loss does not need.

Prefix and suffixes go through the linear layers together, every token once and none of padding; suffixes share their
prefix's keys without copies; behind the last block's keys and values only the places of answers are computed. The
numbers are those of the library's pass (`encode_prefixes`, `last_logits`) up to rounding, gradients as well. Knows
token ids and Llama's weights, with or without a LoRA; no lessons.
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


@final
@dataclass(frozen=True, eq=False)
class Lean:
    """A Llama-type model in training; its parameters are read anew at every call."""

    model: Any
    """transformers' LlamaForCausalLM, whose linear layers may carry one LoRA of peft."""

    @classmethod
    def of(cls, model: Any) -> Lean | None:
        """Return the pass, or None where the model is not of the one kind it can read."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        return cls(base) if _readable(base) else None

    def logits(self, prefix: Sequence[Ids], page: Sequence[Sequence[Ids]]) -> Tensor:
        """Return next-token logits [N, V] behind every suffix, page by page; page u continues prefix u.

        prefix: U rows of ids. page: for each of them its suffixes; N is how many there are in all.

        Raises:
            ConfigError: a prompt is longer than the model's context.

        """
        inner, weight = self.model.model, self.model.model.embed_tokens.weight
        longest = max(len(p) + len(line) for p, lines in zip(prefix, page, strict=True) for line in lines)
        check_length(longest, context(self.model.config))
        pages = _Pages.of(prefix, page, weight.device)
        cos, sin = inner.rotary_emb(weight, pages.position[None])
        turn = _Angles(cos[0][:, None], _signed(sin[0])[:, None])
        x = functional.embedding(pages.ids, weight)
        for layer in inner.layers[:-1]:
            x = _after(layer, x, _attend(layer, pages, turn, _normed(layer.input_layernorm, x)))
        last = inner.layers[-1]
        attended = _attend_at_answers(last, pages, turn, _normed(last.input_layernorm, x))
        x = _after(last, _take(x, pages.end), attended)
        return functional.linear(_normed(inner.norm, x), self.model.lm_head.weight)


@final
@dataclass(frozen=True, eq=False)
class _Pages:
    """S tokens: those of U prefixes, then those of N suffixes on U pages; packed, and where they stand when padded."""

    ids: Tensor
    position: Tensor
    """int64[S]: place in the whole prompt."""
    split: tuple[int, int]
    """Tokens of prefixes and of suffixes."""
    size: tuple[int, int, int, int]
    """U; P: tokens of the longest prefix; K: suffixes of the fullest page; T: tokens of the longest suffix."""
    slot: tuple[Tensor, Tensor]
    """Places of the prefixes' tokens among U * P, and of the suffixes' among U * K * T."""
    line: Tensor
    """int64[N]: place of each suffix among U * K."""
    end: Tensor
    """int64[N]: number of each suffix's last token among S."""
    hidden: Tensor
    """[U, 1, 1, 1, P]: 0 at tokens of the prefix, -inf where it has none."""
    beyond: Tensor
    """[U, 1, K, T]: the same of suffixes; an absent one shows one token, so that softmax is finite."""

    @classmethod
    def of(cls, prefix: Sequence[Ids], page: Sequence[Sequence[Ids]], device: torch.device) -> _Pages:
        """Return the layout."""
        before = np.array([len(p) for p in prefix], np.int64)
        length = np.array([len(line) for lines in page for line in lines], np.int64)
        lines = np.array([len(p) for p in page], np.int64)
        u, p, k, t = len(prefix), int(before.max()), int(lines.max()), int(length.max())
        owner = np.repeat(np.arange(u), lines)
        row = owner * k + _inside(lines)
        flat = [i for ids in prefix for i in ids] + [i for own in page for line in own for i in line]
        beyond = np.full((u * k, t), -np.inf, np.float32)
        beyond[:, 0] = 0
        beyond[row] = np.where(np.arange(t) < length[:, None], 0.0, -np.inf)
        hidden = np.where(np.arange(p) < before[:, None], 0.0, -np.inf).astype(np.float32)
        own, asked = _inside(before), _inside(length)
        slot = np.repeat(np.arange(u) * p, before) + own, np.repeat(row * t, length) + asked

        def tensor(array: Any) -> Tensor:
            return torch.as_tensor(array, device=device)

        return cls(
            tensor(flat),
            tensor(np.concatenate([own, asked + np.repeat(before[owner], length)])),
            (int(before.sum()), int(length.sum())),
            (u, p, k, t),
            (tensor(slot[0]), tensor(slot[1])),
            tensor(row),
            tensor(int(before.sum()) + np.cumsum(length) - 1),
            tensor(hidden[:, None, None, None]),
            tensor(beyond.reshape(u, 1, k, t)),
        )

    def padded(self, heads: Tensor, parts: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return `parts` tensors of prefixes [U, H, P, d] and as many of suffixes [U, H, K, T, d].

        heads: [S, parts * H, d]
        """
        (u, p, k, t), d = self.size, heads.shape[2]
        own, asked = torch.split(heads, list(self.split))
        first = _put(own, self.slot[0], u * p).view(u, p, parts, -1, d).permute(2, 0, 3, 1, 4)
        second = _put(asked, self.slot[1], u * k * t).view(u, k, t, parts, -1, d).permute(3, 0, 4, 1, 2, 5)
        return first.unbind(0), second.unbind(0)

    def packed(self, prefix: Tensor, suffix: Tensor) -> Tensor:
        """Return [S, H * d] from [U, H, P, d] and [U, H, K, T, d]."""
        (u, p, k, t), wide = self.size, prefix.shape[1] * prefix.shape[3]
        own = _take(prefix.transpose(1, 2).reshape(u * p, wide), self.slot[0])
        return torch.cat([own, _take(suffix.permute(0, 2, 3, 1, 4).reshape(u * k * t, wide), self.slot[1])])

    @property
    def mask(self) -> Tensor:
        """[U, 1, 1, T, P + T]: 0 where a suffix's token may look, in its prefix and in what stands before it."""
        u, p, _, t = self.size
        later = torch.full((t, t), -torch.inf, device=self.ids.device).triu(1)
        return torch.cat([self.hidden.expand(u, 1, 1, t, p), later.expand(u, 1, 1, t, t)], dim=-1)


@final
@dataclass(frozen=True, eq=False)
class _Angles:
    """Rotary embedding (Su et al. 2021) of S tokens: cosines, and sines whose first halves are negated, [S, 1, d]."""

    cos: Tensor
    sin: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Return x [S, heads, d] turned to its places; halves are paired, as in Llama's weights."""
        a, b = torch.split(x, x.shape[2] // 2, dim=2)
        return torch.addcmul(x * self.cos, torch.cat([b, a], dim=2), self.sin)

    def at(self, place: Tensor) -> _Angles:
        """Return the angles of some of the tokens."""
        return _Angles(self.cos[place], self.sin[place])


def _attend(layer: Any, pages: _Pages, turn: _Angles, x: Tensor) -> Tensor:
    """Return attention's output [S, H d] of all tokens: each over its prefix and what stands before it."""
    attention, d = layer.self_attn, layer.self_attn.head_dim
    q, k, v = (_weight(m) for m in (attention.q_proj, attention.k_proj, attention.v_proj))
    made = functional.linear(x, torch.cat([q * d**-0.5, k, v])).view(len(x), -1, d)
    turned, values = torch.split(made, [2 * made.shape[1] // 3, made.shape[1] // 3], dim=1)
    (pq, pk, pv), (sq, sk, sv) = pages.padded(torch.cat([turn(turned), values], dim=1), 3)
    own = functional.scaled_dot_product_attention(pq, pk, pv, is_causal=True, scale=1.0)
    u, h, lines, t, _ = sq.shape
    size = pk.shape[2]
    far = (sq.reshape(u, h, lines * t, d) @ pk.transpose(2, 3)).view(u, h, lines, t, size)
    seen = torch.cat([far, sq @ sk.transpose(3, 4)], dim=-1).add_(pages.mask).softmax(dim=-1)
    far, near = torch.split(seen, [size, t], dim=-1)
    return pages.packed(own, (far.reshape(u, h, lines * t, size) @ pv).view(u, h, lines, t, d) + near @ sv)


def _attend_at_answers(layer: Any, pages: _Pages, turn: _Angles, x: Tensor) -> Tensor:
    """Return the same [N, H d] for the last token of every suffix alone."""
    attention, d = layer.self_attn, layer.self_attn.head_dim
    made = functional.linear(x, torch.cat([_weight(attention.k_proj), _weight(attention.v_proj)])).view(len(x), -1, d)
    keys, values = torch.split(made, made.shape[1] // 2, dim=1)
    (pk, pv), (sk, sv) = pages.padded(torch.cat([turn(keys), values], dim=1), 2)
    asked = functional.linear(_take(x, pages.end), _weight(attention.q_proj) * d**-0.5).view(len(pages.end), -1, d)
    (u, p, lines, t), h = pages.size, asked.shape[1]
    q = _put(turn.at(pages.end)(asked), pages.line, u * lines).view(u, lines, h, d).transpose(1, 2)
    hidden = torch.cat([pages.hidden[:, 0].expand(u, 1, lines, p), pages.beyond], dim=-1)
    near = (sk @ q[..., None])[..., 0]
    seen = torch.cat([q @ pk.transpose(2, 3), near], dim=-1).add_(hidden).softmax(dim=-1)
    far, near = torch.split(seen, [p, t], dim=-1)
    found = far @ pv + (near[..., None, :] @ sv)[..., 0, :]
    return _take(found.transpose(1, 2).reshape(u * lines, h * d), pages.line)


def _after(layer: Any, x: Tensor, attended: Tensor) -> Tensor:
    """Return x [S, D] after attention's output [S, H d] and the feed-forward part."""
    x = x + functional.linear(attended, _weight(layer.self_attn.o_proj))
    both = torch.cat([_weight(layer.mlp.gate_proj), _weight(layer.mlp.up_proj)])
    gate, up = torch.split(functional.linear(_normed(layer.post_attention_layernorm, x), both), len(both) // 2, dim=1)
    return x + functional.linear(functional.silu(gate) * up, _weight(layer.mlp.down_proj))


def _normed(norm: Any, x: Tensor) -> Tensor:
    return functional.rms_norm(x, x.shape[-1:], norm.weight, norm.variance_epsilon)


def _weight(linear: Any) -> Tensor:
    """Return what a linear layer multiplies by, its LoRA included: for small matrices cheaper than two passes more."""
    base = getattr(linear, "base_layer", None)
    if base is None:
        return linear.weight  # type: ignore[no-any-return]
    return base.weight + linear.get_delta_weight(linear.active_adapters[0])  # type: ignore[no-any-return]


def _readable(model: Any) -> bool:
    """Whether this is Llama's forward pass: family, gate, angles; no biases, shared keys, dropout; at most one LoRA."""
    config = model.config
    if config.model_type != "llama" or config.hidden_act != "silu" or model.model.rotary_emb.rope_type != "default":
        return False
    alike = config.num_key_value_heads == config.num_attention_heads
    biased = any(name.endswith("bias") for name, _ in model.named_parameters())
    dropped = any(isinstance(m, torch.nn.Dropout) and m.p > 0 for m in model.modules())
    lora = [m for m in model.modules() if hasattr(m, "lora_A")]
    single = all(
        len(m.active_adapters) == 1 and not m.merged and not m.use_dora.get(m.active_adapters[0]) for m in lora
    )
    return alike and not biased and not dropped and single


def _signed(sin: Tensor) -> Tensor:
    """Return sines [S, d] with the first half negated: x turned is x cos + (x with halves exchanged) times these."""
    a, b = sin.chunk(2, dim=-1)
    return torch.cat([-a, b], dim=-1)


def _inside(length: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return 0, 1, ... within each of the runs of these lengths."""
    return np.asarray(np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length), np.int64)


def _put(x: Tensor, slot: Tensor, size: int) -> Tensor:
    """Return [size, ...] with the rows of x at distinct slots, zeros elsewhere."""
    made: Tensor = _Put.apply(x, slot, size)  # type: ignore[no-untyped-call]
    return made


def _take(x: Tensor, slot: Tensor) -> Tensor:
    """Return the rows of x at distinct slots."""
    made: Tensor = _Take.apply(x, slot)  # type: ignore[no-untyped-call]
    return made


class _Put(torch.autograd.Function):
    """Scatter to distinct places. Its gradient is a gather: without sums, so the same bits on every device."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slot: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(slot)
        return x.new_zeros((size, *x.shape[1:])).index_copy_(0, slot, x)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, None, None]:
        return gradient[0].index_select(0, ctx.saved_tensors[0]), None, None


class _Take(torch.autograd.Function):
    """Gather from distinct places; its gradient is a scatter."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(slot)
        ctx.size = len(x)
        return x.index_select(0, slot)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, None]:
        (slot,) = ctx.saved_tensors
        made = gradient[0].new_zeros((ctx.size, *gradient[0].shape[1:]))
        return made.index_copy_(0, slot, gradient[0]), None
