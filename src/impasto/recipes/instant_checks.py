"""Validation before instant painting: pictures, options, masks and available memory."""

from collections.abc import Sequence

import torch

from impasto.errors import ResourceError, ShapeError
from impasto.images import Picture, reduced_size
from impasto.options import InstantOptions
from impasto.recipes.checks import check_enough_pixels, check_styles
from impasto.recipes.coloring import check_colors, needs_pictures
from impasto.recipes.instant_painter import LARGEST_WHOLE_PX
from impasto.recipes.masking import Masking, MaskSources, read_masking
from impasto.recipes.starts import SMALLEST_SIDE, Style, as_swatches
from impasto.runtime.amounts import amount
from impasto.runtime.memory import available_memory

_FIXED_BYTES, _BYTES_OF_A_PAINTED_PIXEL, _BYTES_OF_A_PIXEL = 150 * 2**20, 750, 20
"""Memory in bytes: a fixed part, a part for each pixel that is painted at the same time (at most ``LARGEST_WHOLE_PX`` pixels),
and a part for each pixel of the picture; see docs/benchmarks.md.
"""
_BYTES_OF_A_KEPT_PIXEL = 12
"""Additional bytes per pixel if color control keeps a copy of the photo."""


def check(photo: Picture, styles: Sequence[Style], masks: Masking | Sequence[Picture], options: InstantOptions) -> None:
    """Raise unless the inputs can be painted.

    Raises:
        ShapeError: a picture is too small.
        OptionError: a wrong number of styles, weights or masks, or incompatible color options.
    """
    check_enough_pixels("content", photo, "photo")
    check_inputs(styles, options)
    as_masking(masks, photo, styles)
    check_side(photo.name, reduced_size(photo.size, options.size))


def check_inputs(styles: Sequence[Style], options: InstantOptions) -> None:
    """Raise unless the styles can be painted in, with the color options.

    Raises:
        ShapeError: a style picture is too small.
        OptionError: a wrong number of styles or weights, or incompatible color options.
    """
    check_styles(styles, options.style_weights)
    for style in styles:
        if isinstance(style, Picture):
            check_enough_pixels("style", style, "style")
    check_colors(with_swatches(styles, options), options)


def check_side(name: str, size: tuple[int, int]) -> None:
    """Raise unless a result of a size (height, width) can be painted.

    Raises:
        ShapeError: a side is too short.
    """
    if min(size) < SMALLEST_SIDE:
        raise ShapeError(
            f"content {name!r} would be {size[1]}x{size[0]} pixels; both sides must be at least {SMALLEST_SIDE}: "
            "use a larger --size, or enlarge or crop the photo"
        )


def with_swatches(styles: Sequence[Style], options: InstantOptions) -> tuple[Style, ...]:
    """Replace each named style by its swatch if color control needs pixels.

    Raises:
        StyleFileError: a style has no swatch, or its swatch is damaged.
    """
    return as_swatches(styles) if needs_pictures(options) else tuple(styles)


def predicted_memory(size: tuple[int, int], *, is_colored: bool = False) -> int:
    """Predict the peak memory, in bytes, of painting at a size; the memory of the program itself is not included."""
    pixels, bytes_each = size[0] * size[1], _BYTES_OF_A_PIXEL + _BYTES_OF_A_KEPT_PIXEL * is_colored
    return _FIXED_BYTES + _BYTES_OF_A_PAINTED_PIXEL * min(pixels, LARGEST_WHOLE_PX) + bytes_each * pixels


def check_memory(size: tuple[int, int], device: torch.device, *, is_colored: bool = False) -> None:
    """Raise unless the predicted memory is available.

    Raises:
        ResourceError: not enough memory; the message says which size would fit.
    """
    free, wanted = available_memory(device), predicted_memory(size, is_colored=is_colored)
    if free is not None and wanted > free:
        fits = int(max(size) * (_pixels_that_fit(free, is_colored=is_colored) / (size[0] * size[1])) ** 0.5)
        raise ResourceError(
            f"painting {size[1]}x{size[0]} pixels needs about {amount(wanted)} of memory, but only "
            f"{amount(free)} are free; use --size {max(SMALLEST_SIDE, fits // 100 * 100)}, or close other programs"
        )


def _pixels_that_fit(free: int, *, is_colored: bool) -> float:
    """Return the number of pixels that fit into free memory, the inverse of :func:`predicted_memory`."""
    left, bytes_each = max(0, free - _FIXED_BYTES), _BYTES_OF_A_PIXEL + _BYTES_OF_A_KEPT_PIXEL * is_colored
    tiled = (left - LARGEST_WHOLE_PX * _BYTES_OF_A_PAINTED_PIXEL) / bytes_each
    return max(min(left / (_BYTES_OF_A_PAINTED_PIXEL + bytes_each), LARGEST_WHOLE_PX), tiled)


def as_masking(masks: Masking | Sequence[Picture], photo: Picture, styles: Sequence[Style]) -> Masking:
    """Return a :class:`Masking` unchanged; read a sequence of pictures as style masks, one per style.

    Raises:
        OptionError: a wrong number of masks, or a mask that leaves nothing to paint.
    """
    return masks if isinstance(masks, Masking) else read_masking(MaskSources(style_masks=tuple(masks)), photo, styles)
