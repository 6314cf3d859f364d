"""PersonalModel: a backbone, a vector per person where the arm wants one, and a head where it wants one.

Answers with the probability of each class of each label. Knows prompts as tokens; who writes them stands in wording.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from simenv.randomness import derive
from simenv.training.personal.arm import Arm
from simenv.training.personal.backbone import Backbone, Front, Pool, backbone_of
from simenv.training.personal.wording import NOBODY, VECTOR, Question


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """N prompts as tokens, padded on the left."""

    ids: Tensor
    """int64[N, T]; 0 at padding and where a vector goes."""
    mask: Tensor
    """int64[N, T]."""
    slot: Tensor
    """bool[N, T]: where a person's vector goes."""
    user: Tensor
    """int64[N]: whose; NOBODY: a stranger's."""

    @classmethod
    def of(cls, prompts: Sequence[Sequence[int]], user: NDArray[np.int64], device: torch.device) -> Batch:
        """Return prompts of different length as one batch."""
        width = max(map(len, prompts))
        made = np.zeros((len(prompts), width), np.int64)
        mask = np.zeros_like(made)
        for n, prompt in enumerate(prompts):
            made[n, width - len(prompt) :], mask[n, width - len(prompt) :] = prompt, 1
        slot = made == VECTOR
        made[slot] = 0
        whose = np.ascontiguousarray(user, np.int64)
        return cls(*(torch.from_numpy(a).to(device) for a in (made, mask, slot, whose)))


@final
class PersonVectors(nn.Module):
    """A vector float[H] per person: what all share, plus what is the person's own and begins at zero.

    A stranger has the shared part. Pulled to it by weight decay on the own part alone.
    """

    def __init__(self, users: int, start: Tensor) -> None:
        super().__init__()
        self.shared = nn.Parameter(start.clone())
        self.own = nn.Parameter(torch.zeros(users, len(start), dtype=start.dtype, device=start.device))

    def forward(self, user: Tensor) -> Tensor:
        """Return float[N, H] of users [N]."""
        own = self.own[user.clamp(min=0)]
        return self.shared + torch.where((user == NOBODY)[:, None], torch.zeros_like(own), own)


@final
class PersonalModel(nn.Module):
    """One arm's model."""

    def __init__(
        self, arm: Arm, model: Any, questions: Sequence[Question], users: int, seed: int, pool: Pool = "last"
    ) -> None:
        """Take a transformers model (tuned in place later) and add what the arm needs."""
        super().__init__()
        self.pool: Pool = pool
        self.arm, self.language, self.questions = arm, model, tuple(questions)
        table = model.get_input_embeddings().weight
        self.vectors = PersonVectors(users, table.detach().float().mean(dim=0)) if arm.person == "vector" else None
        self.classes = [len(q.option) for q in questions]
        self.head: nn.Linear | None = None
        if arm.how == "head":
            with torch.random.fork_rng():
                torch.manual_seed(derive(seed, "head"))
                self.head = nn.Linear(table.shape[1], sum(self.classes)).to(table.device)
                nn.init.normal_(self.head.weight, std=0.02)

    @property
    def backbone(self) -> Backbone:
        """The language model's forward pass."""
        return backbone_of(self.language, self.pool)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        place: torch.device = self.language.get_input_embeddings().weight.device
        return place

    def front(self, batch: Batch) -> Front:
        """Return the embedded prompts, each person's vector in its place."""
        embedded = self.language.get_input_embeddings()(batch.ids)
        if self.vectors is not None:
            own = self.vectors(batch.user).to(embedded.dtype)
            embedded = torch.where(batch.slot[..., None], own[:, None], embedded)
        return Front(embedded, batch.mask)

    def scores(self, batch: Batch) -> list[Tensor]:
        """Return, per label, log-probabilities float[N, C] of its classes.

        A head: they sum to 1. Otherwise they are the answer tokens' share of the whole vocabulary.
        """
        front = self.front(batch)
        if self.head is not None:
            state = self.backbone.state(front)
            parts = self.head(state.to(self.head.weight.dtype)).float().split(self.classes, dim=1)
            return [part.log_softmax(dim=1) for part in parts]
        logp = self.backbone.logits(front, [q.cue for q in self.questions]).float().log_softmax(dim=-1)
        return [logp[:, n, list(q.option)] for n, q in enumerate(self.questions)]
