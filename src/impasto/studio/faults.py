"""Temporary system errors, such as a full disk, a locked database or too many processes, and their messages.

These errors are not bugs, and they must not end a thread of the studio. Writes are retried, requests get HTTP status
507 or 503, and jobs fail with a message.
"""

import errno
import logging
import sqlite3
from collections.abc import Callable
from typing import Literal

_LOG = logging.getLogger(__name__)

Fault = Literal["disk", "system"]
"""Error codes: "disk" if the disk is full, "system" for any other temporary system error."""

RETRY_SECONDS = 1.0
"""Pause before a retry after a system error."""

BUG = "internal error in the studio; see its log and please report it"


def _numbers(*names: str) -> frozenset[int]:
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))  # Windows lacks some of them


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
    """Return the error code if an error, or its cause, is a temporary system error. Return None otherwise.

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
    """Return the message of a system error.

    Example:
        >>> said(OSError(errno.ENOSPC, "No space left on device"))
        'the disk is full; free some space and try again'
    """
    if fault(error) == "disk":
        return "the disk is full; free some space and try again"
    if isinstance(error, sqlite3.Error) and (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF in _BUSY_DATABASE:
        return "another program has locked the studio's database; try again in a moment"
    return f"the system is busy ({reason(error)}); try again in a moment"


def reason(error: BaseException) -> str:
    """Return the message of the operating system, without file names."""
    return getattr(error, "strerror", None) or str(error).splitlines()[0][:100] if str(error) else type(error).__name__


class Trouble:
    """A log for repeated errors of a background task. It logs only the first error and the recovery."""

    def __init__(self, what: str) -> None:
        self._what, self._is_there = what, False

    def met(self, error: BaseException) -> None:
        """Log an error. A system error is logged only if it is the first one since the last recovery."""
        if fault(error) is None:
            _LOG.error("%s", self._what, exc_info=error)
        elif not self._is_there:
            _LOG.warning("%s: %s", self._what, said(error))
        self._is_there = True

    def over(self) -> None:
        """Log the recovery if there was an error."""
        if self._is_there:
            _LOG.warning("%s: works again", self._what)
        self._is_there = False


def written(write: Callable[[], object], fallback: Callable[[], object], trouble: Trouble) -> bool:
    """Record how a job ended.

    Args:
        write: Function that records how the job ended.
        fallback: Function to call instead if ``write`` fails with a bug.
        trouble: The log for errors.

    Returns:
        False if a system error occurred. In this case, the caller must call this function again later.
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
    return True  # both functions failed with a bug, which was logged
