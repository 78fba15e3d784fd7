"""Kill the training of a brush at random moments, and compare the result with that of an uninterrupted training.

python benchmarks/brush_kills.py [--times 20] [--steps 120]

The training is killed (SIGKILL) after a random time and started again; this is repeated --times times. Then it runs to its
end. The script prints how often the training resumed, and the objective of the brush on built-in photos, divided by that of a
brush from an uninterrupted training.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from impasto.networks.brush_files import load_brush
from impasto.options import Run
from impasto.options.brush import BrushTrainingOptions
from impasto.recipes.brush_training import new_run
from impasto.recipes.painting import read_style
from impasto.training.photos import built_in_photos

_COMMAND = """
import sys
import impasto.cli.train_brush as command
command._SECONDS_BETWEEN = 1.0
from impasto.cli import main
sys.exit(main(sys.argv[1:]))
"""
_STYLE = "starry-night"


def words(output: Path, steps: int, seed: int) -> list[str]:
    """Return the command that trains a small brush."""
    flags = ["-o", str(output), "--steps", str(steps), "--edge", "96", "--network", "small", "--seed", str(seed)]
    return [sys.executable, "-c", _COMMAND, "train", "brush", _STYLE, *flags]


def killed(output: Path, steps: int, times: int, random_numbers: random.Random) -> tuple[int, int]:
    """Train with kills; return how often the training was killed and how often it resumed."""
    kills = resumes = 0
    while True:
        process = subprocess.Popen(words(output, steps, 0), stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        if kills < times:
            first = [next(process.stderr, "") for _ in range(2)]  # the network is ready
            time.sleep(random_numbers.uniform(0.5, 3.0))
            process.send_signal(signal.SIGKILL)
            rest = process.stderr.read()
            kills += process.wait() == -signal.SIGKILL
        else:
            first, rest = [], process.stderr.read()
            process.wait()
        resumes += "resuming from step" in "".join(first) + rest
        if output.exists():
            return kills, resumes


def objective(brush: Path) -> float:
    """Evaluate the objective of a brush on crops of the built-in photos."""
    options = BrushTrainingOptions(steps=1, edge=128, batch=8)
    training = new_run(read_style(_STYLE), built_in_photos(1), options, Run(seed=9), start=brush).training
    training.network = load_brush(brush)
    with torch.no_grad():
        losses = training._losses(torch.cat([each[None, :, :128, :128].float() / 255 for each in training.photos[:8]]))
    return float(training.weights.objective(losses))


def main() -> None:
    """Train three brushes: uninterrupted, with kills, and uninterrupted with another seed (for the noise between runs)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--steps", type=int, default=120)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, broken, other = (Path(folder) / f"{name}.brush" for name in ("whole", "broken", "other"))
        for output, seed in ((whole, 0), (other, 1)):
            subprocess.run(words(output, given.steps, seed), check=True, stderr=subprocess.DEVNULL)
        kills, resumes = killed(broken, given.steps, given.times, random.Random(0))
        values = {each.stem: objective(each) for each in (whole, broken, other)}
    ratios = {name: round(value / values["whole"], 4) for name, value in values.items()}
    print(json.dumps({"kills": kills, "resumes": resumes, "objective over that of the unbroken training": ratios}))


if __name__ == "__main__":
    main()
