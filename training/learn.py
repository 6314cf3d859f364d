"""The training loop: lessons in, weights changed. One loop for the embedded world model and for every LoRA.

Loss: cross-entropy of the answer token over the full vocabulary, on the answer only; plus the squared gap between the
model's expected rating and the prior's (a teacher that makes learning from noisy ratings faster). A prefix is computed
once for all its suffixes. Large models compute in bfloat16 where the hardware does. Several processes
(training/processes.py) share the lessons of each step and add their gradients. Knows nothing of users or items.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from simenv.agents.local_model import best_device, small, wants_bf16
from simenv.agents.packing import Ragged, SegmentTokenizer, encode_prefixes, last_logits
from simenv.errors import ConfigError
from simenv.training.checkpoint import Checkpoint, Keeper, Saved, capture, fingerprint, restore
from simenv.training.examples import Lesson
from simenv.training.lean import Lean
from simenv.training.processes import Processes
from simenv.training.speed import Speed, Work, matmul_rate
from simenv.training.stream import Batches, Place, batches

__all__ = ["Answers", "LearnSettings", "Progress", "batches", "learn"]

Progress = Callable[[int, int, float], None]
"""(step, steps, loss): called after each step."""

Way = Callable[[list[list[int]], list[list[list[int]]]], Tensor]
"""From ids of prefixes and of their suffixes to next-token logits [N, V]."""

_log = logging.getLogger(__name__)
"""Tells at the end how fast it went, at level INFO."""


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
    *,
    checkpoint: Checkpoint | None = None,
    plain: bool = False,
) -> list[float]:
    """Train the parameters that require gradients, in place, and return the loss of each step.

    lessons: an endless stream of batches. The model must have no dropout (it is trained in the mode it is served in).
    checkpoint: where to keep how far it came, and to go on from; None: nowhere. Interrupted and gone on with, learning
        ends with the same bytes (on one kind of machine, with as many threads). Removed at the end.
    plain: always the library's forward pass, the reference; else small Llama-type models take training/lean.py.

    Raises:
        ConfigError: nothing to train, or the loss is not finite.
        StoreError: the checkpoint is of another training, or damaged.

    """
    together = Processes.here()  # which also says which GPU is this one's
    course = Course(model.to(best_device()), segments, answers, lessons, settings, together, plain=plain)
    keeper = None if checkpoint is None else Keeper(checkpoint, course.request())
    saved = None if keeper is None else keeper.find()
    if saved is not None:
        course.go_on(saved)
    while len(course.loss) < settings.steps:
        course.step()
        if together.writes:
            if progress:
                progress(len(course.loss), settings.steps, course.loss[-1])
            if keeper is not None and keeper.due:
                keeper.keep(course.saved())
    if keeper is not None and together.writes:
        keeper.remove()
    if together.writes and _log.isEnabledFor(logging.INFO):
        dtype = torch.bfloat16 if course.bf16 else torch.float32
        _log.info("%s", course.speed.text(matmul_rate(course.device, dtype)))
    return course.loss


@final
class Course:
    """A model on its way through the steps."""

    def __init__(
        self,
        model: Any,
        segments: SegmentTokenizer,
        answers: Answers,
        lessons: Iterator[Sequence[Lesson]],
        settings: LearnSettings,
        together: Processes,
        *,
        plain: bool = False,
    ) -> None:
        """Take what `learn` takes, and the processes that train together."""
        self.model, self.segments, self.answers, self.settings = model, segments, answers, settings
        self.lessons, self.together = lessons, together
        self.free = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.free:
            raise ConfigError("no parameter of the model requires a gradient; attach a LoRA or unfreeze the base.")
        self.device = next(model.parameters()).device
        self.bf16 = wants_bf16(model, self.device)
        lean = None if plain or not small(model) else Lean.of(model)
        self.way: Way = lean.logits if lean is not None else partial(shared_prefix, model)
        self.optimiser = torch.optim.AdamW(
            self.free.values(), lr=settings.rate, weight_decay=settings.decay, betas=(0.9, 0.98)
        )
        if isinstance(lessons, Batches):
            lessons.expect(settings.steps)
        self.work = Work.of(model)
        self.loss: list[float] = []
        self.speed = Speed()

    def step(self) -> None:
        """Learn from the next batch."""
        begin, number = time.perf_counter(), len(self.loss)
        batch = next(self.lessons)
        waited = time.perf_counter() - begin
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate * _schedule(number, self.settings)
        encoded = Encoded.of(self.together.share(batch), self.segments, self.answers)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            loss = self._weighed(encoded, batch)
        value = self.together.total(loss.detach()).item()
        if not math.isfinite(value):
            raise ConfigError(
                f"the loss became {value} at step {number}; lower the learning rate ({self.settings.rate})."
            )
        self.optimiser.zero_grad()
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        self.together.add_gradients(list(self.free.values()))
        clip_grad_norm_(self.free.values(), self.settings.clip)
        self.optimiser.step()
        self.loss.append(value)
        examples, tokens = len(encoded.place), encoded.tokens
        flops = self.work.flops(tokens, examples)
        self.speed = self.speed.plus(Speed(1, examples, tokens, flops, time.perf_counter() - begin, waited))

    def _weighed(self, encoded: Encoded, batch: Sequence[Lesson]) -> Tensor:
        """Return this process's share of the loss of a batch: the shares of all add up to it."""
        if not encoded.place:
            return torch.zeros((), device=self.device)
        logits = self.way(encoded.prefix, encoded.page).float()
        target = torch.tensor(encoded.place, device=self.device)
        of_all = len(encoded.place) / sum(len(le.place) for le in batch)
        loss = torch.nn.functional.cross_entropy(logits, target) * of_all
        expected = torch.tensor(encoded.expected, device=self.device)
        taught = torch.isfinite(expected)
        if self.settings.teacher and bool(taught.any()):
            p = logits[taught][:, self.answers.rating[1]].softmax(-1)
            mean = p @ torch.tensor(self.answers.value, device=self.device, dtype=p.dtype)
            of_all = int(taught.sum()) / sum(int(np.isfinite(le.expected).sum()) for le in batch)
            loss = loss + self.settings.teacher * of_all * ((mean - expected[taught]) ** 2).mean()
        return loss

    def request(self) -> dict[str, str]:
        """Return what this training is, by name: all that its weights depend on but the lessons' words."""
        lessons = self.lessons
        drawn = {"seed": str(lessons.seed), "size": str(lessons.size)} if isinstance(lessons, Batches) else {}
        return {
            **{name: str(value) for name, value in asdict(self.settings).items()},
            **{f"lessons' {name}": value for name, value in drawn.items()},
            "model": fingerprint(self.model.named_parameters()),
            "answers": repr(self.answers),
            "forward pass": "the library's" if isinstance(self.way, partial) else "lean",
            "processes": str(self.together.count),
            "device": self.device.type,
            **{name: version(name) for name in ("torch", "transformers", "peft")},
        }

    def saved(self) -> Saved:
        """Return how far it came."""
        place = self.lessons.place if isinstance(self.lessons, Batches) else (0, len(self.loss))
        return Saved(len(self.loss), place, self.loss, capture(self.free, self.optimiser))

    def go_on(self, saved: Saved) -> None:
        """Take up what was saved; a stream that has no places is gone through again."""
        restore(saved, self.free, self.optimiser)
        self.loss = list(saved.loss)
        if isinstance(self.lessons, Batches):
            self.lessons.seek(Place(*saved.place))
            self.lessons.expect(self.settings.steps - saved.step)
        else:
            for _ in range(saved.step):
                next(self.lessons)


