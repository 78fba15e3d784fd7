"""Routes for status, recipes and events."""

import sqlite3
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response, StreamingResponse

from impasto._version import __version__
from impasto.studio import shapes
from impasto.studio.controls import recipes
from impasto.studio.events import encoded
from impasto.studio.faults import fault
from impasto.studio.jobs import STOPPED
from impasto.studio.routes.responses import Here, answer
from impasto.studio.studio import Studio

router = APIRouter(tags=["studio"])
_RECIPES = recipes()
_SECONDS_BETWEEN_COMMENTS = 15.0
_STREAM: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."}}
_ENDED = ("done", *STOPPED)

LastEvent = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="Number of the last event received. Browsers send it when they reconnect."),
]
Last = Annotated[int | None, Query(ge=0, le=2**62, description="Same as the Last-Event-ID header.")]


@router.get("/status", response_model=shapes.Status)
async def status(studio: Here) -> Response:
    """Return the version, the state of the queue, the disk usage and the limits."""
    counts, limits = studio.jobs.counts(), studio.settings.limits
    return answer(
        {
            "version": __version__,
            "ready": studio.quick.is_ready,
            "queued": counts["queued"],
            "running": counts["running"],
            "queue_limit": limits.queued,
            "disk": {"used": studio.gallery.used(), "quota": limits.disk_bytes},
            "limits": {
                "upload_bytes": limits.upload_bytes,
                "clip_bytes": limits.clip_bytes,
                "pixels": limits.pixels,
                "job_seconds": limits.job_seconds,
                "memory_bytes": limits.memory_bytes,
            },
            "event": studio.database.event(),
        }
    )


@router.get("/recipes", response_model=shapes.Recipes)
async def all_recipes() -> Response:
    """Return every kind of job and its options."""
    return answer(_RECIPES)


@router.get("/events", responses=_STREAM, response_class=StreamingResponse)
async def all_events(studio: Here, last_event_id: LastEvent = None, last: Last = None) -> Response:
    """Stream changes of all jobs."""
    return _stream(studio, None, _number(last_event_id, last))


@router.get(
    "/jobs/{job}/events",
    responses=_STREAM | {204: {"description": "The job has ended and its last event was sent."}},
    response_class=StreamingResponse,
)
async def events_of_job(studio: Here, job: shapes.JobId, last_event_id: LastEvent = None, last: Last = None) -> Response:
    """Stream changes of one job until it ends."""
    row, since = studio.jobs.get(job), _number(last_event_id, last)
    if row["state"] in _ENDED and since is not None and since >= row["version"]:
        return Response(status_code=204)
    return _stream(studio, job, since if since is not None else row["version"] - 1)


def _number(header: str | None, query: int | None) -> int | None:
    if header is not None and header.isascii() and header.isdigit() and len(header) < 19:
        return int(header)
    return query


def _stream(studio: Studio, job: str | None, since: int | None) -> Response:
    return StreamingResponse(_events(studio, job, since), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _events(studio: Studio, job: str | None, since: int | None) -> AsyncIterator[bytes]:
    sent = studio.database.event() if since is None else since
    with studio.hub.listening(job) as listener:
        yield b"retry: 1000\n\n"
        try:
            for row in studio.jobs.changed_since(sent, job):
                yield encoded("job", studio.jobs.shown(row), row["version"])
                sent = row["version"]
            while not studio.is_over:
                if job is not None and studio.has_ended(job, sent):
                    return
                found = await listener.next(_SECONDS_BETWEEN_COMMENTS)
                fresh = [event for number, event in found if number is None or number > sent]
                sent = max([sent, *(number for number, _ in found if number is not None)])
                yield b"".join(fresh) or b": still here\n\n"
        except sqlite3.Error as error:  # the client will reconnect and request the events it missed
            if not fault(error):
                raise
