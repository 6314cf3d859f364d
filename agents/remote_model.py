"""RemoteModel: a base and its persona adapters on an OpenAI-compatible server, as a LanguageModel.

Each adapter is a model of the server. Prompts reach it as they were taught, token by token where the server allows it;
those of one adapter and one prefix stand together, which is what prefix caches live on. Knows no users and no items.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from simenv.agents.language_model import PartialAnswerError, Prompt
from simenv.agents.remote_client import Client, RemoteSettings, UnansweredError
from simenv.agents.remote_dialect import Dialect, Options, Reading
from simenv.agents.remote_dispatch import Job, Outcome, gather
from simenv.agents.remote_greeting import find_dialect, names_of, sent
from simenv.agents.remote_tally import Tally
from simenv.errors import ConfigError, RemoteError
from simenv.randomness import derive

if TYPE_CHECKING:
    from simenv.agents.packing import SegmentTokenizer

_BLIND = 8
"""Prompts after which a server that never listed an option is taken to name tokens otherwise than we do."""


@final
@dataclass(eq=False)
class RemoteModel:
    """Scores and writes through a server."""

    settings: RemoteSettings
    client: Client
    segments: SegmentTokenizer
    base: str | None
    """The server's name of the bare base; None: not known."""
    names: Mapping[str, str]
    """The server's name of each adapter."""
    dialect: Dialect
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def connect(cls, remote: str | RemoteSettings, tokenizer: Any, adapters: Iterable[str] = ()) -> RemoteModel:
        """Return the model behind an address, after finding out what it serves and how it wants to be asked.

        tokenizer: that of the base, as transformers has it. adapters: names that must be served.

        Raises:
            RemoteError: there is no server, or it fails.
            ConfigError: it does not serve the adapters, or gives no log-probabilities.

        """
        from simenv.agents.packing import ChatForm, SegmentTokenizer  # brings torch

        settings = RemoteSettings(remote) if isinstance(remote, str) else remote
        client = Client(settings)
        base, names = names_of(client.models(), settings, adapters)
        segments = SegmentTokenizer(tokenizer, ChatForm.of(tokenizer))
        name = base or next(iter(names.values()))
        return cls(settings, client, segments, base, names, settings.dialect or find_dialect(client, segments, name))

    @property
    def served(self) -> str:
        """How answers come about, which tells them from those computed in this process; never the address."""
        return f"served ({self.dialect})"

    def score(
        self, prompts: Sequence[Prompt], options: Sequence[str], *, adapters: Sequence[str | None]
    ) -> NDArray[np.float32]:
        """Return float32[N, O] log-probabilities over the full vocabulary; see `LanguageModel.score`.

        Where the server lists only the most likely tokens, options that are not listed share the most they can have
        together (agents/remote_dialect.py). `tally` counts them, and the first one warns.

        Raises:
            PartialAnswerError: some prompts stayed without an answer after all tries; it holds the others' answers.
            ConfigError: an adapter is not served, an option is not one token, or no option is ever listed.

        """
        jobs = self._jobs(prompts, options, adapters)
        found: dict[int, Reading] = {}
        failed: list[str] = []
        # vLLM on a CPU (0.32) gives prompts of the bare base the adapter of its last slot when they share a batch with
        # prompts of adapters (lora/ops/torch_ops: index -1). So they are never under way together.
        for wave in (True, False):
            out = self._gather([job for job in jobs if (job.model == self.base) is wave])
            found |= out.found
            failed += out.failed
            if failed and not found:
                break  # nobody is there
        rows = {place: reading.logp for place, reading in found.items()}
        if failed:
            raise PartialAnswerError(_words(len(rows), len(jobs), failed), rows)
        self._check_sight(found, options)
        return np.array([rows[n] for n in range(len(jobs))], np.float32).reshape(len(jobs), len(options))

    def write(
        self,
        prompts: Sequence[Prompt],
        *,
        adapters: Sequence[str | None],
        max_tokens: int,
        seed: int,
        greedy: bool = False,
        options: Sequence[str] = (),
    ) -> list[str]:
        """Return continuations, sampled or greedy; a prompt's luck hangs on the seed and on itself alone.

        options: begin where `score` reads these, as in `LocalModel.write`. Whether a seed gives the same text twice is
        up to the server.

        Raises:
            RemoteError: a prompt stayed without an answer.

        """
        self._check(prompts, adapters)
        bodies = []
        for prompt, adapter in zip(prompts, adapters, strict=True):
            glue = self.segments.answer_ids(prompt.suffix[-1], options)[0] if options else []
            asked = sent(self.segments, self.dialect, prompt, glue)[0]
            luck = {"temperature": 0} if greedy else {"temperature": 1, "seed": derive(seed, prompt.text) % 2**31}
            bodies.append({"model": self._name(adapter), "prompt": asked, "max_tokens": max_tokens} | luck)
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            return [_text(reply) for reply, _ in pool.map(self.client.complete, bodies)]

    def _jobs(self, prompts: Sequence[Prompt], options: Sequence[str], adapters: Sequence[str | None]) -> list[Job]:
        self._check(prompts, adapters)
        place: dict[str, tuple[list[int], Options]] = {}
        jobs = []
        for n, (prompt, adapter) in enumerate(zip(prompts, adapters, strict=True)):
            question = prompt.suffix[-1]
            if question not in place:
                glue, ids = self.segments.answer_ids(question, options)
                place[question] = glue, Options.of(self.segments.tokenizer, ids)
            glue, wanted = place[question]
            asked, length = sent(self.segments, self.dialect, prompt, glue)
            jobs.append(Job(n, self._name(adapter), wanted, prompt.prefix, asked, length))
        return jobs

    def _gather(self, jobs: Sequence[Job]) -> Outcome:
        how = self.settings
        batch = how.batch if self.dialect.several else 1
        out = gather(jobs, self._ask, batch=batch, concurrency=how.concurrency, rounds=how.rounds)
        self.tally.fail(out.again)
        return out

    def _check(self, prompts: Sequence[Prompt], adapters: Sequence[str | None]) -> None:
        if len(adapters) != len(prompts):
            raise ConfigError(f"{len(prompts)} prompts need as many adapters; got {len(adapters)}.")

    def _name(self, adapter: str | None) -> str:
        if adapter is None:
            if self.base is None:
                raise ConfigError("the server's name of the bare base is not known; give RemoteSettings(base=...).")
            return self.base
        if adapter not in self.names:
            raise ConfigError(f"unknown adapter {adapter!r}; served are {list(self.names) or 'none'}.")
        return self.names[adapter]

    def _ask(self, part: Sequence[Job]) -> list[Reading]:
        """Put jobs of one model to the server in one request."""
        options, tries = part[0].options, 0
        try:
            reply, tries = self.client.complete(self.dialect.body(part[0].model, [job.asked for job in part], options))
            readings = self.dialect.read(reply, options, len(part))
        except RemoteError as error:
            self.tally.fail(error.tries if isinstance(error, UnansweredError) else tries)
            raise
        self.tally.add(readings, reply.get("usage"), sum(job.length for job in part), tries)
        return readings

    def _check_sight(self, found: Mapping[int, Reading], options: Sequence[str]) -> None:
        """Warn of the first options that had to be bounded; refuse a server that never lists one."""
        if self.tally.blind == self.tally.prompts >= _BLIND:
            raise ConfigError(
                f"none of {list(options)} was ever among the {self.dialect.top} tokens the server lists "
                f"({found[0].first} came first): it names tokens in another way than the tokenizer, or serves other "
                "weights. A server that takes logprob_token_ids (vLLM) is asked by number instead."
            )
        here = sum(reading.missing for reading in found.values())
        if here and here == self.tally.options:
            warnings.warn(
                f"the server lists only its {self.dialect.top} most likely tokens; options that are not among them get "
                "the most they can have, so off-scale mass is understated a little. RemoteModel.tally counts them.",
                stacklevel=3,
            )


def _text(reply: Any) -> str:
    try:
        return str(reply["choices"][0]["text"])
    except (KeyError, IndexError, TypeError) as error:
        raise RemoteError("the server's answer holds no text.") from error


def _words(answered: int, asked: int, failed: Sequence[str]) -> str:
    return (
        f"the server answered {answered:,} of {asked:,} prompts; {asked - answered:,} stayed without an answer after "
        f"all tries ({failed[0].rstrip('.')}). What was answered is kept where there is a cache (`cache=`, --cache): "
        "run the same again to go on."
    )
