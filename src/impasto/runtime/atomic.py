"""Atomic writes: a file is either written completely, or the old file is kept."""

import errno
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PRIVATE = 0o600


@contextmanager
def replacing(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """Yield the path of a temporary file; at the end of the block it replaces the file at ``path``.

    If the block or the replacement fails, the temporary file is deleted and the exception is passed on. The name of the
    temporary file is short, so the file at ``path`` may have the longest name allowed. This short name is also random, so two
    writers of the same file do not disturb each other.

    Args:
        path: the file to write.
        folder: the folder of the temporary file, on the same file system; by default, the folder of ``path``.

    Raises:
        OSError: the path is a device, a pipe or a socket, which a file must not replace.

    Example:
        >>> from pathlib import Path
        >>> with replacing(Path("note.txt")) as partial:
        ...     _ = partial.write_text("complete")
        >>> Path("note.txt").read_text()
        'complete'
    """
    _check_regular(path)
    partial = (folder or path.parent) / f".impasto-{secrets.token_hex(6)}.part"
    try:
        mode = _default_mode(partial)
        yield partial
        if stat.S_IMODE(partial.stat().st_mode) == _PRIVATE:  # safetensors writes such files
            partial.chmod(mode)
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def try_writing(path: Path) -> None:
    """Check that a file can be written, without changing it.

    Raises:
        OSError: the folder is missing or not writable, the name is too long, or the path is a device, a pipe or a socket.
    """
    _check_regular(path)  # also raises if the name is too long, which a temporary file would not show
    tempfile.TemporaryFile(dir=path.parent).close()


def _default_mode(path: Path) -> int:
    """Return the permissions of a file that this process creates at a path."""
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)
    path.unlink()
    return mode


def _check_regular(path: Path) -> None:
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise OSError(errno.EINVAL, "it is a device, a pipe or a socket, not a file")
