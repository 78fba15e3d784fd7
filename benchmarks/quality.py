"""Figures of `impasto report` for each engine, on photos of scikit-image in named styles of the package.

python benchmarks/quality.py [--size 256]

The baseline is the photo in the style's colors without strokes. The figures are computed with vgg19-slim, like the objective of
`paint`, so they show what an engine does with strokes and shapes; juries decide what looks better.
"""

import argparse
import statistics
from collections.abc import Callable

import skimage.data

import impasto
from impasto.styles.named import find_style
from impasto.tensors import Image
from jury import in_colors
from results import Row, begin, save

_PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
_STYLES = ("starry-night", "the-scream", "great-wave", "mosaic")
"""Named styles that also have a brush."""
_FIGURES = ("style_closed", "ssim_coarse", "grid")
_COLORS = "colors only"


def paintings(photo: Image, style: str, size: int) -> dict[str, Image]:
    """Paint a photo with each engine."""
    engines: dict[str, Callable[[], impasto.Pastiche]] = {
        "paint": lambda: impasto.paint(photo, style, size=size),
        "paint --quality draft": lambda: impasto.paint(photo, style, size=size, quality="draft"),
        "instant": lambda: impasto.instant(photo, style, size=size),
        "brush": lambda: impasto.apply(style, photo, size=size),
    }
    reduced = impasto.instant(photo, style, size=size, strength=0)
    colors = in_colors(reduced, find_style(style).picture().image)
    return {_COLORS: colors.image} | {name: paint().image for name, paint in engines.items()}


def main() -> None:
    """Paint, measure and save means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256)
    given, run = parser.parse_args(), begin()
    found: dict[tuple[str, str], list[float]] = {}
    for number, name in enumerate(_PHOTOS):
        photo = impasto.read(getattr(skimage.data, name)()).image
        for style in (_STYLES[number], _STYLES[(number + 1) % len(_STYLES)]):
            painted = paintings(photo, style, given.size)
            for engine, report in zip(painted, impasto.judge(photo, style, *painted.values()), strict=True):
                for figure in _FIGURES:
                    found.setdefault((figure, engine), []).append(float(report[figure]))
    means = {key: statistics.mean(values) for key, values in found.items()}
    rows = [
        Row(f"{figure}, {engine}", mean, "", _COLORS, means[figure, _COLORS], mean / means[figure, _COLORS])
        for (figure, engine), mean in means.items()
        if engine != _COLORS
    ]
    save(sorted(rows, key=lambda row: _FIGURES.index(row.what.split(",")[0])), run)


if __name__ == "__main__":
    main()
