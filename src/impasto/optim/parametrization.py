"""Parametrizations of the picture: the tensors ("planes") that the optimizer updates.

``pixels``: the picture itself.
``soft-chroma``: one luma plane at full resolution and two color planes at half resolution, as in JPEG. Style losses hardly
respond to color noise one or two pixels wide and would not remove it; color planes at half resolution cannot represent it.
``laplacian``: a Laplacian pyramid of five sizes, each half of the previous one. A step of the optimizer changes broad areas as
easily as single pixels.
``soft-laplacian``: ``soft-chroma`` and ``laplacian`` combined, with one pyramid of the luma plane at full resolution, and one
pyramid of the two color planes at half resolution.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.color.transfer import LUMA
from impasto.options import Canvas
from impasto.runtime.resampling import Side, bilinear_part, sources
from impasto.runtime.torch_state import known_state
from impasto.tensors import Image

with known_state():  # independent of the caller's torch defaults at import time
    LUMA_AND_CHROMA = torch.tensor([LUMA, [0.5, -0.5, 0.0], [0.25, 0.25, -0.5]])
    """The matrix that converts sRGB to luma and two color differences."""
    LUMA_AND_CHROMA_INVERSE = torch.linalg.inv(LUMA_AND_CHROMA)
_LEVELS = 5
_STRIP_ROWS = 256


def to_planes(image: Image, canvas: Canvas) -> list[Tensor]:
    """Convert a picture (batch, 3, height, width) to the planes that are optimized."""
    if canvas == "pixels":
        return [image.clone()]
    if canvas == "laplacian":
        return to_laplacian(image)
    luma_and_chroma = mix(image, LUMA_AND_CHROMA)
    height, width = image.shape[-2:]
    half = ((height + 1) // 2, (width + 1) // 2)
    color = F.interpolate(luma_and_chroma[:, 1:], size=half, mode="bilinear", antialias=True, align_corners=False)
    if canvas == "soft-laplacian":
        return [*to_laplacian(luma_and_chroma[:, :1]), *to_laplacian(color, _LEVELS - 1)]
    return [luma_and_chroma[:, :1].clone(), color]


def to_planes_sparingly(image: Image, canvas: Canvas) -> list[Tensor]:
    """Compute :func:`to_planes` with less memory: one plane after the other."""
    if not canvas.startswith("soft"):
        return to_planes(image, canvas)
    height, width = image.shape[-2:]
    half = ((height + 1) // 2, (width + 1) // 2)
    colors = [
        F.interpolate(mix(image, row), size=half, mode="bilinear", antialias=True, align_corners=False)
        for row in LUMA_AND_CHROMA[1:].split(1)
    ]
    color = torch.cat(colors, dim=1)
    del colors
    if canvas == "soft-chroma":
        return [mix(image, LUMA_AND_CHROMA[:1]), color]
    of_color = _in_place(color, _LEVELS - 1)
    return [*_in_place(mix(image, LUMA_AND_CHROMA[:1]), _LEVELS), *of_color]


def _in_place(image: Image, levels: int) -> list[Tensor]:
    """Compute :func:`to_laplacian`, but turn the picture itself into the finest plane, strip by strip."""
    height, width = image.shape[-2:]
    half = ((height + 1) // 2, (width + 1) // 2)
    small = F.interpolate(image, size=half, mode="bilinear", antialias=True, align_corners=False)
    for top, strip in enlarged_strips(small, (height, width)):
        image[..., top : top + strip.shape[-2], :] -= strip
    return [image, *to_laplacian(small, levels - 1)]


def enlarged_strips(image: Tensor, size: tuple[int, int]) -> Iterator[tuple[int, Tensor]]:
    """Enlarge a picture or a plane by bilinear interpolation; yield strips of rows, each with its first row."""
    height, width = size
    columns = Side(image.shape[-1], width, 0, width)
    for top in range(0, height, _STRIP_ROWS):
        rows = Side(image.shape[-2], height, top, min(top + _STRIP_ROWS, height))
        first, last = sources(*rows)
        yield top, bilinear_part(image[..., first:last, :], (rows, columns))


def to_image(planes: list[Tensor], canvas: Canvas) -> Image:
    """Convert planes back to a picture (batch, 3, height, width), without clamping."""
    if canvas == "pixels":
        return planes[0]
    if canvas == "laplacian":
        return from_laplacian(planes)
    if canvas == "soft-laplacian":
        planes = [from_laplacian(planes[:_LEVELS]), from_laplacian(planes[_LEVELS:])]
    luma, color = planes
    color = F.interpolate(color, size=luma.shape[-2:], mode="bilinear", align_corners=False)
    return mix(torch.cat([luma, color], dim=1), LUMA_AND_CHROMA_INVERSE)


def to_laplacian(image: Image, levels: int = _LEVELS) -> list[Tensor]:
    """Build a Laplacian pyramid: the differences between each size and the next smaller one, then the smallest picture.

    The planes are sorted from fine to coarse.

    Source:
        Burt and Adelson 1983; used for style transfer by Kolkin et al. 2019. Pictures are shrunk by averaging and enlarged by
        linear interpolation, so any size works; each size is half the previous one, down to one pixel.
    """
    planes = []
    for _ in range(levels - 1):
        height, width = image.shape[-2:]
        half = ((height + 1) // 2, (width + 1) // 2)
        small = F.interpolate(image, size=half, mode="bilinear", antialias=True, align_corners=False)
        planes.append(image - enlarged(small, image))
        image = small
    return [*planes, image.clone()]


def from_laplacian(planes: list[Tensor]) -> Image:
    """Reconstruct a picture from its pyramid; exact up to rounding."""
    image = planes[-1]
    for plane in reversed(planes[:-1]):
        image = enlarged(image, plane) + plane
    return image


def enlarged(small: Image, like: Image) -> Image:
    """Enlarge a picture to the size of another."""
    return F.interpolate(small, size=like.shape[-2:], mode="bilinear", align_corners=False)


def mix(image: Tensor, matrix: Tensor) -> Tensor:
    """Mix the three planes of a picture with a 3 × 3 matrix."""
    return torch.einsum("ij,bjhw->bihw", matrix.to(image), image)


# ---------------------------------------------------------------------------------------------------- parts of a picture


class Window(NamedTuple):
    """A range of rows, ``top`` to ``bottom``, and of columns, ``left`` to ``right``."""

    top: int
    bottom: int
    left: int
    right: int


class Leaf(NamedTuple):
    """A part of a plane: the plane's index, the part, and a copy of its values."""

    plane: int
    window: Window
    values: Tensor


