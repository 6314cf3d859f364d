"""Budget: how much may be spent, what has been, and what is under way. Money is tokens times the prices given.

A call is let through only if it fits even at its most, together with all that are under way. Knows no model.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import final

from simenv.errors import ConfigError, SimenvError
from simenv.training.llm.ledger import Spent

_PER_BYTE = 1 / 3
"""Prompt tokens per byte taken as the most, until a server counts more."""


class BudgetError(SimenvError, RuntimeError):
    """The next call might exceed what may be spent."""


@final
@dataclass(frozen=True)
class Price:
    """What a server asks per million tokens, in any one currency. Both 0: it is free, or its price is not known."""

    prompt: float = 0.0
    written: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.prompt < float("inf") and 0 <= self.written < float("inf")):
            raise ConfigError(f"prices are 0 or more per million tokens; got {self.prompt} and {self.written}.")

    def of(self, prompt: float, written: float) -> float:
        """Return the cost of so many tokens."""
        return (self.prompt * prompt + self.written * written) / 1e6


@final
@dataclass(frozen=True)
class Limit:
    """What may be spent into one ledger, all runs together. None: no limit."""

    cost: float | None = None
    tokens: int | None = None
    """Of prompts and answers together."""


@final
class Budget:
    """Lets calls through while they fit."""

    def __init__(self, limit: Limit, price: Price, spent: Spent) -> None:
        """Begin with what earlier runs spent; calls of theirs that were never answered count at their most.

        Raises:
            ConfigError: a limit in money without prices.

        """
        if limit.cost is not None and price == Price():
            raise ConfigError(
                "a limit in money needs the server's prices per million tokens; give both, or limit tokens."
            )
        self.limit, self.price = limit, price
        self._prompt, self._written = spent.prompt + spent.open_prompt, spent.written + spent.open_written
        self._per_byte = _PER_BYTE
        self._under_way = 0
        self._free = threading.Condition()

    def most(self, prompt_bytes: int) -> int:
        """Return the most tokens a prompt of so many bytes is taken to have."""
        return int(prompt_bytes * self._per_byte) + 1

    def reserve(self, prompt: int, written: int) -> None:
        """Set tokens aside for a call; where they do not fit, wait for calls under way to end below their most.

        Raises:
            BudgetError: nothing is under way, and they do not fit.

        """
        with self._free:
            while (excess := self._excess(self._prompt + prompt, self._written + written)) and self._under_way:
                self._free.wait()
            if excess:
                raise BudgetError(f"{excess} and run again: nothing that was answered is paid twice.")
            self._prompt, self._written = self._prompt + prompt, self._written + written
            self._under_way += 1

    def _excess(self, prompt: int, written: int) -> str:
        """Return what so many tokens in all exceed, "" if nothing."""
        tokens, cost = prompt + written, self.price.of(prompt, written)
        if self.limit.tokens is not None and tokens > self.limit.tokens:
            return f"the next call might bring the tokens to {tokens:,} of {self.limit.tokens:,}; raise --max-tokens"
        if self.limit.cost is not None and cost > self.limit.cost:
            return f"the next call might bring the cost to {cost:.4f} of {self.limit.cost:g}; raise --max-cost"
        return ""

    def settle(self, reserved: tuple[int, int], used: tuple[int, int], prompt_bytes: int) -> None:
        """Replace what was set aside for a call, (prompt, written), by what it used, or may have used."""
        with self._free:
            self._prompt += used[0] - reserved[0]
            self._written += used[1] - reserved[1]
            if used != reserved:
                self._per_byte = max(self._per_byte, used[0] / max(prompt_bytes, 1))
            self._under_way -= 1
            self._free.notify_all()
