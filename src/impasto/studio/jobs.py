"""The job queue.

States of a job and their transitions::

    queued ──take──> running ──finish──> done
      │ ^               │ ──fail──> failed ──retry, continue──> queued
      │ └──(restart)────┤ ──stopped──> cancelled, paused ──continue──> queued
      └──want──> cancelled, paused

Every change gets the next event number and is sent to listeners after the commit. A result is written in the same transaction
as the state "done". So after a crash, every result still belongs to a finished job, and no result exists twice.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from impasto.errors import ImpastoError
from impasto.options import by_present_names
from impasto.studio.database import Database, Row
from impasto.studio.events import Hub
from impasto.studio.storage import new_identity

Wanted = Literal["cancelled", "paused", "finish"]

STATES = ("queued", "running", "paused", "done", "failed", "cancelled")
STOPPED = ("paused", "failed", "cancelled")
_GIVEN_UP_VIDEOS = "SELECT * FROM jobs WHERE kind = 'video' AND state IN ('failed', 'cancelled') AND finished < ?"
_GUESSED_SECONDS = {"instant": 1.0, "apply": 1.0, "report": 5.0, "brush": 3600.0}
_GUESSED_OTHERWISE = 60.0
_AVERAGED_JOBS = 10
_MEASURED = ("video",)
"""Kinds whose duration is not estimated from earlier jobs, because it depends mainly on the length of the clip."""


class StateError(ImpastoError):
    """The job's state does not allow the operation, or the object is still needed (HTTP 409)."""


class QueueFullError(ImpastoError):
    """The queue is full (HTTP 429).

    Attributes:
        retry_seconds: Seconds until a retry makes sense.
    """

    def __init__(self, message: str, retry_seconds: int) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


@dataclass(frozen=True, kw_only=True)
class Order:
    """A job to submit.

    Attributes:
        kind: See :data:`impasto.studio.controls.KINDS`.
        lane: The lane that runs the job.
        request: The checked request, which can be submitted again.
        key: Idempotency key. Two orders with the same key create only one job.
        continues: The job whose result this job continues.
        more: The result to continue, and the number of steps to add.
    """

    kind: str
    lane: str
    request: Mapping[str, Any]
    priority: int = 0
    draft: bool = False
    slot: str | None = None
    key: str | None = None
    continues: str | None = None
    more: Mapping[str, Any] | None = None


