"""The folders in which impasto keeps files: set by an environment variable, or the user's standard folders."""

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

import platformdirs

from impasto.errors import OptionError

Kind = Literal["cache", "data"]


def user_folder(kind: Kind, variable: str) -> Path:
    """Return one of impasto's folders, which may not exist yet.

    If the account has no home folder and none can be created, a temporary folder is returned instead.

    Args:
        kind: whether the folder's contents can be fetched again ("cache") or not ("data").
        variable: environment variable that overrides the folder.

    Raises:
        OptionError: if the variable starts with ``~`` and there is no home folder.
    """
    chosen = os.environ.get(variable)
    if chosen:
        return expanded(chosen, variable)
    try:
        find = platformdirs.user_cache_path if kind == "cache" else platformdirs.user_data_path
        folder = find("impasto", appauthor=False)
    except RuntimeError:  # no home folder
        return _temporary(kind)
    return folder if folder.is_absolute() and _can_be_there(folder) else _temporary(kind)


def styles_folder() -> Path:
    """Return the folder of the user's own styles: ``IMPASTO_STYLES``, or one in the user's data; it may not exist yet."""
    chosen = os.environ.get("IMPASTO_STYLES")
    return user_folder("data", "IMPASTO_STYLES") / ("" if chosen else "styles")


def fallback_note(folder: Path, variable: str) -> str:
    """Return a note if the folder is temporary because there is no home folder; otherwise an empty string."""
    if os.environ.get(variable) or not folder.is_relative_to(_temporary("data").parent):
        return ""
    return f"there is no writable home folder, so files are kept in {folder}; set {variable} to use another folder"


def expanded(path: str | Path, source: str) -> Path:
    """Expand ``~`` to the home folder.

    Args:
        path: the path as given by the user.
        source: the flag or variable that it came from.

    Raises:
        OptionError: if the home folder does not exist.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise OptionError(f"{source} is {str(path)!r}, but that home folder does not exist; give the full path") from None


def _can_be_there(folder: Path) -> bool:
    """Return whether a folder exists or can be created."""
    try:
        nearest = next(each for each in (folder, *folder.parents) if each.exists())
        return nearest == folder or os.access(nearest, os.W_OK | os.X_OK)
    except OSError:  # no permission for a parent folder
        return False


def _temporary(kind: Kind) -> Path:
    """Return this user's own temporary folder; never one created by another user."""
    user = str(os.getuid()) if hasattr(os, "getuid") else "user"
    folder = Path(tempfile.gettempdir()) / f"impasto-{user}"
    if hasattr(os, "getuid") and os.path.lexists(folder):
        found = folder.lstat()
        is_own = found.st_uid == os.getuid() and os.path.isdir(folder) and not folder.is_symlink()
        folder = folder if is_own and not found.st_mode & 0o022 else folder.with_name(f"{folder.name}-{os.getpid()}")
    with suppress(OSError):
        folder.mkdir(mode=0o700)
    return folder / kind
