"""One child process: its messages, its memory and its shutdown."""

import json
import queue
import subprocess
import sys
import threading
from contextlib import suppress
from typing import IO, Any

from impasto.studio.faults import fault, reason, said
from impasto.studio.memory import memory_of

Message = dict[str, Any]


class CallError(Exception):
    """A call or job that failed.

    Attributes:
        code: "picture", "option", "worker", "memory", "missing", "disk", "system" or "bug".
        field: The option that caused the error, or None.
    """

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code, self.field = code, field

    def shown(self) -> dict[str, str | None]:
        """Return the error in the format of the API."""
        return {"code": self.code, "message": str(self), "field": self.field}


class Child:
    """One child process."""

    def __init__(self, lane: str, memory_bytes: int) -> None:
        """Start the process.

        Raises:
            CallError: The system cannot start another process or thread.
        """
        command = [sys.executable, "-m", "impasto.studio.worker", lane, str(memory_bytes)]
        self._messages: queue.Queue[Message | None] = queue.Queue()
        try:
            self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        except (OSError, RuntimeError) as error:
            raise cannot_start(reason(error)) from error
        try:
            threading.Thread(target=self._read, name=f"{lane}-reader", daemon=True).start()
        except RuntimeError as error:
            self.end()
            raise cannot_start(reason(error)) from error

    def _read(self) -> None:
        out: IO[bytes] | None = self._program.stdout
        assert out is not None
        try:
            with suppress(ValueError, OSError):
                for line in out:
                    self._messages.put(json.loads(line))
        finally:
            self._messages.put(None)

    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._program.poll() is not None

    def tell(self, message: Message) -> None:
        """Send a message. Do nothing if the child has ended."""
        assert self._program.stdin is not None
        with suppress(OSError, ValueError):
            self._program.stdin.write(json.dumps(message).encode() + b"\n")
            self._program.stdin.flush()

    def hear(self, timeout_seconds: float) -> Message | None:
        """Return the next message, or None after a timeout.

        Raises:
            CallError: The child has ended.
        """
        try:
            message = self._messages.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if message is None:
            raise CallError(
                "worker", f"the worker ended unexpectedly ({self._how_it_ended()}); try again or use another picture"
            )
        return message

    def memory(self) -> int:
        """Return the resident memory in bytes, or 0 if it is unknown."""
        return memory_of(self._program.pid) or 0

    def end(self) -> None:
        """Kill the process and wait until it has ended."""
        with suppress(OSError):
            self._program.kill()
        with suppress(subprocess.TimeoutExpired):  # the process may be stuck in the kernel
            self._program.wait(timeout=10)
        for pipe in (self._program.stdin, self._program.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _how_it_ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._program.wait(timeout=2)
        code = self._program.returncode
        if code == -9:
            return "signal 9, possibly out of memory"
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def cannot_start(why: str) -> CallError:
    """Return the error of a worker that could not be started."""
    return CallError("system", f"a worker could not be started ({why}); try again in a moment")


def refused(error: Exception) -> CallError | None:
    """Return the job error for a temporary system error, or None for any other error."""
    found = fault(error)
    return CallError(found, said(error)) if found else None
