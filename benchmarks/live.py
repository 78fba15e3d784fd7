"""Measure the frame rate of the studio's webcam page, in a headless Chromium with a fake camera.

python benchmarks/live.py [--graph FILE.onnx] [--sizes 256] [--painters 1 2] [--threads 1] [--seconds 12] [--runs 1]
    [--photo FILE] [--screenshot FILE.png]

Needs Debian's chromium and chromium-driver, selenium, and the runtime (impasto studio --fetch-live). Without --graph, the page
uses the first included brush. A painter is a worker of the page that paints its own frames; threads are ONNX Runtime's threads
for one frame. The output includes the load of the machine, and is that of the fastest run. The CPU time per frame hardly
depends on the load: it is the time that one painter needs on an idle machine. With --photo, the screenshot shows the painted
photo instead of the test picture of the simulated camera.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

from impasto.studio.live_brushes import own_folder
from impasto.studio.runtime import runtime_folder, runtime_is_here

FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream=fps=60", "--window-size=1280,900",
]  # fmt: skip


def main() -> None:
    """Print a line of JSON with the measurements for each size and number of painters and threads."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256])
    parser.add_argument("--painters", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--graph", type=Path)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--screenshot", type=Path)
    given = parser.parse_args()
    if not runtime_is_here():
        raise SystemExit("the runtime of /live is not on this machine; fetch it: impasto studio --fetch-live")
    with own_graphs([given.graph] if given.graph else []), studio() as address, browser() as driver:
        brush = given.graph.stem if given.graph else first_brush(address)
        for size in given.sizes:
            for painters in given.painters:
                page = f"{address}/live?engine=wasm&painters={painters}&threads={given.threads}"
                facts = {"size": size, "painters": painters, "threads": given.threads}
                choice = {"brush": brush, "size": size}
                runs = [measured(driver, page, choice, given.seconds) for _ in range(given.runs)]
                best = max(runs, key=lambda run: run["frames_per_second"])
                print(json.dumps(facts | best), flush=True)
        if given.photo:
            paint_photo(driver, given.photo)
        if given.screenshot:
            driver.save_screenshot(str(given.screenshot))


@contextmanager
def own_graphs(graphs: list[Path]) -> Iterator[None]:
    """Provide these graphs to studios started in this block, in a temporary folder for the user's data."""
    if not graphs:
        yield
        return
    runtime = runtime_folder().resolve()
    with tempfile.TemporaryDirectory() as data, patch.dict(os.environ, XDG_DATA_HOME=data):
        for link, target in [(runtime_folder(), runtime), *((own_folder() / each.name, each.resolve()) for each in graphs)]:
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(target)
        yield


def first_brush(address: str) -> str:
    """Return the first brush of the page."""
    found = json.load(urllib.request.urlopen(f"{address}/api/v1/live/brushes"))["items"]
    if not found:
        raise SystemExit("no brush is included; export one and give it with --graph")
    return str(found[0]["id"])


@contextmanager
def studio() -> Iterator[str]:
    """Start a studio in a temporary folder; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as data:
        words = [sys.executable, "-m", "impasto", "studio", "--no-browser", "--port", str(port), "--data", data]
        server = subprocess.Popen(words, stdout=subprocess.DEVNULL)
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(lambda: json.load(urllib.request.urlopen(f"{address}/api/v1/status"))["ready"], server)
            yield address
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()


def wait_for(is_ready: Any, server: subprocess.Popen[bytes], seconds: float = 180.0) -> None:
    """Wait until the studio and its worker are ready."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            if is_ready():
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise SystemExit("the studio did not start")


@contextmanager
def browser(flags: list[str] = FLAGS) -> Iterator[webdriver.Chrome]:
    """Start a headless Chromium."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in flags:
        options.add_argument(flag)
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def measured(driver: webdriver.Chrome, page: str, choice: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Run the page with a brush and a size, and read its measurements."""
    driver.get(page)
    wait = WebDriverWait(driver, 300)
    driver.execute_script("localStorage.setItem('impasto.live', arguments[0])", json.dumps(choice))
    driver.refresh()
    wait.until(lambda d: d.execute_script("return document.body.dataset.ready"))
    driver.execute_script("arguments[0].click()", driver.find_element("id", "start"))
    wait.until(lambda d: d.execute_script("return document.body.dataset.perSecond"))
    time.sleep(3)
    before, started, frames = processor_seconds(driver), time.monotonic(), count(driver)
    load, rates = [], []
    while time.monotonic() < started + seconds:
        time.sleep(1)
        rates.append(float(driver.execute_script("return document.body.dataset.perSecond")))
        load.append(os.getloadavg()[0])
    painted = count(driver) - frames
    return {
        "frames_per_second": round(painted / (time.monotonic() - started), 2),
        "best_two_seconds": max(rates),
        "processor_ms_per_frame": round(1000 * (processor_seconds(driver) - before) / max(painted, 1), 1),
        "load": round(sum(load) / len(load), 1),
    }


def paint_photo(driver: webdriver.Chrome, photo: Path) -> None:
    """Paint a photo instead of the camera."""
    before = count(driver)
    driver.find_element("id", "photo-file").send_keys(str(photo.resolve()))
    WebDriverWait(driver, 60).until(lambda d: "ms" in d.find_element("id", "figures").text and count(d) > before)
    time.sleep(1)


def count(driver: webdriver.Chrome) -> int:
    """Return how many frames the page has painted."""
    return int(driver.execute_script("return document.body.dataset.frames"))


def processor_seconds(driver: webdriver.Chrome) -> float:
    """Return the CPU time of the renderer processes."""
    ticks, found = os.sysconf("SC_CLK_TCK"), 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"--type=renderer" in path.read_bytes() and is_of(int(path.parent.name), driver.service.process.pid):
                fields = path.with_name("stat").read_text().rsplit(")", 1)[1].split()
                found += int(fields[11]) + int(fields[12])
        except OSError:
            pass
    return found / ticks


def is_of(process: int, ancestor: int) -> bool:
    """Return whether a process descends from another."""
    while process > 1 and process != ancestor:
        process = int(Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return process == ancestor


if __name__ == "__main__":
    main()
