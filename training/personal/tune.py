"""Tuning one arm, and asking it. Each person's judgements are the lessons; the best epoch by held-out loss is kept.

In a share of the lessons the person is a stranger, so that the model also learns what to say of somebody unknown.
Knows arms through their model and prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simenv.datasets.annotators import Annotations
from simenv.errors import ConfigError
from simenv.randomness import generator
from simenv.training.personal.arm import Arm
from simenv.training.personal.model import Batch, PersonalModel
from simenv.training.personal.wording import NOBODY, Writer, check_length

Ints = NDArray[np.int64]
Probability = list[NDArray[np.float32]]
"""[L] of float32[N, C]."""
Progress = Callable[[int, int, float], None]
"""(epochs done, epochs at most, held-out loss)."""


@final
@dataclass(frozen=True)
class TuneSettings:
    """How long and how fast an arm learns; the same for all arms."""

    epochs: int = 6
    """At most; the best one on the validation rows is kept."""
    patience: int = 2
    """Epochs without a better one before it stops."""
    rate: float = 1e-3
    """Peak learning rate of AdamW; a tenth of the steps to get there, then down in a straight line."""
    person_rate: float = 1e-2
    """That of the persons' vectors: one person is met in few lessons."""
    batch: int = 32
    decay: float = 0.05
    clip: float = 1.0
    stranger: float = 0.1
    """Share of the lessons in which a personal arm is not told who it is."""
    forget: float = 0.2
    """Share of a text's tokens left out of a lesson, anew in each epoch: few texts are not learned by heart so soon."""


@final
@dataclass(frozen=True, eq=False)
class Prompts:
    """N prompts, whose they are, and what was said."""

    tokens: list[list[int]]
    user: Ints
    """int64[N]: NOBODY for strangers."""
    value: Ints
    """int64[N, L]: -1: not given."""

    def __len__(self) -> int:
        return len(self.tokens)


def prompts(
    writer: Writer,
    arm: Arm,
    rows: Ints,
    *,
    known: bool | NDArray[np.bool_] = True,
    shown: dict[int, Ints] | None = None,
) -> Prompts:
    """Return the prompts of rows [N] for an arm.

    known: bool[N] or one for all, False: the person is a stranger. shown: rows to put as examples, per user.
    """
    data: Annotations = writer.data
    user = np.where(known, data.user[rows], NOBODY)
    told = shown or {}
    tokens = [
        writer.prompt(int(u), int(i), arm.person, [int(r) for r in told.get(int(own), ())])
        for u, i, own in zip(user, data.item[rows], data.user[rows], strict=True)
    ]
    return Prompts(tokens, user, data.value[rows])


def lessons(writer: Writer, arm: Arm, rows: Ints, settings: TuneSettings, seed: int, epoch: int) -> Prompts:
    """Return the lessons of an epoch: some readers are strangers, some tokens of each text are left out."""
    rng = generator(seed, "lessons", epoch)
    data, tokens = writer.data, []
    known = rng.random(len(rows)) >= settings.stranger
    user = np.where(known, data.user[rows], NOBODY)
    for u, i in zip(user, data.item[rows], strict=True):
        body = np.array(writer.bodies[i][: 2 * writer.text_tokens], np.int64)
        kept = body[rng.random(len(body)) >= settings.forget].tolist()
        tokens.append(writer.prompt(int(u), int(i), arm.person, body=kept))
    return Prompts(tokens, user, data.value[rows])


def probabilities(model: PersonalModel, asked: Prompts, batch: int = 128) -> tuple[Probability, NDArray[np.float32]]:
    """Return the classes' probabilities, per label float32[N, C] that sum to 1, and float32[N]: mean share outside.

    The share outside is what a model that writes its answer gave to other tokens than the classes'; 0 for a head.
    """
    check_length(asked.tokens, model.questions, model.backbone.limit)
    out = [np.empty((len(asked), c), np.float32) for c in model.classes]
    outside = np.zeros(len(asked), np.float32)
    order = np.argsort([len(t) for t in asked.tokens], kind="stable")
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            for n, score in enumerate(model.scores(batch_of(model, asked, rows))):
                out[n][rows] = score.softmax(dim=1).cpu().numpy()
                outside[rows] += (1 - score.exp().sum(dim=1)).clamp(min=0).cpu().numpy() / len(out)
    return out, outside


