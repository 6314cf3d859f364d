"""Asker: one question until there is a usable answer: from the ledger, or paid for, within patience and budget.

What was accepted is kept before it is returned. What cannot be had is an error with its count, never a default.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, final

from simenv.errors import ConfigError, SimenvError, StoreError
from simenv.randomness import generator
from simenv.training.llm.budget import Budget
from simenv.training.llm.chat import UNKNOWN_COST, BusyError, ChatModel, Message, RefusedError, Reply
from simenv.training.llm.form import MalformedError
from simenv.training.llm.ledger import Ledger
from simenv.training.llm.wording import again

T = TypeVar("T")
_OVERHEAD = 16
"""Bytes a chat template may add per message, for the estimate of a prompt's tokens."""


class UndoneError(SimenvError, RuntimeError):
    """One question has no usable answer; others may."""


class StoppedError(SimenvError, RuntimeError):
    """Nothing more is asked: the work was stopped, by its budget, its server or its user."""


@final
@dataclass(frozen=True)
class Patience:
    """How long a question is tried."""

    retries: int = 6
    """Further tries after 429, 5xx, time-outs and broken connections."""
    wait: float = 1.0
    """Seconds before the first further try; doubled each time, times a random factor in 0.5..1.5."""
    longest: float = 60.0
    """Seconds between two tries, at most, unless the server asks for more by Retry-After."""
    repairs: int = 2
    """Times a malformed answer is asked for again, with what was wrong."""
    give_up: int = 8
    """Questions in a row without an answer after which the server is taken for dead."""
    seed: int = 0
    """Of the random factor."""

    def __post_init__(self) -> None:
        if min(self.retries, self.repairs) < 0 or self.give_up < 1 or min(self.wait, self.longest) < 0:
            raise ConfigError(f"patience counts from 0 (give_up from 1) and waits 0 seconds or more; got {self}.")


@final
@dataclass(eq=False)
class Asker:
    """Asks one model on behalf of many threads."""

    model: ChatModel
    ledger: Ledger
    budget: Budget
    patience: Patience = field(default_factory=Patience)
    count: Counter[str] = field(default_factory=Counter)
    """What happened in this run: "accepted", "from the ledger", "malformed", "429", "5xx", "timeout", "broken",
    "unreachable", "refused", and "undone" questions."""
    stop: threading.Event = field(default_factory=threading.Event)
    """Set: nothing more is asked."""
    why: str = "the work was stopped."
    """What `StoppedError` says."""
    _failed: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def key(self, messages: Sequence[Message], schema: Mapping[str, Any], rule: str = "") -> str:
        """Return what a question's answer is kept under: a hash of model, conversation, schema and rule."""
        told = [self.model.name, [(m.role, m.text) for m in messages], dict(schema), rule]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def known(self, messages: Sequence[Message], schema: Mapping[str, Any], rule: str = "") -> str | None:
        """Return the answer the ledger holds; None: it would have to be asked."""
        return self.ledger.answer(self.key(messages, schema, rule))

    def ask(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any],
        check: Callable[[str], T],
        *,
        max_tokens: int,
        rule: str = "",
    ) -> T:
        """Return what `check` makes of the answer. check raises MalformedError where it cannot be used.

        rule: names what the check demands beyond the schema; answers under other rules are other answers.

        Raises:
            UndoneError: no usable answer was had.
            StoppedError: nothing more is asked.
            BudgetError: the call does not fit the budget.
            ConfigError: no question will be answered.

        """
        key = self.key(messages, schema, rule)
        kept = self.ledger.answer(key)
        if kept is not None:
            self._tell("from the ledger")
            return _checked(kept, check, self.ledger)
        talk, wrong = list(messages), ""
        for _ in range(1 + self.patience.repairs):
            call, reply = self._answered(key, talk, schema, max_tokens)
            try:
                if reply.cut_off:
                    raise MalformedError(f"it broke off at the limit of {max_tokens} tokens; be shorter.")
                made = check(reply.text)
            except MalformedError as error:
                wrong = str(error)
                self.ledger.fail(call, "malformed", reply)
                self._tell("malformed")
                talk += [Message("assistant", reply.text), again(wrong)]
                continue
            self.ledger.accept(call, key, self.model.name, reply)
            self._tell("accepted", failed=False)
            return made
        raise self._undone(f"{1 + self.patience.repairs} malformed answers, the last: {wrong}", server=False)

    def _answered(
        self, key: str, talk: Sequence[Message], schema: Mapping[str, Any], max_tokens: int
    ) -> tuple[int, Reply]:
        """Return the number of the call that was answered, and its reply."""
        size = sum(len(m.text.encode()) + _OVERHEAD for m in talk)
        last = "nothing was tried"
        for attempt in range(1 + self.patience.retries):
            if self.stop.is_set():
                raise StoppedError(self.why)
            most = self.budget.most(size), max_tokens
            self.budget.reserve(*most)
            call = self.ledger.begin(key, *most)
            try:
                reply = _sound(self.model.ask(talk, schema, max_tokens=max_tokens))
            except BusyError as error:
                self.ledger.fail(call, error.kind)
                self._tell(error.kind)
                self.budget.settle(most, most if error.kind in UNKNOWN_COST else (0, 0), size)
                last = str(error)
                if attempt < self.patience.retries:
                    self.stop.wait(self._delay(key, attempt, error.wait))
                continue
            except (RefusedError, ConfigError) as error:
                self.ledger.fail(call, "refused")
                self._tell("refused")
                self.budget.settle(most, (0, 0), size)
                if isinstance(error, ConfigError):
                    raise
                raise self._undone(str(error)) from error
            self.budget.settle(most, (reply.prompt_tokens, reply.written_tokens), size)
            return call, reply
        raise self._undone(f"no answer in {1 + self.patience.retries} tries, the last: {last}")

    def _delay(self, key: str, attempt: int, asked: float | None) -> float:
        """Return seconds to wait: doubled each time, with jitter, and never less than the server asks for."""
        factor = generator(self.patience.seed, "back-off", key, attempt).uniform(0.5, 1.5)
        own = min(self.patience.wait * 2.0**attempt * factor, self.patience.longest)
        return float(max(own, asked or 0.0))

    def _undone(self, what: str, *, server: bool = True) -> SimenvError:
        """Count a question without an answer; return the error, which ends all where too many follow each other."""
        self._tell("undone", failed=True if server else None)
        if self._failed < self.patience.give_up:
            return UndoneError(what)
        self.why = f"{self._failed} questions in a row had no answer; the last: {what}"
        self.stop.set()
        return StoppedError(self.why)

    def _tell(self, what: str, failed: bool | None = None) -> None:
        with self._lock:
            self.count[what] += 1
            if failed is not None:
                self._failed = self._failed + 1 if failed else 0


def _sound(reply: Reply) -> Reply:
    """Return the reply with what is no Unicode text (lone surrogates) replaced, so that it can be kept."""
    return replace(reply, text=reply.text.encode("utf-8", "replace").decode())


def _checked(text: str, check: Callable[[str], T], ledger: Ledger) -> T:
    try:
        return check(text)
    except MalformedError as error:
        raise StoreError(
            f"{ledger.path} holds an answer that its own rules refuse ({error}); it was changed, or comes from another "
            "version. Distil into a new folder."
        ) from error
