"""What a distillation will ask and cost, before it starts. Answers in the ledger cost nothing; the others are guessed.

The guess of texts not yet written rests on declared lengths, so every number but the calls is assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from simenv.agents.written import Stage
from simenv.training.llm.asker import Asker
from simenv.training.llm.budget import Price
from simenv.training.llm.form import SCHEMA, read
from simenv.training.llm.story import Stories

_DESCRIPTION = 300
"""Words a model is taken to write of the words it may."""
_REASON = 40
"""Tokens of a reason."""
_WORD = 1.4
"""Tokens per English word."""
_BYTES = 4.0
"""Bytes per token of a prompt."""


@final
@dataclass(frozen=True)
class Estimate:
    """Before the start. Tokens are assumed."""

    users: int
    ratings: int
    questions: int
    """Batches of all users."""
    answered: int
    """Of these in the ledger."""
    prompt: int
    """Expected tokens of the prompts that are left."""
    written: int
    """Expected tokens of the answers that are left."""
    most: int
    """Tokens at most, prompts and answers, if nothing has to be asked twice."""

    def cost(self, price: Price) -> float:
        """Return the expected cost, in the currency of the prices."""
        return price.of(self.prompt, self.written)


def estimate(stories: Stories, user: Sequence[int], asker: Asker) -> Estimate:
    """Return what is left to ask about users, following the ledger as far as it goes. Asks nothing."""
    settings, questions, answered, prompt, written, most = stories.settings, 0, 0, 0, 0, 0
    typical = Stage(0, (1, 1, 1), "word " * min(_DESCRIPTION, settings.words))
    longest = Stage(0, (1, 1, 1), "words " * settings.words)
    for u in user:
        before: Stage | None = None
        start, known = 0, True
        for number, end in enumerate(stories.ends(u)):
            questions += 1
            talk = stories.question(u, number, before)
            kept = asker.known(talk, SCHEMA, settings.names) if known else None
            if kept is not None:
                answer = read(kept, end - start, settings.words)
                before = Stage(end, answer.level, answer.description)
                answered += 1
            else:
                size = sum(len(m.text.encode()) for m in talk)
                wide = sum(len(m.text.encode()) for m in stories.question(u, number, longest if number else None))
                prompt += round(size / _BYTES)
                written += round(_REASON * (end - start) + _WORD * min(_DESCRIPTION, settings.words))
                most += asker.budget.most(wide) + settings.max_tokens
                before, known = typical, False
            start = end
    return Estimate(len(user), int(stories.past.count[list(user)].sum()), questions, answered, prompt, written, most)
