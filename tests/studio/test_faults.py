"""Temporary system errors: a full disk, a locked database, no more processes, a killed worker."""

import errno
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import studio_pieces as pieces
from impasto import images
from impasto.errors import ImageFileError
from impasto.optim.engine import Step
from impasto.studio import database as database_module
from impasto.studio import dispatcher as dispatcher_module
from impasto.studio import faults, lanes, memory, orders, painting_state, worker
from impasto.studio import studio as studio_module
from impasto.studio.app import create_app
from impasto.studio.child import CallError
from impasto.studio.database import Database
from impasto.studio.dispatcher import Dispatcher
from impasto.studio.events import Hub
from impasto.studio.gallery import Gallery
from impasto.studio.jobs import Jobs, Order
from impasto.studio.lanes import Lane
from impasto.studio.settings import Limits, Settings
from impasto.studio.storage import new_identity
from impasto.studio.studio import Studio

FULL = OSError(errno.ENOSPC, "No space left on device")
WORKER = (
    "import json, os, sys\n"
    'print(\'{"say": "ready"}\', flush=True)\n'
    "for line in sys.stdin:\n"
    "    order = json.loads(line)\n"
    "    if order.get('die'):\n"
    "        os.kill(os.getpid(), 9)\n"
    '    print(\'{"say": "progress", "progress": {"step": 1}, "preview": false}\', flush=True)\n'
    '    print(\'{"say": "done"}\', flush=True)\n'
)
"""A worker that paints nothing and starts immediately."""


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full" if code == sqlite3.SQLITE_FULL else "database is locked")
    error.sqlite_errorcode = code
    return error


class Refusing:
    """A connection to SQLite that fails at the next commits, or at every write."""

    def __init__(self, database: Database, code: int = sqlite3.SQLITE_FULL) -> None:
        self._real, self.code, self.commits, self.writes = database._connection, code, 0, False
        database._connection = self  # type: ignore[assignment]

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if self.writes and statement.startswith(("INSERT", "UPDATE", "DELETE", "BEGIN")):
            raise sqlite_error(self.code)
        if self.commits and statement == "COMMIT":
            self.commits -= 1
            raise sqlite_error(self.code)
        return self._real.execute(statement, *values)

    @property
    def in_transaction(self) -> bool:
        return self._real.in_transaction

    def close(self) -> None:
        self._real.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lanes, dispatcher_module, studio_module):
        monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(lanes, "_PAUSES", (0.02, 0.02))
    monkeypatch.setattr(database_module, "_BUSY_SECONDS", 0.05)


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(Database(tmp_path / "studio.db"), Hub(), 50)


def submitted(jobs: Jobs, count: int = 3, **request: Any) -> list[str]:
    return [jobs.submit(Order(kind="paint", lane="slow", request={"kind": "paint", **request}))[0]["id"] for _ in range(count)]


def result(job: dict[str, Any], message: object) -> dict[str, Any]:
    numbers = {"created": 0.0, "width": 8, "height": 8, "bytes": 1, "disk": 1, "seconds": 1.0, "draft": 0}
    texts = {"kind": "paint", "suffix": ".png", "title": "x", "upload": None, "styles": "[]", "request": "{}", "record": "{}"}
    return {"id": "r" + job["id"][1:], "job": job["id"], **numbers, **texts}


def states(jobs: Jobs, identities: list[str]) -> list[str]:
    """Return the states of jobs after all have ended."""
    assert pieces.wait_for(lambda: all(jobs.get(each)["state"] in ("done", "failed") for each in identities), 30)
    return [jobs.get(each)["state"] for each in identities]


# ---------------------------------------------------------------------------------------------------- the database


def test_a_failed_commit_changes_nothing_and_the_next_transaction_succeeds(jobs: Jobs) -> None:
    refusing = Refusing(jobs.database)
    sent: list[dict[str, Any]] = []
    jobs.hub.job = sent.append  # type: ignore[method-assign]
    refusing.commits = 1
    with pytest.raises(sqlite3.OperationalError):
        submitted(jobs, 1)
    assert (jobs.listed((), 9, None), sent) == ([], [])
    (job,) = submitted(jobs, 1)
    assert [each["id"] for each in sent] == [job]


