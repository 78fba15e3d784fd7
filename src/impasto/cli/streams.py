"""The standard streams, whatever they are: closed, missing, full, without a reader, or of an encoding that lacks letters.

A painting must not be lost because a message cannot be printed. So neither stream ever raises: what its encoding lacks is
written as an escape, and the first write that fails ends the output of that stream. Only the standard output matters to whoever
calls a program: :attr:`Stream.failure` remembers why it failed.
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
        failure: the first error of a write; None while all went well.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: OSError | ValueError | None = None

    def write(self, text: str) -> int:
        """Write a text; letters that the encoding lacks become escapes."""
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
        """Hand on what was written."""
        if self.failure is None:
            try:
                self._stream.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        """Be the stream in everything else: encoding, buffer, isatty, fileno."""
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
        with suppress(OSError, ValueError, AttributeError):  # what is buffered would fail again as the program ends
            devnull = os.open(os.devnull, os.O_WRONLY)
            os.dup2(devnull, self._stream.fileno())
            os.close(devnull)


@contextmanager
def safe_streams() -> Iterator[Stream]:
    """Put streams that never raise in the place of the standard output and the standard error.

    Yields:
        The standard output.
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
    """Open the null device in the place of every standard file that is closed.

    Otherwise the next file that is opened takes its number, and receives what libraries write to it.
    """
    for number in STANDARD_FILES:
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                if os.open(os.devnull, os.O_RDWR) > STANDARD_FILES[-1]:
                    return


def reason_of(error: OSError | ValueError) -> str:
    """Say why a stream cannot be written to."""
    return getattr(error, "strerror", None) or str(error)


def _is_open(stream: Any) -> bool:
    return stream is not None and not getattr(stream, "closed", False)
