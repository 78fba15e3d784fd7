"""Paint the same pictures on one thread and on several threads that share a painter, and count the differences.

python benchmarks/threads.py [--threads 8] [--pictures 200] [--engines torch openvino]
"""

import argparse
import collections
import sys
from concurrent.futures import ThreadPoolExecutor

import skimage.data
import torch

import impasto
from impasto.images import Picture, fitted_size, resize
from impasto.recipes.instant_painter import StyleCode, blended
from impasto.runtime.devices import seconds_now
from impasto.styles.named import find_style

EDGES_PX = (96, 160, 224, 288)
Task = tuple[int, int, bool]


def main() -> None:
    """For each engine, print how many pictures were right, were wrong, or raised an error."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=200, help="pictures per thread")
    parser.add_argument("--engines", nargs="+", default=["torch", "openvino"])
    given = parser.parse_args()
    counts = [counted(engine, given.threads, given.pictures) for engine in given.engines]
    sys.exit(any(set(each) != {"right"} for each in counts))


def counted(engine: str, threads: int, pictures: int) -> dict[str, int]:
    """Paint all pictures on one thread, then on several, and count the outcomes."""
    painter = impasto.InstantPainter(engine=engine)
    face = impasto.read(skimage.data.astronaut()).image  # type: ignore[no-untyped-call]
    photos = [
        resize(face[..., : 512 - 96 * index], fitted_size((512, 512 - 96 * index), EDGES_PX[index])) for index in range(4)
    ]
    codes = styles(painter)
    tasks = [(photo, code, fast) for photo in range(len(photos)) for code in range(len(codes)) for fast in (False, True)]
    expected = {task: painter.paint(photos[task[0]], codes[task[1]], fast=task[2]) for task in tasks}
    for code in codes:
        code.levels.clear()

    def outcome(task: Task) -> str:
        try:
            found = painter.paint(photos[task[0]], codes[task[1]], fast=task[2])
        except Exception as error:
            return repr(error)[:60]
        return "right" if torch.equal(found, expected[task]) else "wrong"

    started = seconds_now()
    with ThreadPoolExecutor(threads) as pool:
        counts = collections.Counter(pool.map(outcome, (tasks[k % len(tasks)] for k in range(threads * pictures))))
    print(f"{engine}: {dict(counts)}, {threads} threads, {seconds_now() - started:.0f} s", flush=True)
    return dict(counts)


def styles(painter: impasto.InstantPainter) -> list[StyleCode]:
    """Encode pictures and a named style, and blend two of the codes."""
    arrays = (skimage.data.coffee(), skimage.data.rocket())  # type: ignore[no-untyped-call]
    pictures: list[Picture] = [impasto.read(each) for each in arrays]
    codes = [painter.encode(each, stroke=stroke) for each in pictures for stroke in (0.7, 1.0)]
    codes.append(painter.encode(find_style("beardsley")))
    return [*codes, blended(codes[1:3], [1, 2])]


if __name__ == "__main__":
    main()
