"""From one user's known rows to questions: batches in time order, and the profile each begins with.

A batch sees rows up to its own end and nothing later, whatever the crowd's and the traits' frozen numbers come from.
Knows no servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.crowd import Crowd
from simenv.agents.memory import ItemSpace, Memory
from simenv.agents.profile import Profiles, TraitCuts
from simenv.agents.written import Stage
from simenv.catalogue import Catalogue
from simenv.errors import ConfigError, DataError
from simenv.log import InteractionLog
from simenv.training.llm.chat import Message
from simenv.training.llm.form import LEVEL, MOST_WORDS, TRAIT
from simenv.training.llm.wording import Seen, Wording

_LARGEST = 10
"""Interactions in a batch, at most (Thakur et al. 2025)."""
_REASON_TOKENS, _WORD_TOKENS, _FRAME_TOKENS = 120, 2, 200


@final
@dataclass(frozen=True)
class LLMSettings:
    """What is asked, and what is accepted."""

    batch: int = _LARGEST
    """Interactions in a question."""
    words: int = MOST_WORDS
    """Of a description, at most."""
    first: Literal["counted", "nothing"] = "counted"
    """What the first batch begins with: the profile that counting makes of that batch, or none."""
    crowd: bool = True
    """Show the crowd's mean rating of each item; a crowd without opinions shows none."""
    names: Literal["refuse", "count"] = "refuse"
    """Answers that name a title outside the user's known rows: malformed, or only counted. Which titles are in the
    user's future plays no part in it: that would let the future choose."""

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= _LARGEST or not 20 <= self.words <= MOST_WORDS:
            raise ConfigError(
                f"batch lies in 1..{_LARGEST} and words in 20..{MOST_WORDS:,}; got {self.batch} and {self.words}."
            )

    @property
    def max_tokens(self) -> int:
        """Limit of one answer."""
        return self.batch * _REASON_TOKENS + self.words * _WORD_TOKENS + _FRAME_TOKENS


@final
@dataclass(frozen=True, eq=False)
class Stories:
    """Users' known rows as batches."""

    past: InteractionLog
    catalogue: Catalogue
    crowd: Crowd
    settings: LLMSettings

    @classmethod
    def of(
        cls,
        past: InteractionLog,
        catalogue: Catalogue,
        crowd: Crowd,
        settings: LLMSettings,
        cut: NDArray[np.int64] | None = None,
    ) -> Stories:
        """Take known rows; cut: as `Distiller.distil` takes it.

        Raises:
            LeakageError: a row lies at or after its user's cut, or there are no times to prove otherwise.
            DataError: the log was simulated, or numbers its items unlike the catalogue.

        """
        if past.simulated:
            raise DataError("this log was simulated; users are distilled from what real people did.")
        space = ItemSpace(np.zeros((len(catalogue), 1), np.float32), crowd.similarity, crowd.core)
        Memory.of(past, crowd, catalogue, space).check(cut)
        return cls(past, catalogue, crowd, settings)

    def ends(self, user: int) -> list[int]:
        """Return how many rows are known after each batch of a user; []: the user has none."""
        count, size = int(self.past.count[user]), self.settings.batch
        return [min(n + size, count) for n in range(0, count, size)]

    def known(self, user: int, end: int) -> list[int]:
        """Return the items of a user's first `end` rows."""
        return [int(i) for i in self.past.history(user)[0][:end]]

    def question(self, user: int, number: int, before: Stage | None) -> list[Message]:
        """Return the conversation for batch `number` (from 0). before: what was written after the last; None: first."""
        end = self.ends(user)[number]
        start = number * self.settings.batch
        rows = slice(self.past.indptr[user] + start, self.past.indptr[user] + end)
        item, rating = self.past.item[rows].tolist(), self.past.rating[rows].tolist()
        time = [None] * len(item) if self.past.time is None else self.past.time[rows].tolist()
        seen = [Seen(i, r, t, self._opinion(i)) for i, r, t in zip(item, rating, time, strict=True)]
        return self.wording.batch(number + 1, seen, self._profile(user, end, before))

    @cached_property
    def wording(self) -> Wording:
        """How it is put."""
        return Wording(self.catalogue, self.past.scale, self.settings.words)

    @cached_property
    def cuts(self) -> TraitCuts:
        """Where trait levels part among all users of the past."""
        return Profiles.of_log(self.past, np.flatnonzero(self.past.count), self.crowd, self.catalogue).cuts

    def prepare(self) -> None:
        """Compute now what is else computed when it is first asked for, by several threads at once."""
        system, cuts = self.wording.system, self.cuts
        assert system
        assert cuts

    def _opinion(self, item: int) -> float | None:
        shown = self.settings.crowd and not self.crowd.blind and self.crowd.item_count[item] > 0
        return float(self.crowd.item_mean[item]) if shown else None

    def _profile(self, user: int, end: int, before: Stage | None) -> Mapping[str, Any] | None:
        if before is not None:
            level = {t: LEVEL[v] for t, v in zip(TRAIT, before.level, strict=True)}
            return {**level, "description": before.description}
        if self.settings.first == "nothing":
            return None
        item, rating = self.past.history(user)
        context = item[None, :end], rating[None, :end]
        own = Profiles.of(self.crowd, self.catalogue, self.past.scale, *context, cuts=self.cuts)
        levels = zip(TRAIT, own.level[0].tolist(), strict=True)
        return {t: LEVEL[v] if v >= 0 else "unknown" for t, v in levels} | {"description": own[0].description}
