"""Inject system faults at random moments into a studio that is painting, and count how its jobs end.

python benchmarks/studio_faults.py [--times 30] [--only disk|lock|start|kill] [--seed 0]

disk   the disk with the data folder is full for some seconds (a small tmpfs; needs Linux and `unshare`)
lock   another program locks the database
start  no process or thread can be started, and a worker is killed, so that the studio needs a new one
kill   a worker is killed

A job that does not end within 90 seconds after the fault is stuck. No job may be stuck, and the studio is never restarted.
"""

import argparse
import contextlib
import errno
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import PIL.Image
import skimage.data

_STYLE = "great-wave"
_ENDED = ("done", "failed", "cancelled")
_PATIENCE_SECONDS = 90.0
_DISK_BYTES = 24 * 2**20
_FAULTS = ("disk", "lock", "start", "kill")


# ---------------------------------------------------------------------------------------------------- the studio


def _serve(switch: Path, words: list[str]) -> int:
    """Run a studio in which no process or thread can be started while the switch file exists."""
    popen, start = subprocess.Popen.__init__, threading.Thread.start

    def no_process(program: Any, *given: Any, **how: Any) -> None:
        if switch.exists():
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        popen(program, *given, **how)

    def no_thread(thread: threading.Thread) -> None:
        if switch.exists():
            raise RuntimeError("can't start new thread")
        start(thread)

    subprocess.Popen.__init__ = no_process  # type: ignore[method-assign, assignment]
    threading.Thread.start = no_thread  # type: ignore[method-assign, assignment]
    from impasto.cli import main

    return main(["studio", *words])


class Studio:
    """A running studio and an HTTP client for it."""

    def __init__(self, root: Path) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
        self.data, self.switch, self.log = root / "data", root.with_name(root.name + ".off"), root.with_name(root.name + ".log")
        command = [sys.executable, __file__, "--serve", str(self.switch), "--no-browser", "--port", str(port)]
        with self.log.open("wb") as file:
            self.program = subprocess.Popen([*command, "--data", str(self.data)], stdout=file, stderr=file)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=60)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(httpx.TransportError):
                if self.client.get("/status").json()["ready"]:
                    return
            time.sleep(0.2)
        raise RuntimeError(f"the studio does not start: {self.log.read_text()}")

    def workers(self) -> list[int]:
        """Return the process IDs of the studio's children."""
        tasks = Path(f"/proc/{self.program.pid}/task").glob("*/children")
        return [int(each) for path in tasks for each in path.read_text().split()]

    def kill_a_worker(self, chance: random.Random) -> None:
        """Kill one of the studio's children, chosen at random."""
        with contextlib.suppress(ProcessLookupError, IndexError):
            os.kill(chance.choice(self.workers()), signal.SIGKILL)

    def end(self) -> None:
        """Stop the studio."""
        self.client.close()
        self.program.terminate()
        self.program.wait(timeout=60)


# ---------------------------------------------------------------------------------------------------- the faults


@contextmanager
def _disk(studio: Studio, chance: random.Random) -> Iterator[None]:
    filler = studio.data.parent / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    yield
    filler.unlink(missing_ok=True)


