"""AnswerFile: one SQLite file of keys and answers, shared by processes, threads and forks.

A row is a key of 16 bytes, four bytes for each option and a checksum of four; with what the tree around it takes, 47
bytes for five options. No prompts, no ids. While it is written to, the file has two companions (FILE-wal, FILE-shm) and
must lie on a local disk; `settle` leaves one file. Knows keys and bytes; no models, no prompts.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import final
from weakref import WeakSet

from simenv.errors import StoreError

_ID = 0x534D4E56
"""SQLite's application_id, which tells our files from others."""
_VERSION = 1
_WAIT = 60.0
"""Seconds to wait for another process."""
_WIDTH = (20, 500)
"""Keys of one question to the file, so that there are two questions to prepare; older SQLite allows 999 at most."""
_CHECK = 4
"""Bytes of the checksum behind each answer."""
_SCHEMA = (
    "CREATE TABLE answer (key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE source (identity TEXT PRIMARY KEY, name TEXT NOT NULL, weights TEXT NOT NULL) WITHOUT ROWID",
    f"PRAGMA application_id={_ID}",
    f"PRAGMA user_version={_VERSION}",
)
_SELECT = {n: f"SELECT key, value FROM answer WHERE key IN ({','.join('?' * n)})" for n in _WIDTH}


