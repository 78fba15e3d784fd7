"""One child process: what it is told and what it says, how much memory it holds, and how it ends."""

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
    """What a child could not do.

    Attributes:
        code: "picture", "option", "worker", "memory", "missing", "disk", "system" or "bug".
        field: the option that caused it, or None.
    """

    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code, self.field = code, field

    def shown(self) -> dict[str, str | None]:
        """Return it as a job shows it."""
        return {"code": self.code, "message": str(self), "field": self.field}


class Child:
    """One child process."""

    def __init__(self, lane: str, memory_bytes: int) -> None:
        """Start it.

        Raises:
            CallError: the system has no room for another process or thread.
        """
        command = [sys.executable, "-m", "impasto.studio.worker", lane, str(memory_bytes)]
        self._said: queue.Queue[Message | None] = queue.Queue()
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
                    self._said.put(json.loads(line))
        finally:
            self._said.put(None)

    def has_ended(self) -> bool:
        """Whether it has ended by itself, or was killed."""
        return self._program.poll() is not None

    def tell(self, message: Message) -> None:
        """Send a message; a child that has ended hears nothing."""
        assert self._program.stdin is not None
        with suppress(OSError, ValueError):
            self._program.stdin.write(json.dumps(message).encode() + b"\n")
            self._program.stdin.flush()

    def hear(self, timeout_seconds: float) -> Message | None:
        """Return the next message, or None after the time is over.

        Raises:
            CallError: the child has ended.
        """
        try:
            said = self._said.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if said is None:
            raise CallError("worker", f"the worker ended unexpectedly ({self._how_it_ended()}); try again, or another picture")
        return said

    def memory(self) -> int:
        """Return the bytes it holds, 0 where the system does not tell."""
        return memory_of(self._program.pid) or 0

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        with suppress(OSError):
            self._program.kill()
        with suppress(subprocess.TimeoutExpired):  # one that the system holds is left to it
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
            return "signal 9: perhaps the memory was not enough"
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


def cannot_start(why: str) -> CallError:
    """Say that a worker could not be started, which may pass."""
    return CallError("system", f"a worker could not be started ({why}); try again in a moment")


def refused(error: Exception) -> CallError | None:
    """Return what the system refused as an error of a job; None where it refused nothing."""
    found = fault(error)
    return CallError(found, said(error)) if found else None
