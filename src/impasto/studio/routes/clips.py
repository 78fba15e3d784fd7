"""Routes for clips, which video jobs paint."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from impasto.errors import OptionError
from impasto.studio import shapes
from impasto.studio.gallery import DiskFullError, shown_clip
from impasto.studio.routes.responses import After, Here, Limit, answer, page, picture, pictures_answer
from impasto.studio.routes.uploads import FILE_BODY, check_type, ignored, plain, received
from impasto.studio.security import RefusedError
from impasto.studio.storage import new_identity
from impasto.studio.studio import Studio
from impasto.video.libraries import check_libraries


def check_video() -> None:
    """Check that the packages for video are installed.

    Raises:
        RefusedError: a package is missing; the message names the extra.
    """
    try:
        check_libraries()
    except OptionError as error:
        raise RefusedError(501, "extra", str(error)) from error


router = APIRouter(prefix="/clips", tags=["clips"], dependencies=[Depends(check_video)])


@router.post("", status_code=201, response_model=shapes.Clip, openapi_extra=FILE_BODY)
async def add(request: Request, studio: Here, name: Annotated[str, Query(max_length=200)] = "clip") -> Response:
    """Upload a clip. The body is the file."""
    check_type(request, "video/", "image/")
    limits, identity = studio.settings.limits, new_identity("c")
    path = studio.folder.upload(identity)
    try:
        await _check_room(studio, request)
        count = await received(request, path, limits.clip_seconds, "clip")
        studio.gallery.make_room(count)
        facts = await studio.ask(do="clip_intake", path=str(path), name=plain(name, "clip"))
        row = studio.gallery.add_upload(identity, {**facts, "name": plain(name, "clip"), "bytes": count})
    except BaseException:
        studio.folder.remove("uploads", identity)
        raise
    return answer(shown_clip(row), 201)


async def _check_room(studio: Studio, request: Request) -> None:
    """Before a clip is written, check that it fits. Its length is known unless the client sends it in chunks."""
    length = int(request.headers.get("content-length", 0))
    try:
        studio.gallery.make_room(length)
        studio.gallery.check_free(length, f"the clip has {length / 1e6:,.0f} MB")
    except DiskFullError:
        await ignored(request, studio.settings.limits.clip_seconds)
        raise


@router.get("", response_model=shapes.Clips)
async def list_(studio: Here, limit: Limit = 50, after: After = None) -> Response:
    """List clips, newest first."""
    return page(studio.gallery.uploads(limit + 1, after, kind="c"), limit, shown_clip)


@router.get("/{clip}", response_model=shapes.Clip)
async def get(studio: Here, clip: shapes.ClipId) -> Response:
    """Return one clip."""
    return answer(shown_clip(studio.gallery.upload(clip)))


@router.get("/{clip}/image", responses=pictures_answer(".jpg"), response_class=Response)
async def image(studio: Here, clip: shapes.ClipId) -> Response:
    """Return a frame of a clip."""
    studio.gallery.upload(clip)
    return picture(studio.folder.upload(clip, ".jpg"))


@router.get("/{clip}/thumb", responses=pictures_answer(".jpg"), response_class=Response)
async def thumb(studio: Here, clip: shapes.ClipId) -> Response:
    """Return the thumbnail of a clip."""
    studio.gallery.upload(clip)
    return picture(studio.folder.upload(clip, ".thumb.jpg"))


@router.get("/{clip}/prediction", response_model=shapes.Prediction)
async def prediction(
    studio: Here,
    clip: shapes.ClipId,
    style: Annotated[shapes.StyleId, Query()],
    size: Annotated[int, Query(ge=0, le=100_000)] = 0,
) -> Response:
    """Predict how long the method paint takes for a clip without cuts, while no other job runs."""
    shown = shown_clip(studio.gallery.upload(clip))
    facts = {name: shown[name] for name in ("width", "height", "frames")}
    return answer(await studio.ask(do="clip_prediction", styles=[studio.shelf.source(style)], size=size, **facts))


@router.delete("/{clip}", status_code=204)
async def delete(studio: Here, clip: shapes.ClipId) -> Response:
    """Delete a clip. Results that were painted from it stay."""
    studio.gallery.delete_upload(clip)
    return Response(status_code=204)
