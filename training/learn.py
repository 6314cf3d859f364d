"""The training loop: lessons in, weights changed. One loop for the embedded world model and for every LoRA.

Loss: cross-entropy of the answer token over the full vocabulary, on the answer only; plus the squared gap between the
model's expected rating and the prior's (a teacher that makes learning from noisy ratings faster). accelerate places the
model and chooses bfloat16 for large models where the hardware computes it. Knows nothing of users or items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from simenv.agents.local_model import best_device, wants_bf16
from simenv.agents.packing import Ragged, SegmentTokenizer, encode_prefixes, last_logits
from simenv.errors import ConfigError
from simenv.training.examples import Lesson

Progress = Callable[[int, int, float], None]
"""(step, steps, loss): called after each step."""


@final
@dataclass(frozen=True)
class LearnSettings:
    """How long and how fast a model learns."""

    steps: int = 500
    """Optimiser steps."""
    rate: float = 2e-3
    """Peak learning rate of AdamW; warm-up, then cosine to 2 % of it."""
    warmup: int = 50
    """Steps until the peak."""
    prefixes: int = 8
    """Lessons (one prefix and its targets each) per step."""
    teacher: float = 2.0
    """Weight of the squared gap to the prior's expected rating; 0: ratings alone."""
    decay: float = 0.05
    """Weight decay."""
    clip: float = 1.0
    """Largest gradient norm."""


@final
@dataclass(frozen=True, eq=False)
class Answers:
    """The tokens a lesson's answer can be: (glue, option ids, values) for ratings and for exits."""

    rating: tuple[list[int], list[int]]
    exit: tuple[list[int], list[int]]
    value: tuple[float, ...]

    def of(self, lesson: Lesson) -> tuple[list[int], list[int]]:
        """Return glue and option ids for a lesson."""
        return self.exit if lesson.exit else self.rating


def learn(
    model: Any,
    segments: SegmentTokenizer,
    answers: Answers,
    lessons: Iterator[Sequence[Lesson]],
    settings: LearnSettings,
    progress: Progress | None = None,
) -> list[float]:
    """Train the parameters that require gradients, in place, and return the loss of each step.

    lessons: an endless stream of batches. The model must have no dropout (it is trained in the mode it is served in).

    Raises:
        ConfigError: nothing to train, or the loss is not finite.

    """
    free = [p for p in model.parameters() if p.requires_grad]
    if not free:
        raise ConfigError("no parameter of the model requires a gradient; attach a LoRA or unfreeze the base.")
    device = best_device()
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision="bf16" if wants_bf16(model, device) else "no")
    optimiser = torch.optim.AdamW(free, lr=settings.rate, weight_decay=settings.decay, betas=(0.9, 0.98))
    model, optimiser = accelerator.prepare(model, optimiser)
    losses = []
    for step in range(settings.steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.rate * _schedule(step, settings)
        with accelerator.autocast():
            loss = _loss(model, segments, answers, next(lessons), settings.teacher, accelerator.device)
        if not torch.isfinite(loss):
            raise ConfigError(
                f"the loss became {loss.item()} at step {step}; lower the learning rate ({settings.rate})."
            )
        optimiser.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(free, settings.clip)
        optimiser.step()
        losses.append(loss.item())
        if progress:
            progress(step + 1, settings.steps, losses[-1])
    return losses


def _schedule(step: int, settings: LearnSettings) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return min((step + 1) / max(settings.warmup, 1), cosine * 0.98 + 0.02)


def _loss(
    model: Any,
    segments: SegmentTokenizer,
    answers: Answers,
    batch: Sequence[Lesson],
    teacher: float,
    device: torch.device,
) -> Tensor:
    prefix = Ragged.of([segments.prefix_ids(lesson.prefix) for lesson in batch], device, left=False)
    suffix = [segments.suffix_ids(s, answers.of(lesson)[0]) for lesson in batch for s in lesson.suffix]
    row = torch.tensor([b for b, lesson in enumerate(batch) for _ in lesson.suffix], device=device)
    logits = last_logits(model, encode_prefixes(model, prefix), row, Ragged.of(suffix, device, left=True)).float()
    target = torch.tensor([answers.of(le)[1][place] for le in batch for place in le.place], device=device)
    loss = torch.nn.functional.cross_entropy(logits, target)
    expected = torch.tensor(np.concatenate([le.expected for le in batch]), device=device)
    taught = torch.isfinite(expected)
    if teacher and bool(taught.any()):
        p = logits[taught][:, answers.rating[1]].softmax(-1)
        mean = p @ torch.tensor(answers.value, device=device, dtype=p.dtype)
        loss = loss + teacher * ((mean - expected[taught]) ** 2).mean()
    return loss


def batches(epoch: Callable[[int], list[Lesson]], size: int, seed: int) -> Iterator[list[Lesson]]:
    """Yield batches of `size` lessons for ever, from freshly drawn and shuffled epochs.

    Raises:
        ConfigError: an epoch is empty.

    """
    number = 0
    while True:
        lessons = epoch(number)
        if not lessons:
            raise ConfigError("no training examples could be drawn: users need at least three known ratings each.")
        order = np.random.default_rng((seed, number)).permutation(len(lessons))
        for start in range(0, max(len(order) - size + 1, 1), size):
            yield [lessons[n] for n in order[start : start + size]]
        number += 1
