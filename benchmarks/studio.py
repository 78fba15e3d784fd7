"""Measure the studio: start, upload to first picture, previews, many clients, hostile files, and kills at random moments.

python benchmarks/studio.py [--only start|page|first|previews|clients|wrk|hostile|kills]
                            [--kills 10] [--clients 100] [--rounds 5]
"""

import argparse
import contextlib
import importlib
import io
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import skimage.data

_STYLE = "great-wave"
_FULL = 429
"""Status code for a full queue."""
_WIDE = (4000, 3000)


class Studio:
    """A running studio and an HTTP client for it."""

    def __init__(self, data: Path, port: int) -> None:
        self.data, self.port = data, port
        command = [sys.executable, "-m", "impasto", "studio", "--no-browser", "--port", str(port), "--data", str(data)]
        self.started = time.perf_counter()
        self.program = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=120)

    def until(self, condition: Callable[[dict[str, Any]], bool]) -> float:
        """Wait until the status meets a condition; return the seconds since the start."""
        while time.perf_counter() - self.started < 300:
            with contextlib.suppress(httpx.TransportError):
                if condition(self.client.get("/status").json()):
                    return time.perf_counter() - self.started
            time.sleep(0.02)
        raise RuntimeError("the studio does not answer")

    def upload(self, data: bytes) -> str:
        """Upload a picture."""
        answer = self.client.post("/uploads", params={"name": "photo.jpg"}, content=data)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def submit(self, kind: str, content: str, draft: bool = False, **options: Any) -> str:
        """Submit a job; return its ID."""
        body = {"kind": kind, "content": content, "styles": [_STYLE], "options": options, "draft": draft}
        answer = self.client.post("/jobs", json=body)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def wait(self, job: str, *states: str) -> dict[str, Any]:
        """Wait until a job is in one of some states."""
        while (found := self.client.get(f"/jobs/{job}").json())["state"] not in states:
            time.sleep(0.02)
        return dict(found)

    def memory(self) -> tuple[int, int]:
        """Return the resident bytes of the server, and the sum over its workers."""
        tasks = Path(f"/proc/{self.program.pid}/task").glob("*/children")
        workers = [each for path in tasks for each in path.read_text().split()]
        return _resident(str(self.program.pid)), sum(_resident(each) for each in workers)

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop the studio."""
        self.program.send_signal(how)
        self.program.wait()
        self.client.close()


def _resident(pid: str) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def photo(size: tuple[int, int]) -> bytes:
    """Make a JPEG photo of a given size, with noise like that of a camera."""
    face = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    pixels = np.asarray(PIL.Image.fromarray(face).resize(size, PIL.Image.Resampling.BICUBIC), np.int16)
    noisy = pixels + np.random.default_rng(0).integers(-8, 9, pixels.shape, np.int16)
    stream = io.BytesIO()
    PIL.Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def free_port() -> int:
    """Find a free port."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@contextlib.contextmanager
def studio() -> Iterator[Studio]:
    """Start a studio in a temporary folder, and wait until its workers are ready."""
    with tempfile.TemporaryDirectory() as folder:
        running = Studio(Path(folder) / "data", free_port())
        try:
            running.until(lambda status: bool(status["ready"]))
            yield running
        finally:
            running.end()


def start() -> None:
    """Time the start, until the first answer and until the quick worker is ready."""
    answers, readies = [], []
    for _ in range(3):
        with tempfile.TemporaryDirectory() as folder:
            running = Studio(Path(folder) / "data", free_port())
            answers.append(running.until(lambda status: True))
            readies.append(running.until(lambda status: bool(status["ready"])))
            running.end()
    print(f"start: first answer {statistics.median(answers):.1f} s, quick worker ready {statistics.median(readies):.1f} s")


_WATCHED = """new MutationObserver(() => {
    if (document.body?.dataset.ready === "yes") window.readyAt ??= performance.now();
}).observe(document, {subtree: true, childList: true, attributes: true});"""
_TRANSFERRED = """return performance.getEntriesByType("navigation").concat(performance.getEntriesByType("resource"))
    .reduce((sum, each) => sum + each.transferSize, 0)"""


def page() -> None:
    """Measure when the page is usable in a new Chromium without cache, and count the transferred bytes."""
    import live  # needs selenium

    readies, transferred = [], []
    with studio() as running:
        for _ in range(5):
            with live.browser() as driver:
                driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCHED})
                driver.get(f"http://127.0.0.1:{running.port}/")
                while not driver.execute_script("return window.readyAt"):
                    time.sleep(0.05)
                readies.append(driver.execute_script("return window.readyAt") / 1000)
                time.sleep(2)
                transferred.append(driver.execute_script(_TRANSFERRED) / 1000)
    times = ", ".join(f"{each:.2f}" for each in readies)
    print(
        f"page ready, cold: {statistics.median(readies):.2f} s ({times}); {max(transferred):.0f} kB transferred; load {load()}"
    )


