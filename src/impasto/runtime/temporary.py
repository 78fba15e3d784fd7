"""Temporary folders that do not remain for ever if their process is killed."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from impasto.errors import OptionError
from impasto.runtime.locks import lock_of, only_writer

_STALE_SECONDS = 60


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Create a temporary folder, and delete it at the end of the block.

    A process that is killed cannot delete its folder. A later call of this function with the same prefix deletes it. This needs
    a file system that supports locks, because a lock shows whether a folder is in use.

    Args:
        prefix: the start of the name, which no other program uses.

    Example:
        >>> with temporary_folder("impasto-example-") as folder:
        ...     folder.is_dir()
        True
        >>> folder.exists()
        False
    """
    _remove_stale(prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name, only_writer(Path(name)):
        yield Path(name)


def _remove_stale(prefix: str) -> None:
    for folder in Path(tempfile.gettempdir()).glob(prefix + "*"):
        with suppress(OSError, OptionError):  # of another user, or in use
            is_old = time.time() - folder.stat().st_mtime > _STALE_SECONDS
            if is_old and lock_of(folder).exists():  # without a lock file, its process may not have been able to lock it
                with only_writer(folder) as is_locked:
                    if is_locked:
                        shutil.rmtree(folder)
