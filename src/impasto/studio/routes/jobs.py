"""Routes for jobs: submit, list, stop, continue."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response

from impasto.studio import shapes
from impasto.studio.controls import KINDS
from impasto.studio.jobs import Order, StateError, Wanted
from impasto.studio.routes.job_requests import checked, result_bytes
from impasto.studio.routes.responses import After, Here, Limit, answer, page, picture, pictures_answer
from impasto.studio.studio import Studio

router = APIRouter(prefix="/jobs", tags=["jobs"])
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
_FINISHED_EARLY = ("paint", "refine", "tune", "brush")
_MORE_STEPS = 30


@router.post("", status_code=201, response_model=shapes.Job, responses={200: {"model": shapes.Job}})
async def add(studio: Here, new: shapes.NewJob, idempotency_key: Key = None) -> Response:
    """Submit a job."""
    request = checked(studio, new)
    order = Order(
        kind=new.kind,
        lane=KINDS[new.kind].lane,
        request=request,
        priority=new.priority,
        draft=new.draft,
        slot=new.slot,
        key=idempotency_key,
        more={"result": new.result} if new.result else None,
    )
    row, is_new = studio.submit(order, result_bytes(studio, request)) if new.kind == "video" else studio.submit(order)
    return answer(studio.jobs.shown(row), 201 if is_new else 200)


@router.get("", response_model=shapes.Jobs)
async def list_(
    studio: Here, state: Annotated[list[shapes.State] | None, Query()] = None, limit: Limit = 50, after: After = None
) -> Response:
    """List jobs, newest first."""
    return page(studio.jobs.listed(state or (), limit + 1, after), limit, studio.jobs.shown)


@router.get("/{job}", response_model=shapes.Job)
async def get(studio: Here, job: shapes.JobId) -> Response:
    """Return one job."""
    return answer(studio.jobs.shown(studio.jobs.get(job)))


@router.get("/{job}/preview", responses=pictures_answer(".jpg"), response_class=Response)
async def preview(studio: Here, job: shapes.JobId) -> Response:
    """Return the newest preview of a job."""
    studio.jobs.get(job)
    return picture(studio.folder.work(job, ".jpg"), for_good=False)


@router.post("/{job}/cancel", response_model=shapes.Job, responses={202: {"model": shapes.Job}})
async def cancel(studio: Here, job: shapes.JobId) -> Response:
    """Cancel a job."""
    return _stopped(studio, job, "cancelled")


@router.post("/{job}/pause", response_model=shapes.Job, responses={202: {"model": shapes.Job}})
async def pause(studio: Here, job: shapes.JobId) -> Response:
    """Pause a job."""
    return _stopped(studio, job, "paused")


@router.post("/{job}/finish", response_model=shapes.Job, responses={202: {"model": shapes.Job}})
async def finish(studio: Here, job: shapes.JobId) -> Response:
    """Stop a job early, and use its current picture as the result."""
    row = studio.jobs.get(job)
    if row["kind"] not in _FINISHED_EARLY:
        raise StateError(
            f"job {job} has kind {row['kind']!r} and cannot be finished early; only jobs of kind 'paint', 'refine', 'tune' or "
            "'brush' can"
        )
    return _stopped(studio, job, "finish")


def _stopped(studio: Studio, job: str, wanted: Wanted) -> Response:
    row = studio.jobs.want(job, wanted)
    studio.wake(row)
    return answer(studio.jobs.shown(row), 202 if row["state"] in ("running", "queued") else 200)


@router.post("/{job}/continue", response_model=shapes.Job, responses={201: {"model": shapes.Job}})
async def continue_(studio: Here, job: shapes.JobId, how: shapes.Continuation) -> Response:
    """Continue a job from its checkpoint, or add more steps to a finished painting."""
    row = studio.jobs.get(job)
    if row["state"] == "done":
        return _more(studio, row, how.steps)
    row = studio.jobs.again(job, from_start=False)
    studio.wake(row)
    return answer(studio.jobs.shown(row))


def _more(studio: Studio, row: dict[str, Any], steps: int | None) -> Response:
    if row["kind"] != "paint":
        raise StateError(
            f"job {row['id']} has kind {row['kind']!r} and cannot be continued; submit a job of kind 'refine' for its result"
        )
    if row["result"] is None:
        raise StateError(f"the result of job {row['id']} was deleted, so the job cannot be continued; retry it")
    request = json.loads(row["request"])
    more = {"result": row["result"], "steps": steps or _MORE_STEPS}
    order = Order(
        kind="paint",
        lane=row["lane"],
        request=request,
        priority=row["priority"],
        draft=bool(row["draft"]),
        continues=row["id"],
        more=more,
    )
    found, _ = studio.submit(order)
    return answer(studio.jobs.shown(found), 201)


@router.post("/{job}/retry", response_model=shapes.Job)
async def retry(studio: Here, job: shapes.JobId) -> Response:
    """Start a job over."""
    row = studio.jobs.again(job, from_start=True)
    studio.wake(row)
    return answer(studio.jobs.shown(row))


@router.patch("/{job}", response_model=shapes.Job)
async def change(studio: Here, job: shapes.JobId, changes: shapes.JobChanges) -> Response:
    """Change the priority of a job."""
    return answer(studio.jobs.shown(studio.jobs.prioritize(job, changes.priority)))


@router.delete("/{job}", status_code=204)
async def delete(studio: Here, job: shapes.JobId) -> Response:
    """Delete a job. Its result stays."""
    studio.jobs.delete(job)
    studio.folder.remove("work", job)
    return Response(status_code=204)
