"""Workers on other machines: transport, job states, lost workers, validation."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakeredis
import PIL.Image
import pytest
import redis

import studio_pieces as pieces
from impasto.cli import main
from impasto.errors import OptionError
from impasto.studio import attempts, remote_worker, wire
from impasto.studio.broker import Broker
from impasto.studio.database import Database
from impasto.studio.dispatcher import Dispatcher
from impasto.studio.events import Hub
from impasto.studio.jobs import Jobs, Order
from impasto.studio.settings import Limits
from impasto.studio.storage import Folder

STYLE = "great-wave"
JPEG, PNG, ARRAY = b"\xff\xd8\xff rest", b"\x89PNG\r\n\x1a\n rest", b"\x93NUMPY rest"
CHECKPOINT = {"done": 3, "scale": 0, "here": 3, "seconds": 1.5, "interruptions": 0, "finished": False, "trials": []}
DONE = {"width": 64, "height": 48, "seconds": 2.5, "suffix": ".png", "record": {"content": {"name": "photo.jpg"}, "steps": 3}}
PROGRESS = {"step": 1, "steps": 3, "share": 0.3, "size": [64, 48], "losses": {"style": 1.5}, "seconds": 1, "note": ""}


@pytest.fixture(name="url")
def server() -> Iterator[str]:
    """A Redis server in pure Python."""
    found = fakeredis.TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    found.daemon_threads = True
    thread = threading.Thread(target=found.serve_forever, daemon=True)
    thread.start()
    yield f"redis://127.0.0.1:{found.server_address[1]}/0"
    found.shutdown()
    found.server_close()


class Rig:
    """A dispatcher with a database, and a simulated worker."""

    def __init__(self, root: Path, url: str) -> None:
        self.folder = Folder(root)
        self.jobs = Jobs(Database(self.folder.database), Hub(), 50)
        self.broker = Broker(url)
        self.assignment: remote_worker.Assignment | None = None
        self.inputs = root / "inputs"
        self.inputs.mkdir()
        (self.inputs / "photo").write_bytes(b"a photo")
        (self.inputs / "style").write_bytes(b"a style")
        self.dispatcher = Dispatcher(self.jobs, Limits(), self.broker, self.order, self.result)
        self.dispatcher.start()

    def order(self, job: dict[str, Any]) -> dict[str, Any]:
        return {
            "do": "paint",
            "content": {"path": str(self.inputs / "photo"), "name": "photo.jpg"},
            "styles": [{"path": str(self.inputs / "style"), "name": "style", "kind": "named"}],
            "masks": [{"path": "", "name": "auto:sky", "kind": "word"}],
            "protect": [],
            "maps": [],
            "results": [],
            "options": {"size": 64},
            "run": {"threads": 1},
            "draft": False,
            "work": str(self.folder.work(job["id"], "")),
            "result": str(self.folder.result("r" + job["id"][1:], "")),
            "checkpoint": json.loads(job["checkpoint"]) if job["checkpoint"] else None,
            "finish": job["wanted"] == "finish",
        }

    def result(self, job: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
        row = {name: message[name] for name in ("width", "height", "bytes", "disk", "suffix", "seconds")}
        row |= {"id": "r" + job["id"][1:], "job": job["id"], "kind": "paint", "created": 0.0, "draft": 0, "upload": None}
        return row | {
            "title": message["record"]["content"]["name"],
            "styles": "[]",
            "request": "{}",
            "record": json.dumps(message["record"]),
        }

    def submit(self) -> str:
        job, _ = self.jobs.submit(Order(kind="paint", lane="slow", request={}))
        self.dispatcher.wake()
        return str(job["id"])

    def _taken(self, token: str) -> None:
        assignment = remote_worker.Assignment(self.broker, token, self.inputs)
        if assignment.take():
            self.assignment = assignment

    def worker(self) -> remote_worker.Assignment:
        """Simulate a worker that takes the next job and sends a message."""
        self.broker.here("played")
        self.dispatcher.wake()
        self.assignment = None
        until = time.monotonic() + 60
        while self.assignment is None and time.monotonic() < until:
            token = self.broker.next_token()
            if token is not None:
                self._taken(token)
        found = self.assignment
        assert found is not None
        found.say("taken")
        return found

    def lose(self, assignment: remote_worker.Assignment) -> None:
        """Stop the heartbeat of the simulated worker for longer than it is valid."""
        assert pieces.wait_for(lambda: not self.broker.redis.exists(self.broker.key(assignment.token, "line", 0)))
        self.broker.redis.delete(self.broker.key(assignment.token, "beat"))

    def file(self, assignment: remote_worker.Assignment, part: Any, data: bytes) -> int:
        path = self.inputs / part
        path.write_bytes(data)
        number = assignment.send(part, path)
        assert number is not None
        return number

    def state(self, job: str, *states: str) -> dict[str, Any]:
        assert pieces.wait_for(lambda: self.jobs.get(job)["state"] in states), self.jobs.get(job)
        return self.jobs.get(job)

    def results(self) -> list[dict[str, Any]]:
        return self.jobs.database.rows("SELECT * FROM results")


@pytest.fixture(name="rig")
def dispatcher_with_simulated_worker(tmp_path: Path, url: str) -> Iterator[Rig]:
    found = Rig(tmp_path / "data", url)
    yield found
    found.dispatcher.end()
    found.jobs.database.close()
    found.broker.redis.connection_pool.disconnect()


@pytest.fixture(name="short_timeouts")
def shorten_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a missed heartbeat count immediately."""
    monkeypatch.setattr(attempts, "MISSED_SECONDS", 0.3)


