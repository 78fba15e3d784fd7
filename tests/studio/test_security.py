"""The threats of docs/security.md that can be tested without workers: access, limits, response headers."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

import studio_pieces as pieces
from impasto.studio.app import STATIC, create_app
from impasto.studio.security import CONTENT_SECURITY_POLICY
from impasto.studio.settings import Limits, Settings

API = "/api/v1"
TOKEN = "a-token-of-the-tests-0123456789"
WRITES = [("POST", "/jobs"), ("POST", "/uploads"), ("POST", "/styles"), ("DELETE", "/results/r_0123456789abcdef")]
WRITES += [("PATCH", "/styles/starry-night"), ("POST", "/jobs/j_0123456789abcdef/cancel")]
WRITES += [("POST", "/clips"), ("DELETE", "/clips/c_0123456789abcdef")]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    app = create_app(Settings(data=tmp_path / "data", limits=Limits(upload_bytes=5000, body_bytes=2000, upload_seconds=0.3)))
    yield app
    app.state.studio.database.close()


@pytest.fixture
def client(app: FastAPI) -> pieces.Local:
    return pieces.Local(app)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[FastAPI]:
    app = create_app(Settings(host="0.0.0.0", data=tmp_path / "guarded", token=TOKEN))
    yield app
    app.state.studio.database.close()


def code(response: Any, status: int) -> str:
    assert response.status_code == status, (response.status_code, response.text)
    return str(response.json()["error"]["code"])


# ---------------------------------------------------------------------------------------------------- host and origin


@pytest.mark.slow
@pytest.mark.parametrize(
    "host",
    ["evil.example:7860", "evil.example", "127.0.0.1", "127.0.0.1:80", "localhost.evil.example:7860", "127.0.0.1.nip.io:7860",
     "", "127.0.0.1:7860:7860", "[::1", "0.0.0.0:7860", "192.168.1.9:7860", "localhost:7860@evil", "127.0.0.1:+7860"],
)  # fmt: skip
def test_an_unknown_host_name_is_refused(client: pieces.Local, host: str) -> None:
    for path in ("/", f"{API}/status", "/static/app.js"):
        assert code(client.get(path, headers={"host": host}), 421) == "host"


@pytest.mark.slow
@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "LOCALHOST:7860", "[::1]:7860"])
def test_the_host_names_of_this_machine_are_accepted(client: pieces.Local, host: str) -> None:
    assert client.get(f"{API}/status", headers={"host": host}).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:7861", "https://127.0.0.1:7860", "http://localhost:7860"]
)
@pytest.mark.parametrize(("method", "path"), WRITES)
def test_writes_from_another_origin_are_refused(client: pieces.Local, method: str, path: str, origin: str) -> None:
    response = client.request(method, API + path, content=b"{}", headers={"origin": origin, "content-type": "text/plain"})
    assert code(response, 403) == "origin"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_requests_from_another_site_are_refused_even_without_origin(client: pieces.Local, site: str) -> None:
    for method, path in [*WRITES, ("GET", "/status"), ("GET", "/results/r_0123456789abcdef/image")]:
        assert code(client.request(method, API + path, headers={"sec-fetch-site": site}), 403) == "origin"


def test_writes_from_the_own_page_and_from_programs_are_accepted(client: pieces.Local) -> None:
    for headers in ({"origin": pieces.HOME, "sec-fetch-site": "same-origin"}, {}):
        assert client.patch(f"{API}/styles/starry-night", json={"favourite": True}, headers=headers).status_code == 200


def test_no_response_allows_another_origin_to_read(client: pieces.Local) -> None:
    response = client.options(f"{API}/jobs", headers={"origin": "http://evil.example", "access-control-request-method": "POST"})
    assert response.status_code in (403, 405)
    for each in (response, client.get(f"{API}/status")):
        assert not [name for name in each.headers if name.startswith("access-control")]


# ---------------------------------------------------------------------------------------------------- token


def test_requests_without_the_token_are_refused(guarded: FastAPI) -> None:
    client = pieces.Local(guarded)
    for path in ("/", f"{API}/status", f"{API}/openapi.json", "/static/app.js", f"{API}/uploads", f"{API}/clips"):
        assert code(client.get(path), 401) == "token"
    for headers in (
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {TOKEN}"},
        {"cookie": "impasto-7860=wrong"},
        {"cookie": f"impasto-9999={TOKEN}"},
        {"cookie": 'impasto-7860="; ;;;'},
        {"authorization": "Bearer "},
    ):
        response = client.get(f"{API}/status", headers=headers)
        assert code(response, 401) == "token"
        assert response.headers["www-authenticate"] == "Bearer"


def test_the_token_in_the_address_becomes_a_cookie_and_is_removed_from_the_address(guarded: FastAPI) -> None:
    client = pieces.Local(guarded)
    response = client.get("/", params={"token": TOKEN, "lang": "zh"})
    assert (response.status_code, response.headers["location"]) == (303, "/?lang=zh")
    cookie = response.headers["set-cookie"]
    assert all(each in cookie for each in ("HttpOnly", "SameSite=Strict", "Path=/"))
    assert client.get(f"{API}/status", headers={"cookie": cookie.partition(";")[0]}).status_code == 200
    assert client.get(f"{API}/status", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_wrong_token_in_the_address_is_refused(guarded: FastAPI) -> None:
    response = pieces.Local(guarded).get("/", params={"token": "wrong"})
    assert code(response, 401) == "token"
    assert "set-cookie" not in response.headers
    assert (
        code(pieces.Local(guarded).get(f"{API}/status", params={"token": TOKEN}), 401) == "token"
    )  # only for pages, not for the API


def test_the_token_redirect_never_leads_to_another_site(guarded: FastAPI) -> None:
    client = pieces.Local(guarded)
    for path in ("//evil.example", "/\\evil.example", "/%5Cevil.example", "///evil.example/x"):
        location = client.get(f"{pieces.HOME}{path}", params={"token": TOKEN}).headers.get("location", "/")
        assert location.startswith("/")
        assert not location.startswith(("//", "/\\"))


def test_a_public_studio_accepts_ip_addresses_but_no_unknown_names(guarded: FastAPI) -> None:
    client = pieces.Local(guarded, authorization=f"Bearer {TOKEN}")
    assert client.get(f"{API}/status", headers={"host": "192.168.1.9:7860"}).status_code == 200
    assert code(client.get(f"{API}/status", headers={"host": "evil.example:7860"}), 421) == "host"
    refused = client.post(f"{API}/jobs", json={}, headers={"origin": "http://evil.example"})
    assert code(refused, 403) == "origin"


# ---------------------------------------------------------------------------------------------------- limits


def test_a_body_with_a_too_large_content_length_is_refused_unread(client: pieces.Local) -> None:
    assert code(client.post(f"{API}/jobs", content=b"x" * 2001), 413) == "large"
    assert code(client.post(f"{API}/uploads", content=b"x" * 5001), 413) == "large"


def test_a_body_without_content_length_is_counted(app: FastAPI) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield b"x" * 100

    for path, kind in (("/jobs", "application/json"), ("/uploads", "image/png"), ("/styles", "application/json")):
        response = pieces.Local(app).post(API + path, content=parts(), headers={"content-type": kind})
        assert code(response, 413) == "large"
    assert list((app.state.studio.folder.root / "uploads").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("length", ["-1", "1e3", "12abc", "0x10", "१"])
def test_a_content_length_that_is_not_a_number_is_refused(app: FastAPI, length: str) -> None:
    scope = {"type": "http", "method": "POST", "path": f"{API}/jobs", "query_string": b"", "scheme": "http"}
    scope["headers"] = [(b"host", b"127.0.0.1:7860"), (b"content-length", length.encode())]
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    asyncio.run(app.build_middleware_stack()(scope, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 400
    assert json.loads(sent[1]["body"])["error"]["code"] == "request"


def test_an_endless_upload_is_stopped(app: FastAPI) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"\xff\xd8\xff"
        await asyncio.sleep(30)

    assert code(pieces.Local(app).post(f"{API}/uploads", content=slow()), 408) == "slow"
    assert list((app.state.studio.folder.root / "uploads").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["text/html", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "text/plain"]
)
def test_an_upload_with_a_content_type_of_forms_is_refused(client: pieces.Local, kind: str) -> None:
    assert code(client.post(f"{API}/uploads", content=b"x", headers={"content-type": kind}), 415) == "type"


def test_an_empty_upload_is_refused(client: pieces.Local) -> None:
    assert code(client.post(f"{API}/uploads", content=b""), 422) == "picture"


# ---------------------------------------------------------------------------------------------------- responses


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", ["/", f"{API}/status", f"{API}/nothing", "/static/nothing.js", f"{API}/styles/starry-night/preview"]
)
def test_every_response_has_the_security_headers(client: pieces.Local, path: str) -> None:
    headers = client.get(path).headers
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == headers["cross-origin-opener-policy"] == "same-origin"
    assert "server" not in headers


def test_the_policy_allows_no_inline_script_and_no_other_server() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/static/..\\app.py",
        "/%2e%2e/app.py",
    ],
)
def test_no_address_leads_outside_the_static_folder(client: pieces.Local, path: str) -> None:
    response = client.get(f"{pieces.HOME}{path}")
    assert response.status_code in (404, 405)
    assert "create_app" not in response.text


@pytest.mark.slow
def test_the_page_is_revalidated_with_304(client: pieces.Local) -> None:
    files = [path.name for path in STATIC.glob("*.*") if path.suffix in (".js", ".css", ".html")]
    assert {"main.js", "studio.css", "index.html"} <= set(files)
    for name in files:
        first = client.get(f"/static/{name}")
        assert first.headers["cache-control"] == "no-cache"
        assert client.get(f"/static/{name}", headers={"if-none-match": first.headers["etag"]}).status_code == 304


def test_api_responses_are_not_cached(client: pieces.Local) -> None:
    assert client.get(f"{API}/status").headers["cache-control"] == "no-store"


@pytest.mark.slow
def test_request_text_is_returned_as_json_and_never_as_html(client: pieces.Local) -> None:
    response = client.get(f"{API}/<script>alert(1)</script>")
    assert response.headers["content-type"] == "application/json"
    assert client.get(f"{API}/jobs", params={"state": "<script>"}).headers["content-type"] == "application/json"