def part_of_image(planes: list[Tensor], canvas: Canvas, window: Window) -> tuple[Image, list[Leaf]]:
    """Compute a part of :func:`to_image` from copies of parts of the planes; it is differentiable with respect to the copies.

    Args:
        planes: the planes of the whole picture.
        canvas: their parametrization.
        window: the part, in pixels.

    Returns:
        The part, (1, 3, height, width), without clamping, and the copies.
    """
    leaves: list[Leaf] = []
    if canvas == "pixels":
        return _leaf(planes, 0, window, leaves), leaves
    if canvas == "laplacian":
        return _from_pyramid(planes, range(len(planes)), window, leaves), leaves
    levels = _LEVELS if canvas == "soft-laplacian" else 1
    luma = _from_pyramid(planes, range(levels), window, leaves)
    inner, sides = _source(planes[levels], planes[0], window)
    color = bilinear_part(_from_pyramid(planes, range(levels, len(planes)), inner, leaves), sides)
    return mix(torch.cat([luma, color], dim=1), LUMA_AND_CHROMA_INVERSE), leaves


@torch.no_grad()
def image_of(planes: list[Tensor], canvas: Canvas, margin: int = 0) -> Image:
    """Compute :func:`to_image` in strips to save memory; omit ``margin`` pixels at each edge, and clamp to [0, 1]."""
    height, width = planes[0].shape[-2:]
    image = planes[0].new_empty(planes[0].shape[0], 3, height - 2 * margin, width - 2 * margin)
    for top in range(0, image.shape[-2], _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, image.shape[-2])
        part, _ = part_of_image(planes, canvas, Window(margin + top, margin + bottom, margin, width - margin))
        image[..., top:bottom, :] = part.clamp_(0, 1)
    return image


def _leaf(planes: list[Tensor], index: int, window: Window, leaves: list[Leaf]) -> Tensor:
    values = planes[index].detach()[..., window.top : window.bottom, window.left : window.right].clone()
    leaves.append(Leaf(index, window, values.requires_grad_(torch.is_grad_enabled())))
    return values


def _from_pyramid(planes: list[Tensor], levels: range, window: Window, leaves: list[Leaf]) -> Tensor:
    """Compute a part of :func:`from_laplacian` for the planes ``levels``."""
    plane = _leaf(planes, levels[0], window, leaves)
    if len(levels) == 1:
        return plane
    inner, sides = _source(planes[levels[1]], planes[levels[0]], window)
    return bilinear_part(_from_pyramid(planes, levels[1:], inner, leaves), sides) + plane


def _source(small: Tensor, large: Tensor, window: Window) -> tuple[Window, tuple[Side, Side]]:
    """Return the part of the small plane that determines a window of the large one, and the sides for :func:`bilinear_part`."""
    rows = Side(small.shape[-2], large.shape[-2], window.top, window.bottom)
    columns = Side(small.shape[-1], large.shape[-1], window.left, window.right)
    return Window(*sources(*rows), *sources(*columns)), (rows, columns)