# ---------------------------------------------------------------------------------------------------- job states


def test_a_job_waits_for_a_worker_and_is_sent_with_its_files(rig: Rig) -> None:
    job = rig.submit()
    time.sleep(0.5)
    assert rig.jobs.get(job)["state"] == "queued"
    found = rig.worker().order()
    assert rig.jobs.get(job)["state"] == "running"
    assert Path(found.order["content"]["path"]).read_bytes() == b"a photo"
    assert Path(found.order["styles"][0]["path"]).read_bytes() == b"a style"
    assert (found.order["styles"][0]["kind"], found.order["masks"][0]["name"]) == ("named", "auto:sky")
    assert all(Path(path).parent == rig.inputs for path in found.files.values())


def test_the_remaining_time_depends_on_the_number_of_workers(rig: Rig) -> None:
    for name in ("one", "two", "three"):
        rig.broker.here(name)
    rig.dispatcher.wake()
    assert pieces.wait_for(lambda: rig.jobs.at_once["slow"] == 3)
    for _ in range(4):
        rig.submit()
    assert pieces.wait_for(lambda: rig.jobs.counts()["running"] == 3)
    (waiting,) = rig.jobs.listed(["queued"], 9, None)
    own = rig.jobs.typical("paint")
    assert rig.jobs.shown(waiting)["eta_seconds"] == 2 * own  # three run at once, then this one


def test_progress_previews_checkpoints_and_the_result_are_received(rig: Rig) -> None:
    job, assignment = rig.submit(), rig.worker()
    assignment.say("progress", progress=PROGRESS, preview=rig.file(assignment, "preview", JPEG))
    assert pieces.wait_for(lambda: rig.jobs.get(job)["preview"] == 1)
    assert rig.folder.work(job, ".jpg").read_bytes() == JPEG
    assignment.say("checkpoint", checkpoint=CHECKPOINT, checkpoint_file=rig.file(assignment, "checkpoint_file", ARRAY))
    assert pieces.wait_for(lambda: rig.jobs.get(job)["checkpoint"] is not None)
    assert rig.folder.work(job, ".npy").read_bytes() == ARRAY
    assignment.say("done", **DONE, result=rig.file(assignment, "result", PNG), thumb=rig.file(assignment, "thumb", JPEG))
    assert rig.state(job, "done", "failed")["error"] is None
    (result,) = rig.results()
    assert (result["bytes"], result["disk"], result["title"]) == (len(PNG), len(PNG) + len(JPEG), "photo.jpg")
    assert rig.folder.result(result["id"], ".png").read_bytes() == PNG
    assert json.loads(rig.jobs.get(job)["progress"])["losses"] == {"style": 1.5}


