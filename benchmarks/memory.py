"""Measure the peak memory of painting by size and engine, and compare it with the prediction.

python benchmarks/memory.py [--sizes 256 512 1024] [--engines paint gatys instant brush] [--encoder vgg19-slim|FILE]

Each picture is painted in a new process. The baseline is the peak memory of the same process before painting: the program,
PyTorch and the pictures. A second row compares the memory that painting adds with the prediction.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from results import Row, begin, save

_CHILD = """
import json, resource, sys
import public, impasto
from impasto.recipes import checks, gatys
from impasto.recipes.painting import run_recipe
from impasto.recipes.presets import paint_options

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**(20 if sys.platform != "darwin" else 30)

engine, size, encoder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
photo, style = public.photo(size), public.style(size)
before, predicted = peak(), None
if engine == "instant":
    impasto.instant(photo, style, size=size)
elif engine == "brush":
    impasto.apply("starry-night", photo, size=size)
else:
    changes = {"recipe": "gatys", "steps": 2, "step_growth": 1.0} if engine == "gatys" else {"steps": 2}
    options = paint_options(size=size, encoder=encoder, **changes)
    context = gatys.set_up(impasto.read(photo), [impasto.read(style)], options, impasto.Run())
    for step in run_recipe(context):
        pass
    predicted = checks.predicted_memory(context.encoder, step.image.shape[-2:], options, context.arithmetic) / 2**30
print(json.dumps({"before": before, "peak": peak(), "predicted": predicted}))
"""


def rows(engine: str, size: int, encoder: str) -> list[Row]:
    """Paint in a new process, and compare its memory."""
    command = [sys.executable, "-c", _CHILD, engine, str(size), encoder]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parent)
    found = json.loads(done.stdout.splitlines()[-1])
    before, peak, predicted = found["before"], found["peak"], found["predicted"]
    measured = [Row(f"{engine}, {size} px: peak", peak, "GiB", "before painting", before, peak / before)]
    if predicted:
        alone = peak - before
        measured.append(Row(f"{engine}, {size} px: painting only", alone, "GiB", "predicted", predicted, alone / predicted))
    return measured


def main() -> None:
    """Measure each size and engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--engines", nargs="+", default=["paint", "gatys", "instant", "brush"])
    parser.add_argument("--encoder", default="vgg19-slim")
    given, run = parser.parse_args(), begin()
    measured = [row for engine in given.engines for size in given.sizes for row in rows(engine, size, given.encoder)]
    save(measured, run, name="memory" if given.encoder == "vgg19-slim" else "memory_encoder")


if __name__ == "__main__":
    main()
