"""Told: what a language model wrote of members, as lessons may use it: the stages and reasons that know no target.

Stage n was written from the first rows of a user, so a lesson whose context is those rows and whose targets come later
can show it. Knows no prompts and no weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.memory import Memory
from simenv.agents.profile import Profiles
from simenv.agents.written import Stage


@final
@dataclass(frozen=True, eq=False)
class Told:
    """Written Ms and Ml of users by number."""

    stage: Mapping[int, tuple[Stage, ...]]
    memory: Memory

    @classmethod
    def of(cls, member: NDArray[np.int64], profiles: Profiles, memory: Memory) -> Told | None:
        """Return what was written of members [M]; None: nothing was."""
        if not any(profiles.written):
            return None
        return cls({int(u): own for u, own in zip(member, profiles.written, strict=True) if own}, memory)

    def __contains__(self, user: object) -> bool:
        return user in self.stage

    def stages(self, user: int, known: int) -> tuple[Stage, ...]:
        """Return the stages written from the user's first `known` rows or fewer; (): there is none."""
        return tuple(s for s in self.stage.get(int(user), ()) if s.known <= known)

    def reason(self, user: int, known: int, place: int) -> str:
        """Return what was written of the user's row at `place` before row `known` was read, "" if nothing."""
        stages = self.stages(user, known)
        if not stages or place >= stages[-1].known:
            return ""
        return self.memory.written(int(self.memory.start[user]) + place)
