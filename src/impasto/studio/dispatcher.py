"""The slow lane of a studio with remote workers. It runs as many jobs at once as there are workers.

The job queue stays in SQLite. The dispatcher takes a job only when a worker is free. It checks everything that the worker
returns, and writes only the files of the job.
"""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from impasto.runtime.atomic import replacing
from impasto.studio.attempts import Attempt, LostError
from impasto.studio.broker import AWAY_SECONDS, BEAT_SECONDS, Broker, BrokerError, why
from impasto.studio.child import CallError, refused
from impasto.studio.database import Row
from impasto.studio.faults import BUG, RETRY_SECONDS, Trouble, fault, written
from impasto.studio.jobs import Jobs
from impasto.studio.lanes import STOP_SECONDS, Ending
from impasto.studio.settings import Limits
from impasto.studio.wire import Message, WireError

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 0.1
_MOST_AT_ONCE = 8
_MARGIN_SECONDS = 15.0
"""Extra time that the studio waits beyond a time limit, so that the worker, which has the same limit, can end the job first."""


class Dispatcher(threading.Thread):
    """Sends jobs to free workers, with one thread per running job."""

    def __init__(
        self,
        jobs: Jobs,
        limits: Limits,
        broker: Broker,
        order: Callable[[Row], Message],
        result: Callable[[Row, Message], Mapping[str, Any]],
    ) -> None:
        super().__init__(name="dispatcher", daemon=True)
        self._jobs, self._limits, self._broker = jobs, limits, broker
        self._order, self._result = order, result
        self._wake, self._is_over = threading.Event(), threading.Event()
        self._threads: dict[Attempt, threading.Thread] = {}
        self._lost_at: dict[str, str | None] = {}
        self._not_started: list[str] = []
        self._trouble = Trouble("dispatcher")

    def wake(self) -> None:
        """Signal that there may be a new job."""
        self._wake.set()

    def prepare(self) -> None:
        """Do nothing: remote workers load their networks at startup."""

    def end(self) -> None:
        """Abandon all attempts. Their jobs stay in the state "running" until they are requeued."""
        self._is_over.set()
        self._wake.set()
        if self.is_alive():
            self.join(timeout=10)
        for each in tuple(self._threads.values()):
            each.join(timeout=10)

    # ------------------------------------------------------------------------------------------------ dispatching

    def run(self) -> None:
        """Dispatch jobs until the studio ends."""
        is_there = True
        while not self._is_over.is_set():
            try:
                self._hold()
                self._dispatch()
                if not is_there:
                    _LOG.warning("the queue %s responds again", self._broker.shown)
                is_there = True
            except BrokerError as error:
                if is_there:
                    _LOG.warning("the queue %s does not respond (%s); jobs wait until it does", self._broker.shown, why(error))
                is_there = False
            except Exception as error:  # the dispatcher must not stop
                self._trouble.met(error)
            else:
                self._trouble.over()
            self._wake.wait(BEAT_SECONDS / 2)
            self._wake.clear()

    def _hold(self) -> None:
        for attempt in tuple(self._threads):
            attempt.hold()

    def _dispatch(self) -> None:
        at_once = min(self._broker.workers(), _MOST_AT_ONCE)
        self._jobs.at_once["slow"] = max(1, at_once)
        while self._not_started:
            self._jobs.put_back(self._not_started[-1])
            self._not_started.pop()
        free = at_once - len(self._threads)
        while free > 0 and not self._is_over.is_set():
            job = self._jobs.take("slow")
            if job is None:
                return
            attempt = Attempt(self._broker)
            self._threads[attempt] = threading.Thread(target=self._run_job, args=(job, attempt), name="attempt", daemon=True)
            try:
                self._threads[attempt].start()
            except RuntimeError:  # no thread can be started
                del self._threads[attempt]
                self._not_started.append(job["id"])
                raise
            free -= 1

    # ------------------------------------------------------------------------------------------------ one job

    def _run_job(self, job: Row, attempt: Attempt) -> None:
        """Run a job and record how it ended. After a temporary system error, retry the recording."""
        try:
            ending = self._ending_of(job, attempt)
            bug = self._failing(job["id"], CallError("bug", BUG))
            while not written(ending, bug, self._trouble):
                if self._is_over.wait(RETRY_SECONDS):
                    break  # the next start of the studio requeues the job
        finally:
            del self._threads[attempt]
            attempt.give_up()
            self._wake.set()

    def _ending_of(self, job: Row, attempt: Attempt) -> Ending:
        """Run a job. Return a function that records how it ended."""
        identity = job["id"]
        try:
            ending = self._paint(job, attempt)
            self._lost_at.pop(identity, None)
        except LostError as error:
            _LOG.warning("job %s: its worker was lost (%s)", identity, error)
            return partial(self._lost, identity, str(error))
        except CallError as error:
            return self._failing(identity, error)
        except WireError as error:
            _LOG.warning("job %s: a worker sent %s", identity, error)
            return self._failing(identity, CallError("worker", "the worker sent an invalid result; try again"))
        except BrokerError as error:
            _LOG.warning("job %s: the queue %s failed (%s)", identity, self._broker.shown, why(error))
            self._is_over.wait(AWAY_SECONDS)
            return partial(self._put_back, identity)
        except Exception as error:  # only the job fails, not the dispatcher
            found = refused(error)
            _LOG.warning("job %s: %s", identity, found or "a bug", exc_info=None if found else error)
            return self._failing(identity, found or CallError("bug", BUG))
        return ending

    def _failing(self, identity: str, error: CallError) -> Ending:
        return partial(self._jobs.fail, identity, error.shown())

    def _paint(self, job: Row, attempt: Attempt) -> Ending:
        """Send a job and read messages until the job or the studio ends. Return a function that records how the job ended."""
        identity = job["id"]
        try:
            order = self._order(job)
            attempt.send(order)
        except LookupError as error:
            raise CallError("missing", str(error)) from error
        watch = _Watch(self._limits.job_seconds + _MARGIN_SECONDS)
        while not self._is_over.is_set():
            message: Message | None = None
            with suppress(BrokerError):
                message = attempt.hear()
            if message is not None:
                if ending := self._process(job, order, attempt, message):
                    return ending
            elif not attempt.is_taken and watch.is_time_to_count() and self._workers() == 0:
                return partial(self._put_back, identity)
            if attempt.is_taken:
                watch.check()
            if self._has_stopped(identity, order, attempt, watch):
                return partial(self._jobs.stopped, identity)
            if message is None:
                self._is_over.wait(_LOOK_SECONDS)
        return partial(self._put_back, identity)

    def _process(self, job: Row, order: Message, attempt: Attempt, message: Message) -> Ending | None:
        """Process a message. After the last message, return a function that records how the job ended."""
        identity = job["id"]
        if message["say"] in ("progress", "checkpoint"):
            self._store_state(identity, order, attempt, message)
        elif message["say"] == "failed":
            raise CallError(message["code"], message["message"], message["field"])
        elif message["say"] == "stopped":
            return partial(self._jobs.stopped, identity)
        elif message["say"] == "left":
            return partial(self._put_back, identity)
        elif message["say"] == "done":
            return partial(self._jobs.finish, identity, self._result(job, self._with_files(order, attempt, message)))
        return None

    def _store_state(self, identity: str, order: Message, attempt: Attempt, message: Message) -> None:
        """Store the progress of a job. Skip it after a temporary system error: the next message replaces it."""
        try:
            if message["say"] == "checkpoint":
                _write(order["work"] + ".npy", attempt.part("checkpoint_file", ".npy", message["checkpoint_file"]))
                self._jobs.checkpoint(identity, message["checkpoint"])
                return
            has_preview = message["preview"] is not None
            if has_preview:
                _write(order["work"] + ".jpg", attempt.part("preview", ".jpg", message["preview"]))
            self._jobs.progressed(identity, message["progress"], preview=has_preview)
        except Exception as error:
            if not fault(error):
                raise
            self._trouble.met(error)

    def _with_files(self, order: Message, attempt: Attempt, message: Message) -> Message:
        """Write the files of a result. Return the message together with the suffix and the sizes of these files."""
        suffix = ".jpg" if order["draft"] else ".png"
        picture = attempt.part("result", suffix, message["result"])
        thumb = attempt.part("thumb", ".jpg", message["thumb"])
        _write(order["result"] + suffix, picture)
        _write(order["result"] + ".thumb.jpg", thumb)
        return message | {"suffix": suffix, "bytes": len(picture), "disk": len(picture) + len(thumb)}

    def _has_stopped(self, identity: str, order: Message, attempt: Attempt, watch: "_Watch") -> bool:
        """Pass on a stop request. Return True if no worker has the job, or if its worker does not respond."""
        try:
            wanted = self._jobs.wanted(identity)
        except sqlite3.Error as error:  # the next call checks again
            self._trouble.met(error)
            return False
        if wanted is None:
            return False
        watch.asked_at = watch.asked_at or time.monotonic()
        if not watch.is_sent and not order["finish"]:
            with suppress(BrokerError):
                attempt.wish("finish" if wanted == "finish" else "stop")
                watch.is_sent = True
        if not attempt.is_taken:
            return wanted != "finish"
        return time.monotonic() - watch.asked_at > STOP_SECONDS + _MARGIN_SECONDS and not order["finish"]

    def _workers(self) -> int:
        with suppress(BrokerError):
            return self._broker.workers()
        return 1  # the number is unknown

    def _put_back(self, identity: str) -> None:
        if not self._is_over.is_set():  # otherwise, the shutdown requeues the job
            self._jobs.put_back(identity)

    def _lost(self, identity: str, why: str) -> None:
        """Requeue a job whose worker was lost. If this happens twice at the same checkpoint, mark the job as failed."""
        try:
            checkpoint = self._jobs.get(identity)["checkpoint"]
        except LookupError:  # the job was deleted
            return
        if identity not in self._lost_at or checkpoint != self._lost_at[identity]:
            self._put_back(identity)
            self._lost_at[identity] = checkpoint
            return
        sentence = f"the worker ended unexpectedly ({why}); try again or use another picture"
        self._jobs.fail(identity, CallError("worker", sentence).shown())
        del self._lost_at[identity]


def _write(path: str, data: bytes) -> None:
    with replacing(Path(path)) as part:
        part.write_bytes(data)


class _Watch:
    """Time limits of a running job."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until = seconds, 0.0
        self._counted = time.monotonic()
        self.asked_at: float | None = None
        self.is_sent = False

    def is_time_to_count(self) -> bool:
        """Whether it is time to count the workers again."""
        now = time.monotonic()
        is_due = now - self._counted > BEAT_SECONDS
        self._counted = now if is_due else self._counted
        return is_due

    def check(self) -> None:
        """Check that the job is within its time limit, which starts when a worker accepts the job.

        Raises:
            CallError: The time limit is exceeded.
        """
        self._until = self._until or time.monotonic() + self._seconds
        if time.monotonic() > self._until:
            raise CallError("worker", "the job took too long and was stopped; use a smaller size or fewer steps", "size")
