"""Compare painting in tiles with painting the whole picture: processor time of a step, peak memory, and the results.

python benchmarks/tiles.py [--size 1024] [--steps 3]

Each of the two runs is a process of its own. Times are of the processor, so they hardly depend on what else the machine does.
"""

import argparse
import json
import subprocess
import sys

import evaluation

_CHILD = """
import json, resource, statistics, sys, time
from dataclasses import replace
import impasto
from impasto.recipes import gatys
from impasto.recipes.painting import run_recipe
from impasto.recipes.presets import paint_options
from impasto.runtime.memory import keep_freed_memory
keep_freed_memory()
content, style, size, steps, tile = sys.argv[1:]
photo, picture = impasto.read(content), impasto.read(style)
options = paint_options(size=int(size), steps=int(steps), step_growth=1.0)
context = gatys.set_up(photo, [picture], options, impasto.Run(max_memory=1000))
if int(tile):
    context = replace(context, tiles=replace(context.tiles, whole_pixels=0.3 * int(size) ** 2, tile_px=int(tile)))
times, loss, began = [], 0.0, time.process_time()
for step in run_recipe(context):
    now = time.process_time()
    times.append((step.scale, now - began))
    began, loss = now, step.loss
seconds = [each for scale, each in times if scale == step.scale]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
total = sum(each for _, each in times)
print(json.dumps({"step": statistics.median(seconds[1:]), "first": seconds[0], "total": total, "peak": peak, "loss": loss}))
"""


def measured(size: int, steps: int, tile: int) -> dict[str, float]:
    """Paint once in a process of its own; ``tile`` is the side of a tile, 0 for the whole picture."""
    files = [str(evaluation.content("summit")), str(evaluation.style("gauguin"))]
    command = [sys.executable, "-c", _CHILD, *files, str(size), str(steps), str(tile)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def main() -> None:
    """Print both runs, and tiled over whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--tile", type=int, default=512)
    arguments = parser.parse_args()
    whole, tiled = (measured(arguments.size, arguments.steps, tile) for tile in (0, arguments.tile))
    for name, each in (("whole", whole), (f"tiles of {arguments.tile} px", tiled)):
        print(
            f"{name}: {each['step']:.2f} s of processor time for a step, {each['first']:.2f} s for the first with the search, "
            f"peak {each['peak']:.2f} GiB, last loss {each['loss']:.4f}"
        )
    print(
        f"tiled over whole: step {tiled['step'] / whole['step']:.2f}, everything {tiled['total'] / whole['total']:.2f}",
        end=", ",
    )
    print(f"peak {tiled['peak'] / whole['peak']:.2f}, loss {tiled['loss'] / whole['loss']:.4f}")


if __name__ == "__main__":
    main()
