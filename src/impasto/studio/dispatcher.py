"""The slow lane of a studio whose workers are on other machines: as many jobs at once as there are workers.

SQLite stays the truth. A job is taken from it only when a worker is there that has nothing to do, and until then it waits where
it always waits. What comes back is checked, and written to the files of that job alone.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from impasto.studio.attempts import Attempt, LostError, write_whole
from impasto.studio.broker import AWAY_SECONDS, BEAT_SECONDS, Broker, BrokerError, why
from impasto.studio.database import Row
from impasto.studio.jobs import Jobs
from impasto.studio.lanes import STOP_SECONDS, CallError
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
            self._wake.wait(BEAT_SECONDS / 2)
            self._wake.clear()

    def _hold(self) -> None:
        for attempt in tuple(self._away):
            attempt.hold()

    def _dispatch(self) -> None:
        at_once = min(self._broker.workers(), _MOST_AT_ONCE)
        self._jobs.at_once["slow"] = max(1, at_once)
        free = at_once - len(self._away)
        while free > 0 and not self._is_over.is_set():
            job = self._jobs.take("slow")
            if job is None:
                return
            attempt = Attempt(self._broker)
            self._away[attempt] = threading.Thread(target=self._look_after, args=(job, attempt), name="away", daemon=True)
            self._away[attempt].start()
            free -= 1

    # ------------------------------------------------------------------------------------------------ one job

    def _look_after(self, job: Row, attempt: Attempt) -> None:
        identity = job["id"]
        try:
            self._paint(job, attempt)
            self._lost_at.pop(identity, None)
        except LostError as error:
            self._lost(identity, str(error))
        except CallError as error:
            self._jobs.fail(identity, error.shown())
        except WireError as error:
            _LOG.warning("job %s: a worker sent %s", identity, error)
            self._jobs.fail(identity, CallError("worker", "the worker sent what is no result; try again").shown())
        except BrokerError as error:
            _LOG.warning("job %s: the queue %s failed (%s)", identity, self._broker.shown, why(error))
            self._is_over.wait(AWAY_SECONDS)
            self._put_back(identity)
        except Exception:  # a bug of ours costs the job, and not the dispatcher
            _LOG.exception("job %s", identity)
            sentence = "the studio made a mistake here; its log tells which, please report it"
            self._jobs.fail(identity, CallError("bug", sentence).shown())
        finally:
            del self._away[attempt]
            attempt.give_up()
            self._wake.set()

    def _paint(self, job: Row, attempt: Attempt) -> None:
        """Give a job away, and listen until its end; or until the studio's."""
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
                if self._take_in(job, order, attempt, said):
                    return
            elif not attempt.is_taken and watch.is_time_to_count() and self._workers() == 0:
                self._put_back(job["id"])
                return
            if attempt.is_taken:
                watch.check()
            if self._has_stopped(job["id"], order, attempt, watch):
                self._jobs.stopped(job["id"])
                return
            if said is None:
                self._is_over.wait(_LOOK_SECONDS)

    def _take_in(self, job: Row, order: Message, attempt: Attempt, said: Message) -> bool:
        """Write what a worker said; return whether it was the last."""
        identity = job["id"]
        if said["say"] == "progress":
            has_preview = said["preview"] is not None
            if has_preview:
                data = attempt.part("preview", ".jpg", said["preview"])
                write_whole(Path(order["work"] + ".jpg"), data, attempt.token)
            self._jobs.progressed(identity, said["progress"], preview=has_preview)
        elif said["say"] == "stood":
            write_whole(Path(order["work"] + ".npy"), attempt.part("stand", ".npy", said["stand"]), attempt.token)
            self._jobs.stood(identity, said["stood"])
        elif said["say"] == "failed":
            raise CallError(said["code"], said["message"], said["field"])
        elif said["say"] == "stopped":
            self._jobs.stopped(identity)
        elif said["say"] == "left":
            self._put_back(identity)
        elif said["say"] == "done":
            self._jobs.finish(identity, self._result(job, self._with_files(order, attempt, said)))
        return said["say"] in ("stopped", "left", "done")

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
        wanted = self._jobs.wanted(identity)
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
        _LOG.warning("job %s: its worker is gone (%s)", identity, why)
        stood = self._jobs.get(identity)["stood"]
        if identity not in self._lost_at or stood != self._lost_at[identity]:
            self._lost_at[identity] = stood
            self._put_back(identity)
            return
        del self._lost_at[identity]
        sentence = f"the worker ended unexpectedly ({why}); try again, or another picture"
        self._jobs.fail(identity, CallError("worker", sentence).shown())


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
