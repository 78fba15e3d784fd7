"""Paint the pictures of the documentation: sample photos in the shipped styles, and contact sheets.

python benchmarks/gallery.py                       # docs/gallery.jpg, docs/gallery/*.jpg and docs/statistics.jpg
python benchmarks/gallery.py --only statistics     # docs/statistics.jpg alone; needs the folder of measuring material
"""

import argparse
from pathlib import Path
from typing import Any

import skimage.data
import torch

import impasto
import ruler
from impasto.images import fitted_size, resize, write
from impasto.styles import shipped_styles

_PHOTOS = {"astronaut": skimage.data.astronaut, "chelsea": skimage.data.chelsea}
_DOCS = Path(__file__).resolve().parents[1] / "docs"
_PAINTING = "20545.jpg"
"""One of the CC0 paintings among the measuring material; only results painted with it are kept."""

_WAYS: dict[str, dict[str, Any]] = {
    "gram-moments": {},
    "sliced": {"statistics": "sliced"},
    "histogram": {"statistics": "histogram"},
    "relaxed-emd": {"statistics": "relaxed-emd"},
    "patches": {"statistics": "patches"},
    "chained": {"statistics": "chained"},
    "shifted": {"statistics": "gram", "activation_shift": -1.0},
    "self-similarity": {"content_comparison": "self-similarity"},
    "nnst": {"recipe": "nnst"},
    "strotss": {"recipe": "strotss"},
}
"""What docs/statistics.md shows, in its order."""


def sheet(pictures: list[torch.Tensor], columns: int, cell: tuple[int, int]) -> torch.Tensor:
    """Lay pictures out on a white sheet, each fitted into a cell of (height, width)."""
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


def statistics(size: int) -> None:
    """Paint one photo in the manner of one painting by every statistic and whole method."""
    photo = impasto.read(skimage.data.chelsea())  # type: ignore[no-untyped-call]
    style = impasto.read(ruler.shared() / "paintings_cc0" / _PAINTING)
    pictures = []
    for name, options in _WAYS.items():
        pictures.append(impasto.paint(photo, style, size=size, **options).image)
        print(name, flush=True)
    write(_DOCS / "statistics.jpg", sheet(pictures, 3, (256, 384)), quality=85)


def styles() -> None:
    """Paint every sample photo in every shipped style."""
    folder = _DOCS / "gallery"
    folder.mkdir(parents=True, exist_ok=True)
    names = list(shipped_styles())
    lines = [
        "# Gallery",
        "",
        "Every picture here was painted by `make docs` with the defaults, from photos in `skimage.data` and",
    ]
    lines += ["named styles that come with impasto: statistics of CC0 paintings. No style picture is needed to paint them.", ""]
    for name, load in _PHOTOS.items():
        photo = impasto.read(load())  # type: ignore[no-untyped-call]
        pictures = [resize(photo.image, fitted_size(photo.size, 512))]
        for style in names:
            pictures.append(impasto.paint(photo, style).image)
            print(name, style, flush=True)
        write(folder / f"{name}.jpg", sheet(pictures, 3, (300, 380)), quality=85)
        lines += [f"## {name}", "", f"The photo, then {', '.join(names)}.", "", f"![{name}](gallery/{name}.jpg)", ""]
        if name == "astronaut":
            write(_DOCS / "gallery.jpg", sheet(pictures[:6], 3, (320, 320)), quality=85)
    (_DOCS / "gallery.md").write_text("\n".join(lines))


def main() -> None:
    """Paint what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("styles", "statistics"))
    parser.add_argument("--size", type=int, default=384, help="of the pictures of docs/statistics.jpg")
    asked = parser.parse_args()
    if asked.only != "statistics":
        styles()
    if asked.only != "styles":
        statistics(asked.size)


if __name__ == "__main__":
    main()