def first() -> None:
    """Time a 12 MP photo from upload to the first picture of 512 pixels, warm."""
    data = photo(_WIDE)
    with studio() as running:
        taken, uploads = [], []
        for _ in range(6):
            started = time.perf_counter()
            upload = running.upload(data)
            uploads.append(time.perf_counter() - started)
            job = running.wait(running.submit("instant", upload, draft=True, size=512), "done", "failed")
            running.client.get(f"/results/{job['result']}/image").raise_for_status()
            taken.append(time.perf_counter() - started)
    whole, part = statistics.median(taken[1:]), statistics.median(uploads[1:])
    print(
        f"12 MP photo ({len(data) / 1e6:.1f} MB) to first picture: {whole:.2f} s, of which upload {part:.2f} s; load {load()}"
    )


def previews() -> None:
    """Count the previews of a painting of 512 pixels."""
    with studio() as running:
        job = running.submit("paint", running.upload(photo((1200, 900))), size=512)
        times: list[float] = []
        seen = ""
        with running.client.stream("GET", f"/jobs/{job}/events") as response:
            for line in response.iter_lines():
                found = re.search(r'"preview":"([^"]+)"', line)
                if found and found[1] != seen:
                    seen = found[1]
                    times.append(time.perf_counter())
    seconds = times[-1] - times[0]
    longest = max(after - before for before, after in pairwise(times))
    print(f"painting at 512: {len(times) / seconds:.1f} previews a second for {seconds:.0f} s, longest gap {longest:.1f} s")


def clients(count: int) -> None:
    """Poll the status and a running job with many clients, without a pause and once a second."""
    with studio() as running:
        job = running.submit("paint", running.upload(photo((1200, 900))), size=512, steps=20_000)
        while not running.client.get(f"/jobs/{job}").json()["progress"]:
            time.sleep(0.1)
        for pause in (0.0, 1.0):
            found = Load(running.port, count, pause, ["/status", f"/jobs/{job}"])
            found.run(seconds=10)
            print(f"{count} clients, {pause:g} s between requests: {found}")
        running.client.post(f"/jobs/{job}/cancel")
        running.wait(job, "cancelled")


class Load:
    """Clients that send requests, each in its own thread."""

    def __init__(self, port: int, count: int, pause: float, routes: list[str]) -> None:
        self.port, self.count, self.pause, self.routes = port, count, pause, routes
        self.times: list[float] = []
        self.statuses: list[int] = []

    def run(self, seconds: float) -> None:
        """Send requests for some seconds."""
        over = time.perf_counter() + seconds
        threads = [threading.Thread(target=self._ask, args=(over, number)) for number in range(self.count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _ask(self, over: float, number: int) -> None:
        """Send requests over one connection, with little Python code, since the clients share the CPU with the studio."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            turn = number
            time.sleep(self.pause * random.random())
            while time.perf_counter() < over:
                path = self.routes[turn % len(self.routes)]
                started = time.perf_counter()
                connection.sendall(f"GET /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())
                self.statuses.append(_answered(connection))
                self.times.append(time.perf_counter() - started)
                turn += 1
                time.sleep(self.pause)

    def __str__(self) -> str:
        ranked = sorted(self.times)
        worse = sum(status >= 500 for status in self.statuses)
        p50, p95, p99 = (1000 * ranked[int(share * len(ranked))] for share in (0.5, 0.95, 0.99))
        return f"{len(ranked)} answers, {worse} of 5xx, median {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms; load {load()}"


def _answered(connection: socket.socket) -> int:
    """Read one response; return its status code."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    while found and len(body) < int(found[1]):
        body += connection.recv(65536)
    return int(head.split(b" ")[1])


def wrk(count: int, seconds: int = 10) -> None:
    """Poll the status and a running job with the load generator wrk."""
    if shutil.which("wrk") is None:
        print("wrk is not installed; on Debian: apt-get install wrk")
        return
    with studio() as running:
        job = running.submit("paint", running.upload(photo((1200, 900))), size=512, steps=20_000)
        while not running.client.get(f"/jobs/{job}").json()["progress"]:
            time.sleep(0.1)
        script = Path(__file__).with_name("studio_load.lua")
        command = ["wrk", "-t2", f"-c{count}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{running.port}", "--", job], capture_output=True, text=True, check=True
        )
        print(f"wrk, {count} connections without a pause: {done.stdout.strip().splitlines()[-1]}; load {load()}")
        running.client.post(f"/jobs/{job}/cancel")
        running.wait(job, "cancelled")


def hostile(rounds: int) -> None:
    """Send every hostile file and request repeatedly; print the memory use, and whether the next request is served.

    The first round is not counted, because it loads the readers of additional formats.
    """
    sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "studio"))
    files = importlib.import_module("studio_hostile")

    with studio() as running:
        good = photo((800, 600))
        upload, wrong = running.upload(good), []
        before = running.memory()
        for number in range(rounds + 1):
            for name, data in files.HOSTILE.items():
                answer = running.client.post("/uploads", params={"name": name}, content=data)
                if not 400 <= answer.status_code < 500:
                    wrong.append(f"{name}: {answer.status_code}")
            for name, data in files.RUBBISH.items():
                if not _is_refused(running.port, data):
                    wrong.append(name)
            if number == 0:
                first = running.memory()
        after = running.memory()
        upload = running.upload(good)
        job = running.wait(running.submit("instant", upload, draft=True, size=256), "done", "failed")
    count = len(files.HOSTILE) + len(files.RUBBISH)
    megabytes = " -> ".join("/".join(f"{each / 1e6:.0f}" for each in found) for found in (before, first, after))
    ratios = ", ".join(
        f"{name} {late / early:.3f}" for name, early, late in zip(("server", "workers"), first, after, strict=True)
    )
    print(
        f"{count} hostile files and requests, {rounds} + 1 rounds: {len(wrong)} not refused {wrong}; memory of server/workers "
        f"{megabytes} MB, ratio of the last to the first round: {ratios}; the next request is {job['state']}; load {load()}"
    )
    if wrong or job["state"] != "done":
        raise SystemExit(1)


