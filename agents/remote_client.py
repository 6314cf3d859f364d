"""The wire to an OpenAI-compatible server: one request and its reply, tried again where that may help.

The official client does the work; it is imported when first needed. Knows no prompts, options or adapters.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any, final
from urllib.parse import urlsplit

from simenv.agents.remote_dialect import Dialect
from simenv.errors import ConfigError, RemoteError

KEY = "SIMENV_REMOTE_KEY"
"""Environment variable with the key of the server. Not OPENAI_API_KEY, which is nobody else's business."""


class RefusedError(RemoteError):
    """A server understood a request and refused it: the same again would be refused again."""


class UnansweredError(RemoteError):
    """No answer after all tries of the client: it has waited already, and to ask at once again helps little."""

    def __init__(self, words: str, status: int | None = None, tries: int = 0) -> None:
        """Take the message, the HTTP status (None: nothing came back), and how often the client tried again."""
        super().__init__(words)
        self.status, self.tries = status, tries


@final
@dataclass(frozen=True)
class RemoteSettings:
    """Where a population is served, and how it is asked."""

    url: str
    """Such as http://localhost:8000/v1; without a path, /v1 is put behind it."""
    base: str | None = None
    """The server's name of the bare base; None: "base", or the one model there that is no adapter."""
    adapter: str = "{adapter}"
    """The server's name of an adapter; SGLang wants "base:{adapter}"."""
    concurrency: int = 8
    """Requests under way at a time."""
    batch: int = 16
    """Prompts of one request, at most, where the server takes several."""
    timeout: float = 60.0
    """Seconds until a request counts as failed."""
    retries: int = 3
    """How often the client tries a request again (429, 5xx, time-out, no connection), waiting ever longer."""
    rounds: int = 3
    """How often what is still unanswered is asked again, prompt by prompt."""
    dialect: Dialect | None = None
    """What the server understands; None: found out."""

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).netloc:
            raise ConfigError(f"a server's address is like http://localhost:8000/v1; got {self.url!r}.")
        for name in ("concurrency", "batch", "rounds"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1; got {getattr(self, name)}.")
        if self.timeout <= 0 or self.retries < 0:
            raise ConfigError(f"timeout must be above 0 and retries at least 0; got {self.timeout}, {self.retries}.")
        if "{adapter}" not in self.adapter:
            raise ConfigError(f"the server's name of an adapter must contain {{adapter}}; got {self.adapter!r}.")

    @property
    def address(self) -> str:
        """The url with a path."""
        return self.url if urlsplit(self.url).path.strip("/") else self.url.rstrip("/") + "/v1"


@final
class Client:
    """Asks one server, no more than so many requests at a time; each process has a line of its own to it."""

    def __init__(self, settings: RemoteSettings) -> None:
        """Take the settings; nothing is asked yet.

        Raises:
            ConfigError: the openai package is not installed.

        """
        self.settings = settings
        self._lines: dict[int, tuple[Any, BoundedSemaphore]] = {}
        self._line()

    def __reduce__(self) -> tuple[type[Client], tuple[RemoteSettings]]:
        """Travel as settings alone."""
        return Client, (self.settings,)

    def _line(self) -> tuple[Any, BoundedSemaphore]:
        """Return this process's client of openai, and what bounds its requests."""
        process = os.getpid()
        if process not in self._lines:
            self._lines[process] = _openai(self.settings), BoundedSemaphore(self.settings.concurrency)
        return self._lines[process]

    def models(self) -> list[dict[str, Any]]:
        """Return what the server lists as its models; nothing where it has no list. Raises RemoteError."""
        try:
            reply, _ = self._ask(self._line()[0].models.with_raw_response.list)
        except RefusedError:
            return []
        listed = reply.get("data") if isinstance(reply, dict) else None
        return [m for m in listed if isinstance(m, dict) and "id" in m] if isinstance(listed, list) else []

    def complete(self, body: dict[str, Any]) -> tuple[Any, int]:
        """Return the reply of /completions, and how often it was tried again. A reply that is no JSON comes as text.

        Raises:
            RefusedError: the server refused it (a 4xx that waiting does not heal).
            UnansweredError: no answer, after all tries.

        """
        known = {name: body[name] for name in ("model", "prompt") if name in body}
        extra = {name: value for name, value in body.items() if name not in known}
        client, gate = self._line()
        with gate:
            return self._ask(client.completions.with_raw_response.create, **known, extra_body=extra)

    def _ask(self, request: Callable[..., Any], **what: Any) -> tuple[Any, int]:
        import openai

        tries = self.settings.retries
        try:
            raw = request(**what)
        except openai.APIStatusError as error:
            words = f"the server answered {error.status_code}: {_short(error.response.text)}"
            if error.status_code in (408, 409, 429) or error.status_code >= 500:
                raise UnansweredError(words, error.status_code, tries) from error
            raise RefusedError(words) from error
        except openai.APITimeoutError as error:
            words = f"the server did not answer within {self.settings.timeout:g} s."
            raise UnansweredError(words, tries=tries) from error
        except openai.APIConnectionError as error:
            words = f"no connection to {self.settings.address} ({error.__cause__ or error})."
            raise UnansweredError(words, tries=tries) from error
        text = raw.http_response.text
        try:
            return json.loads(text), int(raw.retries_taken)
        except ValueError:
            return text, int(raw.retries_taken)


def _openai(settings: RemoteSettings) -> Any:
    try:
        from openai import OpenAI
    except ImportError as error:
        raise ConfigError("asking a server needs the openai package: pip install 'simenv-personas[remote]'.") from error
    return OpenAI(
        base_url=settings.address,
        api_key=os.environ.get(KEY) or "none",
        timeout=settings.timeout,
        max_retries=settings.retries,
    )


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 300 else flat[:300] + " ..."
