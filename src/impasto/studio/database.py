"""SQLite database of jobs, uploads, results and styles."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from impasto.errors import ImageFileError
from impasto.studio.faults import fault, reason

_LOG = logging.getLogger(__name__)
_BUSY_SECONDS = 2.0
"""How long an SQL statement waits if another program has locked the database. It is short because a request waits for each of
its statements."""

_VERSION = 3
_SCHEMA = """
CREATE TABLE counter (event INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
CREATE TABLE uploads (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    bytes INTEGER NOT NULL, disk INTEGER NOT NULL, sha256 TEXT NOT NULL, notes TEXT NOT NULL, created REAL NOT NULL,
    clip TEXT
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
    wanted TEXT, progress TEXT, preview INTEGER NOT NULL DEFAULT 0, checkpoint TEXT, error TEXT, continues TEXT, more TEXT,
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

_CHANGES = {
    1: "ALTER TABLE jobs RENAME COLUMN stood TO checkpoint;",
    2: "ALTER TABLE uploads ADD COLUMN clip TEXT;",
}
"""Statements that upgrade a database from each earlier version to the next version."""

Row = dict[str, Any]


class Database:
    """One connection, used by one thread at a time. A statement takes much less than a millisecond.

    With write-ahead logging, the database survives a crash of this process at any time. After a power failure, the last
    transactions may be lost. If a system error occurs (see :mod:`impasto.studio.faults`), nothing is changed and no transaction
    stays open.
    """

    def __init__(self, path: Path) -> None:
        """Open the database and create missing tables.

        Raises:
            ImageFileError: The file is not a database, or it was written by a newer version of impasto.
        """
        self._lock = threading.RLock()
        self._later: dict[str, Callable[[], None]] = {}
        try:
            self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=_BUSY_SECONDS)
        except sqlite3.Error as error:
            raise _unusable(path, error) from error
        self._connection.row_factory = sqlite3.Row
        try:
            self._open(path)
        except BaseException:
            self._connection.close()
            raise

    def _open(self, path: Path) -> None:
        try:
            self._connection.execute("PRAGMA journal_mode=WAL")
            self._connection.execute("PRAGMA synchronous=NORMAL")
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
            elif version < _VERSION:
                changes = " ".join(_CHANGES[each] for each in range(version, _VERSION))
                self._connection.executescript(f"BEGIN IMMEDIATE; {changes} PRAGMA user_version={_VERSION}; COMMIT;")
        except sqlite3.DatabaseError as error:
            raise _unusable(path, error) from error
        if version > _VERSION:
            raise ImageFileError(f"'{path}' was written by a newer impasto; upgrade impasto or give another folder with --data")

    def rows(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[Row]:
        """Return the rows of a query."""
        with self._lock:
            return [dict(row) for row in self._connection.execute(statement, values)]

    def row(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> Row | None:
        """Return the first row of a query, or None."""
        found = self.rows(statement, values)
        return found[0] if found else None

    def run(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> None:
        """Run a statement."""
        with self._lock:
            self._connection.execute(statement, values)

    def get(self, table: Literal["jobs", "uploads", "results"], identity: str) -> Row:
        """Return the row with the given id.

        Raises:
            LookupError: The row does not exist.
        """
        found = self.row(f"SELECT * FROM {table} WHERE id = ?", (identity,))
        if found is None:
            raise LookupError(f"there is no {table.removesuffix('s')} {identity}")
        return found

    def insert(self, table: str, values: Mapping[str, Any]) -> None:
        """Add a row."""
        marks = ", ".join(f":{name}" for name in values)
        self.run(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run a transaction. Any error, including a failed commit, rolls it back.

        Raises:
            sqlite3.OperationalError: The disk is full or the database is locked. Nothing was changed.
        """
        with self._lock:
            self._roll_back()  # an earlier rollback may have failed
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                self._later.clear()
                with suppress(sqlite3.Error):  # the next transaction will retry the rollback
                    self._roll_back()
                raise
            self._tell()

    def _roll_back(self) -> None:
        if self._connection.in_transaction:  # SQLite may have rolled back already
            self._connection.execute("ROLLBACK")

    def _tell(self) -> None:
        """Send the deferred notifications. The caller still holds the lock, so no later notification can overtake them."""
        waiting, self._later = self._later, {}
        for tell in waiting.values():
            try:
                tell()
            except Exception:  # the change is committed, and clients request the events they missed
                _LOG.warning("a notification failed", exc_info=True)

    def later(self, key: str, tell: Callable[[], None]) -> None:
        """Schedule a notification to be sent after the commit.

        It is added to the end of the queue, and replaces any waiting notification with the same key.
        """
        self._later.pop(key, None)
        self._later[key] = tell

    def next_event(self) -> int:
        """Increase the event number by one and return it. Call this method inside a transaction."""
        self.run("UPDATE counter SET event = event + 1")
        return self.event()

    def event(self) -> int:
        """Return the latest event number."""
        (found,) = self.rows("SELECT event FROM counter")
        return int(found["event"])

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._connection.close()


def _unusable(path: Path, error: sqlite3.Error) -> ImageFileError:
    if fault(error):
        return ImageFileError(
            f"'{path}' cannot be opened ({reason(error)}); free some space, try again or give another folder with --data"
        )
    return ImageFileError(f"'{path}' is damaged ({error}); move it away or give another folder with --data")
