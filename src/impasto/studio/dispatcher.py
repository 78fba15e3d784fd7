"""The slow lane of a studio whose workers are on other machines: as many jobs at once as there are workers.

SQLite stays the truth. A job is taken from it only when a worker is there that has nothing to do, and until then it waits where
it always waits. What comes back is checked, and written to the files of that job alone.
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

from impasto.studio.attempts import Attempt, LostError, write_whole
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
"""How much longer the studio waits for an end than the worker, which holds the same limits."""


class Dispatcher(threading.Thread):
    """Takes jobs when a worker is free, and has a thread for each that is away."""

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
        self._away: dict[Attempt, threading.Thread] = {}
        self._lost_at: dict[str, str | None] = {}
        self._never_begun: list[str] = []
        self._trouble = Trouble("dispatcher")

    def wake(self) -> None:
        """Tell that there may be a job."""
        self._wake.set()

    def prepare(self) -> None:
        """Do nothing: workers elsewhere are ready, or are not there."""

    def end(self) -> None:
        """Give up what is away; it stays "running" until it is put back."""
        self._is_over.set()
        self._wake.set()
        if self.is_alive():
            self.join(timeout=10)
        for each in tuple(self._away.values()):
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
                    _LOG.warning("the queue %s answers again", self._broker.shown)
                is_there = True
            except BrokerError as error:
                if is_there:
                    _LOG.warning("the queue %s does not answer (%s); jobs wait until it does", self._broker.shown, why(error))
                is_there = False
            except Exception as error:  # whatever it is, the dispatcher goes on
                self._trouble.met(error)
            else:
                self._trouble.over()
            self._wake.wait(BEAT_SECONDS / 2)
            self._wake.clear()

    def _hold(self) -> None:
        for attempt in tuple(self._away):
            attempt.hold()

    def _dispatch(self) -> None:
        at_once = min(self._broker.workers(), _MOST_AT_ONCE)
        self._jobs.at_once["slow"] = max(1, at_once)
        while self._never_begun:
            self._jobs.put_back(self._never_begun[-1])
            self._never_begun.pop()
        free = at_once - len(self._away)
        while free > 0 and not self._is_over.is_set():
            job = self._jobs.take("slow")
            if job is None:
                return
            attempt = Attempt(self._broker)
            self._away[attempt] = threading.Thread(target=self._look_after, args=(job, attempt), name="away", daemon=True)
            try:
                self._away[attempt].start()
            except RuntimeError:  # the system has no room for another thread
                del self._away[attempt]
                self._never_begun.append(job["id"])
                raise
            free -= 1

    # ------------------------------------------------------------------------------------------------ one job

    def _look_after(self, job: Row, attempt: Attempt) -> None:
        """Have a job painted, and write how it ended; where the system refuses that, until it does not."""
        try:
            ending = self._ending_of(job, attempt)
            bug = self._failing(job["id"], CallError("bug", BUG))
            while not written(ending, bug, self._trouble):
                if self._is_over.wait(RETRY_SECONDS):
                    break  # the next start puts it back
        finally:
            del self._away[attempt]
            attempt.give_up()
            self._wake.set()

    def _ending_of(self, job: Row, attempt: Attempt) -> Ending:
        """Have a job painted; return what writes how it ended."""
        identity = job["id"]
        try:
            ending = self._paint(job, attempt)
            self._lost_at.pop(identity, None)
        except LostError as error:
            _LOG.warning("job %s: its worker is gone (%s)", identity, error)
            return partial(self._lost, identity, str(error))
        except CallError as error:
            return self._failing(identity, error)
        except WireError as error:
            _LOG.warning("job %s: a worker sent %s", identity, error)
            return self._failing(identity, CallError("worker", "the worker sent what is no result; try again"))
        except BrokerError as error:
            _LOG.warning("job %s: the queue %s failed (%s)", identity, self._broker.shown, why(error))
            self._is_over.wait(AWAY_SECONDS)
            return partial(self._put_back, identity)
        except Exception as error:  # whatever it is costs the job, and not the dispatcher
            found = refused(error)
            _LOG.warning("job %s: %s", identity, found or "a bug", exc_info=None if found else error)
            return self._failing(identity, found or CallError("bug", BUG))
        return ending

    def _failing(self, identity: str, error: CallError) -> Ending:
        return partial(self._jobs.fail, identity, error.shown())

    def _paint(self, job: Row, attempt: Attempt) -> Ending:
        """Give a job away, and listen until its end, or until the studio's; return what writes how it ended."""
        identity = job["id"]
        try:
            order = self._order(job)
            attempt.send(order)
        except LookupError as error:
            raise CallError("missing", str(error)) from error
        watch = _Watch(self._limits.job_seconds + _MARGIN_SECONDS)
        while not self._is_over.is_set():
            said: Message | None = None
            with suppress(BrokerError):
                said = attempt.hear()
            if said is not None:
                if ending := self._take_in(job, order, attempt, said):
                    return ending
            elif not attempt.is_taken and watch.is_time_to_count() and self._workers() == 0:
                return partial(self._put_back, identity)
            if attempt.is_taken:
                watch.check()
            if self._has_stopped(identity, order, attempt, watch):
                return partial(self._jobs.stopped, identity)
            if said is None:
                self._is_over.wait(_LOOK_SECONDS)
        return partial(self._put_back, identity)

    def _take_in(self, job: Row, order: Message, attempt: Attempt, said: Message) -> Ending | None:
        """Write what a worker said on the way; return what writes its end, where it was the last."""
        identity = job["id"]
        if said["say"] in ("progress", "stood"):
            self._take_in_state(identity, order, attempt, said)
        elif said["say"] == "failed":
            raise CallError(said["code"], said["message"], said["field"])
        elif said["say"] == "stopped":
            return partial(self._jobs.stopped, identity)
        elif said["say"] == "left":
            return partial(self._put_back, identity)
        elif said["say"] == "done":
            return partial(self._jobs.finish, identity, self._result(job, self._with_files(order, attempt, said)))
        return None

    def _take_in_state(self, identity: str, order: Message, attempt: Attempt, said: Message) -> None:
        """Write how far a job is; where the system refuses that for now, the next one will do."""
        try:
            if said["say"] == "stood":
                write_whole(Path(order["work"] + ".npy"), attempt.part("stand", ".npy", said["stand"]), attempt.token)
                self._jobs.stood(identity, said["stood"])
                return
            has_preview = said["preview"] is not None
            if has_preview:
                data = attempt.part("preview", ".jpg", said["preview"])
                write_whole(Path(order["work"] + ".jpg"), data, attempt.token)
            self._jobs.progressed(identity, said["progress"], preview=has_preview)
        except Exception as error:
            if not fault(error):
                raise
            self._trouble.met(error)

    def _with_files(self, order: Message, attempt: Attempt, said: Message) -> Message:
        """Write the files of a result, and count them."""
        suffix = ".jpg" if order["draft"] else ".png"
        picture = attempt.part("result", suffix, said["result"])
        thumb = attempt.part("thumb", ".jpg", said["thumb"])
        write_whole(Path(order["result"] + suffix), picture, attempt.token)
        write_whole(Path(order["result"] + ".thumb.jpg"), thumb, attempt.token)
        return said | {"suffix": suffix, "bytes": len(picture), "disk": len(picture) + len(thumb)}

    def _has_stopped(self, identity: str, order: Message, attempt: Attempt, watch: "_Watch") -> bool:
        """Pass on that a job shall stop; return whether it has: no worker has it, or one that does not answer."""
        try:
            wanted = self._jobs.wanted(identity)
        except sqlite3.Error as error:  # it is looked for again
            self._trouble.met(error)
            return False
        if wanted is None:
            return False
        watch.asked_at = watch.asked_at or time.monotonic()
        if not watch.is_told and not order["finish"]:
            with suppress(BrokerError):
                attempt.wish("finish" if wanted == "finish" else "stop")
                watch.is_told = True
        if not attempt.is_taken:
            return wanted != "finish"
        return time.monotonic() - watch.asked_at > STOP_SECONDS + _MARGIN_SECONDS and not order["finish"]

    def _workers(self) -> int:
        with suppress(BrokerError):
            return self._broker.workers()
        return 1  # nobody knows

    def _put_back(self, identity: str) -> None:
        if not self._is_over.is_set():  # else the end of the studio does it
            self._jobs.put_back(identity)

    def _lost(self, identity: str, why: str) -> None:
        """Put a job back whose worker vanished; not twice at the same place, as the picture may be what ends workers."""
        try:
            stood = self._jobs.get(identity)["stood"]
        except LookupError:  # nobody wants it any more
            return
        if identity not in self._lost_at or stood != self._lost_at[identity]:
            self._put_back(identity)
            self._lost_at[identity] = stood
            return
        sentence = f"the worker ended unexpectedly ({why}); try again, or another picture"
        self._jobs.fail(identity, CallError("worker", sentence).shown())
        del self._lost_at[identity]


class _Watch:
    """How long a job is away."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until = seconds, 0.0
        self._counted = time.monotonic()
        self.asked_at: float | None = None
        self.is_told = False

    def is_time_to_count(self) -> bool:
        """Whether the workers shall be counted again."""
        now = time.monotonic()
        is_due = now - self._counted > BEAT_SECONDS
        self._counted = now if is_due else self._counted
        return is_due

    def check(self) -> None:
        """Check the time since a worker took it.

        Raises:
            CallError: it is over.
        """
        self._until = self._until or time.monotonic() + self._seconds
        if time.monotonic() > self._until:
            raise CallError("worker", "this took too long and was stopped; use a smaller size, or fewer steps", "size")
