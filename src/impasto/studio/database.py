"""SQLite, which is the truth about everything but pixels."""

import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from impasto.errors import ImageFileError

_VERSION = 1
_SCHEMA = """
CREATE TABLE counter (event INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
CREATE TABLE uploads (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    bytes INTEGER NOT NULL, disk INTEGER NOT NULL, sha256 TEXT NOT NULL, notes TEXT NOT NULL, created REAL NOT NULL
);
CREATE TABLE styles (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, upload TEXT NOT NULL REFERENCES uploads(id), title TEXT NOT NULL,
    created REAL NOT NULL
);
CREATE TABLE favourites (style TEXT PRIMARY KEY);
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, lane TEXT NOT NULL, state TEXT NOT NULL,
    version INTEGER NOT NULL UNIQUE, priority INTEGER NOT NULL, draft INTEGER NOT NULL, slot TEXT, key TEXT UNIQUE,
    request TEXT NOT NULL, created REAL NOT NULL, started REAL, finished REAL, attempts INTEGER NOT NULL DEFAULT 0,
    wanted TEXT, progress TEXT, preview INTEGER NOT NULL DEFAULT 0, stood TEXT, error TEXT, continues TEXT, more TEXT,
    result TEXT
);
CREATE INDEX jobs_waiting ON jobs (state, lane, priority DESC, number);
CREATE TABLE results (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, job TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, created REAL NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, bytes INTEGER NOT NULL, disk INTEGER NOT NULL, suffix TEXT NOT NULL,
    title TEXT NOT NULL, favourite INTEGER NOT NULL DEFAULT 0, draft INTEGER NOT NULL, upload TEXT, styles TEXT NOT NULL,
    seconds REAL NOT NULL, request TEXT NOT NULL, record TEXT NOT NULL
);
"""

Row = dict[str, Any]


class Database:
    """One connection, one thread at a time: every statement takes well below a millisecond.

    Write-ahead logging survives the end of this program at any moment. Of a power cut it may lose the last moments, never more.
    """

    def __init__(self, path: Path) -> None:
        """Open, and make what is not there yet.

        Raises:
            ImageFileError: a file that is no database, or one of a newer impasto.
        """
        self._lock = threading.RLock()
        self._later: dict[str, Callable[[], None]] = {}
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=10)
        self._connection.row_factory = sqlite3.Row
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.DatabaseError as error:
            raise ImageFileError(f"'{path}' is damaged ({error}); move it away, or give another folder with --data") from error
        if version > _VERSION:
            raise ImageFileError(f"'{path}' is of a newer impasto; install that again, or give another folder with --data")
        if version == 0:
            self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")

    def rows(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """Return what a statement finds."""
        with self._lock:
            return [dict(row) for row in self._connection.execute(statement, values)]

    def row(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Row | None:
        """Return the first that a statement finds, or None."""
        found = self.rows(statement, values)
        return found[0] if found else None

    def run(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> int:
        """Run a statement; return how many rows it changed."""
        with self._lock:
            return self._connection.execute(statement, values).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Let everything inside happen, or nothing of it."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                self._later.clear()
                raise
            self._connection.execute("COMMIT")
            waiting, self._later = self._later, {}
            for tell in waiting.values():  # still alone, so that what is told is told in the order of its numbers
                tell()

    def later(self, key: str, tell: Callable[[], None]) -> None:
        """Do something once the transaction is written, once for each key, in the order of the last call for each."""
        self._later.pop(key, None)
        self._later[key] = tell

    def next_event(self) -> int:
        """Return a number that is larger than every one before; inside a transaction."""
        self.run("UPDATE counter SET event = event + 1")
        return self.event()

    def event(self) -> int:
        """Return the newest number."""
        (found,) = self.rows("SELECT event FROM counter")
        return int(found["event"])

    def close(self) -> None:
        """Close; nothing may follow."""
        with self._lock:
            self._connection.close()
