"""Compare painting in tiles with painting the whole picture: loss and gradient, processor time of a step, and peak memory.

python benchmarks/tiles.py [--size 1024] [--steps 3] [--exact-size 768] [--only-exact]

The relative difference of loss and gradient is measured in fp32 for the objective of the last size. Each of the two runs has
its own process. The times are processor times, so they hardly depend on other programs.
"""

import argparse
import json
import subprocess
import sys

import evaluation

MOST_APART, MOST_TIMES = 1e-5, 1.6
"""The bars: relative difference of loss and gradient, and time in tiles over time of the whole."""

_EXACT = """
import json, sys
from dataclasses import replace
from functools import partial
import torch
import impasto
from impasto.images import resize
from impasto.losses.neighbors import PaletteLoss
from impasto.optim.engine import Evaluation
from impasto.optim.parametrization import to_planes
from impasto.optim.tiled import TiledObjective, Tiling
from impasto.recipes import gatys
from impasto.recipes.neighbors import _Painting
from impasto.recipes.presets import paint_options
content, style, size, tile = sys.argv[1:]
photo, picture = impasto.read(content), impasto.read(style)
run = impasto.Run(precision="fp32", max_memory=1000)
context = gatys.set_up(photo, [picture], paint_options(size=int(size)), run)
encode = partial(context.arithmetic.encode, context.encoder)
canvas = context.options.canvas
(before, _), (last, _) = context.sizes[-2:]
painted = resize(context.content, before)

def painting(tiles):
    each = _Painting(replace(context, tiles=tiles))
    objective = each.objective_at(last, painted)
    return each, objective

def begin(objective):
    for term in objective:
        if isinstance(term.loss, PaletteLoss):
            term.loss.generator.manual_seed(0)

whole, objective = painting(None)
planes = [each.contiguous().requires_grad_() for each in to_planes(whole.enlarged(painted, last), canvas)]
begin(objective)
evaluation = Evaluation(objective, planes, encode, canvas)
evaluation()
gradients = [each.grad / evaluation.scale for each in planes]
total = sum(evaluation.losses.values())
length = torch.cat([each.flatten() for each in gradients]).norm()
del objective, evaluation
tiled, objective = painting(replace(context.tiles, whole_pixels=0, tile_px=int(tile)))
begin(objective)
value, _ = TiledObjective(objective, encode, canvas, Tiling(int(tile), context.encoder.layers)).backward(planes)
apart = torch.cat([(a - b.grad).flatten() for a, b in zip(gradients, planes)]).norm()
matches = (whole.matches.position != tiled.matches.position).float().mean()
print(json.dumps({"loss": abs(value - total) / abs(total), "gradient": float(apart / length), "matches": float(matches)}))
"""

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
    """Paint once in a new process; ``tile`` is the side of a tile, 0 for the whole picture."""
    files = [str(evaluation.content("summit")), str(evaluation.style("gauguin"))]
    command = [sys.executable, "-c", _CHILD, *files, str(size), str(steps), str(tile)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def exactness(size: int, tile: int) -> None:
    """Print the relative difference of loss and gradient between painting with and without tiles."""
    files = [str(evaluation.content("summit")), str(evaluation.style("gauguin"))]
    command = [sys.executable, "-c", _EXACT, *files, str(size), str(tile)]
    found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    print(
        f"{size} px, fp32, tiles of {tile} px: relative difference of the loss {found['loss']:.1e}, of the gradient "
        f"{found['gradient']:.1e} (bar {MOST_APART:g}); other matches at {found['matches']:.2%} of the positions",
        flush=True,
    )


def main() -> None:
    """Print the exactness, both runs, and the ratio of painting with tiles to painting without tiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--exact-size", type=int, default=768)
    parser.add_argument("--only-exact", action="store_true")
    arguments = parser.parse_args()
    exactness(arguments.exact_size, min(arguments.tile, arguments.exact_size // 3 // 16 * 16))
    if arguments.only_exact:
        return
    whole, tiled = (measured(arguments.size, arguments.steps, tile) for tile in (0, arguments.tile))
    for name, each in (("whole", whole), (f"tiles of {arguments.tile} px", tiled)):
        print(
            f"{name}: {each['step']:.2f} s of processor time for a step, {each['first']:.2f} s for the first with the search, "
            f"peak {each['peak']:.2f} GiB, last loss {each['loss']:.4f}"
        )
    print(
        f"tiled over whole: step {tiled['step'] / whole['step']:.2f}, everything {tiled['total'] / whole['total']:.2f} "
        f"(bar {MOST_TIMES:g})",
        end=", ",
    )
    print(f"peak {tiled['peak'] / whole['peak']:.2f}, loss {tiled['loss'] / whole['loss']:.4f}")


if __name__ == "__main__":
    main()
