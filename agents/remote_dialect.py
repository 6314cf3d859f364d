"""What a server understands of /v1/completions: how a prompt is put to it, and how its answer is read.

Two ways to the probability of an option: asked for by token id (exact), or looked up among the n most likely tokens.
Options that are not among these share the most they can have together: each no more than the n-th token, all no more
than what the n leave over. The reading says how much that is. Knows no network.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.errors import RemoteError

Asked = list[int] | str
"""A prompt as a server gets it: token ids, or text."""
_ROUNDING = 1e-3
"""How far above 1 a sum of probabilities may lie that was computed in half precision."""
_LEAST = 1e-30


@final
@dataclass(frozen=True)
class Options:
    """The tokens whose probabilities are wanted."""

    ids: tuple[int, ...]
    names: tuple[frozenset[str], ...] = ()
    """What each is called by servers that name tokens by text; (): ask no such server."""

    @classmethod
    def of(cls, tokenizer: Any, ids: Sequence[int]) -> Options:
        """Return the options with all names of theirs that no other token shares."""
        pieces = tokenizer.convert_ids_to_tokens(list(ids))
        return cls(tuple(ids), tuple(frozenset(_names(tokenizer, *both)) for both in zip(ids, pieces, strict=True)))


def _names(tokenizer: Any, number: int, piece: str) -> Iterable[str]:
    """Yield the raw piece, the piece with a plain blank and, unless it hides that blank, the token as text."""
    readable = piece.replace("▁", " ").replace("Ġ", " ")
    yield piece
    yield readable
    text = tokenizer.decode([number])
    if text.startswith(" ") == readable.startswith(" "):
        yield text


@final
@dataclass(frozen=True, eq=False)
class Reading:
    """What a server said to one prompt about O options."""

    logp: NDArray[np.float32]
    """float32[O]: log-probability over the full vocabulary; options that were not listed share `bound` equally."""
    missing: int
    """Options that were not listed."""
    bound: float
    """The most that these can have together, and have in `logp`: off-scale mass is understated by at most so much."""
    first: str
    """The most likely token, for messages."""


@final
@dataclass(frozen=True)
class Dialect:
    """How to ask a server."""

    ids: bool = True
    """Prompts as token ids, so that nothing is tokenised anew; False: as text."""
    exact: bool = True
    """Options asked for by id (`logprob_token_ids` of vLLM); False: looked up among the most likely tokens."""
    several: bool = True
    """More than one prompt in a request."""
    top: int = 20
    """How many of the most likely tokens are asked for, where options cannot be."""
    opening: str = ""
    """Put before a prompt in text, for servers that add no beginning-of-sequence token of their own."""

    def __str__(self) -> str:
        """Return what tells answers of one dialect from those of another."""
        form = "token ids" if self.ids else "text"
        return f"{form}, {'exact' if self.exact else f'the {self.top} most likely tokens'}"

    def body(self, model: str, prompts: Sequence[Asked], options: Options) -> dict[str, Any]:
        """Return the request: one greedy token after each prompt, with log-probabilities."""
        asked: Any = list(prompts) if self.several else prompts[0]
        body = {"model": model, "prompt": asked, "max_tokens": 1, "temperature": 0, "return_tokens_as_token_ids": True}
        if self.exact:
            return body | {"logprobs": 1, "logprob_token_ids": list(options.ids)}
        return body | {"logprobs": self.top}

    def read(self, reply: Any, options: Options, n: int) -> list[Reading]:
        """Return what a reply says to each of its `n` prompts.

        Raises:
            RemoteError: the reply has another form, or lacks what was asked for.

        """
        choices = _choices(reply, n)
        return [_reading(_listed(choice), options, self.exact) for choice in choices]


def ladder(opening: str | None) -> list[Dialect]:
    """Return the dialects to try, the best first. opening: text of the token that begins a sequence; None: no such."""
    by_id = [Dialect(), *(Dialect(exact=False, several=s, top=n) for s in (True, False) for n in (20, 5))]
    starts = ("", opening) if opening else ("",)
    return by_id + [Dialect(False, False, s, n, o) for s in (True, False) for n in (20, 5) for o in starts]


def _choices(reply: Any, n: int) -> list[Any]:
    found = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(found, list) or len(found) != n or not all(isinstance(c, dict) for c in found):
        raise RemoteError(f"the server answered {n} prompts in another form than the completions API: {reply!r:.200}")
    order = sorted(found, key=lambda c: int(c.get("index", 0)))
    if [int(c.get("index", 0)) for c in order] != list(range(n)):
        raise RemoteError(f"the server's answers to {n} prompts are not numbered 0..{n - 1}.")
    return order


def _listed(choice: Mapping[str, Any]) -> dict[str | int, float]:
    """Return log-probabilities by token (its id where the server says it), the most likely first."""
    try:
        said = choice["logprobs"]
        if said.get("content"):  # as llama.cpp and chat endpoints have it
            pairs = [
                (entry.get("id", entry["token"]), entry["logprob"]) for entry in said["content"][0]["top_logprobs"]
            ]
        else:
            pairs = list(said["top_logprobs"][0].items())
        listed: dict[str | int, float] = {}
        for name, value in pairs:  # tokens may read alike (pieces of a byte): the likeliest is meant
            listed[_token(name)] = max(float(value), listed.get(_token(name), -math.inf))
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise RemoteError("the server gave no log-probabilities of the next token (`logprobs`).") from error
    total = sum(math.exp(min(v, 1.0)) for v in listed.values())
    if not listed or not all(math.isfinite(v) for v in listed.values()) or total > 1 + _ROUNDING:
        raise RemoteError(f"the server's log-probabilities are none: {dict(list(listed.items())[:3])}.")
    return dict(sorted(listed.items(), key=lambda item: -item[1]))


def _token(name: str | int) -> str | int:
    return int(name[9:]) if isinstance(name, str) and name.startswith("token_id:") else name


def _reading(listed: Mapping[str | int, float], options: Options, exact: bool) -> Reading:
    found = [_find(listed, number, place, options) for place, number in enumerate(options.ids)]
    missing = sum(value is None for value in found)
    if missing and exact:
        raise RemoteError(f"the server left out {missing} of {len(found)} options that were asked for by token id.")
    rest = max(1 - sum(math.exp(v) for v in listed.values()), 0.0)
    each = min(math.exp(min(listed.values())), rest / max(missing, 1))
    bound = math.log(max(each, _LEAST))
    logp = np.array([bound if value is None else value for value in found], np.float32)
    return Reading(logp, missing, missing * each, repr(next(iter(listed))))


def _find(listed: Mapping[str | int, float], number: int, place: int, options: Options) -> float | None:
    if number in listed:
        return listed[number]
    names = options.names[place] if options.names else frozenset()
    return next((listed[name] for name in names if name in listed), None)
