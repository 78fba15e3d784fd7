"""The parent's side of the workers: a child process for each lane, what it is given, and what becomes of it.

Between parent and child go lines of JSON, never pickles: a child that a hostile picture took over can say only what the parent
understands. A child that ends, takes too long or holds too much memory costs the job it had, and the next one has a new child.
"""

import json
import logging
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from impasto.studio.database import Row
from impasto.studio.jobs import Wanted
from impasto.studio.settings import Limits

Message = dict[str, Any]
_LOG = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
STOP_SECONDS = 30.0
"""How long a child that was asked to stop may take for the step it is in."""


class Source(Protocol):
    """Where a lane takes its jobs from and tells what became of them.

    :class:`impasto.studio.jobs.Jobs` is the form of the studio itself, :class:`impasto.studio.remote_worker.RemoteWorker` that
    of a worker on another machine, which tells the studio through a queue engine.
    """

    def take(self, lane: str) -> Row | None:
        """Take the next job of a lane."""

    def wanted(self, identity: str) -> Wanted | None:
        """Return how a running job shall stop, if it shall."""

    def progressed(self, identity: str, progress: Mapping[str, Any] | None, *, preview: bool) -> None:
        """Tell how far a job is."""

    def stood(self, identity: str, stood: Mapping[str, Any]) -> None:
        """Tell where a painting was saved."""

    def finish(self, identity: str, result: Mapping[str, Any]) -> None:
        """Tell that a job is done."""

    def fail(self, identity: str, error: Mapping[str, Any]) -> None:
        """Tell that a job failed."""

    def stopped(self, identity: str) -> None:
        """Tell that a job stopped as it was asked to."""


class Runner(Protocol):
    """Runs the jobs of one lane: a :class:`Lane`, or a :class:`impasto.studio.dispatcher.Dispatcher` for remote workers."""

    def start(self) -> None:
        """Begin."""

    def wake(self) -> None:
        """Tell that there may be a job."""

    def prepare(self) -> None:
        """Tell that there will be a job soon."""

    def end(self) -> None:
        """End."""


