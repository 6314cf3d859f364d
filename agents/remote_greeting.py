"""First words with a server: what it calls base and adapters, and which dialect it understands.

Knows no users, no options, no answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from simenv.agents.language_model import Prompt
from simenv.agents.remote_client import Client, RemoteSettings, UnansweredError
from simenv.agents.remote_dialect import Asked, Dialect, Options, ladder
from simenv.errors import ConfigError, RemoteError

if TYPE_CHECKING:
    from simenv.agents.packing import SegmentTokenizer

_PROBE = (Prompt(("A rating",), (" of 4. Rating:",)), Prompt(("A rating",), (" of 4, another of 5. Rating:",)))


def names_of(
    listed: Sequence[Mapping[str, Any]], settings: RemoteSettings, adapters: Iterable[str]
) -> tuple[str | None, dict[str, str]]:
    """Return the server's name of the bare base (None: not known) and of each adapter.

    listed: what the server has; an entry with a "parent" is an adapter. Nothing listed: nothing is checked.

    Raises:
        ConfigError: an adapter is not served, or no model can be told to be the base where there are no adapters.

    """
    known = [str(m["id"]) for m in listed]
    names = {name: settings.adapter.format(adapter=name) for name in adapters}
    lacking = [n for n in names.values() if n not in known and ":" not in n]  # SGLang does not list "base:adapter"
    if known and lacking:
        raise ConfigError(
            f"{settings.address} does not serve {', '.join(lacking)}; it serves {', '.join(known)}. Start it with the "
            "population's adapters (docs/serving.md), or give RemoteSettings(adapter=...) if it names them otherwise."
        )
    if settings.base is not None:
        return settings.base, names
    bases = [str(m["id"]) for m in listed if not m.get("parent") and str(m["id"]) not in names.values()]
    base = "base" if "base" in bases else bases[0] if len(bases) == 1 else None
    if base is None and not names:
        raise ConfigError(f"which of the models ({', '.join(known)}) is the base? Give RemoteSettings(base=...).")
    return base, names


def sent(segments: SegmentTokenizer, dialect: Dialect, prompt: Prompt, glue: Sequence[int]) -> tuple[Asked, int]:
    """Return a prompt as it is sent, and how many tokens it has; glue: as `SegmentTokenizer.answer_ids` gives it."""
    ids = segments.prefix_ids(prompt.prefix) + segments.suffix_ids(prompt.suffix, glue)
    if dialect.ids:
        return ids, len(ids)
    chat, decode = segments.chat, segments.tokenizer.decode
    question = segments.ids([chat.tail or prompt.suffix[-1]])
    blank = decode([*question, *glue])[len(decode(question)) :] if glue else ""
    parts = (dialect.opening, chat.head, *prompt.prefix, chat.middle, *prompt.suffix, chat.tail, blank)
    return "".join(parts), len(ids)


def find_dialect(client: Client, segments: SegmentTokenizer, model: str) -> Dialect:
    """Return the best dialect a server understands, preferring those in which it counts our tokens as we do.

    Raises:
        ConfigError: it understands none.
        UnansweredError: it does not answer.

    """
    refused: list[str] = []
    usable: Dialect | None = None
    opening = None if segments.chat.head else getattr(segments.tokenizer, "bos_token", None)
    for dialect in ladder(opening):
        try:
            if _counts_alike(client, segments, dialect, model):
                return dialect
            usable = usable or dialect
        except RemoteError as error:
            if isinstance(error, UnansweredError) and (error.status or 0) < 500:
                raise  # it is away or busy; a server that chokes on a field it does not know answers 500
            refused.append(str(error))
    if usable is None:
        raise ConfigError(
            "the server gives no log-probabilities of the next token by /completions, which is what a population is "
            f"read from; it said: {refused[0]}"
        )
    return usable


def _counts_alike(client: Client, segments: SegmentTokenizer, dialect: Dialect, model: str) -> bool:
    """Ask two short prompts, and return whether the server says that they have as many tokens as we say.

    Raises:
        RemoteError: the answer is none, or lacks what the dialect promises.

    """
    asked, length = zip(*(sent(segments, dialect, p, ()) for p in _PROBE[: 2 if dialect.several else 1]), strict=True)
    options = Options(tuple(sorted(set(segments.suffix_ids(_PROBE[0].suffix, ())))[:2]))
    reply, _ = client.complete(dialect.body(model, asked, options))
    dialect.read(reply, options, len(asked))
    return (reply.get("usage") or {}).get("prompt_tokens") in (None, sum(length))
