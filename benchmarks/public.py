"""Pictures of scikit-image, for benchmarks that anyone can run."""

from pathlib import Path

import skimage.data

import impasto
from impasto.images import fitted_size, resize, write
from impasto.tensors import Image


def photo(edge_px: int) -> Image:
    """Return a photo of a face, edge_px x edge_px. The original has 512 x 512 pixels; larger photos are enlarged."""
    pixels = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    return resize(impasto.read(pixels).image, (edge_px, edge_px))


def style(edge_px: int) -> Image:
    """Return a photo of a cup on a wooden table, as a style picture whose longer side has edge_px pixels."""
    image = impasto.read(skimage.data.coffee()).image  # type: ignore[no-untyped-call]
    height, width = image.shape[-2:]
    return resize(image, fitted_size((height, width), edge_px))


def files(folder: Path, edge_px: int) -> tuple[str, str]:
    """Write the photo and the style picture into a folder; return their paths."""
    paths = folder / "photo.png", folder / "style.png"
    for path, image in zip(paths, (photo(edge_px), style(edge_px)), strict=True):
        write(path, image)
    return str(paths[0]), str(paths[1])