class CallError(Exception):
    """What a child could not do.

    Attributes:
        code: "picture", "option", "worker", "memory" or "bug".
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
        command = [sys.executable, "-m", "impasto.studio.worker", lane, str(memory_bytes)]
        self._program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._said: queue.Queue[Message | None] = queue.Queue()
        threading.Thread(target=self._read, name=f"{lane}-reader", daemon=True).start()

    def _read(self) -> None:
        out: IO[bytes] | None = self._program.stdout
        assert out is not None
        with suppress(ValueError, OSError):
            for line in out:
                self._said.put(json.loads(line))
        self._said.put(None)

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
        try:
            pages = Path(f"/proc/{self._program.pid}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * 4096

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self._program.kill()
        self._program.wait()
        for pipe in (self._program.stdin, self._program.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()

    def _how_it_ended(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._program.wait(timeout=2)
        code = self._program.returncode
        return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"


@dataclass
class Call:
    """One question to a child, and its answer."""

    message: Message
    seconds: float
    answer: "Future[Message]" = field(default_factory=Future)


class Lane(threading.Thread):
    """A child and the thread that gives it work: calls first, then jobs out of the queue."""

    def __init__(
        self,
        name: str,
        source: Source,
        limits: Limits,
        order: Callable[[Row], Message],
        result: Callable[[Row, Message], Mapping[str, Any]],
    ) -> None:
        super().__init__(name=f"lane-{name}", daemon=True)
        self.lane, self.source, self.limits = name, source, limits
        self._order, self._result = order, result
        self._calls: queue.Queue[Call] = queue.Queue()
        self._wake = threading.Event()
        self._is_over = False
        self._child: Child | None = None
        self.is_ready = False
        self.on_ready: Callable[[], None] = lambda: None
        self.starts_early = name == "quick"

    # ------------------------------------------------------------------------------------------------ from outside

    def call(self, seconds: float, **message: Any) -> "Future[Message]":
        """Ask the child something; calls go before jobs."""
        call = Call(message, seconds)
        self._calls.put(call)
        self._wake.set()
        return call.answer

    def wake(self) -> None:
        """Tell that there may be a job."""
        self._wake.set()

    def prepare(self) -> None:
        """Let the child start now, before there is work for it."""
        self.starts_early = True
        self._wake.set()

    def end(self) -> None:
        """End the child and the thread."""
        self._is_over = True
        self._wake.set()
        if self._child is not None:
            self._child.end()
        self.join(timeout=10)

    # ------------------------------------------------------------------------------------------------ the thread

    def run(self) -> None:
        """Work until the studio ends."""
        while not self.is_over():
            self._wake.clear()
            if self.starts_early and self._child is None:
                self._try(self._start, None)
            while not self.is_over() and self._one():
                pass
            self._wake.wait(timeout=5.0)

    def is_over(self) -> bool:
        """Whether the lane is ending."""
        return self._is_over

    def _one(self) -> bool:
        """Do one thing; return whether there was one."""
        with suppress(queue.Empty):
            call = self._calls.get_nowait()
            if call.answer.set_running_or_notify_cancel():
                self._try(lambda: call.answer.set_result(self._asked(call.message, call.seconds)), call.answer)
            return True
        job = self.source.take(self.lane)
        if job is None:
            return False
        try:
            self._work_on(job)
        except CallError as error:
            self._failed(job, error)
        except Exception:  # a bug of ours costs the job, and not the lane
            _LOG.exception("job %s", job["id"])
            self._drop()
            self._failed(job, CallError("bug", "the studio made a mistake here; its log tells which, please report it"))
        return True

    def _failed(self, job: Row, error: CallError) -> None:
        if not self._is_over:  # else the next start puts it back into the queue
            self.source.fail(job["id"], error.shown())

    def _try(self, what: Callable[[], object], answer: "Future[Message] | None") -> None:
        try:
            what()
        except CallError as error:
            if answer is not None:
                answer.set_exception(error)

    def _start(self) -> Child:
        if self._child is None:
            self._child = Child(self.lane, self.limits.memory_bytes)
            try:
                self._listen(time.monotonic() + 120, ("ready",))
            except CallError:
                self._drop()
                time.sleep(1)  # a worker that cannot start shall not be started without a pause
                raise
            self.is_ready = True
            self.on_ready()
        return self._child

    def _drop(self) -> None:
        self.is_ready = False
        if self._child is not None:
            self._child.end()
            self._child = None
        if self.starts_early:
            self._wake.set()

    def _asked(self, message: Message, seconds: float) -> Message:
        self._start().tell(message)
        return self._heard(seconds, ("done",), lambda said: None)

    def _work_on(self, job: Row) -> None:
        identity = job["id"]
        child = self._start()
        try:
            order = self._order(job)
        except LookupError as error:
            raise CallError("missing", str(error)) from error
        child.tell(order)
        seconds = self.limits.quick_seconds if self.lane == "quick" else self.limits.job_seconds
        asked_at: float | None = None

        def look(said: Message | None) -> None:
            nonlocal asked_at
            if said is not None and said["say"] == "progress":
                self.source.progressed(identity, said["progress"], preview=said["preview"])
            elif said is not None and said["say"] == "stood":
                self.source.stood(identity, said["stood"])
            if asked_at is None and (wanted := self.source.wanted(identity)):
                if not order.get("finish"):
                    child.tell({"do": "stop", "how": "finish" if wanted == "finish" else "stop"})
                asked_at = time.monotonic()
            if asked_at is not None and time.monotonic() - asked_at > STOP_SECONDS:
                raise _StoppedError

        try:
            said = self._heard(seconds, ("done", "stopped"), look)
        except _StoppedError:
            self._drop()
            self.source.stopped(identity)
            return
        if said["say"] == "stopped":
            self.source.stopped(identity)
        else:
            self.source.finish(identity, self._result(job, said))

    def _heard(self, seconds: float, last: tuple[str, ...], look: Callable[[Message | None], None]) -> Message:
        """Listen until one of the last words; a child that fails at it in a way of its own is ended."""
        try:
            return self._listen(time.monotonic() + seconds, last, look)
        except CallError as error:
            if error.code in ("worker", "memory"):
                self._drop()
            raise

    def _listen(
        self, until: float, last: tuple[str, ...], look: Callable[[Message | None], None] = lambda said: None
    ) -> Message:
        child = self._child
        assert child is not None
        while True:
            said = child.hear(_LOOK_SECONDS)
            if said is not None and said["say"] in last:
                return said
            if said is not None and said["say"] == "failed":
                raise CallError(said["code"], said["message"], said.get("field"))
            look(said)
            if child.memory() > self.limits.memory_bytes:
                raise CallError(
                    "memory", f"this took more than {self.limits.memory_bytes / 2**30:.1f} GiB; use a smaller size", "size"
                )
            if time.monotonic() > until:
                raise CallError("worker", "this took too long and was stopped; use a smaller size, or fewer steps", "size")


class _StoppedError(Exception):
    """A child that was asked to stop and did not."""
