"""ChatServer: a real HTTP server on this machine that speaks /v1/chat/completions, counts, and misbehaves when told to.

For tests of whatever asks language models. It knows no model: a function says what each request gets.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, final


@final
@dataclass(frozen=True)
class Say:
    """A proper answer."""

    text: str | None
    usage: tuple[int, int] | None = None
    """(prompt, written) tokens; None: one per four characters."""
    finish: str = "stop"
    count: bool = True
    """False: no usage field, as some servers do."""


@final
@dataclass(frozen=True)
class Status:
    """An HTTP error."""

    code: int
    header: Mapping[str, str] = field(default_factory=dict)
    error: str = "the server is unwell"
    error_code: str | None = None


@final
@dataclass(frozen=True)
class Raw:
    """Any body, sent as JSON; `promised`: the length that the header claims, more than is sent: a broken connection."""

    body: bytes
    promised: int | None = None


@final
@dataclass(frozen=True)
class Hang:
    """Nothing for so many seconds, or until the server is closed."""

    seconds: float = 60.0
    headers: bool = False
    """Send the headers first, then drip blanks."""


Answer = Say | Status | Raw | Hang


@final
class ChatServer:
    """Use as a context: `with ChatServer(behave) as server: ... server.url`."""

    def __init__(self, behave: Callable[[dict[str, Any], int], Answer], delay: float = 0.0) -> None:
        """behave: (body of a request, number of requests with this very body before it) -> answer. delay: seconds."""
        self.behave, self.delay = behave, delay
        self.asked: list[dict[str, Any]] = []
        """Bodies of all requests, in the order of arrival."""
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()
        self.over = threading.Event()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True

    @property
    def url(self) -> str:
        """What clients take as base_url."""
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> ChatServer:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self._http.shutdown()
        self._http.server_close()

    def answer(self, body: dict[str, Any]) -> Answer:
        """Count a request and return what it gets."""
        text = json.dumps(body, sort_keys=True)
        with self._lock:
            before = self._seen.get(text, 0)
            self._seen[text] = before + 1
            self.asked.append(body)
        self.over.wait(self.delay)
        return self.behave(body, before)


def _handler(server: ChatServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            said = server.answer(body) if self.path == "/v1/chat/completions" else Status(404)
            try:
                self._send(said, body)
            except OSError:  # the client is gone
                self.close_connection = True

        def _send(self, said: Answer, body: dict[str, Any]) -> None:
            if isinstance(said, Hang):
                self._hang(said)
            elif isinstance(said, Raw):
                self._write(200, said.body, {}, said.promised)
                self.close_connection |= said.promised is not None
            elif isinstance(said, Status):
                error = {"message": said.error, "code": said.error_code}
                self._write(said.code, json.dumps({"error": error}).encode(), said.header)
            else:
                self._write(200, json.dumps(_completion(said, body)).encode(), {})

        def _write(self, code: int, body: bytes, header: Mapping[str, str], promised: int | None = None) -> None:
            self.send_response(code)
            for name, value in {"content-type": "application/json", **header}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(promised or len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _hang(self, said: Hang) -> None:
            self.close_connection = True
            if not said.headers:
                server.over.wait(said.seconds)
                return
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.end_headers()
            for _ in range(int(said.seconds / 0.05)):
                if server.over.wait(0.05):
                    return
                self.wfile.write(b" ")

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing on standard error."""

    return Handler


def _completion(said: Say, body: dict[str, Any]) -> dict[str, Any]:
    prompt = sum(len(m["content"]) for m in body["messages"])
    counts = said.usage or (prompt // 4 + 1, len(said.text or "") // 4 + 1)
    usage = {"prompt_tokens": counts[0], "completion_tokens": counts[1], "total_tokens": sum(counts)}
    message = {"role": "assistant", "content": said.text}
    choice = {"index": 0, "message": message, "finish_reason": said.finish}
    made = {"id": "chat-1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
    return made | ({"usage": usage} if said.count else {})
