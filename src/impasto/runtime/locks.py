"""Locks on outputs, because two runs that write to the same file or folder at the same time would mix their results.

The operating system releases a lock when its process ends, even if the process is killed. The lock file contains the process
ID, which other runs print in their error message. It is deleted at the end of the run. If a run is killed, its lock file
remains, but does not lock anything.
"""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from impasto.errors import OptionError
from impasto.runtime.file_names import file_name

_SUFFIX = ".impasto-lock"
_IS_HELD = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK)
_FAR_BYTE = 2**30
"""On Windows, other processes cannot read a locked byte, so a byte beyond the end of the file is locked."""
_LONGEST = 300


@contextmanager
def only_writer(output: Path) -> Iterator[bool]:
    """Lock a file or a folder that will be written, for the duration of the block.

    Nothing is locked if the file system does not support locks, or if the lock file cannot be created. In the second case, the
    output cannot be written either, and the check of the output reports the reason.

    Yields:
        Whether the output is locked.

    Raises:
        OptionError: another run holds the lock.

    Args:
        output: the file or the folder, which need not exist.

    Example:
        >>> with only_writer(Path("painted.png")):
        ...     Path("painted.png").touch()
    """
    path = lock_of(output)
    lock = _locked(path, output)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            _end(lock, path)


def lock_of(output: Path) -> Path:
    """Return the path of the lock of an output: inside a folder, and next to a file.

    Example:
        >>> lock_of(Path("mill.png")).name
        '.mill.png.impasto-lock'
    """
    whole = Path(os.path.realpath(output))  # a link and its target are one output
    return whole / _SUFFIX if whole.is_dir() else whole.with_name("." + file_name(whole.name, _SUFFIX))


def try_lock(descriptor: int) -> bool:
    """Lock an open file without waiting. The lock ends when the file is closed or the process ends.

    Returns:
        Whether the lock was taken; False if another process holds it.

    Raises:
        OSError: the file system does not support locks.
    """
    try:
        _lock(descriptor)
    except OSError as error:
        if error.errno in _IS_HELD:
            return False
        raise
    return True


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        os.lseek(descriptor, _FAR_BYTE, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        return
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _locked(path: Path, output: Path) -> int | None:
    """Return the descriptor of the locked file, or None if locking is not possible."""
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError:
            return None
        try:
            is_ours = try_lock(lock)
        except OSError:
            os.close(lock)
            return None
        if not is_ours:
            holder = _holder(lock)
            os.close(lock)
            raise OptionError(f"{holder} is writing '{output}'; wait until it ends, or give another output")
        if _is_at(lock, path):
            with suppress(OSError):  # a full disk
                os.ftruncate(lock, 0)
                os.lseek(lock, 0, os.SEEK_SET)
                os.write(lock, f"{os.getpid()} {socket.gethostname()}".encode())
            return lock
        os.close(lock)  # its owner deleted it between our opening and locking it


def _holder(lock: int) -> str:
    """Return a description of the process that holds a lock."""
    text = ""
    with suppress(OSError):
        os.lseek(lock, 0, os.SEEK_SET)
        text = os.read(lock, _LONGEST).decode("utf-8", "replace")
    process, _, machine = text.partition(" ")
    if not process.isdecimal():
        return "another run"
    where = "" if machine == socket.gethostname() else f" on {machine}"
    return f"another run (process {process}{where})"


def _is_at(lock: int, path: Path) -> bool:
    """Return whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(lock), os.stat(path))
    except OSError:
        return False


def _end(lock: int, path: Path) -> None:
    """Delete the lock file and release the lock, in this order, so that no other run's file is deleted."""
    with suppress(OSError):
        path.unlink()
    os.close(lock)
    if os.name == "nt":  # Windows deletes no open files
        with suppress(OSError):
            path.unlink()
