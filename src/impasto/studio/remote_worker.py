"""A worker on another machine. It takes jobs from the queue server and runs them in a child process, as a studio does.

The worker runs a lane. The :class:`impasto.studio.lanes.Source` of this lane passes everything on to the studio.
"""

import json
import logging
import os
import re
import secrets
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from impasto.errors import ImpastoError
from impasto.studio.broker import AWAY_SECONDS, BEAT_SECONDS, LIFE_SECONDS, MISSED_SECONDS, Broker, BrokerError
from impasto.studio.controls import in_words
from impasto.studio.database import Row
from impasto.studio.faults import Trouble, fault, said
from impasto.studio.jobs import Wanted
from impasto.studio.lanes import Lane
from impasto.studio.settings import Limits
from impasto.studio.wire import LINE_BYTES, PART_BYTES, Message, Part, Unpacked, WireError, unpacked

_LOG = logging.getLogger(__name__)
_INPUT_BYTES = 256 * 2**20
_TRIES = 30
_FOLDER = "impasto-worker-"
_TOO_LARGE = "the result is too large to send; use a smaller size"


class Assignment:
    """The worker's side of one attempt at a job."""

    def __init__(self, broker: Broker, token: str, folder: Path) -> None:
        self._broker, self.token, self.folder = broker, token, folder
        self._lines, self._files = 0, 0
        self._missed_since: float | None = None
        self.is_dropped = False

    def take(self) -> bool:
        """Claim the attempt. Return False if no studio wants it anymore, or if another worker has it."""
        if not self.is_held():
            return False
        key = self._broker.key(self.token, "beat")
        return bool(self._broker.redis.set(key, b"0", ex=LIFE_SECONDS, nx=True))

    def is_held(self) -> bool:
        """Whether a studio still wants the attempt."""
        return bool(self._broker.redis.exists(self._broker.key(self.token, "held")))

    def beat(self) -> None:
        """Send a heartbeat."""
        self._broker.redis.set(self._broker.key(self.token, "beat"), str(self._lines), ex=LIFE_SECONDS)

    def order(self) -> Unpacked:
        """Fetch the order and its files.

        Raises:
            WireError: The order is missing or invalid.
            ImpastoError: An option is not allowed.
            OSError: The files cannot be written.
        """
        data = self._broker.read(LINE_BYTES, self.token, "order")
        if data is None:
            raise WireError("the order is missing")
        found = unpacked(data, self.folder)
        for number, path in found.files.items():
            file = self._broker.read(_INPUT_BYTES, self.token, "in", number)
            if file is None:
                raise WireError(f"file {number} is missing or has more than {_INPUT_BYTES} bytes")
            path.write_bytes(file)
        return found

    def say(self, what: str, **facts: Any) -> None:
        """Send a message. Do nothing if the attempt was dropped.

        Raises:
            BrokerError: The queue server does not respond, and nothing was sent.
        """
        if self.is_dropped:
            return
        line = json.dumps({"say": what, **facts}, allow_nan=False).encode()
        pipe = self._broker.redis.pipeline(transaction=True)
        pipe.set(self._broker.key(self.token, "line", self._lines), line, ex=3600)
        pipe.set(self._broker.key(self.token, "beat"), str(self._lines + 1), ex=LIFE_SECONDS)
        pipe.execute()
        self._lines += 1

    def send(self, part: Part, path: Path) -> int | None:
        """Send a file. Return its number, or None if the file is missing or too large."""
        try:
            data = b"" if self.is_dropped or path.stat().st_size > PART_BYTES[part] else path.read_bytes()
        except OSError:
            return None
        if not data:
            return None
        self._files += 1
        self._broker.write(data, self.token, "out", self._files)
        return self._files

    def wanted(self) -> Wanted | None:
        """Return the stop request, or None. If no studio wants the attempt anymore, drop it."""
        pipe = self._broker.redis.pipeline()
        pipe.get(self._broker.key(self.token, "wish"))
        pipe.exists(self._broker.key(self.token, "held"))
        try:
            wish, is_held = pipe.execute()
        except BrokerError:
            self._missed_since = None
            return None
        if is_held:
            self._missed_since = None
        elif self._missed_since is None:
            self._missed_since = time.monotonic()
        elif time.monotonic() - self._missed_since > MISSED_SECONDS:
            self.is_dropped = True
            return "cancelled"
        return {b"stop": "cancelled", b"finish": "finish"}.get(wish)  # type: ignore[return-value]


