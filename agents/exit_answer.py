"""The persona's own answer to "stay or leave" at the end of a page, on the same prefix as its ratings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.forgetting import forget
from simenv.agents.language_model import LanguageModel, Prompt
from simenv.agents.prompt import EXIT_OPTIONS
from simenv.agents.rating_model import Mind
from simenv.session import UserState


@final
@dataclass(frozen=True, eq=False)
class ExitAnswer:
    """A `BaseLogit` of agents/exit.py: log-odds of "leave" against "stay" in the persona's words."""

    mind: Mind
    model: LanguageModel

    @property
    def assumption(self) -> dict[str, str]:
        """The answer was learned from visits in the log."""
        return {"exit.base": "fitted on the visits of the log: the persona's own stay/leave answer"}

    def forget(self) -> None:
        """Let go of what the language model keeps of earlier questions."""
        forget(self.model)

    def logit(self, state: UserState, activity: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return float64[B] for users after a page; `activity` is in the profile already and is not used again."""
        row = self.mind.rows(state.user)
        prompts = [
            Prompt(
                self.mind.prefix(int(r)),
                self.mind.writer.exit_suffix(
                    int(state.page[b]), float(state.utility[b]), float(state.best[b]), float(state.repeat[b])
                ),
            )
            for b, r in enumerate(row)
        ]
        logp = self.model.score(prompts, EXIT_OPTIONS, adapters=[self.mind.adapter[r] for r in row])
        return np.asarray(logp[:, 1] - logp[:, 0], np.float64)
