"""The application: middleware, routes, error responses, startup and shutdown."""

import mimetypes
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware

from impasto._version import __version__
from impasto.errors import ImpastoError
from impasto.studio import shapes
from impasto.studio.controls import in_words
from impasto.studio.faults import BUG, fault, said
from impasto.studio.gallery import DiskFullError
from impasto.studio.jobs import QueueFullError, StateError
from impasto.studio.routes import about, clips, jobs, live, results, styles, uploads
from impasto.studio.security import Guard, RefusedError, problem
from impasto.studio.settings import Settings
from impasto.studio.studio import Studio

STATIC = Path(__file__).parent / "static"
_KINDS = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
_KINDS |= {
    ".wasm": "application/wasm",
    ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json",
    ".json": "application/json",
}
_CODES = {404: "missing", 405: "method", 413: "large", 415: "type"}
_PAGES = {"/": "index.html", "/live": "live.html"}


def create_app(settings: Settings) -> FastAPI:
    """Create the application of a studio. The workers of the studio start and stop with the application.

    Raises:
        ImpastoError: The data folder or the database cannot be used.
    """
    studio = Studio.opened(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        studio.start()
        try:
            yield
        finally:
            studio.end()

    app = FastAPI(
        title="impasto studio",
        version=__version__,
        description="The public API of a self-hosted studio for neural style transfer.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # Swagger UI would load scripts from a CDN
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.studio = studio
    _add_routes(app)
    _add_errors(app)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=4)  # does not compress pictures and events
    app.add_middleware(Guard, settings=settings)
    return app


def _add_routes(app: FastAPI) -> None:
    described: dict[int | str, dict[str, Any]] = {
        "4XX": {"model": shapes.Problem},
        "5XX": {"model": shapes.Problem},
        422: {"model": shapes.Problem},
    }
    api = APIRouter(prefix="/api/v1", responses=described)
    for each in (about, uploads, clips, styles, jobs, results, live):
        api.include_router(each.router)
    api.include_router(styles.brushes)
    app.include_router(api)
    app.include_router(live.served)
    for address, name in _PAGES.items():
        app.add_api_route(address, _page(STATIC / name), include_in_schema=False)
    for suffix, kind in _KINDS.items():
        mimetypes.add_type(kind, suffix)
    app.mount("/static", _Static(directory=STATIC, check_dir=False), name="static")


def _page(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def page(request: Request) -> Response:
        if not path.is_file():
            raise RefusedError(404, "missing", "this page does not exist")
        files = _Static(directory=STATIC)
        return await files.get_response(path.name, request.scope)

    return page


class _Static(StaticFiles):
    """Static files that browsers revalidate on every request (304 if unchanged)."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """Return a file response."""
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        if not isinstance(error, RefusedError):
            code = _CODES.get(error.status_code, "request")
            error = RefusedError(error.status_code, code, _sentence(error, request))
        headers = {"retry-after": "5"} if error.status_code == 503 else dict(error.headers or {})
        return JSONResponse(problem(error), error.status_code, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = [str(each) for each in first["loc"] if each not in ("body", "query", "path", "header")]
        if first["type"] == "json_invalid" or (not where and first["loc"][0] == "body"):
            return _answer(400, "request", "the body is not the JSON that this route expects; see /api/v1/openapi.json", None)
        if first["loc"][0] == "path":
            return _answer(404, "missing", f"there is no such {where[0]}", None)
        value = repr(first.get("input"))[:60]
        return _answer(422, "option", f"'{'.'.join(where)}' is {value}; {_lower(first['msg'])}", where[0])

    @app.exception_handler(LookupError)
    async def missing(request: Request, error: LookupError) -> JSONResponse:
        if isinstance(error, KeyError | IndexError):  # these are bugs, not missing resources
            raise error
        return _answer(404, "missing", str(error.args[0]), None)

    @app.exception_handler(ImpastoError)
    async def wrong(request: Request, error: ImpastoError) -> JSONResponse:
        if isinstance(error, QueueFullError):
            return _answer(429, "busy", str(error), None, {"retry-after": str(error.retry_seconds)})
        if isinstance(error, StateError):
            return _answer(409, "state", str(error), None)
        if isinstance(error, DiskFullError):
            return _answer(507, "disk", str(error), None)
        if fault(error):
            return _refused_by_the_system(error)
        message, field = in_words(error)
        return _answer(422, "option", message, field)

    @app.exception_handler(OSError)
    @app.exception_handler(RuntimeError)
    @app.exception_handler(sqlite3.Error)
    async def system(request: Request, error: Exception) -> JSONResponse:
        return _refused_by_the_system(error)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        return _answer(500, "bug", BUG, None)


def _refused_by_the_system(error: Exception) -> JSONResponse:
    """Return 507 if the disk is full, and 503 for other temporary system errors. Raise all other errors."""
    found = fault(error)
    if found is None:
        raise error
    if found == "disk":
        return _answer(507, "disk", said(error), None)
    return _answer(503, "system", said(error), None, {"retry-after": "5"})


def _answer(status: int, code: str, message: str, field: str | None, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message, "field": field}}, status, headers)


def _sentence(error: HTTPException, request: Request) -> str:
    if error.status_code == 404:
        return f"there is nothing at {request.url.path[:100]!r}; see /api/v1/openapi.json"
    if error.status_code == 405:
        return f"{request.method} is not allowed for {request.url.path[:100]!r}; see /api/v1/openapi.json"
    return str(error.detail)


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
