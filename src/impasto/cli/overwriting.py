"""No command overwrites what it reads: files are told apart by what they are, not by their names."""

import filecmp
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from impasto.errors import OptionError

_FOLDS_CASE = sys.platform in ("win32", "darwin")


def check_overwrites(written: Mapping[str, Path | None], inputs: Iterable[str | Path]) -> None:
    """Make sure that nothing that is written is an input, and that no two of them are one file.

    Args:
        written: the files by the flags that name them; None: not asked for.
        inputs: files that are read; words that name no file, such as styles by name, are left out.

    Raises:
        OptionError: a file is an input, or is named twice.

    Example:
        >>> check_overwrites({"--output": Path("a.png"), "--preview": Path("./a.png")}, [])
        Traceback (most recent call last):
        impasto.errors.OptionError: --preview 'a.png' is --output too, which it would overwrite; choose another name
    """
    read = [Path(name) for name in inputs if _is_file(name)]
    taken: dict[str, Path] = {}
    for flag, path in written.items():
        if path is None:
            continue
        whose = "an input" if any(_is_input(path, each) for each in read) else ""
        whose = whose or next((other for other, theirs in taken.items() if is_same_file(path, theirs)), "")
        if whose:
            raise OptionError(f"{flag} '{path}' is {whose} too, which it would overwrite; choose another name")
        taken[flag] = path


def is_same_file(one: str | Path, other: str | Path) -> bool:
    """Say whether two paths lead to one file: by links, by mounts, by letters of another case, or before there is a file."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one is not there yet
        return _place(one) == _place(other)


def _is_input(path: Path, name: Path) -> bool:
    """Say whether a path leads to an input.

    A folder that is mounted twice over a network may show one file as two: then its name and its content are the same.
    """
    if not _is_file(path):  # nothing is there, by whatever name
        return False
    if is_same_file(path, name):
        return True
    has_its_name = _folded(os.path.basename(os.path.realpath(path))) == _folded(os.path.basename(os.path.realpath(name)))
    try:
        return has_its_name and filecmp.cmp(path, name, shallow=False)
    except OSError:
        return False


def _is_file(name: str | Path) -> bool:
    try:
        return os.path.isfile(name)
    except ValueError:  # a zero character
        return False


def _place(path: str | Path) -> str:
    whole = os.path.realpath(path)
    return _folded(whole) if _FOLDS_CASE else whole


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
