"""The parent side of the workers: one child process per lane.

A *lane* is a queue of jobs and the worker that runs them. The quick lane is for jobs that take seconds, the slow lane for
paintings.

Parent and child exchange lines of JSON, never pickles. So even if a malicious picture takes over a child, the child cannot run
code in the parent. If a child ends, exceeds its time limit or uses too much memory, its job fails, and the next job gets a new
child.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from impasto.runtime.amounts import amount
from impasto.studio.child import CallError, Child, Message, cannot_start, refused
from impasto.studio.database import Row
from impasto.studio.faults import BUG, RETRY_SECONDS, Trouble, fault, written
from impasto.studio.jobs import Wanted
from impasto.studio.settings import Limits

Ending = Callable[[], object]
"""A function that records how a job ended."""

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 0.2
_PAUSES = (1.0, 2.0, 4.0)
"""Pauses between attempts to start a worker for the same job."""

STOP_SECONDS = 30.0
"""Time within which a child must finish its current step after a stop request."""


class Source(Protocol):
    """Source of a lane's jobs, and receiver of their progress and results.

    The source of a local studio is :class:`impasto.studio.jobs.Jobs`. The source of a worker on another machine is
    :class:`impasto.studio.remote_worker.RemoteWorker`.
    """

    def take(self, lane: str) -> Row | None:
        """Take the next job of a lane."""

    def wanted(self, identity: str) -> Wanted | None:
        """Return the stop request for a running job, or None."""

    def progressed(self, identity: str, progress: Mapping[str, Any] | None, *, preview: bool) -> None:
        """Report the progress of a job."""

    def checkpoint(self, identity: str, checkpoint: Mapping[str, Any]) -> None:
        """Report a checkpoint of a painting."""

    def finish(self, identity: str, result: Mapping[str, Any]) -> None:
        """Report the result of a job."""

    def fail(self, identity: str, error: Mapping[str, Any]) -> None:
        """Report that a job failed."""

    def stopped(self, identity: str) -> None:
        """Report that a job stopped on request."""


class Runner(Protocol):
    """Runs the jobs of one lane: a :class:`Lane`, or a :class:`impasto.studio.dispatcher.Dispatcher` for remote workers."""

    def start(self) -> None:
        """Start."""

    def wake(self) -> None:
        """Signal that there may be a new job."""

    def prepare(self) -> None:
        """Signal that a job is expected soon."""

    def end(self) -> None:
        """Stop."""


@dataclass
class Call:
    """A call to a child, and a future that receives the answer."""

    message: Message
    seconds: float
    answer: "Future[Message]" = field(default_factory=Future)


class Lane(threading.Thread):
    """A child process, and the thread that sends calls and jobs to it. Pending calls are sent before the next job."""

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
        self._ending: tuple[Ending, Ending] | None = None
        self._trouble = Trouble(f"lane {name}")
        self._child: Child | None = None
        self.is_ready = False
        self.on_ready: Callable[[], None] = lambda: None
        self.starts_early = name == "quick"

    # ------------------------------------------------------------------------------------------------ for other threads

    def call(self, seconds: float, **message: Any) -> "Future[Message]":
        """Call the child. Calls are processed before jobs."""
        call = Call(message, seconds)
        self._calls.put(call)
        self._wake.set()
        return call.answer

    def wake(self) -> None:
        """Signal that there may be a new job."""
        self._wake.set()

    def prepare(self) -> None:
        """Start the child now, before there is a job."""
        self.starts_early = True
        self._wake.set()

    def end(self) -> None:
        """Stop the child and the thread."""
        self._is_over = True
        self._wake.set()
        if self._child is not None:
            self._child.end()
        self.join(timeout=10)

    # ------------------------------------------------------------------------------------------------ the thread

    def run(self) -> None:
        """Process calls and jobs until the studio ends. Log errors and continue."""
        while not self.is_over():
            self._wake.clear()
            try:
                self._turn()
            except Exception as error:
                if not self.is_over():
                    self._trouble.met(error)
                    time.sleep(RETRY_SECONDS)
            else:
                self._wake.wait(timeout=5.0)

    def is_over(self) -> bool:
        """Whether the lane is stopping."""
        return self._is_over

    def _turn(self) -> None:
        """Process all pending calls and jobs."""
        if self.starts_early and (self._child is None or self._child.has_ended()):
            self._try(self._start, None)
        while not self.is_over() and self._one():
            pass

    def _one(self) -> bool:
        """Process one call or one job. Return whether another one may be waiting."""
        with suppress(queue.Empty):
            call = self._calls.get_nowait()
            if call.answer.set_running_or_notify_cancel():
                self._try(lambda: call.answer.set_result(self._asked(call.message, call.seconds)), call.answer)
            return True
        if self._ending is None:
            job = self.source.take(self.lane)
            if job is None:
                self._trouble.over()
                return False
            self._ending = self._ending_of(job)
        if not written(*self._ending, self._trouble):  # try again before the next job
            time.sleep(RETRY_SECONDS)
            return True
        self._ending = None
        return True

    def _ending_of(self, job: Row) -> "tuple[Ending, Ending]":
        """Run a job. Return a function that records how it ended, and a fallback in case that function has a bug."""
        bug = self._failing(job, CallError("bug", BUG))
        try:
            return self._work_on(job), bug
        except CallError as error:
            return self._failing(job, error), bug
        except Exception as error:  # only the job fails, not the lane
            self._drop()
            if found := refused(error):
                _LOG.warning("job %s: %s", job["id"], found)
                return self._failing(job, found), bug
            _LOG.exception("job %s", job["id"])
            return bug, bug

    def _failing(self, job: Row, error: CallError) -> "Ending":
        def fail() -> None:
            if not self._is_over:  # otherwise, the next start of the studio requeues the job
                self.source.fail(job["id"], error.shown())

        return fail

    def _try(self, what: Callable[[], object], answer: "Future[Message] | None") -> None:
        try:
            what()
        except Exception as error:
            if not isinstance(error, CallError):
                _LOG.warning("a call to a worker failed", exc_info=error)
                self._drop()
            if answer is not None:
                answer.set_exception(_as_call_error(error))

    def _start(self) -> Child:
        """Return the child. If there is no child, or it has ended, start a new one.

        Raises:
            CallError: The child could not be started.
        """
        if self._child is not None and self._child.has_ended():
            self._drop()
        if self._child is None:
            try:
                self._child = Child(self.lane, self.limits.memory_bytes)
                self._listen(time.monotonic() + 120, ("ready",))
            except CallError as error:
                self._drop()
                time.sleep(RETRY_SECONDS)  # avoid a busy loop while the worker cannot start
                if error.code == "worker":
                    raise cannot_start(str(error).partition(";")[0]) from error
                raise
            self.is_ready = True
            self.on_ready()
        return self._child

    def _child_for_a_job(self) -> Child:
        """Start the child for a job. Retry if this fails."""
        for pause in _PAUSES:
            try:
                return self._start()
            except CallError as error:
                _LOG.warning("lane %s: %s", self.lane, error)
                if self._is_over:
                    raise
                time.sleep(pause)
        return self._start()

    def _drop(self) -> None:
        self.is_ready = False
        if self._child is not None:
            self._child.end()
            self._child = None
        if self.starts_early:
            self._wake.set()

    def _asked(self, message: Message, seconds: float) -> Message:
        self._start().tell(message)
        return self._read_until(seconds, ("done",), lambda message: None)

    def _work_on(self, job: Row) -> "Ending":
        """Run a job. Return a function that records how it ended."""
        identity = job["id"]
        child = self._child_for_a_job()
        try:
            order = self._order(job)
        except LookupError as error:
            raise CallError("missing", str(error)) from error
        child.tell(order)
        seconds = self.limits.seconds_of(self.lane)
        watch = _StopRequest(self.source, child, identity, is_sent=bool(order.get("finish")))

        def look(message: Message | None) -> None:
            with self._tolerant():
                self._pass_on(identity, message)
            with self._tolerant():
                watch.look()
            watch.check()

        try:
            message = self._read_until(seconds, ("done", "stopped"), look)
        except _StoppedError:
            self._drop()
            return partial(self.source.stopped, identity)
        if message["say"] == "stopped":
            return partial(self.source.stopped, identity)
        return partial(self.source.finish, identity, self._result(job, message))

    def _pass_on(self, identity: str, message: Message | None) -> None:
        """Pass progress and checkpoints to the source."""
        if message is not None and message["say"] == "progress":
            self.source.progressed(identity, message["progress"], preview=message["preview"])
        elif message is not None and message["say"] == "checkpoint":
            self.source.checkpoint(identity, message["checkpoint"])

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Log temporary system errors instead of raising them, so that the job continues."""
        try:
            yield
        except Exception as error:
            if not fault(error):
                raise
            self._trouble.met(error)

    def _read_until(self, seconds: float, last: tuple[str, ...], look: Callable[[Message | None], None]) -> Message:
        """Return the first message whose type is in ``last``. End the child if it fails or exceeds its time or memory limit."""
        try:
            return self._listen(time.monotonic() + seconds, last, look)
        except CallError as error:
            if error.code in ("worker", "memory"):
                self._drop()
            raise

    def _listen(
        self, until: float, last: tuple[str, ...], look: Callable[[Message | None], None] = lambda message: None
    ) -> Message:
        child = self._child
        assert child is not None
        while True:
            message = child.hear(_LOOK_SECONDS)
            if message is not None and message["say"] in last:
                return message
            if message is not None and message["say"] == "failed":
                raise CallError(message["code"], message["message"], message.get("field"))
            look(message)
            if child.memory() > self.limits.memory_bytes:
                raise CallError(
                    "memory",
                    f"the job needs more than {amount(self.limits.memory_bytes)} of memory; use a smaller size",
                    "size",
                )
            if time.monotonic() > until:
                raise CallError("worker", "the job took too long and was stopped; use a smaller size or fewer steps", "size")


class _StopRequest:
    """Passes a stop request to the child, but only once."""

    def __init__(self, source: Source, child: Child, identity: str, *, is_sent: bool) -> None:
        self._source, self._child, self._identity, self._is_sent = source, child, identity, is_sent
        self._asked_at: float | None = None

    def look(self) -> None:
        """Check for a stop request."""
        if self._asked_at is None and (wanted := self._source.wanted(self._identity)):
            self._asked_at = time.monotonic()
            if not self._is_sent:
                self._child.tell({"do": "stop", "how": "finish" if wanted == "finish" else "stop"})

    def check(self) -> None:
        """Check that the child does not take too long to stop.

        Raises:
            _StoppedError: The child did not stop in time.
        """
        if self._asked_at is not None and time.monotonic() - self._asked_at > STOP_SECONDS:
            raise _StoppedError


def _as_call_error(error: Exception) -> CallError:
    return error if isinstance(error, CallError) else refused(error) or CallError("bug", BUG)


class _StoppedError(Exception):
    """The child did not stop in time."""
