"""Training photos: those in a folder, or the built-in ones."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from impasto import images
from impasto.errors import ImageFileError
from impasto.images import fitted_size, resize

Pixels = npt.NDArray[np.float32]

SHORTER_PX = 512
"""Photos are reduced until their shorter side has this many pixels; the side of a crop is at least half of that."""
MOST_PHOTOS = 1000
"""Maximum number of photos to read; if a folder contains more, this many are selected at random."""
_SMALLEST_PX = 64
_BUILT_IN = ("astronaut", "chelsea", "coffee", "rocket")
_SCENES = 28
_SCENE_PX = (384, 512)
_PIECES = (20, 90)


def photos_in(folder: Path, seed: int = 0) -> Iterator[Tensor | ImageFileError]:
    """Read the photos in a folder and its subfolders, each (3, height, width), uint8; yield errors for unreadable ones.

    Raises:
        ImageFileError: there is no such folder.
    """
    if not folder.is_dir():
        raise ImageFileError(f"there is no folder '{folder}'; give a folder of photos")
    paths = sorted(each for each in folder.rglob("*") if each.is_file() and not each.name.startswith("."))
    if len(paths) > MOST_PHOTOS:
        chosen = np.random.default_rng(seed).permutation(len(paths))[:MOST_PHOTOS]
        paths = [paths[index] for index in sorted(chosen)]
    for path in paths:
        try:
            yield as_training_photo(images.read(path, longest_px=4 * SHORTER_PX).image, path.name)
        except ImageFileError as error:
            yield error


def as_training_photo(image: Tensor, name: str) -> Tensor:
    """Reduce a photo, (1, 3, height, width), to training size: (3, height, width), uint8.

    Raises:
        ImageFileError: the photo is too small.
    """
    height, width = image.shape[-2:]
    shorter = min(height, width)
    if shorter < _SMALLEST_PX:
        raise ImageFileError(f"'{name}' is {width} x {height} pixels; training photos need sides of {_SMALLEST_PX} or more")
    if shorter > SHORTER_PX:
        image = resize(image, fitted_size((height, width), round(max(height, width) * SHORTER_PX / shorter)))
    return torch.from_numpy(images.to_array(image)).permute(2, 0, 1).contiguous()


def built_in_photos(seed: int = 0) -> list[Tensor]:
    """Return scikit-image's photos, and synthetic scenes made of parts of these photos: each (3, height, width), uint8."""
    import skimage.data

    photos = [torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1).contiguous() for name in _BUILT_IN]
    random = np.random.default_rng(seed)
    return photos + [_scene(photos, random) for _ in range(_SCENES)]


def _scene(photos: list[Tensor], random: np.random.Generator) -> Tensor:
    """Make a scene: a sky with a smooth gradient, and overlapping shapes of many sizes, filled with colors or parts of photos.

    Source: the dead leaves model of Lee, Mumford and Huang 2001, whose statistics are close to those of natural images.
    """
    height, width = _SCENE_PX
    top, bottom = random.uniform(0, 1, (2, 3, 1, 1)).astype(np.float32)
    picture = np.repeat(top + (bottom - top) * np.linspace(0, 1, height, dtype=np.float32)[:, None], width, axis=2)
    for _ in range(random.integers(*_PIECES)):
        _add_piece(picture, photos, random)
    return torch.from_numpy((255 * picture.clip(0, 1)).round().astype(np.uint8))


def _add_piece(picture: Pixels, photos: list[Tensor], random: np.random.Generator) -> None:
    """Draw one shape into a scene, (3, height, width), in place."""
    height, width = picture.shape[1:]
    radius = int(min(height, 12 * random.pareto(1.2) + 8))
    row, column = int(random.integers(height)), int(random.integers(width))
    area = (slice(max(0, row - radius), row + radius), slice(max(0, column - radius), column + radius))
    rows, columns = (np.arange(length, dtype=np.float32)[part] for length, part in zip((height, width), area, strict=True))
    down, across = np.meshgrid((rows - row) / radius, (columns - column) / radius, indexing="ij")
    angle, stretch = random.uniform(0, np.pi), random.uniform(0.3, 0.7)
    along = np.abs(across * np.cos(angle) + down * np.sin(angle)) / 0.7
    beside = np.abs(down * np.cos(angle) - across * np.sin(angle)) / stretch
    form = random.choice([1.0, 2.0, 8.0])  # diamonds, ellipses, rectangles
    target = picture[:, area[0], area[1]]
    filling = _filling(photos, (len(rows), len(columns)), random)
    np.copyto(target, filling, where=along**form + beside**form < 1)


def _filling(photos: list[Tensor], size: tuple[int, int], random: np.random.Generator) -> Pixels:
    """Return the filling of a shape: a shaded color, or a part of a photo, randomly mirrored, enlarged and recolored."""
    if random.random() < 0.4:
        shading = random.uniform(-0.3, 0.3, (3, 1, 1)) * np.linspace(-1, 1, size[1])
        return np.repeat(random.uniform(0, 1, (3, 1, 1)) + shading, size[0], axis=1).astype(np.float32)
    photo = photos[random.integers(len(photos))]
    side = int(random.integers(64, min(photo.shape[1:])))
    y, x = (int(random.integers(length - side + 1)) for length in photo.shape[1:])
    part = photo[None, :, y : y + side, x : x + side].float() / 255
    part = F.interpolate(part, size=size, mode="bilinear", antialias=True, align_corners=False)
    part = part.flip(-1) if random.random() < 0.5 else part
    mixed = np.eye(3) * random.uniform(0.6, 1.3) + random.normal(0, 0.15, (3, 3))
    recolored: Pixels = np.einsum("ij,jhw->ihw", mixed.astype(np.float32), part[0].numpy())
    return recolored
