"""Checks that no command overwrites its inputs. Files are compared by identity, not by name."""

import filecmp
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from impasto.errors import OptionError

_FOLDS_CASE = sys.platform in ("win32", "darwin")


def check_overwrites(written: Mapping[str, Path | None], inputs: Iterable[str | Path]) -> None:
    """Check that no output file is an input, and that no two output files are the same.

    Args:
        written: the output file of each flag, or None if the file is not requested.
        inputs: the input files. Words that are not files, such as named styles, are skipped.

    Raises:
        OptionError: an output file is an input, or two flags give the same file.

    Example:
        >>> check_overwrites({"--output": Path("a.png"), "--preview": Path("./a.png")}, [])
        Traceback (most recent call last):
        impasto.errors.OptionError: --preview 'a.png' would overwrite --output; choose another name
    """
    read = [Path(name) for name in inputs if _is_file(name)]
    taken: dict[str, Path] = {}
    for flag, path in written.items():
        if path is None:
            continue
        whose = "an input" if any(_is_input(path, each) for each in read) else ""
        whose = whose or next((other for other, theirs in taken.items() if is_same_file(path, theirs)), "")
        if whose:
            raise OptionError(f"{flag} '{path}' would overwrite {whose}; choose another name")
        taken[flag] = path


def is_same_file(one: str | Path, other: str | Path) -> bool:
    """Return whether two paths lead to the same file.

    The paths may differ in links, mounts or letter case, and the files need not exist.
    """
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):  # one of the files does not exist yet
        return _place(one) == _place(other)


def _is_input(path: Path, name: Path) -> bool:
    """Return whether a path leads to an input.

    If a network folder is mounted twice, one file can look like two. So a file with the name and the content of an input also
    counts as that input.
    """
    if not _is_file(path):  # there is nothing to overwrite
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
    except ValueError:  # the path contains a null character
        return False


def _place(path: str | Path) -> str:
    whole = os.path.realpath(path)
    return _folded(whole) if _FOLDS_CASE else whole


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
