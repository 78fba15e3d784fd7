"""Measure the cost and the effect of masks, color control and recipes, as ratios within one run.

python benchmarks/control.py --only masks|color|recipes [--size 512] [--rounds 3]

`masks`: time of a step with two styles in two regions, relative to a step with one style, for each size. Both are timed
alternately, so that other load affects both. `color`: color distance to the photo with and without `--color keep`. Pictures
of one pass are measured for 8 pairs (with OKLab, the default, for all pairs). Paintings are measured at half the size, for as
many pairs as rounds. `recipes`: time and figures of the published methods and of the default recipe, for as many pairs as
rounds.
"""

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import skimage.color

import evaluation
import impasto
from impasto import images
from impasto.optim.engine import OptimizerSettings, optimize
from impasto.options import Run
from impasto.recipes import gatys, objectives
from impasto.recipes.context import PaintingContext
from impasto.recipes.masking import MaskSources, read_masking
from impasto.recipes.pastiche import Pastiche
from impasto.recipes.presets import paint_options
from impasto.runtime.devices import seconds_now

_SPACES = ("oklab", "lab", "yiq")
_DIAGONAL = 8
"""Number of pairs in which no photo and no painting occurs twice; they come first in the list."""


def stepper(context: PaintingContext, size: tuple[int, int]) -> Iterator[object]:
    """Paint at one size endlessly."""
    optimizer_settings = OptimizerSettings(context.options.optimizer, context.options.learning_rate, context.options.betas)
    encode = partial(context.arithmetic.encode, context.encoder)
    start = images.resize(context.content, size)
    return optimize(
        objectives.objective_at(context, size), start, 1_000_000, encode=encode, optimizer_settings=optimizer_settings
    )


def step_seconds(steppers: dict[str, Iterator[object]], rounds: int, each: int = 3) -> dict[str, float]:
    """Return the median CPU seconds of a step for each iterator; the iterators take turns."""
    taken: dict[str, list[float]] = {name: [] for name in steppers}
    for number in range(rounds + 1):
        for name, stepping in steppers.items():
            for _ in range(each):
                started = time.process_time()
                next(stepping)
                if number:  # the first round warms up
                    taken[name].append(time.process_time() - started)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def masks(size: int, rounds: int) -> None:
    """Print the time of two masked styles relative to one unmasked style, for three kinds of masks."""
    photo = images.read(evaluation.content("bird"))
    one, two = (images.read(evaluation.style(name)) for name in ("gauguin", "monet"))
    options = paint_options(recipe="gatys", size=size)
    sources = {
        "two fades": ("gradient:left-right", "gradient:right-left"),
        "subject and background": ("auto:subject", "auto:background"),
    }
    contexts = {"one style": gatys.set_up(photo, [one], options, Run())}
    for name, style_masks in sources.items():
        masking = read_masking(MaskSources(style_masks=style_masks), photo, [one, two])
        contexts[name] = gatys.set_up(photo, [one, two], options, Run(), masking)
    totals = dict.fromkeys(contexts, 0.0)
    for at, count in contexts["one style"].sizes:
        seconds = step_seconds({name: stepper(context, at) for name, context in contexts.items()}, rounds)
        for name, each in seconds.items():
            totals[name] += each * count
        shown = ", ".join(f"{name} {each / seconds['one style']:.2f}" for name, each in seconds.items())
        print(f"masks: a step at {at[1]}x{at[0]}: {shown}")
    for name, total in totals.items():
        print(f"masks: all steps, {name}: {total / totals['one style']:.2f} times one style unmasked")


def chroma_distance(pastiche: Pastiche, photo: images.Picture) -> float:
    """Return the mean distance to the photo in the a and b channels of Lab, after rounding to 8 bits."""
    file = io.BytesIO()
    images.to_pil(pastiche.image).save(file, "PNG")
    result = images.read(file.getvalue()).image
    small = images.resize(photo.image, (result.shape[-2], result.shape[-1]))
    a, b = (skimage.color.rgb2lab(images.to_array(each))[..., 1:] for each in (result, small))
    return float(np.hypot(*np.moveaxis(a - b, -1, 0)).mean())


def color(size: int, rounds: int) -> None:
    """Print the chroma distance to the photo without `--color keep`, and with it in each color space."""
    settings: dict[str, dict[str, Any]] = {"style": {}} | {
        f"keep, {space}": {"color": "keep", "color_space": space} for space in _SPACES
    }
    rows: dict[str, dict[str, list[float]]] = {"instant": {}, "paint": {}}
    for number, (content, style) in enumerate(evaluation.pairs("all")):
        photo = images.read(evaluation.content(content))
        for name, options in settings.items():
            if number >= _DIAGONAL and name != "keep, oklab":
                continue
            pastiche = impasto.instant(photo, evaluation.style(style), size=size, engine="torch", **options)
            rows["instant"].setdefault(name, []).append(chroma_distance(pastiche, photo))
    for content, style in evaluation.pairs("diagonal")[:rounds]:
        photo = images.read(evaluation.content(content))
        for name in ("style", "keep, oklab"):
            pastiche = impasto.paint(photo, evaluation.style(style), size=size // 2, **settings[name])
            rows["paint"].setdefault(name, []).append(chroma_distance(pastiche, photo))
    print("| | --color | pairs | mean ΔE of a, b | worst pair |\n|---|---|---|---|---|")
    for recipe, named in rows.items():
        for name, found in named.items():
            print(f"| {recipe} | {name} | {len(found)} | {statistics.mean(found):.2f} | {max(found):.2f} |")


def recipes(size: int, rounds: int) -> None:
    """Print seconds and figures of each recipe; the first picture is not timed, because it includes loading."""
    judge = evaluation.judge()
    network = judge.load_vgg19()
    impasto.paint(evaluation.content("bird"), evaluation.style("gauguin"), size=64, steps=1)
    named = {}
    for recipe in ("neighbors", "gatys", "nnst", "strotss"):
        rows, seconds = [], []
        for content, style in evaluation.pairs("diagonal")[:rounds]:
            pictures = (evaluation.content(content), evaluation.style(style))
            started = seconds_now()
            pastiche = impasto.paint(*pictures, recipe=recipe, size=size)
            seconds.append(seconds_now() - started)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"{content}__{style}.png"
                pastiche.save(path)
                rows.append(judge.judge(network, *pictures, path))
        print(f"recipes: {recipe}: {statistics.median(seconds):.1f} s", flush=True)
        named[recipe] = evaluation.medians(rows)
    print(f"\nmedians of {rounds} pairs at {size} px\n\n{evaluation.table(named)}")


BENCHMARKS: dict[str, Callable[[int, int], None]] = {"masks": masks, "color": color, "recipes": recipes}


def main() -> None:
    """Run the selected benchmarks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=BENCHMARKS, action="append")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for name in given.only or BENCHMARKS:
        BENCHMARKS[name](given.size, given.rounds)


if __name__ == "__main__":
    main()
