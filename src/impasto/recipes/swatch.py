"""Swatches: textures painted in a style. A swatch replaces the picture from which the style was measured.

Pieces of the whole picture are shuffled into a collage, and the neighbors recipe paints the collage in the style of the
picture. A swatch therefore has the strokes, palette and shapes of the picture, but not its composition.
"""

import math

import torch
from torch import Tensor

from impasto.images import Picture, fitted_size, resize
from impasto.options import Run
from impasto.recipes import gatys, neighbors
from impasto.recipes.presets import paint_options
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image

SWATCH_PX = 512
_PIECES = 5
"""Number of pieces along each side of the collage."""


@in_known_state
def paint_swatch(picture: Picture, run: Run | None = None, size: int = SWATCH_PX) -> Image:
    """Paint a square swatch of a picture.

    Args:
        picture: the style.
        run: device, precision and seed.
        size: side length in pixels.

    Returns:
        (1, 3, size, size), sRGB in [0, 1].
    """
    run = run or Run()
    small = resize(picture.image, fitted_size(picture.size, round(1.25 * size)))
    content = Picture(collage(small, size, run.seed), None, picture.metadata, "collage", "")
    options = paint_options(size=size, content_weight=0.5, coherence=0.03, smallest_size=128, steps=16)
    image = content.image
    for step in neighbors.paint_steps(gatys.set_up(content, [picture], options, run)):
        image = step.image
    return image


def collage(image: Image, size: int, seed: int) -> Image:
    """Make a collage of irregular (Voronoi) cells that are filled with pieces from all parts of an image.

    Args:
        image: (1, 3, height, width).
        size: side length of the collage in pixels.
        seed: random seed for the cells and their order.

    Returns:
        (1, 3, size, size).
    """
    random = torch.Generator().manual_seed(seed)
    height, width = image.shape[-2:]
    places = _scattered(_PIECES, random) * size
    down = max(1, round(_PIECES * math.sqrt(height / width)))
    across = math.ceil(len(places) / down)
    corners = torch.cartesian_prod(torch.arange(down), torch.arange(across))
    sources = (corners[: len(places)] + torch.rand(len(places), 2, generator=random)) / torch.tensor([down, across])
    sources = sources[torch.randperm(len(places), generator=random)] * torch.tensor([height, width])
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    points = torch.stack([rows, columns], dim=-1).float()
    nearest = torch.cdist(points.reshape(-1, 2), places).argmin(1).reshape(size, size)
    offset = (sources - places).round().long()[nearest]
    row, column = _mirrored(rows + offset[..., 0], height), _mirrored(columns + offset[..., 1], width)
    return image[..., row, column].contiguous()


def _scattered(count: int, random: torch.Generator) -> Tensor:
    """Sample one point in each cell of a grid over the unit square: (count², 2)."""
    corners = torch.cartesian_prod(torch.arange(count), torch.arange(count))
    return (corners + torch.rand(count * count, 2, generator=random)) / count


def _mirrored(index: Tensor, length: int) -> Tensor:
    """Reflect out-of-range indices back into ``range(length)``."""
    index = index.remainder(2 * length)
    return torch.minimum(index, 2 * length - 1 - index)
