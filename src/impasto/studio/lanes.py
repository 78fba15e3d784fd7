"""The parent's side of the workers: a child process for each lane, what it is given, and what becomes of it.

Between parent and child go lines of JSON, never pickles: a child that a hostile picture took over can say only what the parent
understands. A child that ends, takes too long or holds too much memory costs the job it had, and the next one has a new child.
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

from impasto.studio.child import CallError, Child, Message, cannot_start, refused
from impasto.studio.database import Row
from impasto.studio.faults import BUG, RETRY_SECONDS, Trouble, fault, written
from impasto.studio.jobs import Wanted
from impasto.studio.settings import Limits

Ending = Callable[[], object]
"""Writes how a job ended."""

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 0.2
_PAUSES = (1.0, 2.0, 4.0)
"""How long to wait before a worker that cannot start is started again for the same job."""

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
        self._ending: tuple[Ending, Ending] | None = None
        self._trouble = Trouble(f"lane {name}")
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
        """Work until the studio ends; whatever goes wrong, the lane goes on."""
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
        """Whether the lane is ending."""
        return self._is_over

    def _turn(self) -> None:
        """Do all that there is."""
        if self.starts_early and (self._child is None or self._child.has_ended()):
            self._try(self._start, None)
        while not self.is_over() and self._one():
            pass

    def _one(self) -> bool:
        """Do one thing; return whether there was one, and whether there may be another."""
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
        if not written(*self._ending, self._trouble):  # it is tried again before another job is taken
            time.sleep(RETRY_SECONDS)
            return True
        self._ending = None
        return True

    def _ending_of(self, job: Row) -> "tuple[Ending, Ending]":
        """Work on a job; return what writes how it ended, and what does where that cannot be written."""
        bug = self._failing(job, CallError("bug", BUG))
        try:
            return self._work_on(job), bug
        except CallError as error:
            return self._failing(job, error), bug
        except Exception as error:  # whatever it is costs the job, and not the lane
            self._drop()
            if found := refused(error):
                _LOG.warning("job %s: %s", job["id"], found)
                return self._failing(job, found), bug
            _LOG.exception("job %s", job["id"])
            return bug, bug

    def _failing(self, job: Row, error: CallError) -> "Ending":
        def fail() -> None:
            if not self._is_over:  # else the next start puts it back into the queue
                self.source.fail(job["id"], error.shown())

        return fail

    def _try(self, what: Callable[[], object], answer: "Future[Message] | None") -> None:
        try:
            what()
        except Exception as error:
            if not isinstance(error, CallError):
                _LOG.warning("a worker was asked in vain", exc_info=error)
                self._drop()
            if answer is not None:
                answer.set_exception(_as_call_error(error))

    def _start(self) -> Child:
        """Return the child, and start it where there is none, or one that has ended in the meantime.

        Raises:
            CallError: it could not be started.
        """
        if self._child is not None and self._child.has_ended():
            self._drop()
        if self._child is None:
            try:
                self._child = Child(self.lane, self.limits.memory_bytes)
                self._listen(time.monotonic() + 120, ("ready",))
            except CallError as error:
                self._drop()
                time.sleep(RETRY_SECONDS)  # a worker that cannot start shall not be started without a pause
                if error.code == "worker":
                    raise cannot_start(str(error).partition(";")[0]) from error
                raise
            self.is_ready = True
            self.on_ready()
        return self._child

    def _child_for_a_job(self) -> Child:
        """Start the child for a job; what keeps it from starting may pass."""
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
        return self._heard(seconds, ("done",), lambda said: None)

    def _work_on(self, job: Row) -> "Ending":
        """Work on a job; return what writes how it ended."""
        identity = job["id"]
        child = self._child_for_a_job()
        try:
            order = self._order(job)
        except LookupError as error:
            raise CallError("missing", str(error)) from error
        child.tell(order)
        seconds = self.limits.quick_seconds if self.lane == "quick" else self.limits.job_seconds
        watch = _Wish(self.source, child, identity, is_told=bool(order.get("finish")))

        def look(said: Message | None) -> None:
            with self._going_on():
                self._pass_on(identity, said)
            with self._going_on():
                watch.look()
            watch.check()

        try:
            said = self._heard(seconds, ("done", "stopped"), look)
        except _StoppedError:
            self._drop()
            return partial(self.source.stopped, identity)
        if said["say"] == "stopped":
            return partial(self.source.stopped, identity)
        return partial(self.source.finish, identity, self._result(job, said))

    def _pass_on(self, identity: str, said: Message | None) -> None:
        """Tell the source what a child says on the way."""
        if said is not None and said["say"] == "progress":
            self.source.progressed(identity, said["progress"], preview=said["preview"])
        elif said is not None and said["say"] == "stood":
            self.source.stood(identity, said["stood"])

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Let a job go on where what it says on the way cannot be written for now."""
        try:
            yield
        except Exception as error:
            if not fault(error):
                raise
            self._trouble.met(error)

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


class _Wish:
    """How a job shall stop, told to its child once."""

    def __init__(self, source: Source, child: Child, identity: str, *, is_told: bool) -> None:
        self._source, self._child, self._identity, self._is_told = source, child, identity, is_told
        self._asked_at: float | None = None

    def look(self) -> None:
        """Look whether there is one."""
        if self._asked_at is None and (wanted := self._source.wanted(self._identity)):
            self._asked_at = time.monotonic()
            if not self._is_told:
                self._child.tell({"do": "stop", "how": "finish" if wanted == "finish" else "stop"})

    def check(self) -> None:
        """Check that the child still may take its time.

        Raises:
            _StoppedError: it was asked long ago.
        """
        if self._asked_at is not None and time.monotonic() - self._asked_at > STOP_SECONDS:
            raise _StoppedError


def _as_call_error(error: Exception) -> CallError:
    return error if isinstance(error, CallError) else refused(error) or CallError("bug", BUG)


class _StoppedError(Exception):
    """A child that was asked to stop and did not."""
