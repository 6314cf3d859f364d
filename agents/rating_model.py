"""LMRatingModel: persona language models as a RatingModel. Recall, write prompts, score, read out; one call a step.

MemoRatingModel in front of any rating model remembers its answers, so that no pair is asked twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.agents.cues import Cues, Taste, Tasting, cues
from simenv.agents.forgetting import forget
from simenv.agents.language_model import LanguageModel, Prompt
from simenv.agents.memory import Memory
from simenv.agents.prior import Prior
from simenv.agents.profile import Profiles
from simenv.agents.prompt import PromptWriter
from simenv.agents.readout import Readout
from simenv.errors import UnknownIdError
from simenv.protocols import Answer, RatingModel
from simenv.scale import RatingScale


@final
@dataclass(frozen=True, eq=False)
class Mind:
    """What M members know and are, frozen at the cut: everything a prompt is written from."""

    row: NDArray[np.int64]
    """int64[U]: position of each user among the members, -1: not one."""
    crowd: Crowd
    taste: Taste | Tasting
    profiles: Profiles
    memory: Memory
    writer: PromptWriter
    adapter: tuple[str | None, ...]
    """[M]: the adapter that speaks for each member; None: the bare base."""
    sound: Callable[[], None] | None = None
    """Called before anybody is asked: raises where a file is not what was saved. None: nothing to check."""

    def rows(self, user: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions [N] of users among the members.

        Raises:
            UnknownIdError: a user is not a member.

        """
        if self.sound is not None:
            self.sound()
        row = self.row[user]
        if (row < 0).any():
            raise UnknownIdError(f"user number {np.asarray(user)[row < 0][0]} is not simulated here.")
        return row

    def prefix(self, member: int) -> tuple[str, ...]:
        """Return task and Ms of the member at a position."""
        return self.writer.prefix(self.profiles, member)

    def recalled(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return entries int64[N, k] recalled for pairs, best first, -1: none."""
        k = self.writer.settings.memories
        if k == 0:
            return np.full((len(user), 0), -1, np.int64)
        return self.memory.recall(user, item[:, None], k)[:, 0]

    def remember(self, entry: NDArray[np.int64]) -> list[str]:
        """Return the segments of recalled entries [k], the most similar last, next to the question."""
        m, w = self.memory, self.writer
        kept = entry[::-1][entry[::-1] >= 0]
        said = [m.reason(e) if w.settings.reasons else "" for e in kept.tolist()]
        place = [self._place(r) for r in m.rating[kept].tolist()]
        return [w.memory(i, p, r) for i, p, r in zip(m.item[kept].tolist(), place, said, strict=True)]

    def _place(self, rating: float) -> int:
        """Return the position of a rating on the scale; each value is looked up once."""
        if rating not in self._places:
            self._places[rating] = int(self.writer.scale.encode([rating])[0])
        return self._places[rating]

    @cached_property
    def _places(self) -> dict[float, int]:
        return {}


@final
@dataclass(frozen=True, eq=False)
class LMRatingModel:
    """The population's own answers: a small language model, its persona adapters, and the prior it is fused with."""

    mind: Mind
    model: LanguageModel
    prior: Prior
    readout: Readout

    @property
    def scale(self) -> RatingScale:
        """The scale asked for in the prompt."""
        return self.mind.writer.scale

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return the answers of members [N] for items [N] ; users who are not members raise UnknownIdError."""
        mind = self.mind
        row = mind.rows(user)
        known = cues(mind.crowd, mind.taste, row, item)
        prior = self.prior_of(known)
        if self.readout.arm == "prior":
            logp = np.zeros_like(prior)
        else:
            prompts = self.prompts(user, item, known)
            logp = self.model.score(prompts, self.scale.symbols, adapters=[mind.adapter[r] for r in row])
        p, off_scale = self.readout.read(logp, prior)
        return Answer(p, off_scale, mind.crowd.item_count[item])

    def forget(self) -> None:
        """Let go of what the language model keeps of earlier questions."""
        forget(self.model)

    def prior_of(self, known: Cues) -> NDArray[np.float32]:
        """Return the prior's distribution [N, R] for cues [N]."""
        expected = self.prior.expected(known.feature, self.mind.crowd.mean)
        return self.prior.distribution(expected, known.spread)

    def prompts(self, user: NDArray[np.int64], item: NDArray[np.int64], known: Cues | None = None) -> list[Prompt]:
        """Return the prompts of pairs [N]; known: their cues where at hand."""
        mind = self.mind
        row = mind.rows(user)
        known = known or cues(mind.crowd, mind.taste, row, item)
        expected = self.prior.expected(known.feature, mind.crowd.mean)
        prefix = {int(r): mind.prefix(int(r)) for r in np.unique(row)}
        entry = mind.recalled(user, item)
        suffix = mind.writer.suffix
        return [
            Prompt(prefix[int(r)], suffix(int(i), known, n, float(expected[n]), mind.remember(entry[n])))
            for n, (r, i) in enumerate(zip(row, item, strict=True))
        ]


@final
@dataclass(frozen=True, eq=False)
class MemoRatingModel:
    """Remembers the answers of a stateless rating model.

    Takes 4 (R + 2) bytes a pair, and 4 bytes per item for each user once asked.
    """

    inner: RatingModel
    n_items: int
    _slot: dict[int, NDArray[np.int32]] = field(default_factory=dict)
    _store: list[Answer] = field(default_factory=list)

    @property
    def scale(self) -> RatingScale:
        """That of the model behind."""
        return self.inner.scale

    def rate(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> Answer:
        """Return answers [N], asking the model behind only for pairs never asked before."""
        for u in np.unique(user):
            self._slot.setdefault(int(u), np.full(self.n_items, -1, np.int32))
        slot = np.array([self._slot[int(u)][i] for u, i in zip(user, item, strict=True)], np.int64)
        new = np.flatnonzero(slot < 0)
        if len(new):
            pair = np.unique(np.stack([user[new], item[new]], axis=1), axis=0)
            self._learn(pair[:, 0], pair[:, 1])
            slot[new] = [self._slot[int(u)][i] for u, i in zip(user[new], item[new], strict=True)]
        known = self._store[0] if self._store else self.inner.rate(user, item)
        return Answer(known.p[slot], known.off_scale[slot], known.support[slot])

    def forget(self) -> None:
        """Let go of all answers."""
        self._slot.clear()
        self._store.clear()
        forget(self.inner)

    def _learn(self, user: NDArray[np.int64], item: NDArray[np.int64]) -> None:
        said = self.inner.rate(user, item)
        start = len(self._store[0].p) if self._store else 0
        for n, (u, i) in enumerate(zip(user, item, strict=True)):
            self._slot[int(u)][i] = start + n
        if self._store:
            old = self._store[0]
            said = Answer(
                np.concatenate([old.p, said.p]),
                np.concatenate([old.off_scale, said.off_scale]),
                np.concatenate([old.support, said.support]),
            )
        self._store[:] = [said]
