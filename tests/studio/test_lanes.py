"""Workers: limits of time and memory of a job."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import studio_pieces as pieces
from impasto.studio.child import CallError
from impasto.studio.database import Row
from impasto.studio.lanes import Lane
from impasto.studio.settings import Limits

pytestmark = pytest.mark.slow


class RecordingSource:
    """A source with one job that records all reports."""

    def __init__(self, job: Row | None = None) -> None:
        self.job, self.messages = job, list[tuple[str, Any]]()

    def take(self, lane: str) -> Row | None:
        job, self.job = self.job, None
        return job

    def wanted(self, identity: str) -> None:
        return None

    def progressed(self, identity: str, progress: Any, *, preview: bool) -> None:
        self.messages.append(("progressed", progress))

    def checkpoint(self, identity: str, checkpoint: Any) -> None:
        self.messages.append(("checkpoint", checkpoint))

    def finish(self, identity: str, result: Any) -> None:
        self.messages.append(("finish", result))

    def fail(self, identity: str, error: Any) -> None:
        self.messages.append(("fail", error))

    def stopped(self, identity: str) -> None:
        self.messages.append(("stopped", None))


@pytest.fixture
def lane() -> Iterator[Callable[..., Lane]]:
    lanes: list[Lane] = []

    def make(source: RecordingSource, order: dict[str, Any] | None = None, **limits: Any) -> Lane:
        lanes.append(Lane("slow", source, Limits(**limits), lambda row: order or {}, lambda row, message: message))
        lanes[-1].start()
        return lanes[-1]

    yield make
    for each in lanes:
        each.end()


def order(tmp_path: Path, **options: Any) -> dict[str, Any]:
    photo = tmp_path / "photo"
    photo.write_bytes(pieces.photo((96, 96)))
    source = {"path": str(photo), "name": "photo.jpg", "kind": "picture"}
    names = {"work": str(tmp_path / "work"), "result": str(tmp_path / "result")}
    rest = {"masks": [], "protect": [], "run": {}, "draft": False, "checkpoint": None, "finish": False}
    return {"do": "paint", "content": source, "styles": [source], "options": {"size": 64, **options}, **names, **rest}


def ended(source: RecordingSource) -> tuple[str, Any]:
    """Wait until the job has ended."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        for what, facts in tuple(source.messages):
            if what in ("finish", "fail"):
                return what, facts
        time.sleep(0.1)
    raise AssertionError(source.messages)


def test_a_job_that_takes_too_long_is_stopped_and_the_next_one_succeeds(tmp_path: Path, lane: Callable[..., Lane]) -> None:
    source = RecordingSource({"id": "j_0123456789abcdef"})
    lane(source, order(tmp_path, steps=1_000_000, smallest_size=64), job_seconds=8.0)
    what, facts = ended(source)
    assert what == "fail"
    assert "took too long" in facts["message"]


def test_a_job_that_needs_too_much_memory_is_stopped(tmp_path: Path, lane: Callable[..., Lane]) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("memory is watched in /proc")
    source = RecordingSource({"id": "j_0123456789abcdef"})
    lane(source, order(tmp_path, size=1600, smallest_size=1600, steps=1000), memory_bytes=700 * 2**20)
    what, facts = ended(source)
    assert what == "fail"
    assert facts["code"] == "memory"
    assert facts["field"] == "size"


def test_a_failed_call_gives_one_sentence(lane: Callable[..., Lane], tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html>")
    with pytest.raises(CallError, match=r"'page\.html' is a web page \(HTML\), which is not supported") as caught:
        lane(RecordingSource()).call(60, do="intake", path=str(tmp_path / "page.html"), name="page.html", pixels=9).result(
            timeout=240
        )
    assert caught.value.code == "picture"


def test_a_worker_exits_quietly_if_its_parent_has_ended() -> None:
    program = (
        "import os, sys\n"
        "from impasto.studio.worker import Line\n"
        "line = Line(sys.stdin.buffer, os.fdopen(os.dup(1), 'wb'))\n"
        "line.say('ready')\n"
        "line.next()\n"
        "line.say('progress')\n"
        "print('still here', file=sys.stderr)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdin
    assert child.stdout
    assert child.stderr
    assert b"ready" in child.stdout.readline()
    child.stdout.close()
    child.stdin.write(b'{"do": "paint"}\n')
    child.stdin.flush()
    errors = child.stderr.read()
    child.stdin.close()
    child.stderr.close()
    assert (child.wait(timeout=60), errors) == (0, b"")
