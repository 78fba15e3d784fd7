"""Routes for results: the gallery, changes and downloads."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from impasto.studio import shapes
from impasto.studio.brushes import SUFFIX as BRUSH
from impasto.studio.database import Row
from impasto.studio.gallery import shown_result
from impasto.studio.jobs import shown_request
from impasto.studio.routes.responses import (
    FOR_GOOD,
    PICTURES,
    SUFFIXES,
    VIDEOS,
    After,
    Favorite,
    Here,
    Limit,
    answer,
    page,
    picture,
    pictures_answer,
    safe_name,
    unique_names,
)
from impasto.studio.security import RefusedError
from impasto.studio.studio import Studio

router = APIRouter(prefix="/results", tags=["results"])
_MOST_AT_ONCE = 100
_MOST_ZIP_BYTES = 2e9
"""An archive needs as much free disk space as its files; painted clips can be large."""
Flag = Annotated[bool | None, Query()]
Ids = Annotated[
    str,
    Query(max_length=20 * _MOST_AT_ONCE, pattern=r"^r_[0-9a-f]{16}(,r_[0-9a-f]{16})*$", description="Ids separated by commas."),
]
Quality = Annotated[int, Query(ge=1, le=100)]


@router.get("", response_model=shapes.Results)
async def list_(
    studio: Here,
    favorite: Favorite,
    limit: Limit = 50,
    after: After = None,
    draft: Flag = False,
    q: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    """List results, newest first."""
    rows = studio.gallery.results(limit + 1, after, favorite, draft, q)
    return page(rows, limit, lambda row: _shown(studio, row))


def _shown(studio: Studio, row: Row) -> dict[str, Any]:
    return shown_result(row, is_photo_there=studio.gallery.has_upload(row["upload"]))


@router.get("/zip", responses=pictures_answer(".zip"), response_class=Response)
async def zip_(studio: Here, ids: Ids, format: shapes.Format = "png", record: bool = True, quality: Quality = 92) -> Response:
    """Return several results as a zip file."""
    rows = _several(studio, ids)
    files = [_file(studio, row, record) for row in rows]
    size = sum(Path(file["path"]).stat().st_size for file in files if Path(file["path"]).is_file())
    if size > _MOST_ZIP_BYTES:
        text = f"these results have {size / 1e6:,.0f} MB, and an archive may have {_MOST_ZIP_BYTES / 1e6:,.0f} MB"
        raise RefusedError(413, "large", f"{text}; choose fewer results, or download the clips one by one")
    suffixes = [Path(file["path"]).suffix if file["is_clip"] else SUFFIXES[format] for file in files]
    names = unique_names(safe_name(row["title"], suffix) for row, suffix in zip(rows, suffixes, strict=True))
    each = [file | {"name": name} for file, name in zip(files, names, strict=True)]
    path = studio.folder.made(".zip")
    await _made(studio, path, do="zip", each=each, quality=quality)
    return _download(path, "impasto.zip")


@router.get("/sheet", responses=pictures_answer(".png"), response_class=Response)
async def sheet(studio: Here, ids: Ids, columns: Annotated[int, Query(ge=1, le=20)] = 4) -> Response:
    """Return several results on a contact sheet."""
    each = [{"path": _picture(studio, row), "name": row["title"]} for row in _several(studio, ids)]
    path = studio.folder.made(".png")
    await _made(studio, path, do="sheet", each=each, columns=columns)
    return _download(path, "impasto-sheet.png")


@router.get("/{result}", response_model=shapes.FullResult)
async def get(studio: Here, result: shapes.ResultId) -> Response:
    """Return one result with its record and its request."""
    row = studio.gallery.result(result)
    return answer(_shown(studio, row) | {"record": json.loads(row["record"]), "request": shown_request(row["request"])})


@router.get("/{result}/image", responses=pictures_answer(".png", ".jpg"), response_class=Response)
async def image(studio: Here, result: shapes.ResultId) -> Response:
    """Return the picture."""
    return picture(studio.folder.result(result, studio.gallery.result(result)["suffix"]))


@router.get("/{result}/thumb", responses=pictures_answer(".jpg"), response_class=Response)
async def thumb(studio: Here, result: shapes.ResultId) -> Response:
    """Return the thumbnail."""
    studio.gallery.result(result)
    return picture(studio.folder.result(result, ".thumb.jpg"))


@router.get("/{result}/export", responses=pictures_answer(".png", ".jpg", ".webp"), response_class=Response)
async def export(
    studio: Here, result: shapes.ResultId, format: shapes.Format = "png", record: bool = True, quality: Quality = 92
) -> Response:
    """Return the picture as a download."""
    row = studio.gallery.result(result)
    suffix = SUFFIXES[format]
    path = studio.folder.made(suffix)
    await _made(studio, path, do="export", path=_picture(studio, row), record=_record(row, record), quality=quality)
    return _download(path, safe_name(row["title"], suffix))


@router.get("/{result}/brush", responses=pictures_answer(BRUSH), response_class=Response)
async def brush(studio: Here, result: shapes.ResultId) -> Response:
    """Return a trained brush as a download."""
    row = studio.gallery.result(result)
    path = studio.folder.result(result, BRUSH)
    if row["kind"] != "brush" or not path.is_file():
        raise RefusedError(404, "missing", f"result {result} is not a brush; see /api/v1/brushes")
    headers = {"cache-control": "no-store"}
    return FileResponse(path, media_type=PICTURES[BRUSH], filename=safe_name(row["title"], BRUSH), headers=headers)


@router.get("/{result}/video", responses=pictures_answer(*VIDEOS), response_class=Response)
async def video(studio: Here, result: shapes.ResultId) -> Response:
    """Return a painted clip. Range requests are supported, so that players can seek."""
    row = studio.gallery.result(result)
    path = _video(studio, row)
    if path is None:
        raise RefusedError(404, "missing", f"result {result} is not a painted clip")
    name, kind = safe_name(row["title"], path.suffix), PICTURES[path.suffix]
    headers = {"cache-control": FOR_GOOD}
    return FileResponse(path, media_type=kind, filename=name, content_disposition_type="inline", headers=headers)


@router.patch("/{result}", response_model=shapes.Result)
async def change(studio: Here, result: shapes.ResultId, changes: shapes.ResultChanges) -> Response:
    """Change the title, the favorite flag or the draft flag of a result."""
    return answer(_shown(studio, studio.gallery.change_result(result, changes.model_dump(exclude_none=True))))


@router.delete("/{result}", status_code=204)
async def delete(studio: Here, result: shapes.ResultId) -> Response:
    """Delete a result."""
    studio.gallery.delete_result(result)
    return Response(status_code=204)


def _several(studio: Studio, ids: str) -> list[Row]:
    wanted = list(dict.fromkeys(ids.split(",")))
    if len(wanted) > _MOST_AT_ONCE:
        raise RefusedError(422, "option", f"'ids' has {len(wanted)} results; at most {_MOST_AT_ONCE} are allowed", "ids")
    return [studio.gallery.result(each) for each in wanted]


def _file(studio: Studio, row: Row, record: bool) -> dict[str, Any]:
    """Return the file of a result for an archive: the picture, or the painted clip."""
    clip = _video(studio, row)
    path = str(clip) if clip else _picture(studio, row)
    return {"path": path, "is_clip": bool(clip), "record": _record(row, record)}


def _picture(studio: Studio, row: Row) -> str:
    return str(studio.folder.result(row["id"], row["suffix"]))


def _record(row: Row, is_wanted: bool) -> Any:
    return json.loads(row["record"]) if is_wanted else None


def _video(studio: Studio, row: Row) -> Path | None:
    paths = (studio.folder.result(row["id"], suffix) for suffix in VIDEOS if row["kind"] == "video")
    return next((path for path in paths if path.is_file()), None)


async def _made(studio: Studio, path: Path, /, **message: Any) -> None:
    """Have the quick worker make a file. If this fails, delete the unfinished file."""
    try:
        await studio.ask(to=str(path), **message)
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise


def _download(path: Any, name: str) -> Response:
    kind: Literal["attachment"] = "attachment"
    after = BackgroundTask(path.unlink, missing_ok=True)
    headers = {"cache-control": "no-store"}
    return FileResponse(
        path, media_type=PICTURES[path.suffix], filename=name, content_disposition_type=kind, background=after, headers=headers
    )
