"""Paint the pictures of the documentation: sample photos in the bundled named styles.

python benchmarks/gallery.py                       # docs/gallery.jpg, gallery/*.jpg, gallery.md, statistics.jpg, recipes/*.jpg
python benchmarks/gallery.py --only statistics     # only docs/statistics.jpg
python benchmarks/gallery.py --only recipes        # only docs/recipes/*.jpg
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import skimage.data
import torch

import impasto
from impasto.images import fitted_size, resize, write
from impasto.options import Recipe
from impasto.styles.named import find_style

_PHOTOS = {
    "astronaut": (skimage.data.astronaut, ("starry-night", "great-wave", "the-kiss", "blue-horses", "udnie", "degas-dancers")),
    "chelsea": (
        skimage.data.chelsea,
        ("the-scream", "haeckel-jellyfish", "great-wave", "composition-vii", "beardsley", "wheat-field"),
    ),
    "coffee": (
        skimage.data.coffee,
        ("van-gogh-portrait", "mosaic", "mucha-reverie", "matisse-dance", "ink-landscape", "water-lilies"),
    ),
}
_LEAD = (
    ("astronaut", "starry-night"),
    ("astronaut", "great-wave"),
    ("astronaut", "blue-horses"),
    ("chelsea", "the-scream"),
    ("chelsea", "haeckel-jellyfish"),
    ("coffee", "van-gogh-portrait"),
)
"""The pictures at the top of the README."""
_DOCS = Path(__file__).resolve().parents[1] / "docs"

_GUIDED = [
    "## Doodles, analogies, textures",
    "",
    "See [doodles](doodle.md), [analogies](analogy.md) and [textures](texture.md).",
    "",
    *(
        f"![{title}]({name}.jpg)\n"
        for title, name in (("doodles", "doodle"), ("analogies", "analogy"), ("textures", "texture"))
    ),
]
"""The last section of docs/gallery.md; `benchmarks/guided_pictures.py` paints its pictures."""

_WAYS: dict[str, dict[str, Any]] = {
    "gram-moments": {"recipe": "gatys"},
    "sliced": {"recipe": "gatys", "statistics": "sliced"},
    "histogram": {"recipe": "gatys", "statistics": "histogram"},
    "relaxed-emd": {"recipe": "gatys", "statistics": "relaxed-emd"},
    "patches": {"recipe": "gatys", "statistics": "patches"},
    "chained": {"recipe": "gatys", "statistics": "chained"},
    "shifted": {"recipe": "gatys", "statistics": "gram", "activation_shift": -1.0},
    "self-similarity": {"recipe": "gatys", "content_comparison": "self-similarity"},
    "nnst": {"recipe": "nnst"},
    "strotss": {"recipe": "strotss"},
    "neighbors": {},
}
"""The pictures of docs/statistics.md, in the same order."""
_RECIPES: tuple[Recipe, ...] = ("neighbors", "gatys", "nnst", "strotss")


def sheet(pictures: list[torch.Tensor], columns: int, cell: tuple[int, int]) -> torch.Tensor:
    """Arrange pictures on a white sheet, each fitted into a cell of (height, width)."""
    rows = -(-len(pictures) // columns)
    height, width = cell
    paper = torch.ones(1, 3, rows * (height + 8) - 8, columns * (width + 8) - 8)
    for index, picture in enumerate(pictures):
        scale = min(height / picture.shape[-2], width / picture.shape[-1])
        small = resize(picture, (round(picture.shape[-2] * scale), round(picture.shape[-1] * scale)))
        top = index // columns * (height + 8) + (height - small.shape[-2]) // 2
        left = index % columns * (width + 8) + (width - small.shape[-1]) // 2
        paper[..., top : top + small.shape[-2], left : left + small.shape[-1]] = small
    return paper


def squared(picture: torch.Tensor, edge_px: int) -> torch.Tensor:
    """Crop the central square of a picture, and resize it."""
    height, width = picture.shape[-2:]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    return resize(picture[..., top : top + edge, left : left + edge].contiguous(), (edge_px, edge_px))


def statistics(size: int) -> None:
    """Paint one photo in one style with every statistic and recipe."""
    photo = impasto.read(skimage.data.chelsea())  # type: ignore[no-untyped-call]
    pictures = []
    for name, options in _WAYS.items():
        pictures.append(impasto.paint(photo, "the-scream", size=size, **options).image)
        print(name, flush=True)
    write(_DOCS / "statistics.jpg", sheet(pictures, 3, (256, 384)), quality=85)


def recipes(size: int) -> None:
    """Paint one photo in one style with every recipe; each picture shows photo, style and result."""
    folder = _DOCS / "recipes"
    folder.mkdir(exist_ok=True)
    photo = impasto.read(skimage.data.coffee())  # type: ignore[no-untyped-call]
    swatch = find_style("wheat-field").swatch
    results = {name: partial(impasto.paint, recipe=name) for name in _RECIPES} | {"instant": impasto.instant}
    for name, paint in results.items():
        result = paint(photo, "wheat-field", size=size).image
        row = [resize(photo.image, fitted_size(photo.size, size)), impasto.read(swatch).image, result]
        write(folder / f"{name}.jpg", sheet(row, 3, (round(size * 2 / 3), size)), quality=85)
        print(name, flush=True)


def styles() -> None:
    """Paint every sample photo in six styles, and make the sheet at the top of the README."""
    folder = _DOCS / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Gallery",
        "",
        "All pictures were painted by `make pictures` with the default options, at 512 pixels, from photos in `skimage.data`",
        "and named styles of impasto. To paint in one of these styles, give its name: `impasto paint photo.jpg starry-night`.",
        "",
    ]
    painted = {}
    for photo_name, (load, names) in _PHOTOS.items():
        photo = impasto.read(load())  # type: ignore[no-untyped-call]
        pictures = [resize(photo.image, fitted_size(photo.size, 512))]
        for name in names:
            pictures.append(impasto.paint(photo, name).image)
            painted[photo_name, name] = pictures[-1]
            print(photo_name, name, flush=True)
        write(folder / f"{photo_name}.jpg", sheet(pictures, 3, (round(420 * photo.size[0] / photo.size[1]), 420)), quality=88)
        titles = [f"{find_style(name).facts['title']} (`{name}`)" for name in names]
        lines += [f"## {photo_name}", "", f"The photo, then {', '.join(titles)}.", ""]
        lines += [f"![{photo_name} in six styles](gallery/{photo_name}.jpg)", ""]
    lines += _GUIDED
    write(_DOCS / "gallery.jpg", sheet([squared(painted[each], 420) for each in _LEAD], 3, (420, 420)), quality=88)
    (_DOCS / "gallery.md").write_text("\n".join(lines))


def main() -> None:
    """Paint the selected pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("styles", "statistics", "recipes"))
    parser.add_argument("--size", type=int, default=384, help="size of the pictures in docs/statistics.jpg and docs/recipes")
    given = parser.parse_args()
    if given.only in (None, "styles"):
        styles()
    if given.only in (None, "statistics"):
        statistics(given.size)
    if given.only in (None, "recipes"):
        recipes(given.size)


if __name__ == "__main__":
    main()
