"""The folders that impasto keeps files in: as a variable of the environment says, or among the user's own."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

import platformdirs

from impasto.errors import OptionError

Kind = Literal["cache", "data"]


def user_folder(kind: Kind, variable: str) -> Path:
    """Return a folder of impasto's; it may not exist yet.

    An account without a home folder, or with one that cannot be made, has a folder among the temporary files instead.

    Args:
        kind: whether what is in it can be fetched again ("cache") or not ("data").
        variable: of the environment, which names the folder where it is set.

    Raises:
        OptionError: the variable begins with the home folder (``~``), and there is none.
    """
    chosen = os.environ.get(variable)
    if chosen:
        return expanded(chosen, variable)
    try:
        find = platformdirs.user_cache_path if kind == "cache" else platformdirs.user_data_path
        folder = find("impasto", appauthor=False)
    except RuntimeError:  # there is no home
        return _temporary(kind)
    return folder if folder.is_absolute() and _can_be_there(folder) else _temporary(kind)


def fallback_note(folder: Path, variable: str) -> str:
    """Say that a folder is among the temporary files because the user has none of their own; empty where it is not."""
    if os.environ.get(variable) or not folder.is_relative_to(_temporary("data").parent):
        return ""
    return f"there is no home folder that can be written to, so files are kept in {folder}; {variable} names another folder"


def expanded(path: str | Path, source: str) -> Path:
    """Put the home folder in the place of ``~``.

    Args:
        path: as the user wrote it.
        source: the flag or variable that it came by.

    Raises:
        OptionError: there is no such home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise OptionError(f"{source} is {str(path)!r}, and there is no such home folder; give the whole path") from None


def _can_be_there(folder: Path) -> bool:
    """Say whether a folder is there, or can be made."""
    try:
        nearest = next(each for each in (folder, *folder.parents) if each.exists())
        return nearest == folder or os.access(nearest, os.W_OK | os.X_OK)
    except OSError:  # a folder on the way must not be looked into
        return False


def _temporary(kind: Kind) -> Path:
    """Return this user's own folder among the temporary files; never one that another user has put there."""
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"impasto-{user}"
    if hasattr(os, "getuid") and os.path.lexists(folder):
        found = folder.lstat()
        is_own = found.st_uid == os.getuid() and os.path.isdir(folder) and not folder.is_symlink()
        folder = folder if is_own and not found.st_mode & 0o022 else folder.with_name(f"{folder.name}-{os.getpid()}")
    with suppress(OSError):
        folder.mkdir(mode=0o700)
    return folder / kind
