"""ChatModel: the door to instruct models that write. Messages and a JSON schema go in, text and token counts come out.

Knows nothing of users or items. An implementation says by its errors whether it is worth asking again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, final

from simenv.errors import SimenvError

Trouble = Literal["429", "5xx", "timeout", "broken", "unreachable"]
UNKNOWN_COST: tuple[Trouble, ...] = ("timeout", "broken")
"""Troubles after which nobody but the server knows whether the call was charged."""


class BusyError(SimenvError, OSError):
    """No answer this time; the same question may be answered later."""

    def __init__(self, kind: Trouble, what: str, wait: float | None = None) -> None:
        """Kind of trouble, what happened in words, and the seconds the server asks to wait (None: it does not say)."""
        super().__init__(what)
        self.kind, self.wait = kind, wait


class RefusedError(SimenvError, ValueError):
    """The question will never be answered as it is, for instance because it is too long for the model."""


@final
@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@final
@dataclass(frozen=True)
class Reply:
    """What a model wrote."""

    text: str
    prompt_tokens: int
    written_tokens: int
    counted: bool = True
    """False: the server said no numbers, and these are estimated from the texts."""
    cut_off: bool = False
    """The limit of tokens was reached before the end."""


class ChatModel(Protocol):
    """Writes the next turn of a conversation. May be called from several threads."""

    @property
    def name(self) -> str:
        """Return what answers are kept under: the model, and all of its settings that change what it writes."""
        ...

    def ask(self, messages: Sequence[Message], schema: Mapping[str, Any], *, max_tokens: int) -> Reply:
        """Return the next turn, meant to be one JSON object of the schema; whether it is, the caller checks.

        Raises:
            BusyError: ask again later.
            RefusedError: never ask this again.
            ConfigError: no question will be answered: wrong key, no such model.

        """
        ...


def tokens_of(text: str) -> int:
    """Return a rough number of tokens: one per four bytes."""
    return -(-len(text.encode()) // 4)
