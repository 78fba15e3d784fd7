"""Pictures through pipes. A picture argument ``-`` means standard input, and ``-o -`` means standard output."""

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
"""Replacement for ``-`` before the arguments are parsed. Messages and records also use it as the name of the picture."""
STDOUT = Path("-")
_OUTPUT_FLAGS = ("-o", "--output")
_COMMANDS = ("analogy", "apply", "doodle", "instant", "paint", "texture")
"""Commands that can read a picture from standard input."""


def marked(words: Sequence[str]) -> list[str]:
    """Replace each argument ``-``, because the parser would treat it as a flag.

    Raises:
        OptionError: the command cannot read pictures from standard input.

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
        *others, last = _COMMANDS
        raise OptionError(f"only impasto {', '.join(others)} and {last} can read '-' (standard input); give the name of a file")
    return found


def check_pipes(words: Sequence[str], output: Path | None, *, has_json: bool) -> None:
    """Check how standard input and standard output are used, before anything is read.

    Raises:
        OptionError: two inputs or two outputs share one stream, or a stream is a terminal or is closed.
    """
    if words.count(STDIN) > 1:
        raise OptionError("'-' is given twice, but standard input contains only one picture; give the other picture as a file")
    if STDIN in words and (sys.stdin is None or sys.stdin.closed or sys.stdin.isatty()):
        raise OptionError("'-' reads standard input, but no picture is piped into it; try: impasto instant - STYLE < photo.jpg")
    if output != STDOUT:
        return
    if has_json:
        raise OptionError("--json and '-o -' both write to standard output; use --record FILE instead of --json")
    if not hasattr(sys.stdout, "buffer") or sys.stdout.isatty():
        raise OptionError(
            "'-o -' writes a PNG to standard output, which is a terminal or closed; redirect it, as in: > painting.png"
        )


def from_stdin(word: str) -> "str | Picture":
    """Read the picture from standard input if the word is :data:`STDIN`. Return any other word unchanged.

    Raises:
        ImageFileError: standard input cannot be read, or does not contain a picture.
    """
    if word != STDIN:
        return word
    try:
        data = sys.stdin.buffer.read()
    except (OSError, ValueError) as error:
        raise ImageFileError(f"standard input cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if not data:
        raise ImageFileError("standard input is empty (0 bytes); pipe a picture into it, as in: < photo.jpg")
    return _read(data)


def _read(data: bytes) -> "Picture":
    """Read a picture through a temporary file. The name of this file appears in messages and records."""
    from impasto import images

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stdin"
        path.write_bytes(data)
        return images.read(path)


def to_stdout(pastiche: "Pastiche", *, bits: Literal[8, 16], keep_gps: bool) -> None:
    """Write a painting with its record to standard output as PNG.

    Raises:
        ImageFileError: standard output cannot be written to.
    """
    data = pastiche.encoded(".png", bits=bits, keep_gps=keep_gps)
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ImageFileError(f"cannot write to standard output ({why})") from error