def test_a_job_that_could_not_be_taken_stays_queued(jobs: Jobs) -> None:
    (job,) = submitted(jobs, 1)
    refusing = Refusing(jobs.database)
    refusing.commits = 1
    with pytest.raises(sqlite3.OperationalError):
        jobs.take("slow")
    assert jobs.get(job)["state"] == "queued"
    assert jobs.take("slow")["id"] == job  # type: ignore[index]


def test_a_failed_notification_does_not_undo_a_change(jobs: Jobs) -> None:
    def failing_listener(shown: object) -> None:
        raise RuntimeError("no listener")

    jobs.hub.job = failing_listener  # type: ignore[method-assign]
    (job,) = submitted(jobs, 1)
    assert jobs.get(job)["state"] == "queued"


def test_a_database_that_cannot_be_opened_gives_one_sentence(tmp_path: Path) -> None:
    Database(tmp_path / "studio.db").close()
    other = sqlite3.connect(tmp_path / "studio.db", isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(ImageFileError, match=r"cannot be opened \(database is locked\); free some space, try again"):
        Database(tmp_path / "studio.db")
    other.close()
    with pytest.raises(ImageFileError, match="cannot be opened"):
        Database(tmp_path / "no folder" / "studio.db")


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (FULL, "disk"),
        (sqlite_error(sqlite3.SQLITE_FULL), "disk"),
        (sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT), "system"),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "system"),
        (OSError(errno.EMFILE, "Too many open files"), "system"),
        (RuntimeError("can't start new thread"), "system"),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
        (sqlite3.IntegrityError("UNIQUE constraint failed"), None),
        (RuntimeError("a bug"), None),
    ],
)
def test_temporary_errors_are_distinguished_from_bugs(error: Exception, found: str | None) -> None:
    wrapped = ImageFileError("'x.png' cannot be written")
    wrapped.__cause__ = error
    assert (faults.fault(error), faults.fault(wrapped)) == (found, found)


# ---------------------------------------------------------------------------------------------------- the lanes


@pytest.fixture
def lane(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lane]:
    start = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda command, **how: start([sys.executable, "-c", WORKER], **how))
    made = Lane("slow", jobs, Limits(), lambda job: {"die": "die" in job["request"]}, result)
    yield made
    made.end()


def test_jobs_finish_when_a_full_disk_has_space_again(jobs: Jobs, lane: Lane) -> None:
    identities = submitted(jobs)
    refusing = Refusing(jobs.database)
    refusing.commits = 3
    lane.start()
    assert states(jobs, identities) == ["done"] * 3
    refusing.writes = True
    time.sleep(0.2)
    refusing.writes = False
    identities = submitted(jobs, 2)
    lane.wake()
    assert states(jobs, identities) == ["done"] * 2
    assert lane.is_alive()


