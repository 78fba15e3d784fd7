"""The queue, and the truth about every job.

A job's states, and what leads from one to another::

    queued ──take──> running ──finish──> done
      │ ^               │ ──fail──> failed ──retry, continue──> queued
      │ └──(restart)────┤ ──stopped──> cancelled, paused ──continue──> queued
      └──want──> cancelled, paused

Every change takes a new, larger number, and is told to those who listen once it is written. A result is written in the same
transaction as the state "done": after an end at any moment there is neither a result without its job nor one made twice.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from impasto.errors import ImpastoError
from impasto.studio.database import Database, Row
from impasto.studio.events import Hub
from impasto.studio.storage import new_identity

Wanted = Literal["cancelled", "paused", "finish"]

STATES = ("queued", "running", "paused", "done", "failed", "cancelled")
STOPPED = ("paused", "failed", "cancelled")
_GUESSED_SECONDS = {"instant": 1.0, "report": 5.0}
_GUESSED_OTHERWISE = 60.0
_LOOKED_BACK_ON = 10


class StateError(ImpastoError):
    """A job that is not in the state for this, or something that is still needed; becomes 409."""


class QueueFullError(ImpastoError):
    """No more jobs may wait; becomes 429.

    Attributes:
        retry_seconds: after which it is worth another try.
    """

    def __init__(self, message: str, retry_seconds: int) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


@dataclass(frozen=True, kw_only=True)
class Order:
    """A job that is asked for.

    Attributes:
        kind: see :data:`impasto.studio.controls.KINDS`.
        lane: which worker takes it.
        request: what was asked, as it can be asked again.
        key: the same key is the same job.
        continues: the job whose result this one goes on from.
        more: which result, and with how many steps.
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
    """Jobs in SQLite; the embedded form of the queue, see :class:`impasto.studio.lanes.Source`."""

    database: Database
    hub: Hub
    most_queued: int
    at_once: dict[str, int] = field(default_factory=dict)
    """How many jobs of a lane are worked on at once, where that is more than one."""

    _typical: dict[str, float] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------------------ asked for

    def submit(self, order: Order) -> tuple[Row, bool]:
        """Put a job into the queue.

        Returns:
            The job, and whether it is new: one with the same key is not.

        Raises:
            QueueFullError: too many wait already.
        """
        with self.database.transaction():
            if order.key and (known := self.database.row("SELECT * FROM jobs WHERE key = ?", (order.key,))):
                return known, False
            if order.slot and order.draft:
                self._clear_slot(order.slot)
            self._check_room()
            identity = new_identity("j")
            values = self._new(identity, order)
            names = ", ".join(values)
            marks = ", ".join(f":{name}" for name in values)
            self.database.run(f"INSERT INTO jobs ({names}) VALUES ({marks})", values)
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
                f"{waiting['jobs']} jobs are waiting, and no more are taken; try again later, or cancel some",
                max(1, min(600, round(self.typical("instant")))),
            )

    def want(self, identity: str, wanted: Wanted) -> Row:
        """Ask a job to stop: at once where it waits, with the next step where it runs.

        Raises:
            StateError: it does neither.
        """
        with self.database.transaction():
            job = self.get(identity)
            if job["state"] == "running":
                self._set(identity, wanted=wanted)
            elif wanted == "finish":
                if job["state"] not in STOPPED or not job["stood"]:
                    raise StateError(f"job {identity} is {job['state']} and has nothing to finish with; let it paint first")
                self._set(identity, state="queued", wanted="finish", error=None, finished=None)
            elif job["state"] == "queued" or (job["state"], wanted) == ("paused", "cancelled"):
                self._set(identity, state=wanted, finished=time.time())
            elif job["state"] != wanted:
                raise StateError(f"job {identity} is {job['state']} and cannot be {wanted}; only what waits or runs can")
        return self.get(identity)

    def again(self, identity: str, *, from_start: bool) -> Row:
        """Put a job that has stopped back into the queue, from where it stood or from its start.

        Raises:
            StateError: it has not stopped, or there is nothing to go on from.
            QueueFullError: too many wait already.
        """
        with self.database.transaction():
            job = self.get(identity)
            verb = "retried" if from_start else "continued"
            if job["state"] not in STOPPED or (from_start and job["state"] == "paused"):
                raise StateError(f"job {identity} is {job['state']} and cannot be {verb}")
            if not from_start and job["state"] != "paused" and not job["stood"]:
                raise StateError(f"job {identity} stands nowhere yet and cannot be continued; retry it")
            self._check_room()
            fresh = {"progress": None, "stood": None} if from_start else {}
            self._set(identity, state="queued", wanted=None, error=None, started=None, finished=None, **fresh)
        return self.get(identity)

    def prioritize(self, identity: str, priority: int) -> Row:
        """Move a job in the queue."""
        with self.database.transaction():
            self.get(identity)
            self._set(identity, priority=priority)
        return self.get(identity)

    def delete(self, identity: str) -> None:
        """Forget a job; its result stays.

        Raises:
            StateError: it is running.
        """
        with self.database.transaction():
            if self.get(identity)["state"] == "running":
                raise StateError(f"job {identity} is running and cannot be deleted; cancel it first")
            self.database.run("DELETE FROM jobs WHERE id = ?", (identity,))
        self.hub.gone("job", identity)

    # ------------------------------------------------------------------------------------------------ worked on

    def take(self, lane: str) -> Row | None:
        """Take the next job of a lane; None where none waits."""
        with self.database.transaction():
            row = self.database.row(
                "SELECT id FROM jobs WHERE state = 'queued' AND lane = ? ORDER BY priority DESC, number LIMIT 1", (lane,)
            )
            if row is None:
                return None
            identity = row["id"]
            self.database.run("UPDATE jobs SET attempts = attempts + 1 WHERE id = ?", (identity,))
            self._set(identity, state="running", started=time.time())
            return self.get(identity)  # inside: a job that is written as taken is one that somebody has

    def wanted(self, identity: str) -> Wanted | None:
        """Return how a running job shall stop, if it shall."""
        row = self.database.row("SELECT wanted FROM jobs WHERE id = ?", (identity,))
        found: Wanted | None = row["wanted"] if row else None
        return found

    def progressed(self, identity: str, progress: Mapping[str, Any] | None, *, preview: bool) -> None:
        """Write how far a job is, and whether there is a new preview."""
        with self.database.transaction():
            if preview:
                self.database.run("UPDATE jobs SET preview = preview + 1 WHERE id = ?", (identity,))
            changes = {} if progress is None else {"progress": json.dumps(progress)}
            self._set(identity, **changes)

    def stood(self, identity: str, stood: Mapping[str, Any]) -> None:
        """Write where a painting was saved."""
        self.database.run("UPDATE jobs SET stood = ? WHERE id = ?", (json.dumps(stood), identity))

    def finish(self, identity: str, result: Mapping[str, Any]) -> None:
        """Write a job as done together with its result; one that is no longer running keeps its state and has none."""
        with self.database.transaction():
            job = self.database.row("SELECT state FROM jobs WHERE id = ?", (identity,))
            if job is None or job["state"] != "running":
                return
            names, marks = ", ".join(result), ", ".join(f":{name}" for name in result)
            self.database.run(f"INSERT INTO results ({names}) VALUES ({marks})", result)
            self._set(identity, state="done", finished=time.time(), result=result["id"], wanted=None)
        self._typical.clear()

    def fail(self, identity: str, error: Mapping[str, Any]) -> None:
        """Write a job as failed, with the sentence that says why."""
        self._ended(identity, state="failed", error=json.dumps(error))

    def stopped(self, identity: str) -> None:
        """Write a running job as stopped in the way that was asked for."""
        wanted = self.wanted(identity)
        self._ended(identity, state="paused" if wanted == "paused" else "cancelled")

    def running(self) -> list[str]:
        """Return the ids of what is running; before any worker has begun: of what was running when the studio ended."""
        return [row["id"] for row in self.database.rows("SELECT id FROM jobs WHERE state = 'running'")]

    def requeue(self) -> int:
        """Put back what was running when the studio ended; return how many that were."""
        running = self.running()
        for identity in running:
            self.put_back(identity)
        return len(running)

    def put_back(self, identity: str) -> None:
        """Put a running job back into the queue, as nobody works on it any more; or let it be stopped, if that was asked."""
        statement = "SELECT wanted, stood FROM jobs WHERE state = 'running' AND id = ?"
        with self.database.transaction():
            row = self.database.row(statement, (identity,))
            if row is None:
                return
            if row["wanted"] in ("cancelled", "paused"):
                self._set(identity, state=row["wanted"], wanted=None, finished=time.time())
            else:
                self._set(identity, state="queued", wanted=row["wanted"] if row["stood"] else None)

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

    # ------------------------------------------------------------------------------------------------ looked at

    def get(self, identity: str) -> Row:
        """Return a job.

        Raises:
            LookupError: there is none.
        """
        row = self.database.row("SELECT * FROM jobs WHERE id = ?", (identity,))
        if row is None:
            raise LookupError(f"there is no job {identity}")
        return row

    def listed(self, states: Sequence[str], limit: int, after: int | None) -> list[Row]:
        """Return jobs in some states, or in any where none is named, newest first."""
        marks = ", ".join("?" * len(states)) or "''"
        statement = (
            f"SELECT * FROM jobs WHERE (? OR state IN ({marks})) AND (? IS NULL OR number < ?) ORDER BY number DESC LIMIT ?"
        )
        return self.database.rows(statement, (not states, *states, after, after, limit))

    def changed_since(self, event: int, job: str | None = None) -> list[Row]:
        """Return the jobs that changed after an event, in that order."""
        statement = "SELECT * FROM jobs WHERE version > :event AND (:job IS NULL OR id = :job) ORDER BY version"
        return self.database.rows(statement, {"event": event, "job": job})

    def counts(self) -> dict[str, int]:
        """Return how many jobs there are in each state."""
        found = {
            row["state"]: row["jobs"] for row in self.database.rows("SELECT state, count(*) AS jobs FROM jobs GROUP BY state")
        }
        return {state: found.get(state, 0) for state in STATES}

    def typical(self, kind: str) -> float:
        """Return how many seconds the last jobs of a kind took."""
        if kind not in self._typical:
            (row,) = self.database.rows(
                "SELECT avg(took) AS seconds FROM (SELECT finished - started AS took FROM jobs "
                "WHERE kind = ? AND state = 'done' ORDER BY number DESC LIMIT ?)",
                (kind, _LOOKED_BACK_ON),
            )
            self._typical[kind] = row["seconds"] or _GUESSED_SECONDS.get(kind, _GUESSED_OTHERWISE)
        return self._typical[kind]

    def shown(self, row: Row) -> dict[str, Any]:
        """Return a job as the API shows it."""
        progress = json.loads(row["progress"]) if row["progress"] else None
        if progress:
            progress.pop("seconds_left", None)
        position, eta = None, None
        if row["state"] == "queued":
            position, eta = self._waiting(row)
        elif row["state"] == "running":
            eta = self._seconds_left(row)
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
            "request": json.loads(row["request"]),
            "progress": progress,
            "eta_seconds": None if eta is None else round(eta, 1),
            "position": position,
            "can_continue": row["state"] == "paused" or (row["state"] in STOPPED and row["stood"] is not None),
            "preview": address,
            "error": json.loads(row["error"]) if row["error"] else None,
        }

    def _waiting(self, row: Row) -> tuple[int, float]:
        """Return how many go first, and about how many seconds until this one is done."""
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
        """Return how long a running job will still take: as its worker says, or as its like took."""
        said = json.loads(running["progress"]).get("seconds_left") if running["progress"] else None
        return self.typical(running["kind"]) if said is None else float(said)
