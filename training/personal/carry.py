"""Carrying out one arm: prompts made, weights tuned where the arm tunes, all parts answered.

Knows the split as rows; nothing of scores or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray

from simenv.errors import ConfigError
from simenv.randomness import derive, generator
from simenv.training.personal.arm import Arm
from simenv.training.personal.base import Base
from simenv.training.personal.model import PersonalModel
from simenv.training.personal.partition import Partition
from simenv.training.personal.plain import Answers
from simenv.training.personal.tune import (
    Probability,
    Progress,
    TuneSettings,
    batch_of,
    lessons,
    probabilities,
    prompts,
    tune,
)
from simenv.training.personal.wording import Writer

Ints = NDArray[np.int64]
FIT_STEPS = 60
"""Steps in which a new user's vector is fitted; the loss is convex enough that more change nothing seen."""


@final
@dataclass(frozen=True, eq=False)
class Lessons:
    """What an arm learns from and is checked on."""

    writer: Writer
    train: Ints
    """Row numbers."""
    valid: Ints
    settings: TuneSettings


def trained(
    arm: Arm, base: Base, source: Lessons, seed: int, progress: Progress | None = None
) -> tuple[PersonalModel, list[float]]:
    """Return the arm's model and its held-out losses by epoch; an arm that is not tuned has one loss, before any.

    Raises:
        ConfigError: the validation rows are empty, or the loss is not finite.

    """
    if not len(source.valid):
        raise ConfigError("no validation rows: the best epoch could not be told; give a larger share.")
    writer, how = source.writer, source.settings
    model = PersonalModel(
        arm, base.tunable(derive(seed, "lora")), writer.questions, len(writer.data.users), seed, base.pool
    )
    if not arm.tuned:
        return model, []
    losses = tune(
        model,
        lambda epoch: lessons(writer, arm, source.train, how, seed, epoch),
        prompts(writer, arm, source.valid),
        how,
        seed,
        progress,
    )
    return model, losses


def carry_out(
    arm: Arm, base: Base, source: Lessons, parts: Partition, examples: int, seed: int, progress: Progress | None = None
) -> Answers:
    """Return what the arm answers on all parts. examples: own labels in a prompt, where the arm shows some.

    New users are strangers to it, except that their context may stand in the prompt (Q-nS) or, for a vector, be fitted.
    """
    model, losses = trained(arm, base, source, seed, progress)
    writer = source.writer
    shown = own_examples(writer, parts, examples, seed) if arm.person == "examples" else {}
    said: dict[str, Probability] = {}
    outside: dict[str, float] = {}
    for name, rows, known in (("valid", parts.valid, True), ("test", parts.test, True), ("new", parts.new, False)):
        if len(rows):
            said[name], other = probabilities(model, prompts(writer, arm, rows, known=known, shown=shown))
            outside[name] = round(float(other.mean()), 6)
        else:
            said[name] = [np.zeros((0, c), np.float32) for c in model.classes]
    told = {"held-out loss by epoch": [round(x, 5) for x in losses], "outside the classes": outside}
    fitted = None
    if arm.person == "vector" and len(parts.context) and len(parts.new):
        fit_strangers(model, writer, parts.context, source.settings)
        fitted, _ = probabilities(model, prompts(writer, arm, parts.new))
    base.release(model.language)
    return Answers(said["valid"], said["test"], said["new"], told, fitted)


def own_examples(writer: Writer, parts: Partition, count: int, seed: int) -> dict[int, Ints]:
    """Return, per user, rows of their own to show: `count` drawn from training, or from a new user's context."""
    data = writer.data
    out = {}
    for rows in (parts.train, parts.context):
        for user in np.unique(data.user[rows]):
            own = rows[data.user[rows] == user]
            drawn = generator(seed, "examples", int(user)).permutation(len(own))[:count]
            out[int(user)] = own[np.sort(drawn)]
    return out


def fit_strangers(model: PersonalModel, writer: Writer, context: Ints, settings: TuneSettings) -> None:
    """Fit, in place, the vectors of users never trained on to their context rows; all other weights stay.

    The most probable vector of each, if vectors spread normally as those of the trained users do:
    the sum of -log p over the labels plus |v|^2 / (2 s^2), s^2 the mean square of the trained ones' entries.

    Raises:
        ConfigError: the model has no vectors.

    """
    if model.vectors is None:
        raise ConfigError(f"{model.arm.name} has no vectors of persons to fit; take an arm whose name ends in -V.")
    own, user = model.vectors.own, np.unique(writer.data.user[context])
    seen = (own.detach() != 0).any(dim=1)
    spread = float((own.detach()[seen] ** 2).mean()) if bool(seen.any()) else 1.0
    asked, number = prompts(writer, model.arm, context), torch.from_numpy(user).to(own.device)
    frozen = {p: p.requires_grad for p in model.parameters()}
    for p in frozen:
        p.requires_grad_(p is own)
    optimiser = torch.optim.Adam([own], lr=settings.person_rate)
    given = torch.from_numpy(asked.value).to(own.device)
    for _ in range(FIT_STEPS):
        lost = own[number].square().sum() / (2 * max(spread, 1e-8))
        for start in range(0, len(asked), 64):
            rows = np.arange(start, min(start + 64, len(asked)))
            for n, score in enumerate(model.scores(batch_of(model, asked, rows))):
                lost = lost + torch.nn.functional.nll_loss(score, given[rows, n], ignore_index=-1, reduction="sum")
        optimiser.zero_grad()
        lost.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    for p, free in frozen.items():
        p.requires_grad_(free)
