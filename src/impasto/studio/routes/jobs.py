"""Jobs: asked for, looked at, stopped, gone on with."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response

from impasto.errors import OptionError
from impasto.studio import shapes
from impasto.studio.controls import checked_options, checked_run
from impasto.studio.jobs import Order, StateError, Wanted
from impasto.studio.routes.common import After, Here, Limit, answer, page, picture, pictures_answer
from impasto.studio.security import RefusedError
from impasto.studio.studio import Studio, lane_of

router = APIRouter(prefix="/jobs", tags=["jobs"])
Key = Annotated[str | None, Header(alias="Idempotency-Key", min_length=1, max_length=200)]
_PAINTED = ("paint", "refine")
_MORE_STEPS = 30


@router.post("", status_code=201, response_model=shapes.Job, responses={200: {"model": shapes.Job}})
async def add(studio: Here, new: shapes.NewJob, idempotency_key: Key = None) -> Response:
    """Put a job into the queue."""
    request = _checked(studio, new)
    order = Order(
        kind=new.kind,
        lane=lane_of(new.kind),
        request=request,
        priority=new.priority,
        draft=new.draft,
        slot=new.slot,
        key=idempotency_key,
        more={"result": new.result} if new.result else None,
    )
    row, is_new = studio.submit(order)
    return answer(studio.jobs.shown(row), 201 if is_new else 200)


def _checked(studio: Studio, new: shapes.NewJob) -> dict[str, Any]:
    """Check what a job asks for, and write it so that it can be asked again."""
    found: dict[str, Any] = {"kind": new.kind, "content": new.content, "styles": new.styles, "draft": new.draft}
    if new.result is not None:
        found |= _from_result(studio, new)
    if found["content"] is None:
        raise RefusedError(422, "option", "content is missing; give the id of an upload", "content")
    if not found["styles"]:
        raise RefusedError(422, "option", "styles is empty; give the id of a style", "styles")
    _check_masks(new)
    _find(lambda: studio.gallery.upload(found["content"]), "content")
    for style in found["styles"]:
        _find(lambda style=style: studio.shelf.source(style), "styles")
    for mask in new.masks:
        _find(lambda mask=mask: studio.gallery.upload(mask), "masks")
    found |= {"options": checked_options(new.kind, new.options), "run": checked_run(new.run)}
    weights = new.options.get("style_weights")
    if weights and len(weights) != len(found["styles"]):
        raise OptionError(
            f"--style-weights has {len(weights)} values for {len(found['styles'])} styles; give one for each style"
        )
    return found | ({"masks": new.masks} if new.masks else {})


def _from_result(studio: Studio, new: shapes.NewJob) -> dict[str, Any]:
    row = _find(lambda: studio.gallery.result(new.result or ""), "result")
    earlier = json.loads(row["request"])
    others = new.content not in (None, earlier["content"]) or new.styles not in ([], earlier["styles"])
    if new.kind != "refine" or others:
        raise RefusedError(422, "option", "result goes with kind refine alone, and with its own content and styles", "result")
    return {"content": earlier["content"], "styles": earlier["styles"], "result": new.result}


def _check_masks(new: shapes.NewJob) -> None:
    if not new.masks:
        return
    if new.kind != "instant":
        raise RefusedError(422, "option", f"masks go with kind instant alone, not with {new.kind}", "masks")
    if len(new.masks) != len(new.styles):
        message = f"masks has {len(new.masks)} pictures for {len(new.styles)} styles; give one for each style"
        raise RefusedError(422, "option", message, "masks")


def _find(look: Any, field: str) -> Any:
    """Look something up that the body names; what is not there is wrong in the body, not in the address."""
    try:
        return look()
    except LookupError as error:
        raise RefusedError(422, "option", str(error.args[0]), field) from error


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
    """Stop a job."""
    return _stopped(studio, job, "cancelled")


@router.post("/{job}/pause", response_model=shapes.Job, responses={202: {"model": shapes.Job}})
async def pause(studio: Here, job: shapes.JobId) -> Response:
    """Stop a job for now."""
    return _stopped(studio, job, "paused")


@router.post("/{job}/finish", response_model=shapes.Job, responses={202: {"model": shapes.Job}})
async def finish(studio: Here, job: shapes.JobId) -> Response:
    """Stop a painting, and take what there is as its result."""
    row = studio.jobs.get(job)
    if row["kind"] not in _PAINTED:
        raise StateError(f"job {job} is {row['kind']} and has nothing to finish early; only paintings have")
    return _stopped(studio, job, "finish")


def _stopped(studio: Studio, job: str, wanted: Wanted) -> Response:
    row = studio.jobs.want(job, wanted)
    studio.wake(row)
    return answer(studio.jobs.shown(row), 202 if row["state"] in ("running", "queued") else 200)


@router.post("/{job}/continue", response_model=shapes.Job, responses={201: {"model": shapes.Job}})
async def continue_(studio: Here, job: shapes.JobId, how: shapes.Continuation) -> Response:
    """Go on with a job from where it stood, or from its result with more steps."""
    row = studio.jobs.get(job)
    if row["state"] == "done":
        return _more(studio, row, how.steps)
    row = studio.jobs.again(job, from_start=False)
    studio.wake(row)
    return answer(studio.jobs.shown(row))


def _more(studio: Studio, row: dict[str, Any], steps: int | None) -> Response:
    if row["kind"] != "paint":
        raise StateError(f"job {row['id']} is {row['kind']} and cannot be continued; only a painting can, or refine its result")
    if row["result"] is None:
        raise StateError(f"the result of job {row['id']} was deleted, so that it cannot be continued; retry it")
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
    """Begin a job again."""
    row = studio.jobs.again(job, from_start=True)
    studio.wake(row)
    return answer(studio.jobs.shown(row))


@router.patch("/{job}", response_model=shapes.Job)
async def change(studio: Here, job: shapes.JobId, changes: shapes.JobChanges) -> Response:
    """Move a job in the queue."""
    return answer(studio.jobs.shown(studio.jobs.prioritize(job, changes.priority)))


@router.delete("/{job}", status_code=204)
async def delete(studio: Here, job: shapes.JobId) -> Response:
    """Forget a job."""
    studio.jobs.delete(job)
    studio.folder.remove("work", job)
    return Response(status_code=204)
