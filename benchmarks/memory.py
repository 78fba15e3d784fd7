"""Compare the peak memory of `impasto paint` at several sizes with the prediction.

python benchmarks/memory.py [--sizes 256,512,1024] [--encoder vgg19-slim]
"""

import argparse
import subprocess
import sys

import evaluation

_CHILD = """
import resource, sys
import impasto
from impasto.recipes import checks, gatys
from impasto.recipes.painting import run_recipe
from impasto.recipes.presets import paint_options
content, style, size, encoder = sys.argv[1:]
photo, picture = impasto.read(content), impasto.read(style)
options = paint_options(size=int(size), encoder=encoder, steps=2, step_growth=1.0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
context = gatys.set_up(photo, [picture], options, impasto.Run())
for step in run_recipe(context):
    pass
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
predicted = checks.predicted_memory(context.encoder, step.image.shape[-2:], options, context.arithmetic) / 2**30
print(f"{size} px: peak {peak:.2f} GiB, including {before:.2f} for the program itself;", end=" ")
print(f"painting {peak - before:.2f}, predicted {predicted:.2f}")
"""


def main() -> None:
    """Measure each size in its own process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="256,512,1024")
    parser.add_argument("--encoder", default="vgg19-slim")
    arguments = parser.parse_args()
    for size in arguments.sizes.split(","):
        command = [
            sys.executable,
            "-c",
            _CHILD,
            evaluation.content("summit"),
            evaluation.style("gauguin"),
            size,
            arguments.encoder,
        ]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
