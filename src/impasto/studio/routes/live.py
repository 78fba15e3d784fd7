"""Routes for the network, the runtime and the style codes of the webcam page. No route accepts frames."""

import asyncio
import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, Response

from impasto.errors import WeightsError
from impasto.studio import runtime, shapes
from impasto.studio.faults import fault
from impasto.studio.routes.responses import FOR_GOOD, Here, answer
from impasto.studio.security import RefusedError

router = APIRouter(prefix="/live", tags=["live"])
served = APIRouter(prefix="/live", include_in_schema=False)
NETWORK = Path(str(files("impasto") / "data" / "live.onnx"))
_SIDES = 32
_TYPES = {".mjs": "text/javascript", ".wasm": "application/wasm"}
_fetching = asyncio.Lock()

Edge = Annotated[int, Query(ge=64, le=1024, description="Side of the pictures in pixels.")]


@router.get("", response_model=shapes.Live)
async def about() -> Response:
    """Return the runtime and the network of the webcam page."""
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


@router.get("/styles/{style}", response_model=shapes.LiveStyle)
async def style(studio: Here, style: shapes.StyleId, edge: Edge = 256) -> Response:
    """Return the style code of a style for pictures of the given size."""
    found = await studio.ask(do="style_code", style=studio.shelf.source(style), edge=edge)
    return answer({name: found[name] for name in ("modulation", "mean", "covariance")})


@served.get("/network.onnx")
async def network() -> Response:
    """Return the ONNX network."""
    return FileResponse(NETWORK, media_type="application/octet-stream", headers={"cache-control": FOR_GOOD})


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
    return {"runtime": known, "network": {"address": f"/live/network.onnx?v={_hash()}", "sides": _SIDES}}


@cache
def _hash() -> str:
    return hashlib.sha256(NETWORK.read_bytes()).hexdigest()[:16]
