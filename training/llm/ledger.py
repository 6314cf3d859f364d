"""Ledger: every answer that was accepted and every call that was made, in one SQLite file, written at once.

An answer is on disk before anything is built on it, so that work killed at any point pays for no accepted answer twice.
A call is entered before it is sent; one without an end was under way when the work was stopped. Knows no prompts.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import final

from simenv.errors import StoreError
from simenv.training.llm.chat import UNKNOWN_COST, Reply

_ID = 0x53494D56
"""Marks the file as ours."""
_TABLES = """
CREATE TABLE answer (key TEXT PRIMARY KEY, model TEXT NOT NULL, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE call (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL, begun REAL NOT NULL, most_prompt INTEGER NOT NULL,
    most_written INTEGER NOT NULL, outcome TEXT, prompt INTEGER, written INTEGER, counted INTEGER, said TEXT
);
"""


@final
@dataclass(frozen=True)
class Spent:
    """What the calls of a ledger used."""

    calls: int = 0
    prompt: int = 0
    """Tokens of prompts, of all calls that were answered."""
    written: int = 0
    """Tokens written."""
    estimated: int = 0
    """Calls among them whose tokens the server did not count, and which are estimated."""
    open_calls: int = 0
    """Calls whose answer never came: time-outs, broken connections, work that was killed. Whether they were charged is
    the server's to say; their tokens are not in `prompt` and `written`."""
    open_prompt: int = 0
    """What these can have cost at most, in tokens."""
    open_written: int = 0


@final
class Ledger:
    """One file; one process at a time, any number of threads."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            StoreError: it is something else, or another process works in it.

        """
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=1)
            self._open()
        except sqlite3.OperationalError as error:
            raise StoreError(f"{path} is in use by another distillation, or cannot be written ({error}).") from error
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{path} holds no answers of simenv ({error}); choose another folder.") from error

    def _open(self) -> None:
        self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = FULL")
        self._base.execute("BEGIN EXCLUSIVE")
        found = int(self._base.execute("PRAGMA application_id").fetchone()[0])
        tables = int(self._base.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
        if found != _ID and tables:
            raise StoreError(f"{self.path} holds no answers of simenv; choose another folder.")
        if not tables:
            for statement in _TABLES.split(";"):
                self._base.execute(statement)
            self._base.execute(f"PRAGMA application_id = {_ID}")
        self._base.execute("COMMIT")

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def answer(self, key: str) -> str | None:
        """Return the accepted answer to a question; None: there is none yet."""
        with self._lock:
            row = self._base.execute("SELECT text FROM answer WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def begin(self, key: str, most_prompt: int, most_written: int) -> int:
        """Enter a call that is about to be sent, with the tokens it can cost at most, and return its number."""
        row = (key, time.time(), most_prompt, most_written)
        with self._lock:
            made = self._base.execute(
                "INSERT INTO call (key, begun, most_prompt, most_written) VALUES (?, ?, ?, ?)", row
            )
        return int(made.lastrowid or 0)

    def fail(self, call: int, outcome: str, reply: Reply | None = None) -> None:
        """Enter how a call ended that brought no answer we can use. reply: what came, if anything did."""
        with self._lock:
            self._end(call, outcome, reply)

    def accept(self, call: int, key: str, model: str, reply: Reply) -> None:
        """Keep an answer, and enter the call as paid, in one step."""
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.execute("INSERT OR REPLACE INTO answer VALUES (?, ?, ?)", (key, model, reply.text))
            self._end(call, "accepted", reply)
            self._base.execute("COMMIT")

    def _end(self, call: int, outcome: str, reply: Reply | None) -> None:
        said = (outcome, None, None, None, None)
        if reply is not None:
            said = (outcome, reply.prompt_tokens, reply.written_tokens, int(reply.counted), reply.text)  # type: ignore[assignment]
        self._base.execute(
            "UPDATE call SET outcome = ?, prompt = ?, written = ?, counted = ?, said = ? WHERE number = ?",
            (*said, call),
        )

    @property
    def spent(self) -> Spent:
        """What all calls of this file used, those of earlier runs included."""
        answered = (
            "SELECT count(*), total(prompt), total(written), total(counted = 0) FROM call WHERE prompt IS NOT NULL"
        )
        marks = ", ".join("?" * len(UNKNOWN_COST))
        unknown = (
            "SELECT count(*), total(most_prompt), total(most_written) FROM call "
            f"WHERE outcome IS NULL OR outcome IN ({marks})"
        )
        with self._lock:
            total = self._base.execute("SELECT count(*) FROM call").fetchone()[0]
            _, prompt, written, estimated = self._base.execute(answered).fetchone()
            lost = self._base.execute(unknown, UNKNOWN_COST).fetchone()
        return Spent(int(total), int(prompt), int(written), int(estimated), *(int(n) for n in lost))

    @property
    def outcomes(self) -> dict[str, int]:
        """Calls by how they ended; "open": they have not, or their process was stopped."""
        with self._lock:
            rows = self._base.execute(
                "SELECT coalesce(outcome, 'open'), count(*) FROM call GROUP BY 1 ORDER BY 1"
            ).fetchall()
        return {str(name): int(n) for name, n in rows}
