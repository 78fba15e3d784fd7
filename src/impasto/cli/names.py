"""Default file names. They are printable, short enough for any file system, and not in use by another painting."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from impasto.cli.pipes import STDIN
from impasto.runtime.file_names import file_name, numbered

_CHECKPOINT = ".impasto-checkpoint.png"


def default_output(
    words: Sequence[str], is_ours: Callable[[Path], bool], folder: Path | None = None, suffix: str = ".png"
) -> Path:
    """Name the output after the content and the styles. If another picture already has the name, add a number.

    Args:
        words: the content and the styles.
        is_ours: returns whether a file is an earlier painting of the same pictures. Such a file may be overwritten.
        folder: the folder of the output; by default, the current folder.
        suffix: the suffix of the output.
    """
    whole = "-".join("stdin" if word == STDIN else Path(word).stem for word in words)
    paths = ((folder or Path()) / each for each in numbered(whole, suffix))
    return next(each for each in paths if not os.path.lexists(each) or is_ours(each))


def checkpoint_of(output: Path) -> Path:
    """Return the path of a painting's checkpoint, which is in the folder of its output.

    Example:
        >>> checkpoint_of(Path("out/mill.jpg")).name
        'mill.jpg.impasto-checkpoint.png'
    """
    return output.with_name(file_name(output.name, _CHECKPOINT))
