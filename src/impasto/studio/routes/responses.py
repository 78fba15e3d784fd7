"""Query parameters and responses that several routes use."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response

from impasto.studio.database import Row
from impasto.studio.security import RefusedError
from impasto.studio.studio import Studio

FOR_GOOD = "private, max-age=31536000, immutable"
PICTURES = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
PICTURES |= {".zip": "application/zip", ".brush": "application/octet-stream"}
VIDEOS = {".mp4": "video/mp4", ".mkv": "video/x-matroska"}
PICTURES |= VIDEOS
SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}


def _studio(request: Request) -> Studio:
    found: Studio = request.app.state.studio
    return found


Here = Annotated[Studio, Depends(_studio)]
Limit = Annotated[int, Query(ge=1, le=200, description="Maximum number of items.")]
After = Annotated[int | None, Query(ge=0, le=2**62, description="Cursor: the value of next in the previous page.")]


def _favorite(
    favorite: Annotated[bool | None, Query(description="true: favorites only; false: others only.")] = None,
    favourite: Annotated[bool | None, Query(deprecated=True, description="Earlier name of favorite.")] = None,
) -> bool | None:
    return favourite if favorite is None else favorite


Favorite = Annotated[bool | None, Depends(_favorite)]


def answer(shown: Any, status: int = 200) -> JSONResponse:
    """Return a JSON response without validating it against the model."""
    return JSONResponse(shown, status)


def page(rows: Sequence[Row], limit: int, show: Callable[[Row], Mapping[str, Any]]) -> JSONResponse:
    """Return a page of rows. If there is a next page, ``rows`` contains one row more than the limit."""
    more = len(rows) > limit
    return answer({"items": [show(row) for row in rows[:limit]], "next": rows[limit - 1]["number"] if more else None})


def picture(path: Path, *, for_good: bool = True) -> Response:
    """Return a picture file.

    Raises:
        RefusedError: The file does not exist.
    """
    missing = RefusedError(404, "missing", "this picture no longer exists")
    if not path.is_file():
        raise missing
    if not for_good:  # the file may be replaced or deleted between reading its size and reading its content
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise missing from None
        return Response(data, media_type=PICTURES[path.suffix], headers={"cache-control": "no-store"})
    return FileResponse(path, media_type=PICTURES[path.suffix], headers={"cache-control": FOR_GOOD})


def pictures_answer(*suffixes: str) -> dict[int | str, dict[str, Any]]:
    """Describe a file response for OpenAPI."""
    return {200: {"content": {PICTURES[suffix]: {} for suffix in suffixes}, "description": "The file."}}


def safe_name(title: str, suffix: str) -> str:
    """Return a file name for a download. Title characters other than letters, digits, spaces, ``-`` and ``_`` become ``-``."""
    stem = title.rsplit(".", 1)[0] if "." in title[1:] else title
    kept = "".join(each if each.isalnum() or each in " -_" else "-" for each in stem).strip(" -")
    return (kept[:80] or "impasto") + suffix


def unique_names(names: Iterable[str]) -> list[str]:
    """Make the names in an archive unique.

    Example:
        >>> unique_names(["a.png", "a.png", "b.png"])
        ['a.png', 'a-2.png', 'b.png']
    """
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        stem, dot, suffix = name.rpartition(".")
        found.append(name if seen[name] == 1 else f"{stem}-{seen[name]}{dot}{suffix}")
    return found