def _is_refused(port: int, data: bytes) -> bool:
    """Send an invalid request; return whether the connection was closed or the status is 4xx."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(200)
            return not answer or b" 4" in answer.partition(b"\r\n")[0]
        return True


def kills(count: int) -> None:
    """Kill the studio at random moments while it works, repeat unanswered requests, and count the results at the end."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        data, port = Path(folder) / "data", free_port()
        running = Studio(data, port)
        running.until(lambda status: bool(status["ready"]))
        upload = running.upload(photo((800, 600)))
        wanted: dict[str, str] = {}
        for kill in range(count):
            keys = [f"{kill}-{number}" for number in range(2)]
            timer = threading.Timer(rng.uniform(0.0, 4.0), running.program.kill)
            timer.start()
            for key in keys:
                wanted[key] = _submit_until_accepted(running, upload, key)
            timer.join()
            running.program.wait()
            running.client.close()
            running = Studio(data, port)
            running.until(lambda status: True)
            for key in keys:
                wanted[key] = wanted[key] or _submit_until_accepted(running, upload, key)
        ended = [running.wait(job, "done", "failed") for job in wanted.values()]
        results = running.client.get("/results", params={"limit": 200}).json()["items"]
        running.end()
        with sqlite3.connect(data / "studio.db") as database:
            intact = database.execute("PRAGMA integrity_check").fetchone()[0]
        jobs = [each["job"] for each in results]
        lost = len(set(wanted.values()) - set(jobs))
        files = len(list((data / "results").glob("*.png")))
        print(
            f"{count} kills, {len(wanted)} jobs: {lost} lost, {len(jobs) - len(set(jobs))} doubled, "
            f"{sum(each['state'] == 'failed' for each in ended)} failed, {files} files of results, database {intact}"
        )


def _submit_until_accepted(running: Studio, upload: str, key: str) -> str:
    """Submit a job with an idempotency key; return its ID, or an empty string if the studio was killed."""
    kind, options = (
        ("instant", {"size": 128}) if key.endswith("0") else ("paint", {"size": 64, "smallest_size": 64, "steps": 40})
    )
    body = {"kind": kind, "content": upload, "styles": [_STYLE], "options": options}
    with contextlib.suppress(httpx.TransportError):
        while (answer := running.client.post("/jobs", json=body, headers={"Idempotency-Key": key})).status_code == _FULL:
            time.sleep(0.5)
        return str(answer.json()["id"])
    return ""


def load() -> str:
    """Return the load average of the machine."""
    return f"{os.getloadavg()[0]:.1f}"


def main() -> None:
    """Run the selected benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("start", "page", "first", "previews", "clients", "wrk", "hostile", "kills"))
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of hostile files")
    arguments = parser.parse_args()
    parts: dict[str, Callable[[], None]] = {
        "start": start,
        "page": page,
        "first": first,
        "previews": previews,
        "clients": lambda: clients(arguments.clients),
        "wrk": lambda: wrk(arguments.clients),
        "hostile": lambda: hostile(arguments.rounds),
        "kills": lambda: kills(arguments.kills),
    }
    for name, part in parts.items():
        if arguments.only in (None, name):
            print(f"== {name}", flush=True)
            part()


if __name__ == "__main__":
    main()
