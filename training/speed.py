"""How fast a model learns, and what share of the machine's arithmetic that is. Knows no lessons and no loss."""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass
from functools import cache
from typing import Any, final

import torch

_SIDE = 1024
"""Of the square matrices that the machine is measured with."""


@final
@dataclass(frozen=True)
class Speed:
    """What was learned in so many seconds."""

    steps: int = 0
    examples: int = 0
    """Answers that a loss was taken at."""
    tokens: int = 0
    """Of prefixes and suffixes, each once, without padding."""
    flops: float = 0.0
    """Floating-point operations that learning from these tokens takes; see `Work`."""
    seconds: float = 0.0
    waited: float = 0.0
    """Seconds of these spent on getting lessons."""

    def plus(self, other: Speed) -> Speed:
        """Return both together."""
        return Speed(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def text(self, rate: float) -> str:
        """Return it in words. rate: operations a second of the machine's matrix products."""
        per = max(self.seconds, 1e-9)
        work = self.flops / per
        return (
            f"{self.steps} steps in {self.seconds:.1f} s: {self.examples / per:.0f} examples/s, "
            f"{self.tokens / per:.0f} tokens/s, {work / 1e9:.1f} GFLOP/s ({work / rate:.0%} of this machine's matrix "
            f"products), {self.waited / per:.0%} of the time waiting for lessons"
        )


@final
@dataclass(frozen=True)
class Work:
    """Floating-point operations of learning, forward and backward.

    Two per weight and token forward; backward two for the activations, two more where weights are learned (Chowdhery et
    al. 2022, PaLM, appendix B). All linear layers of the blocks count at every token, the vocabulary at answers only;
    attention scores and an adapter's own do not. So it says what the model is, not how well it is computed.
    """

    per_token: float
    per_answer: float

    @classmethod
    def of(cls, model: Any) -> Work:
        """Return the work of a transformers model, with or without a LoRA."""
        head = model.get_output_embeddings().weight
        apart = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)} | {id(head)}
        named = ((n, w) for n, w in model.named_parameters() if w.dim() == 2 and id(w) not in apart)
        block = [w for n, w in named if "lora_" not in n]
        each = 6.0 if any(w.requires_grad for w in block) else 4.0
        return cls(each * sum(w.numel() for w in block), each * head.numel())

    def flops(self, tokens: int, answers: int) -> float:
        """Return operations."""
        return self.per_token * tokens + self.per_answer * answers


@cache
def matmul_rate(device: torch.device, dtype: torch.dtype = torch.float32, seconds: float = 0.2) -> float:
    """Return measured operations a second of matrix products, 2 per multiply-add; the best of many. Measured once."""
    a = torch.full((_SIDE, _SIDE), 0.5, device=device, dtype=dtype)
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * _SIDE**3 / best
