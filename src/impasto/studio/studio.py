"""Everything that a running studio consists of, put together: database, queue, gallery, shelf, workers."""

import asyncio
import json
import logging
import sqlite3
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from impasto.studio.child import CallError, Message
from impasto.studio.controls import KINDS
from impasto.studio.database import Database, Row
from impasto.studio.events import Hub
from impasto.studio.faults import RETRY_SECONDS, Trouble
from impasto.studio.gallery import Gallery
from impasto.studio.jobs import STOPPED, Jobs, Order
from impasto.studio.lanes import Lane, Runner
from impasto.studio.security import RefusedError
from impasto.studio.settings import Settings
from impasto.studio.shelf import Shelf
from impasto.studio.storage import IDENTITY, Folder

_LOG = logging.getLogger(__name__)
_SECONDS_BETWEEN_CLEANING = 600.0
_STATUS = {"worker": 503, "system": 503, "disk": 507, "bug": 500}
"""Of the answer to what the quick worker could not do; 422 otherwise."""

_RESULT_BYTES = 4 * 2**20
"""What a result is expected to take; checked against the quota before a job is taken."""


@dataclass
class Studio:
    """A running studio."""

    settings: Settings
    folder: Folder
    database: Database
    hub: Hub
    jobs: Jobs
    gallery: Gallery
    shelf: Shelf
    runners: dict[str, Runner] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)
    _left: list[str] = field(default_factory=list)
    _trouble: Trouble = field(default_factory=lambda: Trouble("cleaning up"))

    @classmethod
    def opened(cls, settings: Settings) -> "Studio":
        """Open the data; nothing runs yet.

        Raises:
            ImpastoError: the folder or the database cannot be used.
        """
        folder = Folder(settings.data)
        database, hub = Database(folder.database), Hub()
        gallery = Gallery(database, folder, hub, settings.limits)
        studio = cls(
            settings,
            folder,
            database,
            hub,
            Jobs(database, hub, settings.limits.queued),
            gallery,
            Shelf(database, folder, gallery, hub),
        )
        slow = (
            _dispatcher(studio) if settings.queue else Lane("slow", studio.jobs, settings.limits, studio.order, studio.result)
        )
        studio.runners = {"quick": studio.quick, "slow": slow}
        return studio

    @cached_property
    def quick(self) -> Lane:
        """The lane that answers questions too."""
        lane = Lane("quick", self.jobs, self.settings.limits, self.order, self.result)
        lane.on_ready = self.hub.ready
        return lane

    def start(self) -> None:
        """Put back what was running, clean up, and let the workers begin."""
        self._left = self.jobs.running()
        try:
            self._put_back()
            self.gallery.sweep()
        except (sqlite3.Error, OSError) as error:  # the cleaning tries again
            self._trouble.met(error)
        for runner in self.runners.values():
            runner.start()
        threading.Thread(target=self._keep_clean, name="cleaning", daemon=True).start()

    def end(self) -> None:
        """Let the workers end; what was running goes back into the queue."""
        self.leave()
        for runner in self.runners.values():
            runner.end()
        try:
            self.jobs.requeue()
        except sqlite3.Error as error:
            _LOG.warning("what was running is put back with the next start", exc_info=error)
        self.database.close()

    def leave(self) -> None:
        """Tell everyone who listens that the studio ends."""
        self._over.set()
        self.hub.wake()

    @property
    def is_over(self) -> bool:
        """Whether the studio is ending."""
        return self._over.is_set()

    def has_ended(self, job: str, told: int) -> bool:
        """Tell whether a job has ended, and its last event is among those up to a number; or whether it is gone."""
        row = self.database.row("SELECT state, version FROM jobs WHERE id = ?", (job,))
        return row is None or (row["state"] in ("done", *STOPPED) and row["version"] <= told)

    def submit(self, order: Order) -> tuple[Row, bool]:
        """Put a job into the queue, and wake the lane."""
        self.gallery.make_room(_RESULT_BYTES)
        found = self.jobs.submit(order)
        self.wake(found[0])
        return found

    def wake(self, job: Row) -> None:
        """Tell the lane of a job that there is something new."""
        self.runners[job["lane"]].wake()

    async def ask(self, **message: Any) -> Message:
        """Ask the quick worker something.

        Raises:
            RefusedError: it could not.
        """
        seconds = self.settings.limits.intake_seconds
        answer = asyncio.wrap_future(self.quick.call(seconds, **message))
        try:
            return await asyncio.wait_for(answer, 2 * seconds + self.settings.limits.quick_seconds)
        except TimeoutError as error:
            raise RefusedError(503, "worker", "the worker is busy with something long; try again in a minute") from error
        except CallError as error:
            status = _STATUS.get(error.code, 422)
            if error.code == "worker" and message["do"] == "intake":  # the file did it
                status, error.code = 422, "picture"
            raise RefusedError(status, error.code, str(error), error.field) from error

    # ------------------------------------------------------------------------------------------------ for the lanes

    def order(self, job: Row) -> Message:
        """Write the order for a worker: ids become files.

        Raises:
            LookupError: a photo, a style or a result is no longer there.
        """
        request = json.loads(job["request"])
        content = self.gallery.upload(request["content"])
        identity = job["id"]
        order: Message = {
            "do": job["kind"],
            "content": {"path": str(self.folder.upload(content["id"])), "name": content["name"]},
            "styles": [self.shelf.source(each) for each in request["styles"]],
            "masks": [self._mask(each) for each in request.get("masks", ())],
            "protect": [self._mask(each) for each in request.get("protect", ())],
            "options": request["options"],
            "run": request["run"],
            "draft": bool(job["draft"]),
            "work": str(self.folder.work(identity, "")),
            "result": str(self.folder.result(result_of(identity), "")),
            "stood": json.loads(job["stood"]) if job["stood"] else None,
            "finish": job["wanted"] == "finish",
        }
        order["results"] = [self._measured(each) for each in request.get("results", ())]
        if job["more"]:
            more = json.loads(job["more"])
            result = self.gallery.result(more["result"])
            path = self.folder.result(result["id"], result["suffix"])
            order["more"] = more | {"path": str(path), "record": json.loads(result["record"])}
        return order

    def _measured(self, identity: str) -> Message:
        """Return what a worker needs to read a result."""
        row = self.gallery.result(identity)
        return {"path": str(self.folder.result(identity, row["suffix"])), "name": row["title"]}

    def _mask(self, name: str) -> Message:
        """Return what a worker needs to read a mask."""
        return dict(self.shelf.source(name)) if IDENTITY.fullmatch(name) else {"path": "", "name": name, "kind": "word"}

    def result(self, job: Row, said: Message) -> Mapping[str, Any]:
        """Write the row of a result from what a worker said."""
        request = json.loads(job["request"])
        with suppress(OSError):  # nobody needs it, and it goes with the job
            self.folder.work(job["id"], ".npy").unlink(missing_ok=True)
        names = ("width", "height", "bytes", "disk", "suffix", "seconds")
        return {name: said[name] for name in names} | {
            "id": result_of(job["id"]),
            "job": job["id"],
            "kind": job["kind"],
            "created": time.time(),
            "title": said["record"]["content"]["name"],
            "draft": job["draft"],
            "upload": request["content"],
            "styles": json.dumps(request["styles"]),
            "request": job["request"],
            "record": json.dumps(said["record"]),
        }

    def _put_back(self) -> None:
        """Put back what an earlier studio left running; what cannot be written now stays for the next try."""
        while self._left:
            self.jobs.put_back(self._left[-1])
            self._wake_all()
            self._left.pop()

    def _wake_all(self) -> None:
        for runner in self.runners.values():
            runner.wake()

    def _keep_clean(self) -> None:
        """Clean up again and again; whatever goes wrong, there is a next time."""
        while not self._over.wait(RETRY_SECONDS if self._left else _SECONDS_BETWEEN_CLEANING):
            try:
                self._put_back()
                self.gallery.clean_up()
                self._trouble.over()
            except Exception as error:
                self._trouble.met(error)


def _dispatcher(studio: Studio) -> Runner:
    """Connect with the queue engine of the settings; it is imported only where there is one.

    Raises:
        OptionError: its packages are missing, the address is wrong, or the server does not answer.
    """
    from impasto.studio.broker import Broker
    from impasto.studio.dispatcher import Dispatcher

    return Dispatcher(studio.jobs, studio.settings.limits, Broker(studio.settings.queue), studio.order, studio.result)


def result_of(job: str) -> str:
    """Return the id that a job's result has: the same every time, so that a repeated job overwrites its own files."""
    return "r" + job[1:]


def lane_of(kind: str) -> str:
    """Return which worker takes a kind of job."""
    return KINDS[kind].lane
