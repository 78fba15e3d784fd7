"""Standard streams that never raise, even if a stream is closed, missing or full, has no reader, or has a limited encoding.

A painting must not be lost because a message cannot be printed. If the encoding lacks a character, the character is written as
an escape. After the first failed write, a stream writes nothing more. :attr:`Stream.failure` is the error of that write. The
command line derives its exit code from the failure of standard output; it ignores a failure of standard error.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

STANDARD_FILES = (0, 1, 2)


class Stream:
    """A text stream that never raises.

    Attributes:
        failure: the error of the first failed write, or None if no write has failed.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write a text. Characters that the encoding lacks become escapes."""
        if self.failure is None:
            try:
                self._stream.write(self._encodable(text))
            except (OSError, ValueError) as error:  # ValueError: the stream is closed
                self._give_up(error)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the underlying stream."""
        if self.failure is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        """Return all other attributes, such as encoding, buffer, isatty and fileno, from the underlying stream."""
        return getattr(self._stream, name)

    def _encodable(self, text: str) -> str:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            text.encode(encoding)
        except UnicodeEncodeError:
            return text.encode(encoding, "backslashreplace").decode(encoding)
        return text

    def _give_up(self, error: OSError | ValueError) -> None:
        self.failure = error
        with suppress(OSError, ValueError, AttributeError):  # buffered text would fail again at exit
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, self._stream.fileno())
            os.close(devnull)


@contextmanager
def safe_streams() -> Iterator[Stream]:
    """Replace standard output and standard error with streams that never raise.

    Yields:
        The stream for standard output.
    """
    occupy_standard_files()
    before = sys.stdout, sys.stderr
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        out, err = (Stream(each if _is_open(each) else nowhere) for each in before)
        sys.stdout, sys.stderr = out, err
        try:
            yield out
        finally:
            out.flush()
            err.flush()
            sys.stdout, sys.stderr = before


def occupy_standard_files() -> None:
    """Open the null device for every standard file descriptor that is closed.

    Otherwise, the next opened file would get this descriptor, and messages that libraries print would end up in the file.
    """
    for number in STANDARD_FILES:
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                if os.open(os.devnull, os.O_RDWR) > STANDARD_FILES[-1]:
                    return


def reason_of(error: OSError | ValueError) -> str:
    """Return the reason why writing to a stream failed."""
    return getattr(error, "strerror", None) or str(error)


def _is_open(stream: Any) -> bool:
    return stream is not None and not getattr(stream, "closed", False)