@final
@dataclass(frozen=True, eq=False)
class Encoded:
    """A batch as token ids."""

    prefix: list[list[int]]
    page: list[list[list[int]]]
    """Suffixes behind each prefix."""
    place: list[int]
    """[N]: the token of each true answer."""
    expected: NDArray[np.float32]
    """float32[N]: the prior's expected rating; NaN: no teacher."""

    @classmethod
    def of(cls, lessons: Sequence[Lesson], segments: SegmentTokenizer, answers: Answers) -> Encoded:
        """Return lessons as ids."""
        nothing = np.zeros(0, np.float32)
        return cls(
            [segments.prefix_ids(le.prefix) for le in lessons],
            [[segments.suffix_ids(s, answers.of(le)[0]) for s in le.suffix] for le in lessons],
            [answers.of(le)[1][place] for le in lessons for place in le.place],
            np.concatenate([nothing, *(le.expected for le in lessons)]),
        )

    @property
    def tokens(self) -> int:
        """Of prefixes and suffixes, each once."""
        return sum(map(len, self.prefix)) + sum(len(line) for lines in self.page for line in lines)


def shared_prefix(model: Any, prefix: Sequence[Sequence[int]], page: Sequence[Sequence[Sequence[int]]]) -> Tensor:
    """Return next-token logits [N, V] behind every suffix, by the library's forward pass; page u continues prefix u."""
    row = torch.from_numpy(np.repeat(np.arange(len(page)), [len(lines) for lines in page])).to(model.device)
    kept = encode_prefixes(model, Ragged.of(prefix, model.device, left=False))
    return last_logits(model, kept, row, Ragged.of([x for lines in page for x in lines], model.device, left=True))


def _schedule(step: int, settings: LearnSettings) -> float:
    cosine = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return min((step + 1) / max(settings.warmup, 1), cosine * 0.98 + 0.02)
