"""Fixtures for tests of the studio: a client for an application without workers, and a studio in its own process."""

import asyncio
import contextlib
import functools
import io
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import PIL.Image
import pytest
import skimage.data

PORT = 7860
HOME = f"http://127.0.0.1:{PORT}"
ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "src" / "impasto" / "studio" / "static"
_LANGUAGES = re.search(r"LANGUAGES = {(.*)}", (STATIC / "texts.js").read_text(encoding="utf-8"))
LANGUAGES = re.findall(r"(\w+): '", _LANGUAGES[1] if _LANGUAGES else "")
"""The languages that the page offers."""


def photo(size: tuple[int, int] = (96, 64), kind: str = "JPEG", **options: Any) -> bytes:
    """A small photo of a face as a file."""
    stream = io.BytesIO()
    PIL.Image.fromarray(skimage.data.astronaut()[:256, 96:352]).resize(size).save(stream, kind, **options)
    return stream.getvalue()


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


class Local:
    """A client of an application in this process. The application is not started, so it has no workers."""

    def __init__(self, app: Any, home: str = HOME, **headers: str) -> None:
        self.app, self.home, self.headers = app, home, headers

    def request(self, method: str, path: str, **what: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=self.home) as client:
                return await client.request(method, path, **{**what, "headers": {**self.headers, **what.get("headers", {})}})

        return asyncio.run(ask())

    def __getattr__(self, name: str) -> Callable[..., httpx.Response]:
        if name not in ("get", "post", "put", "patch", "delete", "options"):
            raise AttributeError(name)
        return functools.partial(self.request, name.upper())


def client_of(studio: Any) -> Local:
    """Return a client of an application that uses this studio."""
    from impasto.studio.app import create_app

    app = create_app(studio.settings)
    app.state.studio.database.close()
    app.state.studio = studio
    return Local(app)


@dataclass
class Program:
    """A studio in its own process, and a client for it."""

    data: Path
    port: int
    program: "subprocess.Popen[bytes]"
    client: httpx.Client
    log: Path

    def workers(self) -> list[int]:
        """The process ids of its children."""
        found = Path(f"/proc/{self.program.pid}/task").glob("*/children")
        return [int(each) for path in found for each in path.read_text().split()]

    def wait_until(self, job: str, *states: str, seconds: float = 240.0) -> dict[str, Any]:
        return self.wait_for(job, lambda found: found["state"] in states, seconds)

    def wait_for(self, job: str, is_so: Callable[[dict[str, Any]], Any], seconds: float = 240.0) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self.client.get(f"/jobs/{job}").json()
            if is_so(found):
                return found  # type: ignore[no-any-return]
            time.sleep(0.1)
        raise AssertionError(f"{found} after {seconds} seconds; {self.log.read_text()}")

    def upload(self, data: bytes | None = None, name: str = "photo.jpg") -> str:
        answer = self.client.post("/uploads", params={"name": name}, content=data or photo())
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def submit(self, kind: str, content: str, styles: list[str], **options: Any) -> dict[str, Any]:
        body = {"kind": kind, "content": content, "styles": styles, "options": options}
        answer = self.client.post("/jobs", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()  # type: ignore[no-any-return]

    def kill(self) -> None:
        self.client.close()
        self.program.kill()
        self.program.wait()


def started(data: Path, port: int | None = None, *words: str, ready: bool = True, token: str = "") -> Program:
    """Start a studio, and wait until it responds and, if ``ready``, until its quick worker is ready."""
    port = port or free_port()
    log = data.parent / f"{data.name}.log"
    command = [sys.executable, "-m", "impasto", "studio", "--no-browser", "--port", str(port), "--data", str(data), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    if token:
        environment["IMPASTO_STUDIO_TOKEN"] = token
    with log.open("ab") as file:
        program = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=120, headers=headers)
    running = Program(data, port, program, client, log)
    until = time.monotonic() + 180
    while time.monotonic() < until:
        with contextlib.suppress(httpx.TransportError):
            if client.get("/status").json()["ready"] or not ready:
                return running
        assert program.poll() is None, log.read_text()
        time.sleep(0.1)
    running.kill()
    raise AssertionError(f"no studio after three minutes: {log.read_text()}")


def wait_for(what: Callable[[], bool], seconds: float = 60.0) -> bool:
    """Wait until a condition is true; return whether it is."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and not what():
        time.sleep(0.1)
    return what()


def ended(running: Program) -> str:
    """Shut a studio down, and return its log."""
    running.client.close()
    running.program.terminate()
    assert running.program.wait(timeout=60) in (0, -15, 143), running.log.read_text()
    return running.log.read_text()


@pytest.fixture(name="running", scope="module")
def running_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    program = started(tmp_path_factory.mktemp("studio") / "data")
    yield program
    assert "Traceback" not in ended(program)


@pytest.fixture(name="upload", scope="module")
def uploaded_photo(running: Program) -> str:
    return running.upload(photo((160, 120)))


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """Read server-sent events."""
    event: dict[str, Any] = {}
    for line in response.iter_lines():
        if not line and "event" in event:
            yield event
            event = {}
        name, colon, value = line.partition(": ")
        if colon and name:
            event[name] = json.loads(value) if name == "data" else value
