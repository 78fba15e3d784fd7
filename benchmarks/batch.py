"""Compare the time of ``impasto batch`` with that of a shell loop over ``impasto instant``, for many small pictures.

python benchmarks/batch.py [--count 200] [--size 256] [--workers 1 2] [--style starry-night] [--rounds 1]

Loop and batches take turns. All results are counted.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

from results import begin, compared, in_turns, save

IMPASTO = (sys.executable, "-m", "impasto")


def make_photos(folder: Path, count: int, size: int) -> None:
    """Write different crops of a photo."""
    photo = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    random = np.random.default_rng(0)
    for number in range(count):
        top, left = random.integers(0, 512 - size + 1, 2)
        Image.fromarray(photo[top : top + size, left : left + size]).save(folder / f"{number:04}.jpg", quality=95)


def timed(command: str) -> float:
    started = time.perf_counter()
    subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def counted(folder: Path, count: int) -> None:
    found = len(list(folder.glob("*.png")))
    if found != count:
        sys.exit(f"{folder.name}: {found} results instead of {count}")


def batch_command(folder: Path, style: str, workers: int) -> str:
    """Return a command that paints the folder ``photos`` in a folder; results of an earlier command are painted again."""
    output = folder / f"batch-{workers}"
    impasto = " ".join(f"'{word}'" for word in IMPASTO)
    return f'rm -rf "{output}" && {impasto} batch "{folder / "photos"}" {style} -o "{output}" --workers {workers} --quiet'


def loop_command(folder: Path, style: str) -> str:
    """Return a shell loop that paints the folder ``photos`` in a folder, one process per photo."""
    impasto = " ".join(f"'{word}'" for word in IMPASTO)
    painted = f'{impasto} instant "$photo" {style} -o "{folder}/loop/$(basename "$photo" .jpg).png" --quiet'
    return f'mkdir -p "{folder}/loop" && for photo in "{folder}/photos"/*.jpg; do {painted} || exit 1; done'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--size", type=int, default=256, help="side of the pictures, at most 512")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--style", default="starry-night")
    parser.add_argument("--rounds", type=int, default=1)
    chosen, run = parser.parse_args(), begin()
    loop = f"shell loop over impasto instant, {chosen.count} pictures of {chosen.size} px"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        make_photos(folder / "photos", chosen.count, chosen.size)
        calls = {loop: partial(timed, loop_command(folder, chosen.style))}
        for workers in chosen.workers:
            calls[f"impasto batch --workers {workers}"] = partial(timed, batch_command(folder, chosen.style, workers))
        seconds = in_turns(calls, chosen.rounds)
        for output in ("loop", *(f"batch-{workers}" for workers in chosen.workers)):
            counted(folder / output, chosen.count)
    save([compared(seconds, name, loop) for name in calls if name != loop], run)


if __name__ == "__main__":
    main()
