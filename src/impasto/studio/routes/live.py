"""Routes for the runtime and the brushes of the webcam page. No route accepts frames."""

import asyncio

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response

from impasto.errors import WeightsError
from impasto.studio import runtime, shapes
from impasto.studio.brushes import shown_brushes as brushes_of
from impasto.studio.faults import fault
from impasto.studio.live_brushes import graph, shown_brushes
from impasto.studio.routes.responses import FOR_GOOD, Here, answer
from impasto.studio.security import RefusedError

router = APIRouter(prefix="/live", tags=["live"])
served = APIRouter(prefix="/live", include_in_schema=False)
_TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm"}
_fetching = asyncio.Lock()


@router.get("", response_model=shapes.Live)
async def about() -> Response:
    """Return the runtime of the webcam page."""
    return answer(await asyncio.to_thread(_facts))


@router.post("/runtime", response_model=shapes.Live)
async def fetch() -> Response:
    """Download the runtime (33 MB) from npm. The studio makes no other requests to the internet."""
    async with _fetching:
        try:
            await asyncio.to_thread(runtime.fetch_runtime)
        except WeightsError as error:
            if fault(error):
                raise
            raise RefusedError(502, "network", str(error)) from error
    return answer(await asyncio.to_thread(_facts))


@router.get("/brushes", response_model=shapes.LiveBrushes)
async def brushes(studio: Here) -> Response:
    """List the brushes of the webcam page."""
    styles = studio.shelf.styles()
    trained = brushes_of(studio.database, studio.folder, {})
    return answer({"items": await asyncio.to_thread(shown_brushes, trained, studio.folder, styles)})


@served.get("/brushes/{name}.onnx")
async def brush(studio: Here, name: str) -> Response:
    """Return the ONNX graph of a brush."""
    path = graph(studio.folder, name)
    return FileResponse(path, media_type="application/octet-stream", headers={"cache-control": FOR_GOOD})


@served.get("/runtime/{version}/{name}")
async def part(version: str, name: str) -> Response:
    """Return a file of the runtime."""
    path = runtime.runtime_folder() / name
    if version != runtime.VERSION or name not in runtime.FILES or not path.is_file():
        raise RefusedError(404, "missing", "the runtime is not installed; press the button on /live or run "
                           "'impasto studio --fetch-live'")  # fmt: skip
    return FileResponse(path, media_type=_TYPES[path.suffix], headers={"cache-control": FOR_GOOD})


def _facts() -> dict[str, object]:
    known = {
        "version": runtime.VERSION,
        "here": runtime.runtime_is_here(),
        "bytes": runtime.FETCHED_BYTES,
        "address": f"/live/runtime/{runtime.VERSION}/",
    }
    return {"runtime": known}
