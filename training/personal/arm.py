"""The arms: how a language model is asked for a label, and what it is told of the person.

Source of the first six: "Personalized Large Language Models" (Wozniak et al. 2024, arXiv 2402.09269). Names only; how
each is carried out stands in the other modules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

from simenv.errors import ConfigError

How = Literal["ask", "generate", "head"]
"""ask: a prompt to the base as it is. generate: the base is tuned to write the label. head: a classification head on
the base, both tuned."""
Person = Literal["nobody", "examples", "text", "vector"]
"""nobody: the text alone. examples: some of the person's own labels stand in the prompt. text: the person's id stands
in the prompt. vector: a learned embedding of the person stands there as one token."""


@final
@dataclass(frozen=True)
class Arm:
    """One configuration."""

    name: str
    how: How
    person: Person
    twin: str | None
    """Name of the arm that differs only in knowing nobody; None: this is one of those."""

    @property
    def tuned(self) -> bool:
        """Whether weights change."""
        return self.how != "ask"


ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("Q-0S", "ask", "nobody", None),
        Arm("Q-nS", "ask", "examples", "Q-0S"),
        Arm("LM", "generate", "nobody", None),
        Arm("LM-P", "generate", "text", "LM"),
        Arm("LM-V", "generate", "vector", "LM"),
        Arm("CLS", "head", "nobody", None),
        Arm("CLS-P", "head", "text", "CLS"),
        Arm("CLS-V", "head", "vector", "CLS"),
    )
}
"""By name. -P: the id as text; -V: a learned vector, which the paper does not have."""


def arms(names: Sequence[str]) -> tuple[Arm, ...]:
    """Return the arms of these names, in the order of `ARMS`.

    Raises:
        ConfigError: there is no such arm.

    """
    odd = [name for name in names if name not in ARMS]
    if odd or not names:
        raise ConfigError(f"arms are {', '.join(ARMS)}; got {', '.join(odd) or 'none'}.")
    return tuple(arm for name, arm in ARMS.items() if name in names)
