"""Routes for uploads: photos, style pictures and masks."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from impasto.studio import shapes
from impasto.studio.gallery import shown_upload
from impasto.studio.routes.responses import After, Here, Limit, answer, page, picture, pictures_answer
from impasto.studio.security import RefusedError
from impasto.studio.storage import new_identity

router = APIRouter(prefix="/uploads", tags=["uploads"])
FILE_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post("", status_code=201, response_model=shapes.Upload, openapi_extra=FILE_BODY)
async def add(request: Request, studio: Here, name: Annotated[str, Query(max_length=200)] = "picture") -> Response:
    """Upload a picture. The body is the file."""
    check_type(request, "image/")
    identity = new_identity("u")
    path = studio.folder.upload(identity)
    try:
        count = await received(request, path, studio.settings.limits.upload_seconds)
        studio.gallery.make_room(count)
        facts = await studio.ask(do="intake", path=str(path), name=plain(name), pixels=studio.settings.limits.pixels)
        studio.runners["slow"].prepare()  # users often paint after an upload
        row = studio.gallery.add_upload(identity, {**facts, "name": plain(name), "bytes": count})
    except BaseException:
        studio.folder.remove("uploads", identity)
        raise
    return answer(shown_upload(row), 201)


def check_type(request: Request, *allowed: str) -> None:
    """Accept only application/octet-stream and the allowed types. This excludes all content types that forms can send."""
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if kind != "application/octet-stream" and not kind.startswith(allowed):
        raise RefusedError(
            415, "type", f"uploads of type {kind[:60]!r} are not supported; send the file as application/octet-stream"
        )


async def ignored(request: Request, seconds: float) -> None:
    """Read the body without using it: browsers read the response only after they have sent the whole body."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for _ in request.stream():
                pass


async def received(request: Request, path: Path, seconds: float, code: str = "picture") -> int:
    """Write the body to a file and return its number of bytes."""
    count = 0
    parts = request.stream()
    try:
        async with asyncio.timeout(seconds):
            try:
                with path.open("xb") as file:
                    async for part in parts:
                        file.write(part)
                        count += len(part)
            except OSError:  # read the rest: browsers read the response only after they have sent the whole body
                async for _ in parts:
                    pass
                raise
    except TimeoutError as error:
        raise RefusedError(408, "slow", f"the upload took longer than {seconds:g} seconds; try a smaller file") from error
    if count == 0:
        raise RefusedError(422, code, "the body is empty; send the file")
    return count


def plain(name: str, otherwise: str = "picture") -> str:
    """Return a file name that is safe to show, without folders and unprintable characters."""
    last = name.replace("\\", "/").rpartition("/")[2]
    return "".join(each for each in last if each.isprintable())[:120].strip() or otherwise


@router.get("", response_model=shapes.Uploads)
async def list_(studio: Here, limit: Limit = 50, after: After = None) -> Response:
    """List uploads, newest first."""
    return page(studio.gallery.uploads(limit + 1, after), limit, shown_upload)


@router.get("/{upload}", response_model=shapes.Upload)
async def get(studio: Here, upload: shapes.UploadId) -> Response:
    """Return one upload."""
    return answer(shown_upload(studio.gallery.upload(upload)))


@router.get("/{upload}/image", responses=pictures_answer(".jpg"), response_class=Response)
async def image(studio: Here, upload: shapes.UploadId) -> Response:
    """Return the picture for display."""
    studio.gallery.upload(upload)
    return picture(studio.folder.upload(upload, ".jpg"))


@router.get("/{upload}/thumb", responses=pictures_answer(".jpg"), response_class=Response)
async def thumb(studio: Here, upload: shapes.UploadId) -> Response:
    """Return the thumbnail."""
    studio.gallery.upload(upload)
    return picture(studio.folder.upload(upload, ".thumb.jpg"))


@router.delete("/{upload}", status_code=204)
async def delete(studio: Here, upload: shapes.UploadId) -> Response:
    """Delete an upload."""
    studio.gallery.delete_upload(upload)
    return Response(status_code=204)