@final
class AnswerFile:
    """Bytes by key. What was put first stays: everybody gets the same bytes for a key, whoever asks."""

    def __init__(self, path: str | Path, *, writable: bool) -> None:
        """Open a file, or begin one where it is writable and none is there.

        Raises:
            StoreError: no such file, not one of ours, of another version, damaged, or held by another process.

        """
        self.path, self.writable = Path(path), writable
        self._turn = threading.RLock()  # threads take turns at the one connection
        self._connection: sqlite3.Connection | None = None
        if not writable and not self.path.is_file():
            raise StoreError(f"{path} is no file; give the file that `simenv benchmark --cache` left.")
        with self._at_work():
            _LIVING.add(self)

    def get(self, key: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the answers of those keys [N] that are there."""
        with self._at_work() as connection:
            return self._get(connection, key)

    def put(self, answer: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """Keep answers, and return what now stands under their keys: where another process was first, its answers."""
        rows = [(k, v + zlib.crc32(v).to_bytes(_CHECK, "little")) for k, v in sorted(answer.items())]
        with self._at_work() as connection:
            before = connection.total_changes
            with _transaction(connection):
                connection.executemany("INSERT OR IGNORE INTO answer VALUES (?, ?)", rows)
                if connection.total_changes - before == len(rows):
                    return dict(answer)
                return self._get(connection, list(answer))

    def __len__(self) -> int:
        with self._at_work() as connection:
            return int(connection.execute("SELECT count(*) FROM answer").fetchone()[0])

    def sign(self, identity: str, name: str, weights: str) -> None:
        """Note whose answers are put here.

        weights: what tells weights apart that `identity` only names; "": nothing.

        Raises:
            StoreError: the file holds answers of other weights of the same identity.

        """
        with self._at_work() as connection, _transaction(connection):
            connection.execute("INSERT OR IGNORE INTO source VALUES (?, ?, ?)", (identity, name, weights))
        if self.sources[identity][1] != weights:
            raise StoreError(
                f"{self.path} holds answers of a base model of the same name with other weights than those at hand; "
                "take another file."
            )

    @property
    def sources(self) -> dict[str, tuple[str, str]]:
        """Name and weights by identity of all whose answers are here."""
        with self._at_work() as connection:
            return {i: (name, weights) for i, name, weights in connection.execute("SELECT * FROM source")}

    def settle(self) -> None:
        """Leave one file without companions, as small as it gets; while others are at work, the last one does it."""
        with self._at_work() as connection, suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA busy_timeout=0")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.close()

    def close(self) -> None:
        """Let the file go; the next question opens it again."""
        with self._turn:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def __del__(self) -> None:
        if getattr(self, "_connection", None) is not None:
            self.close()

    @contextmanager
    def _at_work(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread; say in words what SQLite complains about."""
        with self._turn:
            try:
                if self._connection is None:
                    self._connection = self._open()
                yield self._connection
            except sqlite3.Error as error:
                self.close()
                raise StoreError(_words(self.path, error)) from error

    def _open(self) -> sqlite3.Connection:
        if self.writable:
            return self._opened(str(self.path))
        # Without a log beside it nobody is writing: then nothing is locked, and read-only folders will do.
        written = self.path.with_name(self.path.name + "-wal")
        still = not written.exists() or written.stat().st_size == 0
        return self._opened(f"{self.path.resolve().as_uri()}?mode=ro{'&immutable=1' if still else ''}")

    def _opened(self, place: str) -> sqlite3.Connection:
        options = {"timeout": _WAIT, "isolation_level": None, "check_same_thread": False}
        connection = sqlite3.connect(place, uri=not self.writable, **options)  # type: ignore[call-overload]
        try:
            self._recognise(connection)
            connection.execute("PRAGMA cache_size=-32768")  # KiB
            if self.writable:
                _patiently(connection, "PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=NORMAL")
        except BaseException:
            connection.close()
            raise
        return connection  # type: ignore[no-any-return]

    def _recognise(self, connection: sqlite3.Connection) -> None:
        """Raise StoreError unless the file is ours; begin it where it is new."""
        if self.writable and _marks(connection) == (0, 0, 0):
            with _transaction(connection):
                if _marks(connection) == (0, 0, 0):  # else another process was faster
                    for statement in _SCHEMA:
                        connection.execute(statement)
        kind, version, _ = _marks(connection)
        if kind != _ID:
            raise StoreError(f"{self.path} is no answer cache of simenv; give another file.")
        if version != _VERSION:
            raise StoreError(f"{self.path} has version {version}; this simenv reads {_VERSION}. Record it again.")

    def _get(self, connection: sqlite3.Connection, key: Sequence[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        width = _WIDTH[len(key) > _WIDTH[0]]
        for start in range(0, len(key), width):
            part = list(key[start : start + width])
            rows = connection.execute(_SELECT[width], part + [None] * (width - len(part)))
            found.update((k, self._sound(v)) for k, v in rows)
        return found

    def _sound(self, value: bytes) -> bytes:
        if zlib.crc32(value[:-_CHECK]) != int.from_bytes(value[-_CHECK:], "little"):
            raise StoreError(f"{self.path} is damaged: an answer differs from its checksum. Copy or record it again.")
        return value[:-_CHECK]


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _marks(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Return application id, version and number of tables."""
    asked = ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
    kind, version, tables = (int(connection.execute(a).fetchone()[0]) for a in asked)
    return kind, version, tables


def _patiently(connection: sqlite3.Connection, statement: str) -> None:
    """Run what SQLite does not wait for by itself when another process is at it."""
    end = time.monotonic() + _WAIT
    while True:
        try:
            connection.execute(statement)
            return
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def _words(path: Path, error: sqlite3.Error) -> str:
    if "locked" in str(error):
        return f"{path} has been held by another process for {_WAIT:g} seconds; wait for it, or take another file."
    if "not a database" in str(error):
        return f"{path} is no answer cache of simenv: it is no SQLite file. Give another file."
    return f"the answer cache {path} cannot be used ({error}). If it is damaged, copy it again or record it anew."


# SQLite's locks do not survive a fork: a child that went on with the parent's connection could lose what either
# writes. So nothing is open while a process forks; both sides open the file again when they need it.
_LIVING: WeakSet[AnswerFile] = WeakSet()
_RESTING: list[AnswerFile] = []


def _rest() -> None:
    _RESTING.extend(_LIVING)
    for file in _RESTING:
        file._turn.acquire()
        file.close()


def _wake() -> None:
    while _RESTING:
        _RESTING.pop()._turn.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_rest, after_in_parent=_wake, after_in_child=_wake)
