"""Draw the maps and paint the pictures of the pages on doodles, analogies and textures.

python benchmarks/guided_pictures.py [--only doodle|analogy|texture]    # docs/doodle.jpg, docs/analogy.jpg, docs/texture.jpg
"""

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import skimage.data
import torch
from skimage.draw import disk, ellipse, polygon

import impasto
from gallery import sheet
from impasto.images import read, resize, write
from impasto.recipes.maps import labels_of
from impasto.recipes.painting import read_style
from impasto.recipes.starts import as_swatches

Array = npt.NDArray[np.uint8]
_DOCS = Path(__file__).resolve().parents[1] / "docs"
_PX, _CELL = 512, 320


def colors_of(style: str) -> list[tuple[int, ...]]:
    """Return the colors of the suggested map of a style, dark to light."""
    labels = labels_of([impasto.suggest_map(style, labels=5)])
    colors = [tuple(round(255 * float(value)) for value in color) for color in labels.colors]
    return sorted(colors, key=sum)


def night(colors: list[tuple[int, ...]]) -> Array:
    """Draw stars, a moon and a dark tree above hills."""
    dark, *middle, light = colors
    picture = np.full((_PX, _PX, 3), middle[0], np.uint8)
    picture[polygon([300, 250, 330, 290, 420, 420], [0, 140, 280, 511, 511, 0])] = middle[-1]  # type: ignore[no-untyped-call]
    picture[polygon([370, 340, 400, 360, 511, 511], [0, 200, 330, 511, 511, 0])] = dark  # type: ignore[no-untyped-call]
    picture[polygon([60, 220, 420, 420, 220], [110, 70, 60, 170, 150])] = dark  # type: ignore[no-untyped-call]
    for row, column, radius in ((90, 400, 52), (70, 220, 22), (150, 300, 18), (200, 440, 24), (50, 40, 20)):
        picture[disk((row, column), radius, shape=picture.shape[:2])] = light  # type: ignore[no-untyped-call]
    return picture


def field(colors: list[tuple[int, ...]]) -> Array:
    """Draw a field with trees under a sky with a cloud."""
    dark, green, gold, cloud, sky = colors
    picture = np.full((_PX, _PX, 3), sky, np.uint8)
    picture[ellipse(110, 330, 60, 150, shape=picture.shape[:2])] = cloud  # type: ignore[no-untyped-call]
    picture[polygon([290, 250, 300, 260, 360, 360], [0, 160, 300, 511, 511, 0])] = green  # type: ignore[no-untyped-call]
    picture[340:] = gold
    picture[polygon([50, 240, 400, 400, 240], [120, 80, 70, 180, 165])] = dark  # type: ignore[no-untyped-call]
    picture[ellipse(430, 370, 45, 110, shape=picture.shape[:2])] = green  # type: ignore[no-untyped-call]
    return picture


def doodles() -> None:
    """Paint two doodles: the style, its suggested map, the map that is painted, and the result."""
    rows = []
    for style, draw in (("starry-night", night), ("wheat-field", field)):
        suggested = impasto.suggest_map(style, labels=5)
        drawn = draw(colors_of(style))
        result = impasto.doodle(style, drawn, style_map=suggested, labels=5, size=_PX)
        (swatch,) = as_swatches([read_style(style)])
        rows += [swatch.image, suggested.image, read(drawn).image, result.image]
    save("doodle", rows, 4)


def analogies() -> None:
    """Paint a photo as another one was painted: A, A', B and B'."""
    a = read(skimage.data.astronaut())  # type: ignore[no-untyped-call]
    b = read(skimage.data.chelsea())  # type: ignore[no-untyped-call]
    rows = []
    for style in ("great-wave", "van-gogh-portrait"):
        painted = impasto.paint(a, style, size=_PX)
        result = impasto.analogy(a, read(painted.image), b, size=_PX)
        rows += [a.image, painted.image, b.image, result.image]
    save("analogy", rows, 4)


def textures() -> None:
    """Make textures: the style, a texture, a tile repeated four times, and a mix of two styles."""
    rows = []
    for style, other in (("great-wave", "red-fuji"), ("mosaic", "the-kiss")):
        (swatch,) = as_swatches([read_style(style)])
        whole = impasto.texture(style, size=f"{_PX}x{_PX}").image
        tile = impasto.texture(style, size=f"{_PX // 2}x{_PX // 2}", tileable=True).image
        mixed = impasto.texture([style, other], size=f"{_PX}x{_PX}").image
        rows += [swatch.image, whole, tile.tile(1, 1, 2, 2), mixed]
    save("texture", rows, 4)


def save(name: str, pictures: list[torch.Tensor], columns: int) -> None:
    """Save a sheet of square cells."""
    square = [resize(each, (_CELL, round(_CELL * each.shape[-1] / each.shape[-2]))) for each in pictures]
    write(_DOCS / f"{name}.jpg", sheet(square, columns, (_CELL, _CELL)), quality=88)
    print(_DOCS / f"{name}.jpg", flush=True)


def main() -> None:
    """Paint the selected pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("doodle", "analogy", "texture"))
    only = parser.parse_args().only
    for name, paint in (("doodle", doodles), ("analogy", analogies), ("texture", textures)):
        if only in (None, name):
            paint()


if __name__ == "__main__":
    main()
