"""The start of painting: planned sizes, margin and initial picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from impasto import images
from impasto.errors import OptionError
from impasto.features.statistics import Moments, moments
from impasto.images import Picture, fitted_size, resize
from impasto.optim.engine import Size
from impasto.optim.parametrization import to_laplacian
from impasto.options import PaintOptions
from impasto.runtime.memory import return_freed_memory
from impasto.styles.named import NamedStyle
from impasto.tensors import Image

Style = Picture | NamedStyle
"""A style: a picture, or a named style (statistics)."""

SMALLEST_SIDE = 32
"""Smallest side in pixels that the encoder can process."""

MOST_ENLARGED = 1.25
"""A style is enlarged by at most this factor, because strokes of a greatly enlarged picture are blurred."""
BASE_PX, _LARGE_PX = 512, 1024
"""A picture with a longer side above the second value is first painted like a picture of the first one."""
_SMALL_STYLE_PX = 128
"""Up to this size, a style is always as large as the painting."""
_MEAN_COLOUR = (123.68, 116.779, 103.939)


def planned_sizes(size: Size, options: PaintOptions, base: Size | None = None) -> tuple[tuple[Size, int], ...]:
    """Plan the sizes to paint, coarse to fine, each with its number of steps; the last one is ``size``.

    Args:
        size: (height, width) of the largest size, with its margin.
        options: how to paint.
        base: see :func:`base_size`.
    """
    longest = max(size)
    if base is not None:
        count = max(1, round(math.log(longest / max(base)) / math.log(options.scale_factor)))
        edges = [round(max(base) * (longest / max(base)) ** (k / count)) for k in range(1, count)]
        larger = (*(fitted_size(size, edge) for edge in edges), size)
        return (*planned_sizes(base, options), *((each, options.steps) for each in larger))
    smallest = min(longest, max(options.smallest_size, math.ceil(SMALLEST_SIDE * longest / min(size))))
    count = max(1, round(math.log(longest / smallest) / math.log(options.scale_factor)) + 1)
    edges = [round(longest * (smallest / longest) ** (1 - k / (count - 1))) for k in range(count - 1)] if count > 1 else []
    sizes = [*(fitted_size(size, edge) for edge in edges), size]
    steps = [round(options.steps * options.step_growth ** (len(sizes) - 1 - k)) for k in range(len(sizes))]
    steps[0] = options.first_steps or steps[0]
    planned = tuple(zip(sizes, steps, strict=True))
    if options.recipe == "nnst":  # its last pass repeats the last size
        planned = (*planned, (size, max(1, options.steps // 3)))
    return planned


def base_size(size: Size, styles: Sequence[Size], options: PaintOptions) -> Size | None:
    """Return the size up to which a large picture is painted like a small one, with its margin. Larger sizes continue it.

    Otherwise, the strokes would become finer, because a style is hardly enlarged, and the photo would show through.

    Args:
        size: (height, width) of the result, without margin.
        styles: (height, width) of each style picture.
        options: how to paint.

    Returns:
        (height, width); None if the picture is small, if the styles are large enough, or if the recipe is not ``neighbors``.
    """
    is_large = max(size) > _LARGE_PX and any(most_style_px(each) < max(size) for each in styles)
    if options.recipe != "neighbors" or not is_large or options.smallest_size >= BASE_PX:
        return None
    base = fitted_size(size, BASE_PX)
    if min(base) < SMALLEST_SIDE:
        return None
    margin = margin_px(base, options)
    return base[0] + 2 * margin, base[1] + 2 * margin


def margin_px(size: Size, options: PaintOptions) -> int:
    """Return the width of the margin of a size; a reflected margin must be narrower than the picture."""
    return min(round(options.margin * max(size)), min(size) - 1)


@dataclass(frozen=True)
class Checkpoint:
    """The state of an interrupted painting.

    Attributes:
        picture: the last picture, (1, 3, height, width), without margin; or its file, which :meth:`loaded` reads. With a file,
            the picture does not take memory while the painting is planned.
        scale: index of the current size, from 0.
        done: number of steps completed at that size.
    """

    picture: Image | Path
    scale: int
    done: int

    def loaded(self) -> Image:
        """Return the last picture.

        Raises:
            ImageFileError: the file cannot be read.
        """
        if not isinstance(self.picture, Path):
            return self.picture
        image = images.read(self.picture).image
        return_freed_memory()  # reading a large file frees many blocks
        return image


def remaining(sizes: Sequence[tuple[Size, int]], checkpoint: Checkpoint) -> tuple[tuple[Size, int], ...]:
    """Return the remaining sizes, each with its number of remaining steps.

    Example:
        >>> remaining([((32, 32), 5), ((64, 64), 5)], Checkpoint(torch.zeros(1, 3, 32, 32), scale=0, done=2))
        (((32, 32), 3), ((64, 64), 5))
    """
    (size, count), *later = sizes[checkpoint.scale :]
    left = max(0, count - checkpoint.done)
    return ((size, left), *later) if left else tuple(later)


def starting_picture(photo: Image, styles: Sequence[Style], options: PaintOptions, seed: int) -> Image:
    """Make the initial picture, at the photo's size.

    ``gray`` is the mean color of ImageNet. ``blend`` is the initial picture of the deeplearning.ai assignment: noise of ±20/255
    around that gray, mixed into the photo. ``outline`` is the initial picture of STROTSS: the photo's finest details on the
    style's mean color.
    """
    noise = torch.rand(photo.shape, generator=torch.Generator().manual_seed(seed)).to(photo.device)
    gray = photo.new_tensor(_MEAN_COLOUR)[None, :, None, None] / 255
    if options.init == "content":
        return photo.clone()
    if options.init == "noise":
        return noise
    if options.init == "gray":
        return gray.expand_as(photo).clone()
    if options.init == "blend":
        return torch.lerp(photo, gray + (noise - 0.5) * 40 / 255, options.init_noise).clamp(0, 1)
    if options.init == "style-statistics":
        return with_moments(noise, colors_of(styles[0])).clamp(0, 1)
    if options.init == "outline":
        return (to_laplacian(photo, levels=2)[0] + colors_of(styles[0]).mean.to(photo)[:, :, None, None]).clamp(0, 1)
    if options.init == "style":
        style = styles[0]
        if not isinstance(style, Picture):
            raise OptionError(
                f"--init style needs a style picture, but {style.name!r} is a named style; use --init style-statistics"
            )
        return resize(style.image.to(photo.device), (photo.shape[-2], photo.shape[-1]))
    return resize(images.read(options.init).image.to(photo.device), (photo.shape[-2], photo.shape[-1]))


def as_swatches(styles: Sequence[Style]) -> tuple[Picture, ...]:
    """Replace each named style by its swatch.

    Raises:
        StyleFileError: a style has no swatch, or its swatch is damaged.
    """
    return tuple(style.picture() if isinstance(style, NamedStyle) else style for style in styles)


def colors_of(style: Style) -> Moments:
    """Return the mean (1, 3) and covariance (1, 3, 3) of a style's colors."""
    return style.colors if isinstance(style, NamedStyle) else moments(style.image)


