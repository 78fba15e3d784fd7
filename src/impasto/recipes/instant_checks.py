"""What instant painting checks before it begins: that there is something to paint, and memory to paint it in."""

from collections.abc import Sequence

import torch

from impasto.errors import OptionError, ResourceError, ShapeError
from impasto.images import Picture, fitted_size
from impasto.options import InstantOptions
from impasto.recipes.coloring import check_colors, needs_pictures
from impasto.recipes.instant_painter import LARGEST_WHOLE_PX
from impasto.recipes.masking import Masking, MaskSources, read_masking
from impasto.recipes.starts import SMALLEST_SIDE, Style, as_swatches
from impasto.runtime.memory import available_memory

_FIXED_BYTES, _BYTES_OF_A_PAINTED_PIXEL, _BYTES_OF_A_PIXEL = 150 * 2**20, 750, 20
"""Of memory: at any size, for each pixel that is painted at once, and for each of the picture; see docs/benchmarks.md."""
_BYTES_OF_A_KEPT_PIXEL = 12
"""Of the photo, which is kept beside the painting where --color wants its colors afterwards."""


def check(photo: Picture, styles: Sequence[Style], masks: Masking | Sequence[Picture], options: InstantOptions) -> None:
    """Raise unless there is something to paint.

    Raises:
        ShapeError: a picture too small.
        OptionError: a wrong number of styles, weights or masks.
    """
    if not styles:
        raise OptionError("no style was given; give a picture or a named style (see impasto styles list)")
    if options.style_weights and len(options.style_weights) != len(styles):
        raise OptionError(
            f"--style-weights has {len(options.style_weights)} values for {len(styles)} styles; give one for each style"
        )
    shown = [("content", photo), *(("style", style) for style in styles if isinstance(style, Picture))]
    for role, picture in shown:
        if min(picture.size) < 8:
            raise ShapeError(
                f"{role} {picture.name!r} has {picture.size[1]}x{picture.size[0]} pixels, too few to see anything; "
                "both sides must be at least 8"
            )
    check_colors(with_swatches(styles, options), options)
    as_masking(masks, photo, styles)
    size = planned_size(photo, options)
    if min(size) < SMALLEST_SIDE:
        raise ShapeError(
            f"content {photo.name!r} would be {size[1]}x{size[0]} pixels; both sides must be at least {SMALLEST_SIDE}: "
            "use a larger --size, enlarge it, or crop it"
        )


def with_swatches(styles: Sequence[Style], options: InstantOptions) -> tuple[Style, ...]:
    """Put the swatch of each named style in its place, where color control asks for pixels.

    Raises:
        StyleFileError: a style has no swatch, or a damaged one.
    """
    return as_swatches(styles) if needs_pictures(options) else tuple(styles)


def predicted_memory(size: tuple[int, int], *, is_colored: bool = False) -> int:
    """Predict the bytes that painting at a size takes at its peak, beyond the program itself."""
    pixels, bytes_each = size[0] * size[1], _BYTES_OF_A_PIXEL + _BYTES_OF_A_KEPT_PIXEL * is_colored
    return _FIXED_BYTES + _BYTES_OF_A_PAINTED_PIXEL * min(pixels, LARGEST_WHOLE_PX) + bytes_each * pixels


def check_memory(size: tuple[int, int], device: torch.device, *, is_colored: bool = False) -> None:
    """Raise unless the prediction fits into the memory that is free.

    Raises:
        ResourceError: it does not; the sentence says what would.
    """
    free, wanted = available_memory(device), predicted_memory(size, is_colored=is_colored)
    if free is not None and wanted > free:
        fits = int(max(size) * (_pixels_that_fit(free, is_colored=is_colored) / (size[0] * size[1])) ** 0.5)
        raise ResourceError(
            f"painting {size[1]}x{size[0]} pixels takes about {wanted / 2**30:.1f} GiB and {free / 2**30:.1f} are free; "
            f"use --size {max(SMALLEST_SIDE, fits // 100 * 100)}, or close other programs"
        )


def _pixels_that_fit(free: int, *, is_colored: bool) -> float:
    """Turn :func:`predicted_memory` around."""
    left, bytes_each = max(0, free - _FIXED_BYTES), _BYTES_OF_A_PIXEL + _BYTES_OF_A_KEPT_PIXEL * is_colored
    tiled = (left - LARGEST_WHOLE_PX * _BYTES_OF_A_PAINTED_PIXEL) / bytes_each
    return max(min(left / (_BYTES_OF_A_PAINTED_PIXEL + bytes_each), LARGEST_WHOLE_PX), tiled)


def as_masking(masks: Masking | Sequence[Picture], photo: Picture, styles: Sequence[Style]) -> Masking:
    """Return masks that were read as they are, and read those that are pictures: one for each style.

    Raises:
        OptionError: a wrong count, or a mask under which nothing would be painted.
    """
    return masks if isinstance(masks, Masking) else read_masking(MaskSources(style_masks=tuple(masks)), photo, styles)


def planned_size(photo: Picture, options: InstantOptions) -> tuple[int, int]:
    """Return (height, width) of the result: the photo's, or smaller."""
    longest = max(photo.size)
    return photo.size if options.size == 0 or longest <= options.size else fitted_size(photo.size, options.size)
