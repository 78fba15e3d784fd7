"""Host, origin and token checks, body limits and response headers. docs/security.md lists the threats and their tests."""

import hmac
import ipaddress
import json
import socket
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlencode

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from impasto.studio.settings import LOOPBACK, Settings

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; media-src 'self' blob:; worker-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_LIVE_POLICY = CONTENT_SECURITY_POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_READS = ("GET", "HEAD", "OPTIONS")
_UPLOADS, _CLIPS = "/api/v1/uploads", "/api/v1/clips"


class RefusedError(HTTPException):
    """A rejected request.

    Attributes:
        status_code: HTTP status.
        code: Error code for programs.
        field: Field that caused the error, or None.
    """

    def __init__(self, status: int, code: str, message: str, field: str | None = None) -> None:
        super().__init__(status, message)
        self.code, self.field = code, field


def problem(refused: RefusedError) -> dict[str, dict[str, str | None]]:
    """Return the response body for a rejected request."""
    return {"error": {"code": refused.code, "message": refused.detail, "field": refused.field}}


class Guard:
    """Outermost middleware. It checks the headers of every request and limits the size of its body."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings
        self.cookie = f"impasto-{settings.port}"
        self._names = {*LOOPBACK, *(() if settings.is_local else _own_names()), settings.host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on or reject it."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # the studio has no web sockets
            await send({"type": "websocket.close", "code": 1008})
            return
        guarded = _with_headers(send, scope["path"])
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check_host(scope, headers)
            if self.settings.token and (redirect := self._token_redirect(scope)):
                await _answer(guarded, 303, b"", redirect)
                return
            self._check_token(headers)
            _check_site(scope, headers)
            limit = self._limit(scope)
            _check_length(headers, limit)
            await self.app(scope, _counted(receive, limit), guarded)
        except RefusedError as refused:
            extra = [(b"www-authenticate", b"Bearer")] if refused.status_code == 401 else []
            extra.append((b"connection", b"close"))  # do not read the rest of the body
            await _answer(guarded, refused.status_code, json.dumps(problem(refused)).encode(), extra)

    # ------------------------------------------------------------------------------------------------ host and token

    def _check_host(self, scope: Scope, headers: dict[str, str]) -> None:
        """Reject unknown host names to prevent DNS rebinding."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        name, port = _host_and_port(headers.get("host", ""))
        if len(hosts) != 1 or port != self.settings.port or not self._is_known(name):
            raise RefusedError(
                421, "host", f"the host name {headers.get('host', '')[:100]!r} is not accepted; open {self.settings.address}"
            )

    def _is_known(self, name: str) -> bool:
        if name in self._names:
            return True
        return not self.settings.is_local and _is_address(name)

    def _token_redirect(self, scope: Scope) -> list[tuple[bytes, bytes]] | None:
        """Store the token of ``/?token=...`` in a cookie, and redirect to an address without the token."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["method"] != "GET" or scope["path"].startswith("/api/") or "token" not in query:
            return None
        if not self._is_token(query.pop("token")[-1]):
            raise RefusedError(401, "token", "the token in the address is wrong; copy the address that impasto studio printed")
        rest = urlencode(query, doseq=True)
        where = scope["path"].lstrip("/\\")
        target = f"/{where}{'?' + rest if rest else ''}"
        cookie = f"{self.cookie}={self.settings.token}; Path=/; HttpOnly; SameSite=Strict"
        return [(b"location", target.encode("ascii", "ignore")), (b"set-cookie", cookie.encode())]

    def _check_token(self, headers: dict[str, str]) -> None:
        if not self.settings.token:
            return
        given = headers.get("authorization", "")
        if given[:7].lower() == "bearer " and self._is_token(given[7:].strip()):
            return
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            cookie = None
        if cookie is None or not self._is_token(cookie.value):
            raise RefusedError(401, "token", "the token is missing; open the address that impasto studio printed")

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.settings.token.encode())

    # ------------------------------------------------------------------------------------------------ size

    def _limit(self, scope: Scope) -> int:
        limits = self.settings.limits
        return {_UPLOADS: limits.upload_bytes, _CLIPS: limits.clip_bytes}.get(scope["path"], limits.body_bytes)


def _check_site(scope: Scope, headers: dict[str, str]) -> None:
    """From pages of other origins, accept only read requests for paths outside the API."""
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if scope["method"] in _READS and not scope["path"].startswith("/api/"):
        return
    if origin is not None and origin != f"{scope['scheme']}://{headers.get('host', '')}":
        raise RefusedError(403, "origin", f"requests from {origin[:100]!r} are not allowed; use the studio's own page")
    if site in ("cross-site", "same-site"):
        raise RefusedError(403, "origin", "requests from other websites are not allowed; use the studio's own page")


def _check_length(headers: dict[str, str], limit: int) -> None:
    given = headers.get("content-length")
    if given is None:
        return
    if not given.isascii() or not given.isdigit():
        raise RefusedError(400, "request", f"Content-Length {given[:40]!r} is not a number")
    if int(given) > limit:
        raise _too_large(limit)


def _counted(receive: Receive, limit: int) -> Receive:
    """Limit the size of a body while it is read, because its Content-Length may be wrong or missing."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return counted


def _too_large(limit: int) -> RefusedError:
    return RefusedError(413, "large", f"the body is too large; at most {limit / 1e6:,.1f} MB are allowed")


def _with_headers(send: Send, path: str) -> Send:
    headers = dict(_HEADERS)
    if path.startswith(("/live", "/static/live")):  # a web worker uses the policy of its own file, not that of the page
        headers["content-security-policy"] = _LIVE_POLICY
    if path.startswith("/api/"):
        headers["cache-control"] = "no-store"

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message.get("headers", ())}
            ours = [(name.encode(), value.encode()) for name, value in headers.items() if name.encode() not in given]
            message = {**message, "headers": [*message.get("headers", ()), *ours]}
        await send(message)

    return with_headers


async def _answer(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*kind, *headers]})
    await send({"type": "http.response.body", "body": body})


def _host_and_port(host: str) -> tuple[str, int]:
    """Split a Host header into name and port. Return ("", 0) if the header is invalid.

    Example:
        >>> _host_and_port("[::1]:7860"), _host_and_port("LOCALHOST:7860"), _host_and_port("evil")
        (('::1', 7860), ('localhost', 7860), ('evil', 80))
    """
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, "80"
    if name.startswith("[") and name.endswith("]"):
        name = name[1:-1]
    if not (port.isascii() and port.isdigit() and len(port) < 6):
        return "", 0
    return name.lower(), int(port)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _own_names() -> tuple[str, ...]:
    name = socket.gethostname().lower()
    return (name, f"{name}.local")