def tune(
    model: PersonalModel,
    lessons: Callable[[int], Prompts],
    valid: Prompts,
    settings: TuneSettings,
    seed: int,
    progress: Progress | None = None,
) -> list[float]:
    """Tune the model in place and return the held-out loss (nats per label) before and after each epoch.

    lessons: prompts of an epoch by number. The weights of the best epoch are kept.

    Raises:
        ConfigError: the loss is not finite.

    """
    free = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(_groups(free, settings), betas=(0.9, 0.98))
    losses, best = [_held_out(model, valid)], _copy(free)
    done, total = 0, 0
    for epoch in range(settings.epochs):
        lesson = lessons(epoch)
        total = total or settings.epochs * int(np.ceil(len(lesson) / settings.batch))
        model.train()
        for rows in _batches(lesson, settings.batch, seed, epoch):
            _pace(optimiser, done / total)
            _step(model, optimiser, list(free.values()), loss_of(model, lesson, rows), settings)
            done += 1
        losses.append(_held_out(model, valid))
        if progress:
            progress(epoch + 1, settings.epochs, losses[-1])
        if losses[-1] <= min(losses):
            best = _copy(free)
        if len(losses) - 1 - int(np.argmin(losses)) >= settings.patience:
            break
    with torch.no_grad():
        for name, p in free.items():
            p.copy_(best[name])
    return losses


def loss_of(model: PersonalModel, lesson: Prompts, rows: Ints) -> Tensor:
    """Return the mean over given labels of -log p: of the class among classes (head) or the whole vocabulary."""
    said = model.scores(batch_of(model, lesson, rows))
    value = torch.from_numpy(np.ascontiguousarray(lesson.value[rows])).to(model.device)
    lost = [torch.nn.functional.nll_loss(s, value[:, n], ignore_index=-1, reduction="sum") for n, s in enumerate(said)]
    return torch.stack(lost).sum() / (value >= 0).sum().clamp(min=1)


def _held_out(model: PersonalModel, asked: Prompts) -> float:
    p, _ = probabilities(model, asked)
    return log_loss(p, asked.value)


def log_loss(p: Sequence[NDArray[np.floating]], value: Ints) -> float:
    """Return the mean of -log p (nats) over the given labels; p: per label float[N, C], value: int64[N, L]."""
    lost = [
        -np.log(np.maximum(q[np.flatnonzero(v >= 0), v[v >= 0]].astype(np.float64), 1e-12))
        for q, v in zip(p, value.T, strict=True)
    ]
    return float(np.concatenate(lost).mean())


def _groups(free: dict[str, torch.nn.Parameter], settings: TuneSettings) -> list[dict[str, object]]:
    person = [p for n, p in free.items() if n.startswith("vectors.")]
    plain = [p for n, p in free.items() if not n.startswith("vectors.") and p.ndim < 2]
    matrix = [p for n, p in free.items() if not n.startswith("vectors.") and p.ndim >= 2]
    rates = ((matrix, settings.rate, settings.decay), (plain, settings.rate, 0.0), (person, settings.person_rate, 0.0))
    return [{"params": ps, "lr": rate, "peak": rate, "weight_decay": decay} for ps, rate, decay in rates if ps]


def _pace(optimiser: torch.optim.Optimizer, done: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * min((done + 1e-3) * 10, 1.02 - done)


def _step(
    model: PersonalModel,
    optimiser: torch.optim.Optimizer,
    free: list[torch.nn.Parameter],
    loss: Tensor,
    settings: TuneSettings,
) -> None:
    if not torch.isfinite(loss):
        raise ConfigError(f"the loss of {model.arm.name} is {loss.item()}; lower the learning rate ({settings.rate}).")
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(free, settings.clip)
    optimiser.step()


def _batches(lesson: Prompts, size: int, seed: int, epoch: int) -> Iterator[Ints]:
    """Yield rows in batches of like length, in random order: padding costs as much as text."""
    rng = generator(seed, "batches", epoch)
    length = np.array([len(t) for t in lesson.tokens])
    order = rng.permutation(len(lesson))
    order = np.concatenate(
        [c[np.argsort(length[c], kind="stable")] for c in np.split(order, range(50 * size, len(order), 50 * size))]
    )
    cut = [order[s : s + size] for s in range(0, len(order), size)]
    yield from (cut[n] for n in rng.permutation(len(cut)))


def batch_of(model: PersonalModel, asked: Prompts, rows: Ints) -> Batch:
    """Return some of the prompts as tensors."""
    return Batch.of([asked.tokens[r] for r in rows], asked.user[rows], model.device)


def _copy(free: dict[str, torch.nn.Parameter]) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in free.items()}
