"""What a remote model counts: prompts, requests, tokens, tries, and every option that had to be bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, final

from simenv.agents.remote_dialect import Reading

_TURN = Lock()
"""Threads take turns at counting; here and not in a Tally, which is copied into other processes."""


@final
@dataclass
class Tally:
    """Counts since the model was connected."""

    prompts: int = 0
    """Prompts answered."""
    requests: int = 0
    """Requests that were answered."""
    retried: int = 0
    """Requests tried again by the client, and prompts asked again by us."""
    tokens: int = 0
    """Prompt tokens, as the server counts them."""
    cached: int = 0
    """Of these, found in the server's prefix cache; 0 where it does not say."""
    bounded: int = 0
    """Prompts with an option that was not among the most likely tokens."""
    options: int = 0
    """Such options in all."""
    blind: int = 0
    """Prompts with no option at all among the most likely tokens."""
    largest: float = 0.0
    """The most probability such options were given in one prompt: at most so much is off-scale mass understated."""
    other_tokens: int = 0
    """Prompts in text which the server cut into another number of tokens than training did."""

    def add(self, readings: Sequence[Reading], usage: Any, length: int, tries: int) -> None:
        """Count the readings of one request. length: its prompt tokens as we count them; usage: as the server does."""
        told = usage if isinstance(usage, dict) else {}
        tokens = told.get("prompt_tokens") or length
        cached = (told.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        with _TURN:
            self.prompts += len(readings)
            self.requests += 1
            self.retried += tries
            self.tokens += tokens
            self.cached += cached
            self.other_tokens += len(readings) * (tokens != length)
            for reading in readings:
                self.options += reading.missing
                self.bounded += reading.missing > 0
                self.blind += reading.missing == len(reading.logp)
                self.largest = max(self.largest, reading.bound)

    def fail(self, tries: int) -> None:
        """Count what was tried again in vain, or is asked again."""
        with _TURN:
            self.retried += tries

    def __str__(self) -> str:
        """All of it in words."""
        words = f"The server answered {self.prompts:,} prompts ({self.tokens:,} tokens"
        words += f", {self.cached / self.tokens:.0%} of them from its prefix cache)" if self.cached else ")"
        words += f" in {self.requests:,} requests, after {self.retried:,} failed tries."
        if self.options:
            words += (
                f" {self.options:,} options of {self.bounded:,} prompts were not among the most likely tokens it lists "
                f"({self.blind:,} prompts had none there). They were given the most they can have; off-scale mass is "
                f"understated by at most {self.largest:.2g} in a prompt."
            )
        if self.other_tokens:
            words += f" {self.other_tokens:,} prompts were cut into other tokens than in training."
        return words