@dataclass
class Jobs:
    """Jobs in SQLite; the :class:`impasto.studio.lanes.Source` of a local studio."""

    database: Database
    hub: Hub
    most_queued: int
    at_once: dict[str, int] = field(default_factory=dict)
    """Number of jobs that a lane runs at once, for lanes that run more than one."""

    _typical: dict[str, float] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------------ submitting

    def submit(self, order: Order) -> tuple[Row, bool]:
        """Submit a job.

        Returns:
            The job, and whether it is new. If a job with the same key exists, that job is returned, and it is not new.

        Raises:
            QueueFullError: The queue is full.
        """
        with self.database.transaction():
            if order.key and (known := self.database.row("SELECT * FROM jobs WHERE key = ?", (order.key,))):
                return known, False
            if order.slot and order.draft:
                self._clear_slot(order.slot)
            self._check_room()
            identity = new_identity("j")
            self.database.insert("jobs", self._new(identity, order))
            self.database.later(identity, lambda: self._tell(identity))
        return self.get(identity), True

    def _new(self, identity: str, order: Order) -> dict[str, Any]:
        same = ("kind", "lane", "priority", "draft", "slot", "key", "continues")
        return {name: getattr(order, name) for name in same} | {
            "id": identity,
            "state": "queued",
            "version": self.database.next_event(),
            "request": json.dumps(order.request),
            "created": time.time(),
            "more": json.dumps(order.more) if order.more else None,
        }

    def _clear_slot(self, slot: str) -> None:
        for row in self.database.rows("SELECT id FROM jobs WHERE state = 'queued' AND draft AND slot = ?", (slot,)):
            self._set(row["id"], state="cancelled", finished=time.time())

    def _check_room(self) -> None:
        (waiting,) = self.database.rows("SELECT count(*) AS jobs FROM jobs WHERE state = 'queued'")
        if waiting["jobs"] >= self.most_queued:
            raise QueueFullError(
                f"{waiting['jobs']} jobs are waiting and the queue is full; try again later or cancel some",
                max(1, min(600, round(self.typical("instant")))),
            )

    def want(self, identity: str, wanted: Wanted) -> Row:
        """Ask a job to stop. A waiting job stops immediately, and a running job stops after its current step.

        Raises:
            StateError: The job is neither waiting nor running.
        """
        with self.database.transaction():
            job = self.get(identity)
            if job["state"] == "running":
                self._set(identity, wanted=wanted)
            elif wanted == "finish":
                if job["state"] not in STOPPED or not job["checkpoint"]:
                    raise StateError(f"job {identity} is {job['state']} and has no checkpoint to finish from; let it run first")
                self._set(identity, state="queued", wanted="finish", error=None, finished=None)
            elif job["state"] == "queued" or (job["state"], wanted) == ("paused", "cancelled"):
                self._set(identity, state=wanted, finished=time.time())
            elif job["state"] != wanted:
                raise StateError(f"job {identity} is {job['state']} and cannot be {wanted}; only waiting and running jobs can")
        return self.get(identity)

    def again(self, identity: str, *, from_start: bool) -> Row:
        """Requeue a stopped job, from its checkpoint or from the start.

        Raises:
            StateError: The job has not stopped, or has no checkpoint.
            QueueFullError: The queue is full.
        """
        with self.database.transaction():
            job = self.get(identity)
            verb = "retried" if from_start else "continued"
            if job["state"] not in STOPPED or (from_start and job["state"] == "paused"):
                raise StateError(f"job {identity} is {job['state']} and cannot be {verb}")
            if not from_start and job["state"] != "paused" and not job["checkpoint"]:
                raise StateError(f"job {identity} has no checkpoint and cannot be continued; retry it")
            self._check_room()
            fresh = {"progress": None, "checkpoint": None} if from_start else {}
            self._set(identity, state="queued", wanted=None, error=None, started=None, finished=None, **fresh)
        return self.get(identity)

    def prioritize(self, identity: str, priority: int) -> Row:
        """Change the priority of a job."""
        with self.database.transaction():
            self.get(identity)
            self._set(identity, priority=priority)
        return self.get(identity)

    def delete(self, identity: str) -> None:
        """Delete a job. Its result stays.

        Raises:
            StateError: The job is running.
        """
        with self.database.transaction():
            if self.get(identity)["state"] == "running":
                raise StateError(f"job {identity} is running and cannot be deleted; cancel it first")
            self.database.run("DELETE FROM jobs WHERE id = ?", (identity,))
        self.hub.gone("job", identity)

    # ------------------------------------------------------------------------------------------------ running

    def take(self, lane: str) -> Row | None:
        """Take the next job of a lane. Return None if no job is waiting."""
        with self.database.transaction():
            row = self.database.row(
                "SELECT id FROM jobs WHERE state = 'queued' AND lane = ? ORDER BY priority DESC, number LIMIT 1", (lane,)
            )
            if row is None:
                return None
            identity = row["id"]
            self.database.run("UPDATE jobs SET attempts = attempts + 1 WHERE id = ?", (identity,))
            self._set(identity, state="running", started=time.time())
            return self.get(identity)  # if this fails, the job is not marked as running

    def wanted(self, identity: str) -> Wanted | None:
        """Return the stop request for a running job, or None."""
        row = self.database.row("SELECT wanted FROM jobs WHERE id = ?", (identity,))
        found: Wanted | None = row["wanted"] if row else None
        return found

    def progressed(self, identity: str, progress: Mapping[str, Any] | None, *, preview: bool) -> None:
        """Store the progress of a job, and whether it has a new preview."""
        with self.database.transaction():
            if preview:
                self.database.run("UPDATE jobs SET preview = preview + 1 WHERE id = ?", (identity,))
            changes = {} if progress is None else {"progress": json.dumps(progress)}
            self._set(identity, **changes)

    def checkpoint(self, identity: str, checkpoint: Mapping[str, Any]) -> None:
        """Store the checkpoint of a painting."""
        self.database.run("UPDATE jobs SET checkpoint = ? WHERE id = ?", (json.dumps(checkpoint), identity))

    def give_up_videos(self, older_than: float, has_files: Callable[[str], bool], delete: Callable[[str], None]) -> None:
        """Remove the checkpoints of videos that stopped long ago, because their painted segments can be large.

        Args:
            older_than: Time in seconds since 1970; videos that stopped later keep their checkpoints.
            has_files: Returns whether a job has files.
            delete: Deletes the files of a job. The job cannot continue during this call.
        """
        for row in self.database.rows(_GIVEN_UP_VIDEOS, (older_than,)):
            if not row["checkpoint"] and not has_files(row["id"]):
                continue  # given up earlier
            with self.database.transaction():
                if self.database.row(f"{_GIVEN_UP_VIDEOS} AND id = ?", (older_than, row["id"])):
                    if row["checkpoint"]:
                        self._set(row["id"], checkpoint=None)
                    delete(row["id"])

    def finish(self, identity: str, result: Mapping[str, Any]) -> None:
        """Store the result of a job and mark the job as done. Do nothing if the job is no longer running."""
        with self.database.transaction():
            job = self.database.row("SELECT state FROM jobs WHERE id = ?", (identity,))
            if job is None or job["state"] != "running":
                return
            self.database.insert("results", result)
            self._set(identity, state="done", finished=time.time(), result=result["id"], wanted=None)
        self._typical.clear()

    def fail(self, identity: str, error: Mapping[str, Any]) -> None:
        """Mark a job as failed and store its error."""
        self._ended(identity, state="failed", error=json.dumps(error))

    def stopped(self, identity: str) -> None:
        """Mark a running job as paused or canceled, as requested."""
        wanted = self.wanted(identity)
        self._ended(identity, state="paused" if wanted == "paused" else "cancelled")

    def running(self) -> list[str]:
        """Return the ids of running jobs. Before the workers start, these are the jobs that the last shutdown interrupted."""
        return [row["id"] for row in self.database.rows("SELECT id FROM jobs WHERE state = 'running'")]

    def requeue(self) -> int:
        """Requeue all running jobs. Return their number."""
        running = self.running()
        for identity in running:
            self.put_back(identity)
        return len(running)

    def put_back(self, identity: str) -> None:
        """Requeue a running job that no longer has a worker. If a stop was requested, stop the job instead."""
        statement = "SELECT wanted, checkpoint FROM jobs WHERE state = 'running' AND id = ?"
        with self.database.transaction():
            row = self.database.row(statement, (identity,))
            if row is None:
                return
            if row["wanted"] in ("cancelled", "paused"):
                self._set(identity, state=row["wanted"], wanted=None, finished=time.time())
            else:
                self._set(identity, state="queued", wanted=row["wanted"] if row["checkpoint"] else None)

    def _ended(self, identity: str, **changes: Any) -> None:
        with self.database.transaction():
            row = self.database.row("SELECT state FROM jobs WHERE id = ?", (identity,))
            if row is None or row["state"] != "running":
                return
            self._set(identity, finished=time.time(), wanted=None, **changes)

    def _set(self, identity: str, **changes: Any) -> None:
        changes["version"] = self.database.next_event()
        assignments = ", ".join(f"{name} = :{name}" for name in changes)
        self.database.run(f"UPDATE jobs SET {assignments} WHERE id = :id", {**changes, "id": identity})
        self.database.later(identity, lambda: self._tell(identity))

    def _tell(self, identity: str) -> None:
        row = self.database.row("SELECT * FROM jobs WHERE id = ?", (identity,))
        if row is not None:
            self.hub.job(self.shown(row))

    # ------------------------------------------------------------------------------------------------ reading

    def get(self, identity: str) -> Row:
        """Return a job.

        Raises:
            LookupError: The job does not exist.
        """
        return self.database.get("jobs", identity)

    def listed(self, states: Sequence[str], limit: int, after: int | None) -> list[Row]:
        """Return the jobs in the given states, newest first. If no state is given, return all jobs."""
        marks = ", ".join("?" * len(states)) or "''"
        statement = (
            f"SELECT * FROM jobs WHERE (? OR state IN ({marks})) AND (? IS NULL OR number < ?) ORDER BY number DESC LIMIT ?"
        )
        return self.database.rows(statement, (not states, *states, after, after, limit))

    def changed_since(self, event: int, job: str | None = None) -> list[Row]:
        """Return the jobs that changed after an event, in the order in which they changed."""
        statement = "SELECT * FROM jobs WHERE version > :event AND (:job IS NULL OR id = :job) ORDER BY version"
        return self.database.rows(statement, {"event": event, "job": job})

    def counts(self) -> dict[str, int]:
        """Return the number of jobs in each state."""
        found = {
            row["state"]: row["jobs"] for row in self.database.rows("SELECT state, count(*) AS jobs FROM jobs GROUP BY state")
        }
        return {state: found.get(state, 0) for state in STATES}

    def typical(self, kind: str) -> float:
        """Return the average duration, in seconds, of the last jobs of a kind."""
        if kind not in self._typical:
            (row,) = self.database.rows(
                "SELECT avg(took) AS seconds FROM (SELECT finished - started AS took FROM jobs "
                "WHERE kind = ? AND state = 'done' ORDER BY number DESC LIMIT ?)",
                (kind, _AVERAGED_JOBS),
            )
            self._typical[kind] = row["seconds"] or _GUESSED_SECONDS.get(kind, _GUESSED_OTHERWISE)
        return self._typical[kind]

    def shown(self, row: Row) -> dict[str, Any]:
        """Return a job in the format of the API."""
        progress = json.loads(row["progress"]) if row["progress"] else None
        left = progress.pop("seconds_left", None) if progress else None
        position, eta = None, None
        if row["state"] == "queued":
            position, eta = self._waiting(row)
        elif row["state"] == "running":
            eta = self._seconds_left(row)
        if row["kind"] in _MEASURED and (left is None or row["state"] == "queued"):
            eta = None
        address = f"/api/v1/jobs/{row['id']}/preview?v={row['preview']}" if row["preview"] else None
        names = (
            "id",
            "kind",
            "state",
            "version",
            "priority",
            "created",
            "started",
            "finished",
            "attempts",
            "continues",
            "result",
        )
        return {name: row[name] for name in names} | {
            "draft": bool(row["draft"]),
            "request": shown_request(row["request"]),
            "progress": progress,
            "eta_seconds": None if eta is None else round(eta, 1),
            "position": position,
            "can_continue": row["state"] == "paused" or (row["state"] in STOPPED and row["checkpoint"] is not None),
            "preview": address,
            "error": json.loads(row["error"]) if row["error"] else None,
        }

    def _waiting(self, row: Row) -> tuple[int, float]:
        """Return the position in the queue and the estimated seconds until the job is done."""
        running = self.database.rows("SELECT kind, progress FROM jobs WHERE lane = :lane AND state = 'running'", row)
        ahead = self.database.rows(
            "SELECT kind, count(*) AS jobs FROM jobs WHERE lane = :lane AND state = 'queued' AND "
            "(priority > :priority OR (priority = :priority AND number < :number)) GROUP BY kind",
            row,
        )
        seconds = sum(self._seconds_left(each) for each in running)
        seconds += sum(each["jobs"] * self.typical(each["kind"]) for each in ahead)
        return sum(each["jobs"] for each in ahead), seconds / max(1, self.at_once.get(row["lane"], 1)) + self.typical(
            row["kind"]
        )

    def _seconds_left(self, running: Row) -> float:
        """Return the remaining seconds of a running job: the estimate of its worker, or the typical time of earlier jobs."""
        left = json.loads(running["progress"]).get("seconds_left") if running["progress"] else None
        return self.typical(running["kind"]) if left is None else float(left)


def shown_request(stored: str) -> dict[str, Any]:
    """Return a stored request in the format of the API. Options that were renamed get their current names."""
    request: dict[str, Any] = json.loads(stored)
    return request | {"options": by_present_names(request["options"])} if "options" in request else request
