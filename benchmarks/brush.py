"""Train brushes in several ways, and compare their losses on the same photos after the same time.

python benchmarks/brush.py [--minutes 3] [--style starry-night] [--start great-wave] [--network medium] [--pictures FOLDER]

style only       the content and style losses of Johnson et al. 2016 (the baseline)
neighbors        neighbor targets, style statistics and lightness, without a teacher
teacher          the default: paintings of the instant painter and style statistics
started          the same, from a brush of another style instead of random weights

Prints the objective without a teacher of each brush on crops of the built-in photos, its style loss, and the ratio of each to
that of the baseline, every half minute. With --pictures, a painting of each brush is saved, for visual comparison or for a
jury.
"""

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import skimage.data
import torch

from impasto.images import read, write
from impasto.options import Run
from impasto.options.brush import BrushTrainingOptions
from impasto.recipes.brush_training import new_run
from impasto.recipes.painting import read_style
from impasto.training.brush import BrushTraining, BrushWeights
from impasto.training.photos import built_in_photos

_SECONDS = 30.0
_CROP_PX = 224
_ALONE = {"teacher_share": 0.0}
_STYLE_ONLY = _ALONE | {"neighbor_weight": 0.0, "tone_weight": 0.0, "content_weight": 1.0}


class Figures(NamedTuple):
    """What is measured: the objective without a teacher, and the style loss, which is a part of it."""

    objective: float
    style: float


def measured(training: BrushTraining, crops: torch.Tensor) -> Figures:
    """Measure the averaged network on crops of photos."""
    network, weights, random = training.network, training.weights, training.random.bit_generator.state
    training.network, training.weights = training.averaged_network(), BrushWeights()
    with torch.no_grad():
        losses = training._losses(crops)
        figures = Figures(float(training.weights.objective(losses)), float(losses["style"]))
    training.network, training.weights, training.random.bit_generator.state = network, weights, random
    return figures


def curve(given: argparse.Namespace, name: str, changes: dict[str, float], start: str | None) -> list[Figures]:
    """Train in one way; return the figures at every half minute."""
    photos = built_in_photos()
    options = BrushTrainingOptions(minutes=given.minutes, network=given.network, **changes)  # type: ignore[arg-type]
    training = new_run(read_style(given.style), photos, options, Run(), start=start).training
    crops = torch.cat([each[None, :, :_CROP_PX, :_CROP_PX].float() / 255 for each in built_in_photos(7)[:6]])
    values, due = [], _SECONDS
    for step in training.steps():
        if step.seconds >= due:
            values.append(measured(training, crops))
            due += _SECONDS
    if given.pictures:
        with torch.no_grad():
            photo = read(skimage.data.astronaut()).image  # type: ignore[no-untyped-call]
            write(given.pictures / f"{name}.png", training.averaged_network()(photo).clamp(0, 1))
    return values


def main() -> None:
    """Train in four ways, and print the curves."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--style", default="starry-night")
    parser.add_argument("--start", default="great-wave")
    parser.add_argument("--network", default="medium")
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    ways: dict[str, tuple[dict[str, float], str | None]] = {
        "style only": (_STYLE_ONLY, None),
        "neighbors": (_ALONE, None),
        "teacher": ({}, None),
        "started": ({}, given.start),
    }
    curves = {name: curve(given, name, changes, start) for name, (changes, start) in ways.items()}
    for number, baseline in enumerate(curves["style only"]):
        found = {name: values[number] for name, values in curves.items() if number < len(values)}
        for name, value in found.items():
            ratios = {each: round(getattr(value, each) / getattr(baseline, each), 3) for each in Figures._fields}
            figures = {each: round(getattr(value, each), 3) for each in Figures._fields}
            print(json.dumps({"minutes": (number + 1) / 2, "way": name} | figures | {"over style only": ratios}), flush=True)


if __name__ == "__main__":
    main()