def test_a_job_continues_from_its_checkpoint_with_another_worker(rig: Rig) -> None:
    _, assignment = rig.submit(), rig.worker()
    assignment.say("checkpoint", checkpoint=CHECKPOINT, checkpoint_file=rig.file(assignment, "checkpoint_file", ARRAY))
    assignment.say("left")
    again = rig.worker()
    assert again.token != assignment.token
    order = again.order().order
    assert order["checkpoint"] == CHECKPOINT
    assert Path(order["work"] + ".npy").read_bytes() == ARRAY


def test_late_messages_of_a_lost_worker_are_ignored(rig: Rig, short_timeouts: None) -> None:
    job, assignment = rig.submit(), rig.worker()
    rig.lose(assignment)
    again = rig.worker()
    late = {"result": rig.file(assignment, "result", PNG + b"late"), "thumb": rig.file(assignment, "thumb", JPEG)}
    assignment.say("done", **DONE, **late)
    numbers = {"result": rig.file(again, "result", PNG), "thumb": rig.file(again, "thumb", JPEG)}
    again.say("done", **DONE, **numbers)
    rig.state(job, "done")
    (result,) = rig.results()
    assert rig.folder.result(result["id"], ".png").read_bytes() == PNG
    assert rig.jobs.get(job)["attempts"] == 2


def test_a_job_that_loses_its_worker_twice_fails_with_a_message(rig: Rig, short_timeouts: None) -> None:
    job = rig.submit()
    for _ in range(2):
        rig.lose(rig.worker())
    found = rig.state(job, "failed")
    assert "the worker ended unexpectedly" in json.loads(found["error"])["message"]


def test_a_job_that_makes_progress_is_requeued_whenever_its_worker_is_lost(rig: Rig, short_timeouts: None) -> None:
    job = rig.submit()
    for done in range(1, 4):
        assignment = rig.worker()
        assignment.say(
            "checkpoint",
            checkpoint={**CHECKPOINT, "done": done},
            checkpoint_file=rig.file(assignment, "checkpoint_file", ARRAY),
        )
        assert pieces.wait_for(lambda done=done: f'"done": {done}' in (rig.jobs.get(job)["checkpoint"] or ""))
        rig.lose(assignment)
        assert pieces.wait_for(lambda done=done: rig.jobs.get(job)["attempts"] == done + 1)
    assert rig.jobs.get(job)["error"] is None


def test_a_lost_message_counts_as_a_lost_worker(rig: Rig) -> None:
    job, assignment = rig.submit(), rig.worker()
    assert pieces.wait_for(lambda: not rig.broker.redis.exists(rig.broker.key(assignment.token, "line", 0)))
    assignment._lines = 5  # as if the server had lost some messages
    assignment.say("progress", progress=PROGRESS, preview=None)
    assert rig.worker().token != assignment.token
    assert rig.jobs.get(job)["state"] == "running"


def test_a_stop_request_reaches_the_worker_and_ends_the_job(rig: Rig) -> None:
    job, assignment = rig.submit(), rig.worker()
    assert assignment.wanted() is None
    rig.jobs.want(job, "finish")
    assert pieces.wait_for(lambda: assignment.wanted() == "finish")
    second = rig.submit()
    assignment.say("done", **DONE, result=rig.file(assignment, "result", PNG), thumb=rig.file(assignment, "thumb", JPEG))
    rig.state(job, "done")
    assignment = rig.worker()
    rig.jobs.want(second, "cancelled")
    assert pieces.wait_for(lambda: assignment.wanted() == "cancelled")
    assignment.say("stopped")
    rig.state(second, "cancelled")


