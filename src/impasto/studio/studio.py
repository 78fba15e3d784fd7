"""All parts of a running studio: database, queue, gallery, styles, workers."""

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

from impasto.studio.brushes import brush_file
from impasto.studio.child import CallError, Message
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
"""HTTP status for each error code of the quick worker. All other codes give 422."""

_INTAKES = {"intake": "picture", "clip_intake": "clip"}
"""The error code to use if a file crashes the worker, for each call that reads uploads."""

_RESULT_BYTES = 4 * 2**20
"""Expected size of a result. Before a job is accepted, this size must fit into the quota."""


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
        """Open the data folder without starting workers.

        Raises:
            ImpastoError: The folder or the database cannot be used.
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
        training = Lane("training", studio.jobs, settings.limits, studio.order, studio.result)
        video = Lane("video", studio.jobs, settings.limits, studio.order, studio.result)
        studio.runners = {"quick": studio.quick, "slow": slow, "training": training, "video": video}
        return studio

    @cached_property
    def quick(self) -> Lane:
        """The quick lane. Its worker runs jobs and also answers the calls of :meth:`ask`."""
        lane = Lane("quick", self.jobs, self.settings.limits, self.order, self.result)
        lane.on_ready = self.hub.ready
        return lane

    def start(self) -> None:
        """Requeue interrupted jobs, clean up and start the workers."""
        self._left = self.jobs.running()
        try:
            self._put_back()
            self.gallery.sweep()
        except (sqlite3.Error, OSError) as error:  # the clean-up thread will retry
            self._trouble.met(error)
        for runner in self.runners.values():
            runner.start()
        threading.Thread(target=self._keep_clean, name="cleaning", daemon=True).start()

    def end(self) -> None:
        """Stop the workers and requeue running jobs."""
        self.leave()
        for runner in self.runners.values():
            runner.end()
        try:
            self.jobs.requeue()
        except sqlite3.Error as error:
            _LOG.warning("running jobs will be requeued at the next start", exc_info=error)
        self.database.close()

    def leave(self) -> None:
        """End all event streams."""
        self._over.set()
        self.hub.wake()

    @property
    def is_over(self) -> bool:
        """Whether the studio is shutting down."""
        return self._over.is_set()

    def has_ended(self, job: str, sent: int) -> bool:
        """Return True if a job was deleted, or if it has ended and its last event does not have to be sent any more.

        Args:
            job: The id of the job.
            sent: An event number. Events up to this number do not have to be sent any more.
        """
        row = self.database.row("SELECT state, version FROM jobs WHERE id = ?", (job,))
        return row is None or (row["state"] in ("done", *STOPPED) and row["version"] <= sent)

    def submit(self, order: Order, result_bytes: int = _RESULT_BYTES) -> tuple[Row, bool]:
        """Submit a job and notify its lane. Its result must fit into the quota."""
        self.gallery.make_room(result_bytes, keep=json.dumps(order.request))
        found = self.jobs.submit(order)
        self.wake(found[0])
        return found

    def wake(self, job: Row) -> None:
        """Notify the lane to which a job belongs."""
        self.runners[job["lane"]].wake()

    async def ask(self, **message: Any) -> Message:
        """Call the quick worker and return its answer.

        Raises:
            RefusedError: The call failed.
        """
        seconds = self.settings.limits.intake_seconds
        answer = asyncio.wrap_future(self.quick.call(seconds, **message))
        try:
            return await asyncio.wait_for(answer, 2 * seconds + self.settings.limits.quick_seconds)
        except TimeoutError as error:
            raise RefusedError(503, "worker", "the worker is busy; try again in a minute") from error
        except CallError as error:
            status = _STATUS.get(error.code, 422)
            if error.code == "worker" and message["do"] in _INTAKES:  # the file caused the crash
                status, error.code = 422, _INTAKES[message["do"]]
            raise RefusedError(status, error.code, str(error), error.field) from error

    # ------------------------------------------------------------------------------------------------ for the lanes

    def order(self, job: Row) -> Message:
        """Return the order for a worker. It contains file paths instead of ids.

        Raises:
            LookupError: A photo, a style or a result no longer exists.
        """
        request = json.loads(job["request"])
        identity = job["id"]
        order: Message = {
            "do": job["kind"],
            "content": self._picture(request["content"]) if request["content"] else None,
            "styles": [self.shelf.source(each) for each in request["styles"]],
            "masks": [self._mask(each) for each in request.get("masks", ())],
            "protect": [self._mask(each) for each in request.get("protect", ())],
            "options": request["options"],
            "run": request["run"],
            "draft": bool(job["draft"]),
            "work": str(self.folder.work(identity, "")),
            "result": str(self.folder.result(result_of(identity), "")),
            "checkpoint": json.loads(job["checkpoint"]) if job["checkpoint"] else None,
            "finish": job["wanted"] == "finish",
        }
        order["maps"] = [self._picture(request[name]) for name in ("map", "style_map") if request.get(name)]
        order["photos"] = [self._picture(each) for each in request.get("photos", ())]
        if request.get("brush"):
            order["brush"] = str(brush_file(self.folder, request["brush"]))
        if request.get("clip"):
            order |= {"clip": self._picture(request["clip"]), "sound": request["sound"]}
        order["results"] = [self._measured(each) for each in request.get("results", ())]
        if job["more"]:
            more = json.loads(job["more"])
            result = self.gallery.result(more["result"])
            path = self.folder.result(result["id"], result["suffix"])
            order["more"] = more | {"path": str(path), "record": json.loads(result["record"])}
        return order

    def _picture(self, identity: str) -> Message:
        """Return the path and the name of an upload, for a worker."""
        row = self.gallery.upload(identity)
        return {"path": str(self.folder.upload(identity)), "name": row["name"]}

    def _measured(self, identity: str) -> Message:
        """Return the path and the title of a result, for a worker."""
        row = self.gallery.result(identity)
        return {"path": str(self.folder.result(identity, row["suffix"])), "name": row["title"]}

    def _mask(self, name: str) -> Message:
        """Return the path, the name and the kind of a mask, for a worker."""
        return dict(self.shelf.source(name)) if IDENTITY.fullmatch(name) else {"path": "", "name": name, "kind": "word"}

    def result(self, job: Row, message: Message) -> Mapping[str, Any]:
        """Make the database row of a result from the final message of a worker."""
        request = json.loads(job["request"])
        for suffix in (".npy", ".pt"):
            with suppress(OSError):  # if this fails, the file is deleted together with the job
                self.folder.work(job["id"], suffix).unlink(missing_ok=True)
        names = ("width", "height", "bytes", "disk", "suffix", "seconds")
        return {name: message[name] for name in names} | {
            "id": result_of(job["id"]),
            "job": job["id"],
            "kind": job["kind"],
            "created": time.time(),
            "title": message["record"]["content"]["name"],
            "draft": job["draft"],
            "upload": request["content"] or request.get("map") or request.get("clip"),
            "styles": json.dumps(request["styles"]),
            "request": job["request"],
            "record": json.dumps(message["record"]),
        }

    def _put_back(self) -> None:
        """Requeue jobs that an earlier studio process left running. After an error, the next call continues with the rest."""
        while self._left:
            self.jobs.put_back(self._left[-1])
            for runner in self.runners.values():
                runner.wake()
            self._left.pop()

    def clean_up(self) -> None:
        """Delete expired objects: drafts, unused uploads, and the segments of stopped videos."""
        self.gallery.clean_up()
        expired = time.time() - self.settings.limits.draft_seconds
        self.jobs.give_up_videos(expired, self.folder.has_work, lambda job: self.folder.remove("work", job))

    def _keep_clean(self) -> None:
        """Clean up at intervals. Log errors and continue."""
        while not self._over.wait(RETRY_SECONDS if self._left else _SECONDS_BETWEEN_CLEANING):
            try:
                self._put_back()
                self.clean_up()
                self._trouble.over()
            except Exception as error:
                self._trouble.met(error)


def _dispatcher(studio: Studio) -> Runner:
    """Connect to the queue server in the settings.

    Raises:
        OptionError: A package is missing, the address is invalid, or the server does not respond.
    """
    from impasto.studio.broker import Broker
    from impasto.studio.dispatcher import Dispatcher

    return Dispatcher(studio.jobs, studio.settings.limits, Broker(studio.settings.queue), studio.order, studio.result)


def result_of(job: str) -> str:
    """Return the id of a job's result. This id never changes, so a repeated job overwrites its own files."""
    return "r" + job[1:]
