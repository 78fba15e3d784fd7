"""Test ``impasto batch --ray local``: delivery after a worker is killed, and the throughput of two workers and of one.

python benchmarks/cluster.py [--count 200] [--size 64] [--method brush] [--workers 1 2]

Needs impasto[cluster] and /proc. The rates exclude the first and the last fifth of the pictures, and therefore the startup.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from batch import IMPASTO, make_photos

_ACTOR = "ray::Painter"


def actors_below(process: int) -> list[int]:
    """Return the ids of the actors below a process."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended
    found = []
    for number in parents:
        above = number
        while above in parents and above != process:
            above = parents[above]
        try:
            is_actor = Path(f"/proc/{number}/cmdline").read_text().startswith(_ACTOR)
        except OSError:
            continue
        if above == process and is_actor:
            found.append(number)
    return found


def lines_of(output: Path) -> list[dict[str, object]]:
    manifest = output / "manifest.jsonl"
    return [json.loads(line) for line in manifest.read_text().splitlines()] if manifest.exists() else []


def painted(command: Sequence[str], output: Path, count: int, kill_after: int = 0) -> float:
    """Run a batch, and kill a worker after some results. Return the pictures per second, without the first and last fifth."""
    times: list[float] = []
    with subprocess.Popen([*command, "-o", str(output), "--quiet"]) as process:
        while process.poll() is None:
            number = len(lines_of(output))
            times += [time.perf_counter()] * (number - len(times))
            if kill_after and number >= kill_after and (actors := actors_below(process.pid)):
                os.kill(actors[0], signal.SIGKILL)
                print(f"killed a worker after {number} of {count} pictures")
                kill_after = 0
            time.sleep(0.01)
    if process.returncode:
        sys.exit(f"the batch ended with exit code {process.returncode}")
    fifth = len(times) // 5
    return (len(times) - 2 * fifth - 1) / (times[-1 - fifth] - times[fifth])


def check(output: Path, count: int) -> None:
    """Exit with an error unless each picture was delivered exactly once."""
    done = Counter(str(line["output"]) for line in lines_of(output) if line["state"] == "done")
    files = {path.name for path in output.glob("*.png")}
    twice = [name for name, number in done.items() if number > 1]
    print(f"{len(files)} files, {len(done)} in the manifest, {len(twice)} twice")
    if len(done) != count or files != set(done) or twice:
        sys.exit("not all pictures were delivered once")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--size", type=int, default=256, help="side of the pictures, at most 512")
    parser.add_argument("--method", default="brush", choices=("brush", "instant"))
    parser.add_argument("--style", default="starry-night")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="none: only the killed worker")
    chosen = parser.parse_args()
    if find_spec("ray") is None:
        print("Ray is not installed; pip install 'impasto[cluster]'")
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        make_photos(folder / "photos", chosen.count, chosen.size)
        command = [*IMPASTO, "batch", str(folder / "photos"), chosen.style, "--method", chosen.method, "--engine", "torch"]
        command += ["--ray", "local", "--threads", "1", "--workers"]
        painted([*command, "2"], folder / "killed", chosen.count, kill_after=chosen.count // 4)
        check(folder / "killed", chosen.count)
        first = 0.0
        for workers in chosen.workers:
            rate = painted([*command, str(workers)], folder / f"workers-{workers}", chosen.count)
            check(folder / f"workers-{workers}", chosen.count)
            first = first or rate
            print(f"{workers} workers of one thread: {rate:.2f} pictures/s, {rate / first:.2f} times the first")


if __name__ == "__main__":
    main()
