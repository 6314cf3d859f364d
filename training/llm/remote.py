"""OpenAIChat: any server that speaks /v1/chat/completions, through the official client (extra `remote`).

Hosted services, vLLM, Ollama, llama.cpp, `transformers serve`. One try per call: retries, which must be counted and
kept within a budget, are the caller's. The key is read from the environment and never written anywhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, final

from simenv.errors import ConfigError
from simenv.training.llm.chat import BusyError, Message, RefusedError, Reply, tokens_of

Form = Literal["schema", "object", "text"]
FORMS: tuple[Form, ...] = ("schema", "object", "text")
_LATER = (408, 409, 425)
"""Statuses below 500 that ask for another try, 429 apart."""
_HOPELESS = (401, 403, 404)
_CONNECT = 20.0
"""Seconds to reach a server, at most."""


@final
@dataclass(frozen=True, eq=False)
class OpenAIChat:
    """A model on a server."""

    model: str
    """As the server calls it."""
    base_url: str | None = None
    """Such as http://localhost:8000/v1; None: the client's own default."""
    form: Form = "schema"
    """How an answer's structure is asked for: "schema" (response_format json_schema, held to by the server), "object"
    (json_object) or "text" (by words alone), for servers that know less."""
    temperature: float | None = 0.0
    """None: not sent, for models that refuse it."""
    timeout: float = 120.0
    """Seconds for one answer from first to last byte."""
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the limit of an answer; the newest hosted models know only the latter."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable with the key; a server named by base_url may do without."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request, such as {"chat_template_kwargs": {"enable_thinking": false}}."""

    @property
    def name(self) -> str:
        """Model and settings. The address is no part of it: a server may move."""
        told = json.dumps([self.form, self.temperature, dict(self.extra)], sort_keys=True)
        return f"{self.model} {told}"

    def ask(self, messages: Sequence[Message], schema: Mapping[str, Any], *, max_tokens: int) -> Reply:
        """Return the next turn; see `ChatModel.ask`."""
        body = self._post([{"role": m.role, "content": m.text} for m in messages], schema, max_tokens)
        try:
            choice = body["choices"][0]
            text, end = choice["message"].get("content"), choice.get("finish_reason")
            used = body.get("usage") or {}
            prompt, written = used.get("prompt_tokens"), used.get("completion_tokens")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise BusyError("broken", f"the server's answer is no chat completion: {str(body)[:120]}") from error
        text = text if isinstance(text, str) else ""
        if isinstance(prompt, int) and isinstance(written, int):
            return Reply(text, prompt, written, cut_off=end == "length")
        said = sum(tokens_of(m.text) for m in messages)
        return Reply(text, said, tokens_of(text), counted=False, cut_off=end == "length")

    def _post(self, messages: list[dict[str, str]], schema: Mapping[str, Any], max_tokens: int) -> Any:
        """Return the body of the server's answer, parsed."""
        import openai

        optional = {} if self.temperature is None else {"temperature": self.temperature}
        asked: dict[str, Any] = {**self._response_format(schema), **optional, self.limit_field: max_tokens}
        calls = self._client.chat.completions.with_streaming_response
        end = time.monotonic() + self.timeout
        try:
            with calls.create(model=self.model, messages=messages, extra_body=dict(self.extra), **asked) as response:
                parts = []
                for part in response.iter_bytes():
                    parts.append(part)
                    if time.monotonic() > end:
                        raise BusyError("timeout", f"no whole answer within {self.timeout:g} seconds")
            return json.loads(b"".join(parts))
        except openai.APIError as error:
            raise _told(error, self) from error
        except BusyError:
            raise
        except (ValueError, OSError, self._network) as error:
            if "timeout" in type(error).__name__.lower():
                raise BusyError("timeout", f"no whole answer within {self.timeout:g} seconds") from error
            raise BusyError("broken", f"the server's answer broke off or is no JSON ({error})") from error

    @property
    def _network(self) -> type[Exception]:
        """Return the root of the errors of the client's own transport, which streams let through."""
        import httpx2

        return httpx2.HTTPError

    def _response_format(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        if self.form == "text":
            return {}
        if self.form == "object":
            return {"response_format": {"type": "json_object"}}
        named = {"name": "answer", "strict": True, "schema": dict(schema)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}

    @cached_property
    def _client(self) -> Any:
        try:
            import openai
        except ImportError as error:
            raise ConfigError("served models need the openai package: pip install simenv-personas[remote].") from error
        key = os.environ.get(self.key_variable)
        if not key and self.base_url is None:
            raise ConfigError(f"no key: set {self.key_variable}, or name a server of your own by its address.")
        wait = openai.Timeout(self.timeout, connect=min(_CONNECT, self.timeout))
        return openai.OpenAI(api_key=key or "none", base_url=self.base_url, timeout=wait, max_retries=0)


def _told(error: Any, chat: OpenAIChat) -> Exception:
    """Return what the client's error means to us."""
    import openai

    if isinstance(error, openai.APITimeoutError):
        return BusyError("timeout", f"no whole answer within {chat.timeout:g} seconds")
    if isinstance(error, openai.APIConnectionError):
        reached = type(error.__cause__).__name__ != "ConnectError"
        return BusyError("broken" if reached else "unreachable", f"the connection failed ({error.__cause__ or error})")
    if not isinstance(error, openai.APIStatusError):
        return BusyError("broken", f"the answer cannot be read ({error})")
    status, what = error.status_code, f"the server answered {error.status_code}: {_short(error)}"
    if status == 429 and error.code == "insufficient_quota":
        return ConfigError(f"{what}. The account has no quota left.")
    if status == 429 or status >= 500 or status in _LATER:
        return BusyError("429" if status == 429 else "5xx", what, _asked_to_wait(error))
    if status in _HOPELESS:
        return ConfigError(f"{what}. Check the address, the model's name {chat.model!r} and {chat.key_variable}.")
    return RefusedError(
        f"{what}. If it names response_format, take form object or text; if it names max_tokens, the other "
        "limit field; if it names temperature, send none."
    )


def _short(error: Any) -> str:
    return " ".join(str(error.message).split())[:300]


def _asked_to_wait(error: Any) -> float | None:
    try:
        return max(float(error.response.headers["retry-after"]), 0.0)
    except (KeyError, ValueError):
        return None
