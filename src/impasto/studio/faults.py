"""Errors of the system that pass: a full disk, a locked database, no more processes. Which they are, and how they are told.

None of them is a bug, and none may end a thread of the studio for good: what was to be written is tried again, a request is
answered with 507 or 503, a job fails with a sentence.
"""

import errno
import logging
import sqlite3
from collections.abc import Callable
from typing import Literal

_LOG = logging.getLogger(__name__)

Fault = Literal["disk", "system"]
"""The code of an answer: the disk is full, or the system refuses something for now."""

RETRY_SECONDS = 1.0
"""How long to wait before something is tried again that the system refused."""

BUG = "the studio made a mistake here; its log tells which, please report it"


def _numbers(*names: str) -> frozenset[int]:
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))  # Windows has fewer


_FULL = _numbers("ENOSPC", "EDQUOT")
_REFUSED = _numbers("EAGAIN", "ENOMEM", "EMFILE", "ENFILE", "ENOBUFS", "EIO", "EROFS", "ESTALE", "EBUSY", "ENODEV", "ENXIO")
_FULL_DATABASE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
_BUSY_DATABASE = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_REFUSED_DATABASE = (
    *_BUSY_DATABASE,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_INTERRUPT,
)


def fault(error: BaseException | None) -> Fault | None:
    """Return what the system refused, where an error or a cause of it says so; None for any other error.

    Example:
        >>> fault(OSError(errno.ENOSPC, "No space left on device")), fault(RuntimeError("can't start new thread"))
        ('disk', 'system')
        >>> fault(KeyError("a bug")) is None
        True
    """
    while error is not None:
        if found := _fault(error):
            return found
        error = error.__cause__
    return None


def _fault(error: BaseException) -> Fault | None:
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", None) or 0
        if code in _FULL_DATABASE or code & 0xFF == sqlite3.SQLITE_FULL:
            return "disk"
        return "system" if code & 0xFF in _REFUSED_DATABASE else None
    if isinstance(error, OSError):
        return "disk" if error.errno in _FULL else "system" if error.errno in _REFUSED else None
    return "system" if isinstance(error, RuntimeError) and "can't start new thread" in str(error) else None


def said(error: BaseException) -> str:
    """Say a fault in a sentence.

    Example:
        >>> said(OSError(errno.ENOSPC, "No space left on device"))
        'the disk is full; free some space and try again'
    """
    if fault(error) == "disk":
        return "the disk is full; free some space and try again"
    if isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _BUSY_DATABASE:
        return "another program has locked the studio's database; try again in a moment"
    return f"the system refuses this for now ({reason(error)}); try again in a moment"


def reason(error: BaseException) -> str:
    """Return why the system refused, in its own words and without names of files."""
    return getattr(error, "strerror", None) or str(error).splitlines()[0][:100] if str(error) else type(error).__name__


class Trouble:
    """Something that goes on in spite of errors: the log tells when they begin and when they are over, and not each."""

    def __init__(self, what: str) -> None:
        self._what, self._is_there = what, False

    def met(self, error: BaseException) -> None:
        """Log an error, where it is the first of several, or no fault of the system."""
        if fault(error) is None:
            _LOG.error("%s", self._what, exc_info=error)
        elif not self._is_there:
            _LOG.warning("%s: %s", self._what, said(error))
        self._is_there = True

    def over(self) -> None:
        """Log that it works again, where it did not."""
        if self._is_there:
            _LOG.warning("%s: works again", self._what)
        self._is_there = False


def written(write: Callable[[], object], fallback: Callable[[], object], trouble: Trouble) -> bool:
    """Write how a job ended.

    Args:
        write: what to do.
        fallback: what to do instead where that has a bug.
        trouble: where errors are told.

    Returns:
        Whether it is settled; False: the system refused, and it shall be tried again.
    """
    for each in (write, fallback):
        try:
            each()
        except Exception as error:
            trouble.met(error)
            if fault(error):
                return False
        else:
            trouble.over()
            return True
    return True  # both have a bug, which the log tells