def test_a_worker_drops_its_attempt_when_the_studio_ends(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_worker, "MISSED_SECONDS", 0.1)
    job, assignment = rig.submit(), rig.worker()
    rig.dispatcher.end()
    assert pieces.wait_for(lambda: assignment.wanted() == "cancelled")
    assert assignment.is_dropped
    assert rig.jobs.requeue() == 1
    assert rig.jobs.get(job)["state"] == "queued"


# ---------------------------------------------------------------------------------------------------- validation


def test_redis_contains_no_pickles_and_every_key_expires(rig: Rig) -> None:
    rig.broker.here("played")
    rig.submit()
    server = rig.broker.redis
    assert pieces.wait_for(lambda: rig.broker.waiting() == 1)
    (token,) = server.lrange(rig.broker.key("queue"), 0, -1)
    assert len(token) == 32
    for key in server.scan_iter():
        assert 0 < server.ttl(key) <= 86_400, key
        value = server.get(key) if server.type(key) == b"string" else b""
        assert not value.startswith(b"\x80"), key


@pytest.mark.parametrize(
    "line",
    [
        b"\x80\x04K\x01.",
        b"[" * 100_000,
        b'{"say": "run", "command": "ls"}',
        b'{"say": "done"}',
        json.dumps({"say": "done", **DONE, "suffix": "/../../x.png", "result": 1, "thumb": 2}).encode(),
        json.dumps({"say": "done", **DONE, "result": "../../etc/passwd", "thumb": 2}).encode(),
        json.dumps({"say": "done", **DONE, "width": "<b>", "result": 1, "thumb": 2}).encode(),
        json.dumps({"say": "progress", "progress": PROGRESS | {"share": "much"}, "preview": None}).encode(),
        json.dumps({"say": "checkpoint", "checkpoint": CHECKPOINT | {"scale": -1}, "checkpoint_file": 1}).encode(),
        json.dumps({"say": "checkpoint", "checkpoint": CHECKPOINT, "checkpoint_file": 10**30}).encode(),
        b'{"say": "failed", "code": "picture", "message": "' + b"x" * wire.LINE_BYTES + b'"}',
    ],
)
def test_an_invalid_message_of_a_worker_is_refused(line: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.read_line(line)


@pytest.mark.parametrize("data", [b"<html>", b"x" * (wire.PART_BYTES["preview"] + 1), b""])
def test_a_preview_that_is_not_a_picture_fails_its_job_and_is_not_written(rig: Rig, data: bytes) -> None:
    job, assignment = rig.submit(), rig.worker()
    rig.broker.write(data, assignment.token, "out", 7)
    assignment.say("progress", progress=PROGRESS, preview=7)
    assert json.loads(rig.state(job, "failed")["error"])["code"] == "worker"
    assert not list((rig.folder.root / "work").iterdir())


def test_names_sent_by_a_worker_do_not_become_paths(rig: Rig) -> None:
    job, assignment = rig.submit(), rig.worker()
    hostile = {"path": "/tmp/x", "work": "../../x", "files": {"../x": 1}, "id": "../x"}
    numbers = {"result": rig.file(assignment, "result", PNG), "thumb": rig.file(assignment, "thumb", JPEG)}
    assignment.say("done", **DONE, **numbers, **hostile)
    rig.state(job, "done")
    written = {path.name for path in (rig.folder.root / "results").iterdir()}
    assert written == {f"r{job[1:]}.png", f"r{job[1:]}.thumb.jpg"}


def test_a_worker_refuses_an_invalid_order(tmp_path: Path) -> None:
    source = {"path": 0, "name": "photo"}
    good = {"do": "paint", "content": source, "styles": [source], "masks": [], "protect": [], "maps": [], "results": []}
    good |= {"options": {}, "run": {}, "draft": False, "finish": False, "checkpoint": None}
    assert wire.unpacked(json.dumps(good).encode(), tmp_path).order["content"]["path"] == str(tmp_path / "in-0")
    word = {"path": None, "name": "/etc/passwd", "kind": "word"}
    bad: list[dict[str, Any]] = [
        {"do": "export"},
        {"do": "intake"},
        {"content": None},
        {"do": "doodle"},
        {"maps": [word]},
        {"content": {"path": "/etc/passwd", "name": "photo"}},
        {"content": {"path": 10**6, "name": "photo"}},
        {"masks": [word]},
        {"masks": [word | {"kind": "picture"}]},
        {"options": {"init": "/etc/passwd"}},
        {"options": {"encoder": "/etc/passwd"}},
        {"options": {"color_mask": "/etc/passwd"}},
        {"run": {"command": "ls"}},
    ]
    for change in bad:
        with pytest.raises((wire.WireError, OptionError)):
            wire.unpacked(json.dumps(good | change).encode(), tmp_path)


def test_invalid_data_in_the_queue_does_not_end_a_worker(url: str, caplog: pytest.LogCaptureFixture) -> None:
    worker = remote_worker.RemoteWorker(url, Limits(), lambda line: None)
    for data in (b"\x80\x04K\x01.", b"{}", b"../x", b"0" * 33):
        worker.broker.redis.lpush(worker.broker.key("queue"), data)
        worker._next()
    assert worker.broker.waiting() == 0
    assert caplog.text.count("contained an invalid job") == 4
    worker.broker.redis.connection_pool.disconnect()


def test_an_attempt_that_ends_in_an_error_does_not_end_a_worker(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    worker = remote_worker.RemoteWorker(url, Limits(), lambda line: None)
    monkeypatch.setattr(worker, "_order", lambda assignment: 1 / 0)
    attempt = attempts.Attempt(worker.broker)
    attempt.hold()
    worker.broker.enqueue(attempt.token)
    worker._next()
    assert "a job was abandoned" in caplog.text
    assert "ZeroDivisionError" in caplog.text
    assert worker._assignment is None
    worker.broker.redis.connection_pool.disconnect()


@pytest.mark.skipif(os.name != "posix", reason="other systems cannot check whether a process is alive")
def test_files_of_a_killed_worker_are_deleted_by_the_next(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as program:
        program.wait()
    left, used = tmp_path / f"impasto-worker-{program.pid}-x", tmp_path / f"impasto-worker-{os.getpid()}-x"
    for folder in (left, used):
        folder.mkdir()
        (folder / "in-0").write_bytes(b"a photo")
    assert remote_worker.sweep(tmp_path) == 1
    assert (left.exists(), used.exists()) == (False, True)


# ---------------------------------------------------------------------------------------------------- the commands


@pytest.mark.parametrize("command", [["studio", "--no-browser"], ["studio-worker"]])
@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://127.0.0.1", "--queue is an address of type 'http'"),
        ("nonsense", "--queue is not an address"),
        ("redis://:secret@127.0.0.1:1/0", "--queue redis://127.0.0.1:1/0 does not respond"),
        ("redis://:secret@127.0.0.1:port/0", "--queue is not an address"),
        ("", "--queue is empty"),
    ],
)
def test_an_invalid_address_is_reported_without_its_password(
    command: list[str], url: str, sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    data = ["--data", str(tmp_path / "data")] if command[0] == "studio" else []
    assert main([*command, *data, "--queue", url]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert "secret" not in printed.err + printed.out


def test_missing_packages_are_reported_in_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "impasto.studio.broker")
    monkeypatch.setitem(sys.modules, "redis", None)
    assert main(["studio-worker", "--queue", "redis://127.0.0.1"]) == 2
    assert "pip install 'impasto[queue]'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_studio_without_a_queue_does_not_import_redis() -> None:
    words = "import sys, impasto.studio.server; print('redis' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(pieces.ROOT / "src")}
    found = subprocess.run([sys.executable, "-c", words], env=environment, capture_output=True, check=True)
    assert found.stdout.strip() == b"False"


# ---------------------------------------------------------------------------------------------------- processes


@contextlib.contextmanager
def working(url: str, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a worker in its own process."""
    command = [sys.executable, "-m", "impasto", "studio-worker", "--queue", url]
    with log.open("ab") as file:
        program = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, "PYTHONPATH": str(pieces.ROOT / "src")}
        )
    try:
        yield program
    finally:
        program.terminate()
        program.wait(timeout=60)


@pytest.mark.slow
def test_killing_one_of_several_workers_loses_no_job(tmp_path: Path, url: str) -> None:
    studio = pieces.started(tmp_path / "data", None, "--queue", url)
    log = tmp_path / "worker.log"
    upload = studio.upload()
    try:
        with working(url, log) as first:
            long = studio.submit("paint", upload, [STYLE], size=64, smallest_size=64, steps=100_000)["id"]
            assert pieces.wait_for(lambda: studio.client.get(f"/jobs/{long}").json()["can_continue"] is not None, 5)
            _wait(lambda: studio.client.get(f"/jobs/{long}").json()["preview"] is not None)
            _wait(lambda: (tmp_path / "data" / "work" / f"{long}.npy").is_file())
            first.send_signal(signal.SIGKILL)
        with working(url, log):
            _wait(lambda: studio.client.get(f"/jobs/{long}").json()["attempts"] == 2)
            _wait(lambda: studio.client.get(f"/jobs/{long}").json()["progress"]["step"] > 1)
            studio.client.post(f"/jobs/{long}/finish")
            found = studio.wait_until(long, "done", "failed")
            assert found["error"] is None
            result = studio.client.get(f"/results/{found['result']}").json()
            assert result["record"]["steps"]["interruptions"] == 1
            picture = PIL.Image.open(io.BytesIO(studio.client.get(f"/results/{found['result']}/image").content))
            assert (picture.size, picture.format) == ((result["width"], result["height"]), "PNG")
            other = studio.submit("paint", upload, [STYLE], size=64, steps=100_000, smallest_size=64)["id"]
            studio.wait_until(other, "running")
            studio.client.post(f"/jobs/{other}/cancel")
            studio.wait_until(other, "cancelled")
    finally:
        output = pieces.ended(studio)
    assert "Traceback" not in output + log.read_text()
    assert len(list((tmp_path / "data" / "results").iterdir())) == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server")
def test_a_restarted_empty_redis_server_loses_no_job(tmp_path: Path) -> None:
    port = pieces.free_port()
    studio = None
    try:
        with redis_server(port, tmp_path) as url:
            studio = pieces.started(tmp_path / "data", None, "--queue", url)
            stack = contextlib.ExitStack()
            stack.enter_context(working(url, tmp_path / "worker.log"))
            options = {"size": 64, "smallest_size": 64, "steps": 100_000}
            job = studio.submit("paint", studio.upload(), [STYLE], **options)["id"]
            _wait(lambda: studio.client.get(f"/jobs/{job}").json()["preview"] is not None)
        step = studio.client.get(f"/jobs/{job}").json()["progress"]["step"]
        with stack, redis_server(port, tmp_path):
            pieces.wait_for(lambda: studio.client.get(f"/jobs/{job}").json()["progress"]["step"] > step, 240)
            found = studio.client.get(f"/jobs/{job}").json()
            assert (found["state"], found["error"]) == ("running", None)
            assert found["progress"]["step"] > step, (tmp_path / "worker.log").read_text()
            studio.client.post(f"/jobs/{job}/finish")
            assert studio.wait_until(job, "done", "failed")["error"] is None
            assert len(studio.client.get("/results").json()["items"]) == 1
    finally:
        output = pieces.ended(studio) if studio else ""
    assert "Traceback" not in output + (tmp_path / "worker.log").read_text()


@contextlib.contextmanager
def redis_server(port: int, folder: Path) -> Iterator[str]:
    """Start a Redis server without persistence; kill it at the end."""
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    program = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port) as client:
            assert pieces.wait_for(lambda: _answers(client))
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        program.kill()
        program.wait()


def _answers(client: "redis.Redis") -> bool:
    with contextlib.suppress(redis.RedisError):
        return bool(client.ping())
    return False


def _wait(what: Callable[[], bool]) -> None:
    assert pieces.wait_for(what, 240)