class RemoteWorker:
    """A worker, with a lane and the current assignment. The worker is itself the source of the lane."""

    def __init__(self, url: str, limits: Limits, say: Callable[[str], None]) -> None:
        """Connect to the queue server.

        Raises:
            OptionError: The address is invalid or the server does not respond.
        """
        self.broker = Broker(url)
        self.name = f"{re.sub(r'[^A-Za-z0-9.-]', '', socket.gethostname())[:60]}-{secrets.token_hex(3)}"
        self._trouble = Trouble("heartbeat")
        self._show = say
        self._assignment: Assignment | None = None
        self._job: Row | None = None
        self._ended, self._is_over = threading.Event(), threading.Event()
        self._lane = Lane("slow", self, limits, lambda job: job["order"], lambda job, said: said)

    def leave(self) -> None:
        """Stop as soon as possible. The studio requeues the current job."""
        self._is_over.set()

    def work(self) -> None:
        """Process jobs until :meth:`leave` is called."""
        self._lane.prepare()
        self._lane.start()
        heartbeat = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        heartbeat.start()
        try:
            while not self._is_over.is_set():
                if self._lane.is_ready:
                    self._next()
                else:
                    self._is_over.wait(0.2)
        finally:
            self._is_over.set()
            self._lane.end()
            with suppress(BrokerError):
                self.broker.leave(self.name)

    def _next(self) -> None:
        """Take one attempt if the queue contains one. Log invalid entries of the queue."""
        try:
            token = self.broker.next_token()
        except BrokerError:
            _LOG.warning("the queue %s does not respond; trying again", self.broker.shown)
            self._is_over.wait(AWAY_SECONDS)
        except ValueError:
            _LOG.warning("the queue contained an invalid job")
        else:
            if token is not None:
                self._obey(token)

    def _beat(self) -> None:
        while not self._is_over.is_set():
            assignment = self._assignment
            try:
                if assignment is not None or self._lane.is_ready:  # do not register as a worker while the child cannot start
                    self.broker.here(self.name)
                if assignment is not None and not assignment.is_dropped:
                    assignment.beat()
            except BrokerError:
                pass  # the code that takes jobs logs this error
            except Exception as error:  # the next heartbeat may succeed
                self._trouble.met(error)
            self._is_over.wait(BEAT_SECONDS)

    # ------------------------------------------------------------------------------------------------ one attempt

    def _obey(self, token: str) -> None:
        """Run one attempt, from receiving its order to its end."""
        try:
            folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER}{os.getpid()}-"))
        except OSError as error:
            self._refuse(Assignment(self.broker, token, Path()), error)
            return
        assignment = Assignment(self.broker, token, folder)
        try:
            if not assignment.take():
                return
            self._assignment = assignment
            order = self._order(assignment)
            if order is not None:
                self._paint(order)
        except BrokerError:  # the studio requeues the job
            _LOG.warning("the queue %s does not respond; a job was abandoned", self.broker.shown)
        except Exception:
            _LOG.exception("a job was abandoned")
        finally:
            self._assignment = None
            shutil.rmtree(folder, ignore_errors=True)

    def _order(self, assignment: Assignment) -> Message | None:
        assignment.say("taken")
        try:
            return assignment.order().order
        except ImpastoError as error:
            message, field = in_words(error)
            assignment.say("failed", code="option", message=message, field=field)
        except WireError as error:
            if not assignment.is_held():  # the studio has just abandoned the attempt
                return None
            _LOG.warning("invalid order: %s", error)
            assignment.say("failed", code="worker", message="the worker received an invalid order; try again", field=None)
        except OSError as error:
            self._say_refused(assignment, error)
        return None

    def _refuse(self, assignment: Assignment, error: OSError) -> None:
        """Report that a job failed because its files cannot be stored on this machine."""
        try:
            if assignment.take():
                self._say_refused(assignment, error)
        except BrokerError:  # the studio requeues the job
            _LOG.warning("the queue %s does not respond; a job was abandoned", self.broker.shown)

    def _say_refused(self, assignment: Assignment, error: OSError) -> None:
        _LOG.warning("a job could not be accepted: %s", said(error))
        assignment.say("failed", code=fault(error) or "worker", message=f"on the worker: {said(error)}", field=None)

    def _paint(self, order: Message) -> None:
        began = time.monotonic()
        self._say(f"{order['do']}: {(order['content'] or order['maps'][0])['name']!r}")
        self._ended.clear()
        self._job = {"id": "j", "order": order}
        self._lane.wake()
        while not self._ended.wait(0.2):
            if self._is_over.is_set():
                self._lane.end()
                self._last("left")
        self._say(f"{order['do']}: ended after {time.monotonic() - began:.1f} s")

    def _say(self, line: str) -> None:
        with suppress(OSError):  # the output may be a file on a full disk, or a closed terminal
            self._show(line)

    def _last(self, what: str, **facts: Any) -> None:
        """Send the final message. Retry if this fails."""
        assert self._assignment is not None
        for _ in range(_TRIES):
            try:
                self._assignment.say(what, **facts)
                break
            except BrokerError:
                if self._is_over.wait(AWAY_SECONDS):
                    break
        self._ended.set()

    # ------------------------------------------------------------------------------------------------ source of the lane

    def take(self, lane: str) -> Row | None:
        """Return the current job, but only once."""
        job, self._job = self._job, None
        return job

    def wanted(self, identity: str) -> Wanted | None:
        """Return the stop request, or None."""
        return None if self._assignment is None else self._assignment.wanted()

    def progressed(self, identity: str, progress: Mapping[str, Any] | None, *, preview: bool) -> None:
        """Send the progress, or skip it if the server does not respond."""
        assignment = self._assignment
        if assignment is None:
            return
        with suppress(BrokerError):
            number = assignment.send("preview", assignment.folder / "work.jpg") if preview else None
            assignment.say("progress", progress=progress, preview=number)

    def checkpoint(self, identity: str, checkpoint: Mapping[str, Any]) -> None:
        """Send a checkpoint, or skip it if the server does not respond."""
        assignment = self._assignment
        if assignment is None:
            return
        with suppress(BrokerError):
            number = assignment.send("checkpoint_file", assignment.folder / "work.npy")
            if number is not None:
                assignment.say("checkpoint", checkpoint=checkpoint, checkpoint_file=number)

    def finish(self, identity: str, result: Mapping[str, Any]) -> None:
        """Send a result with its files."""
        assignment = self._assignment
        assert assignment is not None
        suffix = str(result["suffix"])
        parts: dict[Part, Path] = {
            "result": assignment.folder / f"result{suffix}",
            "thumb": assignment.folder / "result.thumb.jpg",
        }
        numbers: dict[str, int] = {}
        for part, path in parts.items():
            number = self._sent(assignment, part, path)
            if number is None:
                self._last("failed", code="memory", message=_TOO_LARGE, field="size")
                return
            numbers[part] = number
        facts = {name: result[name] for name in ("width", "height", "seconds", "suffix", "record")}
        self._last("done", **facts, **numbers)

    def _sent(self, assignment: Assignment, part: Part, path: Path) -> int | None:
        for _ in range(_TRIES):
            try:
                return assignment.send(part, path)
            except BrokerError:
                if self._is_over.wait(AWAY_SECONDS):
                    break
        return None

    def fail(self, identity: str, error: Mapping[str, Any]) -> None:
        """Report that the job failed."""
        self._last("failed", **{**error, "message": str(error["message"])[:2000]})

    def stopped(self, identity: str) -> None:
        """Report that the job stopped."""
        self._last("stopped")


def sweep(folder: Path) -> int:
    """Delete the temporary folders of killed workers. Return the number of deleted folders."""
    count = 0
    for path in folder.glob(f"{_FOLDER}*-*"):
        number = path.name.removeprefix(_FOLDER).partition("-")[0]
        if os.name == "posix" and number.isdigit() and not _is_alive(int(number)):
            shutil.rmtree(path, ignore_errors=True)
            count += not path.exists()
    return count


def _is_alive(program: int) -> bool:
    try:
        os.kill(program, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def work(url: str, limits: Limits, *, say: Callable[[str], None]) -> None:
    """Run a worker until interrupted.

    Args:
        url: Address of the queue server.
        limits: Limits of a job.
        say: Function that shows a line to the user.

    Raises:
        OptionError: The address is invalid or the server does not respond.
    """
    worker = RemoteWorker(url, limits, say)
    sweep(Path(tempfile.gettempdir()))
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: worker.leave())
    say(f"worker {worker.name}: takes jobs from {worker.broker.shown}; press Ctrl-C to stop")
    worker.work()
