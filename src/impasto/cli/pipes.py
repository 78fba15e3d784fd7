"""Pictures through pipes: ``-`` is the standard input among the pictures, and the standard output after ``-o``."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from impasto.errors import ImageFileError, OptionError

if TYPE_CHECKING:
    from impasto.images import Picture
    from impasto.recipes.pastiche import Pastiche

STDIN = "<stdin>"
"""What ``-`` among the pictures becomes before the flags are parsed, and the name of the picture in messages and records."""
STDOUT = Path("-")
_OUTPUT_FLAGS = ("-o", "--output")
_COMMANDS = ("instant", "paint")
"""The commands that take pictures from the standard input."""


def marked(words: Sequence[str]) -> list[str]:
    """Mark each ``-`` that is a word of its own, which the parser would take for a flag.

    Raises:
        OptionError: the command does not read pictures from the standard input.

    Example:
        >>> marked(["instant", "-", "style.jpg", "-o", "-"])
        ['instant', '<stdin>', 'style.jpg', '--output=-']
    """
    found: list[str] = []
    for word in words:
        if word != "-":
            found.append(word)
        elif found and found[-1] in _OUTPUT_FLAGS:
            found[-1] = "--output=-"
        else:
            found.append(STDIN)
    if STDIN in found and found[0] not in _COMMANDS:
        raise OptionError(
            f"only impasto {' and impasto '.join(_COMMANDS)} read '-', the standard input; give the name of a file"
        )
    return found


def check_pipes(words: Sequence[str], output: Path | None, *, has_json: bool) -> None:
    """Check, before anything is read, what comes from the standard input and goes to the standard output.

    Raises:
        OptionError: two things would have to share one of them, or one of them is a terminal or closed.
    """
    if words.count(STDIN) > 1:
        raise OptionError("'-' is given twice, and the standard input holds one picture; give the other one as a file")
    if STDIN in words and (sys.stdin is None or sys.stdin.closed or sys.stdin.isatty()):
        raise OptionError(
            "'-' is the standard input, and no picture is piped into it; try: impasto instant - STYLE < photo.jpg"
        )
    if output != STDOUT:
        return
    if has_json:
        raise OptionError("--json and '-o -' both write to the standard output; use --record FILE instead of --json")
    if not hasattr(sys.stdout, "buffer") or sys.stdout.isatty():
        raise OptionError("'-o -' writes a PNG to the standard output, which leads nowhere; redirect it, as in: > painting.png")


def from_stdin(word: str) -> "str | Picture":
    """Read the picture that a word names, where that is the standard input; return any other word as it is.

    Raises:
        ImageFileError: it cannot be read, or is no picture.
    """
    if word != STDIN:
        return word
    try:
        data = sys.stdin.buffer.read()
    except (OSError, ValueError) as error:
        raise ImageFileError(f"the standard input cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not data:
        raise ImageFileError("the standard input is empty (0 bytes); pipe a picture into it, as in: < photo.jpg")
    return _read(data)


def _read(data: bytes) -> "Picture":
    """Read a picture by way of a file, whose name messages and records give."""
    from impasto import images

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stdin"
        path.write_bytes(data)
        return images.read(path)


def to_stdout(pastiche: "Pastiche", *, bits: Literal[8, 16], keep_gps: bool) -> None:
    """Write a painting, with its record, to the standard output as PNG.

    Raises:
        ImageFileError: it cannot be written there.
    """
    data = pastiche.encoded(".png", bits=bits, keep_gps=keep_gps)
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ImageFileError(f"the standard output cannot be written to ({why})") from error