@contextmanager
def _lock(studio: Studio, chance: random.Random) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(studio.data / "studio.db", isolation_level=None, timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def _start(studio: Studio, chance: random.Random) -> Iterator[None]:
    studio.switch.touch()
    studio.kill_a_worker(chance)
    yield
    studio.switch.unlink()


@contextmanager
def _kill(studio: Studio, chance: random.Random) -> Iterator[None]:
    studio.kill_a_worker(chance)
    yield


_INJECT: dict[str, Callable[[Studio, random.Random], Any]] = {"disk": _disk, "lock": _lock, "start": _start, "kill": _kill}


# ---------------------------------------------------------------------------------------------------- the load


class Load:
    """Submits jobs, and records them and the status codes of refused requests."""

    def __init__(self, studio: Studio, chance: random.Random) -> None:
        self._studio, self._chance = studio, chance
        stream = BytesIO()
        face = skimage.data.astronaut()  # type: ignore[no-untyped-call]
        PIL.Image.fromarray(face).resize((96, 96)).save(stream, "JPEG")
        self._photo = stream.getvalue()
        self.jobs: list[str] = []
        self.refused: Counter[str] = Counter()
        self._upload = self._posted("/uploads", params={"name": "a.jpg"}, content=self._photo)

    def _posted(self, path: str, **what: Any) -> str:
        answer = self._studio.client.post(path, **what)
        if answer.status_code in (200, 201):
            return str(answer.json()["id"])
        self.refused[str(answer.status_code)] += 1
        return ""

    def ask(self) -> None:
        """Submit a paint or an instant job; in 30 % of the calls, also upload a photo."""
        kind = self._chance.choice(("paint", "instant"))
        options = {"size": 64, "steps": self._chance.randint(2, 12)} if kind == "paint" else {"size": 64}
        body = {"kind": kind, "content": self._upload, "styles": [_STYLE], "options": options}
        if job := self._posted("/jobs", json=body):
            self.jobs.append(job)
        if self._chance.random() < 0.3:
            self._posted("/uploads", params={"name": "b.jpg"}, content=self._photo)

    def waiting(self) -> list[str]:
        """Return the jobs that have not ended."""
        return [each for each in self.jobs if self.state(each)["state"] not in _ENDED]

    def state(self, job: str) -> dict[str, Any]:
        """Return the record of a job."""
        return dict(self._studio.client.get(f"/jobs/{job}").json())


def _tried(fault: str, times: int, seed: int, root: Path) -> bool:
    """Inject a fault a number of times; print how the jobs ended, and return whether all ended properly."""
    chance = random.Random(f"{fault} {seed}")
    studio = Studio(root)
    load = Load(studio, chance)
    for _ in range(times):
        load.ask()
        time.sleep(chance.uniform(0, 1.5))
        with _INJECT[fault](studio, chance):
            load.ask()
            time.sleep(chance.uniform(0.2, 4.0))
            load.ask()
        until = time.monotonic() + _PATIENCE_SECONDS
        while load.waiting() and time.monotonic() < until:
            time.sleep(0.2)
    ended = [load.state(each) for each in load.jobs]
    counts = Counter(each["state"] for each in ended)
    nameless = sum(each["state"] == "failed" and not each["error"]["message"] for each in ended)
    stuck = len(ended) - counts["done"] - counts["failed"]
    reasons = Counter(each["error"]["code"] for each in ended if each["error"])
    refused = ", ".join(f"{status}: {count}" for status, count in sorted(load.refused.items())) or "none"
    print(
        f"{fault:6} {times} times: {counts['done']} done, {counts['failed'] - nameless} failed with a reason "
        f"{dict(reasons) or ''}, {nameless} without a reason, {stuck} stuck; refused requests: {refused}",
        flush=True,
    )
    is_fine = not stuck and not nameless and not load.refused["500"]
    if not is_fine:
        print(studio.log.read_text()[-4000:])
    studio.end()
    return is_fine


@contextmanager
def _small_disk(root: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(root)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(root)], check=False)


def _can_mount() -> bool:
    return shutil.which("unshare") is not None and subprocess.run(["unshare", "-rm", "true"], check=False).returncode == 0


def main() -> int:
    """Inject each fault; return exit code 0 if no job was stuck."""
    if sys.argv[1:2] == ["--serve"]:
        return _serve(Path(sys.argv[2]), sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=30)
    parser.add_argument("--only", choices=_FAULTS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mounted", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    is_fine = True
    for fault in [given.only] if given.only else _FAULTS:
        if fault == "disk" and not given.mounted:
            words = [__file__, "--times", str(given.times), "--seed", str(given.seed), "--only", "disk", "--mounted"]
            if not _can_mount():
                print("disk   skipped: `unshare -rm` is not allowed here, so a small disk cannot be mounted")
            elif subprocess.run(["unshare", "-rm", sys.executable, *words], check=False).returncode:
                is_fine = False
            continue
        with tempfile.TemporaryDirectory() as made:
            root = Path(made) / fault
            root.mkdir()
            with _small_disk(root) if fault == "disk" else contextlib.nullcontext():
                is_fine = _tried(fault, given.times, given.seed, root) and is_fine
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
