"""Time of ``impasto batch`` against a shell loop over ``impasto instant``, for many small pictures.

python benchmarks/batch.py [--count 200] [--size 256] [--workers 1 2] [--style starry-night]

Prints the seconds of the loop and of each batch, and their ratio. All results are counted.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--size", type=int, default=256, help="side of the pictures, at most 512")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--style", default="starry-night")
    chosen = parser.parse_args()
    impasto = " ".join(f"'{word}'" for word in IMPASTO)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos, loop = folder / "photos", folder / "loop"
        photos.mkdir()
        loop.mkdir()
        make_photos(photos, chosen.count, chosen.size)
        painted = f'{impasto} instant "$photo" {chosen.style} -o "{loop}/$(basename "$photo" .jpg).png" --quiet'
        loop_seconds = timed(f'for photo in "{photos}"/*.jpg; do {painted} || exit 1; done')
        counted(loop, chosen.count)
        print(f"shell loop: {loop_seconds:.1f} s for {chosen.count} pictures of {chosen.size} px")
        for workers in chosen.workers:
            output = folder / f"batch-{workers}"
            seconds = timed(f'{impasto} batch "{photos}" {chosen.style} -o "{output}" --workers {workers} --quiet')
            counted(output, chosen.count)
            print(f"batch, {workers} workers: {seconds:.1f} s; {loop_seconds / seconds:.1f} times as fast as the loop")


if __name__ == "__main__":
    main()