def with_moments(noise: Image, colors: Moments) -> Image:
    """Map uniform noise to the mean and covariance of the given colors."""
    values, vectors = torch.linalg.eigh(colors.covariance[0].cpu().to(noise.dtype))
    root = (vectors * values.clamp_min(0).sqrt() @ vectors.T).to(noise.device)
    white = (noise - 0.5) * math.sqrt(12)
    return torch.einsum("ij,bjhw->bihw", root, white) + colors.mean.to(noise)[:, :, None, None]


def with_margin(image: Image, margin: int) -> Image:
    """Pad a picture by reflection (by replication if the margin is too wide for that)."""
    if margin == 0:
        return image
    height, width = image.shape[-2:]
    if margin < min(height, width):
        return F.pad(image, (margin, margin, margin, margin), mode="reflect")
    return F.pad(image, (margin, margin, margin, margin), mode="replicate")


def without_margin(image: Image, margin: int) -> Image:
    """Crop the margin."""
    return image if margin == 0 else image[..., margin:-margin, margin:-margin]


def at_least(image: Image, edge_px: int) -> Image:
    """Pad a picture by replication until both sides have at least ``edge_px`` pixels."""
    height, width = image.shape[-2:]
    down, right = max(0, edge_px - height), max(0, edge_px - width)
    if not down and not right:
        return image
    return F.pad(image, (right // 2, right - right // 2, down // 2, down - down // 2), mode="replicate")


def style_edge_px(style: Size, edge_px: float, scale: float) -> int:
    """Return the longer side at which to encode a style picture.

    The style is as large as the painting, but enlarged by at most :data:`MOST_ENLARGED`.

    Args:
        style: (height, width) of the style picture.
        edge_px: longer side of the painting.
        scale: size of the strokes; the longer side is multiplied by it.

    Example:
        >>> style_edge_px((300, 400), 512, 1.0), style_edge_px((300, 400), 2048, 1.0), style_edge_px((300, 400), 2048, 2.0)
        (500, 500, 1000)
    """
    return round(min(edge_px, most_style_px(style)) * scale)


def most_style_px(style: Size) -> float:
    """Return the longer side to which a style picture, (height, width), is enlarged at most."""
    return max(_SMALL_STYLE_PX, MOST_ENLARGED * max(style))