def test_a_job_painted_while_the_database_was_locked_is_done(jobs: Jobs, lane: Lane, tmp_path: Path) -> None:
    identities = submitted(jobs)
    other = sqlite3.connect(tmp_path / "studio.db", isolation_level=None, timeout=10, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    lane.start()
    time.sleep(0.3)
    assert [jobs.get(each)["state"] for each in identities] == ["queued"] * 3
    other.execute("ROLLBACK")
    assert states(jobs, identities) == ["done"] * 3
    other.close()


def test_a_final_state_that_cannot_be_written_is_written_later(jobs: Jobs, lane: Lane) -> None:
    refusing, finish = Refusing(jobs.database, sqlite3.SQLITE_BUSY), jobs.finish
    tries: list[str] = []

    def failing_once(identity: str, row: Any) -> None:
        tries.append(identity)
        refusing.commits = 1 if len(tries) < 3 else 0
        finish(identity, row)

    jobs.finish = failing_once  # type: ignore[method-assign]
    identities = submitted(jobs, 1)
    lane.start()
    assert states(jobs, identities) == ["done"]
    assert tries == identities * 3


@pytest.mark.parametrize("what", ["process", "thread"])
def test_no_job_fails_if_its_worker_starts_at_a_later_attempt(
    jobs: Jobs, lane: Lane, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    left = [1, 1]
    popen, start = subprocess.Popen, threading.Thread.start

    def no_process(*words: Any, **how: Any) -> Any:
        if what == "process" and left:
            left.pop()
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return popen(*words, **how)

    def no_thread(thread: threading.Thread) -> None:
        if what == "thread" and left and thread.name.endswith("-reader"):
            left.pop()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(subprocess, "Popen", no_process)
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    identities = submitted(jobs)
    lane.start()
    assert states(jobs, identities) == ["done"] * 3
    assert not left


def test_a_job_fails_with_a_message_if_its_worker_never_starts(jobs: Jobs, lane: Lane, monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen

    def no_process(*words: Any, **how: Any) -> Any:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(subprocess, "Popen", no_process)
    identities = submitted(jobs, 1)
    lane.start()
    assert states(jobs, identities) == ["failed"]
    assert "could not be started (Resource temporarily unavailable)" in jobs.get(identities[0])["error"]
    with pytest.raises(CallError, match="could not be started") as caught:
        lane.call(5, do="intake").result(timeout=20)
    assert caught.value.code == "system"
    monkeypatch.setattr(subprocess, "Popen", popen)
    identities = submitted(jobs, 2)
    lane.wake()
    assert states(jobs, identities) == ["done"] * 2


def test_killing_a_worker_fails_only_its_own_job(jobs: Jobs, lane: Lane) -> None:
    deadly, harmless = submitted(jobs, 1, die=True), submitted(jobs, 1)
    lane.start()
    assert states(jobs, deadly + harmless) == ["failed", "done"]
    assert "ended unexpectedly (signal 9, possibly out of memory)" in jobs.get(deadly[0])["error"]
    assert lane._child is not None
    lane._child._program.kill()  # while it is idle: the next job gets a new one
    lane._child._program.wait()
    last = submitted(jobs, 1)
    lane.wake()
    assert states(jobs, last) == ["done"]


# ---------------------------------------------------------------------------------------------------- the dispatcher


class FailingAttempt:
    """An attempt whose worker fails immediately."""

    is_taken = True

    def __init__(self, broker: object) -> None:
        self.token = "0" * 32

    def send(self, order: object) -> None: ...
    def hold(self) -> None: ...
    def give_up(self) -> None: ...

    def hear(self) -> dict[str, Any]:
        return {"say": "failed", "code": "picture", "message": "no picture", "field": None}


def test_the_dispatcher_survives_a_full_disk_and_failed_thread_starts(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    left, start = [1, 1], threading.Thread.start

    def no_thread(thread: threading.Thread) -> None:
        if left and thread.name == "attempt":
            left.pop()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(dispatcher_module, "Attempt", FailingAttempt)
    monkeypatch.setattr(dispatcher_module, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(threading.Thread, "start", no_thread)
    refusing = Refusing(jobs.database)
    identities = submitted(jobs)
    refusing.commits = 4
    broker: Any = SimpleNamespace(workers=lambda: 2, shown="redis://")
    dispatcher = Dispatcher(jobs, Limits(), broker, lambda job: {"finish": False}, result)
    dispatcher.start()
    assert states(jobs, identities) == ["failed"] * 3
    assert pieces.wait_for(lambda: not dispatcher._threads, 10)
    assert dispatcher.is_alive()
    assert (left, refusing.commits) == ([], 0)
    dispatcher.end()


# ---------------------------------------------------------------------------------------------------- the worker


def full(*words: object, **how: object) -> None:
    try:
        raise FULL
    except OSError as error:
        raise ImageFileError("'/secret/x.png' cannot be written (No space left on device)") from error


def test_painting_continues_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    messages: list[tuple[str, Any]] = []
    line: Any = SimpleNamespace(how="", say=lambda what, **facts: messages.append((what, facts)))
    steps = [Step(number, 3, 0, (8, 8), {}, torch.zeros(1, 3, 8, 8), 0.1) for number in (1, 2, 3)]
    monkeypatch.setattr(painting_state, "run_recipe", lambda context: iter(steps))
    monkeypatch.setattr(painting_state.Pace, "is_due", lambda pace: True)
    monkeypatch.setattr(images, "write", full)
    monkeypatch.setattr(os, "fsync", full)
    context: Any = None
    last = painting_state.painted(context, painting_state.PaintingState(), {"work": str(tmp_path / "j")}, line)
    assert last is steps[-1]
    assert [(what, facts["preview"]) for what, facts in messages] == [("progress", False)] * 3
    assert not list(tmp_path.iterdir())


def test_a_result_that_does_not_fit_is_reported_as_a_full_disk() -> None:
    messages: list[dict[str, Any]] = []
    line: Any = SimpleNamespace(say=lambda what, **facts: messages.append({"say": what, **facts}))
    worker._run_order(line, {}, full)  # type: ignore[arg-type]
    sentence = "the disk is full; free some space and try again"
    assert messages == [{"say": "failed", "code": "disk", "message": sentence, "field": None}]


@pytest.mark.parametrize("error", [IndexError("list index out of range"), ValueError("bad"), ZeroDivisionError()])
def test_an_unexpected_decoder_error_refuses_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def decoder_error(*words: object, **how: object) -> None:
        raise error

    (tmp_path / "u").write_bytes(b"rubbish")
    monkeypatch.setattr(images, "read", decoder_error)
    with pytest.raises(ImageFileError, match=r"'sound\.wav' cannot be read as a picture"):
        orders._read(str(tmp_path / "u"), "sound.wav")


# ---------------------------------------------------------------------------------------------------- the API


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    found = Studio.opened(Settings(data=tmp_path / "data"))
    yield found
    found.database.close()


@pytest.fixture
def client(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> pieces.Local:
    monkeypatch.setattr(Studio, "opened", lambda settings: studio)
    return pieces.Local(create_app(studio.settings))


@pytest.fixture
def upload(studio: Studio) -> str:
    identity = new_identity("u")
    facts = {"name": "photo.jpg", "width": 96, "height": 64, "bytes": 9, "disk": 9, "sha256": "0" * 64, "notes": []}
    studio.gallery.add_upload(identity, facts)
    return identity


@pytest.mark.parametrize(("code", "status", "name"), [(sqlite3.SQLITE_FULL, 507, "disk"), (sqlite3.SQLITE_BUSY, 503, "system")])
def test_every_writing_route_reports_a_database_error_and_works_afterwards(
    client: pieces.Local, studio: Studio, upload: str, code: int, status: int, name: str
) -> None:
    body = {"kind": "paint", "content": upload, "styles": ["great-wave"]}
    job = client.post("/api/v1/jobs", json=body).json()["id"]
    style = client.post("/api/v1/styles", json={"upload": upload}).json()["id"]
    row = result({"id": job}, None)
    studio.jobs.take("slow")
    studio.jobs.finish(job, row)
    requests: list[tuple[str, str, Any]] = [
        ("POST", "/jobs", body),
        ("PATCH", f"/jobs/{job}", {"priority": 3}),
        ("POST", "/styles", {"upload": upload}),
        ("PATCH", "/styles/great-wave", {"favourite": True}),
        ("PATCH", f"/results/{row['id']}", {"favourite": True}),
        ("DELETE", f"/results/{row['id']}", None),
        ("DELETE", f"/styles/{style}", None),
        ("DELETE", f"/jobs/{job}", None),
    ]
    refusing = Refusing(studio.database, code)
    refusing.writes = True
    for method, path, sent in requests:
        response = client.request(method, f"/api/v1{path}", json=sent)
        assert (response.status_code, response.json()["error"]["code"]) == (status, name), (method, path, response.text)
        assert ("retry-after" in response.headers) == (status == 503)
    refusing.writes = False
    for method, path, sent in requests:
        assert client.request(method, f"/api/v1{path}", json=sent).status_code < 300, (method, path)


def test_an_upload_that_does_not_fit_returns_507_and_leaves_no_file(
    client: pieces.Local, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.open

    def no_room(path: Path, mode: str = "r", *words: Any, **how: Any) -> Any:
        if mode == "xb":
            raise FULL
        return real(path, mode, *words, **how)

    monkeypatch.setattr(Path, "open", no_room)
    response = client.post("/api/v1/uploads", params={"name": "a.jpg"}, content=pieces.photo())
    assert (response.status_code, response.json()["error"]["code"]) == (507, "disk")
    assert not list((studio.folder.root / "uploads").iterdir())


@pytest.mark.parametrize(("code", "status"), [("disk", 507), ("system", 503)])
def test_routes_report_errors_of_the_worker(client: pieces.Local, studio: Studio, code: str, status: int) -> None:
    def refused(seconds: float, **message: Any) -> "Future[Any]":
        answer: Future[Any] = Future()
        answer.set_exception(CallError(code, "not now"))
        return answer

    studio.quick.call = refused  # type: ignore[method-assign]
    response = client.post("/api/v1/uploads", params={"name": "a.jpg"}, content=pieces.photo())
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_cleaning_up_continues_after_an_error_and_requeues_interrupted_jobs(
    studio: Studio, upload: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio_module, "_SECONDS_BETWEEN_CLEANING", 0.02)
    cleaned: list[int] = []

    def clean_up(gallery: Gallery) -> int:
        cleaned.append(1)
        if len(cleaned) == 1:
            raise RuntimeError("a bug")
        return 0

    monkeypatch.setattr(Gallery, "clean_up", clean_up)
    (job,) = submitted(studio.jobs, 1)
    studio.jobs.take("slow")
    studio.runners = {}
    refusing = Refusing(studio.database)
    refusing.commits = 3
    studio.start()
    assert pieces.wait_for(lambda: studio.jobs.get(job)["state"] == "queued" and len(cleaned) > 2, 10)
    studio.leave()


# ---------------------------------------------------------------------------------------------------- memory


def test_the_memory_limits_of_a_container_and_its_parents_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    groups = tmp_path / "groups"
    monkeypatch.setattr(memory, "_MOUNT", tmp_path)
    monkeypatch.setattr(memory, "_OWN_GROUPS", groups)
    whole = memory.memory_of_this_machine()
    groups.write_text("0::/a/b\n")
    (tmp_path / "a" / "b" / "memory.max").write_text("max\n")
    assert memory.memory_of_this_machine() == whole
    (tmp_path / "a" / "memory.max").write_text(f"{300 * 2**20}\n")
    assert memory.memory_of_this_machine() == 300 * 2**20
    groups.write_text("5:cpu,cpuacct:/\n8:memory:/a\n")
    (tmp_path / "memory" / "a").mkdir(parents=True)
    (tmp_path / "memory" / "a" / "memory.limit_in_bytes").write_text(f"{200 * 2**20}\n")
    assert memory.memory_of_this_machine() == 200 * 2**20
    assert Limits().memory_bytes == 160 * 2**20
    (tmp_path / "memory" / "a" / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert memory.memory_of_this_machine() == whole


def test_the_memory_of_a_process_is_measured_in_pages_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("pages are counted in /proc")
    before = memory.memory_of(os.getpid())
    monkeypatch.setattr(memory, "mmap", SimpleNamespace(PAGESIZE=4 * memory.mmap.PAGESIZE))
    after = memory.memory_of(os.getpid())
    assert before
    assert after
    assert 3.5 < after / before < 4.5


def test_psutil_measures_memory_where_the_system_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    process: Callable[[int], Any] = lambda program: SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=program))  # noqa: E731
    monkeypatch.setattr(memory, "_psutil", lambda: SimpleNamespace(Process=process, Error=LookupError))
    assert memory.memory_of(2**30) == 2**30  # there is no such process in /proc
    monkeypatch.setattr(memory, "_psutil", lambda: None)
    assert memory.memory_of(2**30) is None


# ---------------------------------------------------------------------------------------------------- folders and names


def test_without_a_home_folder_the_data_folder_has_an_absolute_path(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("XDG_DATA_HOME", "IMPASTO_STUDIO"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/nowhere/that/could/be/made" if os.getuid() else "relative")
    assert Settings().data.is_absolute()


def test_text_is_never_cut_within_a_surrogate_pair() -> None:
    for path in sorted((pieces.ROOT / "src/impasto/studio/static").glob("*.js")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if "encodeURIComponent(" in line or ".set('q'" in line:
                assert ".slice(" not in line or "[..." in line, f"{path.name}: {line.strip()}"
