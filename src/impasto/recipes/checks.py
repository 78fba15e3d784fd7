"""Validation before painting: pictures, layers, named styles and available memory."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from impasto.encoders import Vgg, load_encoder
from impasto.encoders.precision import Arithmetic
from impasto.encoders.vgg import BLOCKS, FULL_WIDTHS, each_width
from impasto.errors import OptionError, ResourceError, ShapeError, StyleFileError, nearest_name
from impasto.images import Picture, fitted_size
from impasto.optim.engine import Size
from impasto.optim.tiled import TilePlan
from impasto.options import INITS, PaintOptions, Run
from impasto.recipes.memory_plan import TiledMemory, bytes_of_value, floats_of_pixel
from impasto.recipes.neighbor_layers import PALETTE_LAYERS, layers_at
from impasto.recipes.starts import SMALLEST_SIDE, Style
from impasto.runtime.amounts import amount
from impasto.runtime.memory import available_memory, used_memory
from impasto.styles.named import NamedStyle

_FEWEST_PIXELS = 8


def check_pictures(content: Picture, styles: Sequence[Style], options: PaintOptions, *, is_masked: bool) -> None:
    """Raise unless the photo is large enough, there is at least one style, and each style has a weight."""
    check_enough_pixels("content", content, "photo")
    height, width = fitted_size(content.size, options.size)
    if min(height, width) < SMALLEST_SIDE:
        fits = math.ceil(SMALLEST_SIDE * max(content.size) / min(content.size))
        raise ShapeError(
            f"content {content.name!r} of {content.size[1]}x{content.size[0]} pixels would be {width}x{height} at "
            f"--size {options.size}; both sides must be at least {SMALLEST_SIDE}: use --size {fits} or more, or crop it"
        )
    check_styles(styles, options.style_weights)
    total = sum(options.style_weights)
    if options.style_weights and not is_masked and total <= 0:
        raise OptionError(
            f"--style-weights {list(options.style_weights)} sum to {total:g}; the sum must be above 0: increase a weight"
        )
    for style in styles:
        if isinstance(style, Picture):
            check_enough_pixels("style", style, "style")
    if options.init not in INITS and not os.path.exists(options.init):
        raise OptionError(
            f"--init {options.init!r} is neither a known init nor a picture file{nearest_name(options.init, INITS)}"
        )


def check_styles(styles: Sequence[Style], weights: Sequence[float]) -> None:
    """Raise unless there is at least one style, and either one weight for each style or no weights."""
    if not styles:
        raise OptionError("no style was given; give a picture or a named style (see impasto styles list)")
    if weights and len(weights) != len(styles):
        raise OptionError(f"--style-weights has {len(weights)} values for {len(styles)} styles; give one for each style")


def check_enough_pixels(role: str, picture: Picture, shown: str) -> None:
    """Raise unless both sides of a picture are long enough; ``shown`` is what it should show (for the message)."""
    if min(picture.size) < _FEWEST_PIXELS:
        raise ShapeError(
            f"{role} {picture.name!r} has {picture.size[1]}x{picture.size[0]} pixels, too few to show a {shown}; "
            f"both sides must be at least {_FEWEST_PIXELS}"
        )


def check_layers(encoder: Vgg, options: PaintOptions) -> None:
    """Raise unless the encoder has all layers that the recipe compares and all content and style layers."""
    missing = set(compared_layers(options, 0)).difference(encoder.layers)
    if missing and options.recipe == "neighbors":
        raise OptionError(
            f"--recipe neighbors compares {', '.join(sorted(missing))}, which {options.encoder} does not have; "
            "use --recipe gatys, or another encoder"
        )
    for name in ("content_layers", "style_layers"):
        for layer in getattr(options, name):
            if layer not in encoder.layers:
                kind = name.split("_")[0]
                raise OptionError(f"{kind} layer {layer!r} is not in {options.encoder}{nearest_name(layer, encoder.layers)}")


def check_named_styles(styles: Sequence[Style], encoder: Vgg, options: PaintOptions) -> None:
    """Raise unless every named style fits the encoder and its layers, and was measured with the current vgg19-slim."""
    for style in styles:
        if isinstance(style, NamedStyle) and not has_channels_of_vgg19(encoder):
            raise OptionError(
                f"style {style.name!r} contains statistics of VGG-19, which cannot be used with another network; "
                "give a picture, or use "
                "--encoder vgg19-slim"
            )
        if isinstance(style, NamedStyle) and style.facts["encoder_sha256"] != slim_encoder().sha256:
            raise StyleFileError(
                f"style {style.name!r} was measured with another version of vgg19-slim; "
                "measure it again (see impasto styles add), or give a picture"
            )
        if isinstance(style, NamedStyle):
            style.at(options.size, options.style_layers)


def has_channels_of_vgg19(encoder: Vgg) -> bool:
    """Return whether the features have the channels of VGG-19, either directly or after the encoder's heads map them."""
    widths = each_width(FULL_WIDTHS)[: len(encoder.widths)]
    return encoder.blocks == BLOCKS and (len(encoder.heads) > 0 or encoder.widths == widths)


@lru_cache(maxsize=1)
def slim_encoder() -> Vgg:
    """Load vgg19-slim. Its heads map a named style to the channels of the full network."""
    return load_encoder("vgg19-slim")


def compared_layers(options: PaintOptions, edge_px: float) -> tuple[str, ...]:
    """Return the layers that are compared while painting a picture whose longer side has ``edge_px`` pixels."""
    if options.recipe == "neighbors":
        return (*layers_at(edge_px)[0], *PALETTE_LAYERS)
    return (*options.content_layers, *options.style_layers)


def predicted_memory(encoder: Vgg, size: Size, options: PaintOptions, arithmetic: Arithmetic) -> int:
    """Predict the peak memory, in bytes, of painting at a size; the memory of the program itself is not included.

    Every convolution up to the deepest layer keeps its padded input and its output for the backward pass. The prediction
    also includes a few maps of the widest layer. The factor is fitted to measurements; see docs/benchmarks.md.
    """
    height, width = (side * (1 + 2 * options.margin) for side in size)
    floats = floats_of_pixel(encoder, compared_layers(options, max(size)))
    history = 3 * 4 * (2 * options.lbfgs_history + 5) if options.optimizer == "lbfgs" else 3 * 4 * 8
    fixed = 110 * 2**20 + 8 * sum(parameter.numel() for parameter in encoder.parameters())
    return round(fixed + height * width * (floats * bytes_of_value(arithmetic) * 5 + history))


_BYTES_OF_PHOTO = 12
_TILED_STATISTICS = ("gram", "moments", "gram-moments", "wasserstein")
"""Statistics that are sums over positions, so that they can be measured tile by tile."""
_SHARE_OF_FREE = 0.8
_TILINGS = ((1024, False), (768, False), (512, False), (384, False), (384, True), (256, False), (256, True), (128, True))
"""Side of the tiles, and whether the state of Adam is on disk. The fastest comes first; the last one needs the least
memory.
"""


@dataclass(frozen=True)
class MemoryLimit:
    """The memory that painting may use.

    Attributes:
        wanted: the target number of bytes, in addition to the bytes already in use.
        most: above this number of bytes, painting is refused.
        used: the bytes that the program and the pictures already use.
        source: description of where the limit comes from, for messages.
    """

    wanted: float
    most: float
    used: float
    source: str

    @staticmethod
    def of(run: Run, device: torch.device) -> "MemoryLimit":
        """Return ``max_memory`` or, if it is 0, a share of the free memory; no limit if the free memory is unknown."""
        used = used_memory(device)
        if run.max_memory:
            most = run.max_memory * 2**30 - used
            return MemoryLimit(most, most, used, f"--max-memory allows {run.max_memory:g} GiB")
        free = available_memory(device)
        most = math.inf if free is None else float(free)
        return MemoryLimit(_SHARE_OF_FREE * most, most, used, f"only {amount(most)} are free")


def reason_for_whole(options: PaintOptions, *, is_masked: bool = False) -> str:
    """Return the option that requires the picture to be painted whole; empty if it can be painted in tiles.

    Args:
        options: how to paint.
        is_masked: whether there are masks of regions or styles.
    """
    if options.recipe not in ("neighbors", "gatys"):
        return f"--recipe {options.recipe}"
    if options.optimizer == "lbfgs":
        return "--optimizer lbfgs"
    if options.smoothness_form == "nine-point":
        return "--smoothness-form nine-point"
    return _reason_of_gatys(options, is_masked) if options.recipe == "gatys" else ""


def _reason_of_gatys(options: PaintOptions, is_masked: bool) -> str:
    """Return the gatys option whose losses cannot be summed over tiles; empty if there is none."""
    if options.statistics not in _TILED_STATISTICS:
        return f"--statistics {options.statistics}"
    if options.content_comparison != "features":
        return f"--content-comparison {options.content_comparison}"
    if options.balance:
        return "--balance"
    return "a mask with --recipe gatys" if is_masked or options.region_strengths else ""


@dataclass(frozen=True)
class MemoryPlan:
    """How to stay within a memory limit.

    Attributes:
        tiles: the sizes to paint in tiles; None if the recipe cannot paint in tiles.
        count: number of tiles at the final size; 1 if it is painted whole.
        peak: predicted peak memory of the process, in bytes.
    """

    tiles: TilePlan | None
    count: int
    peak: int


def planned_memory(  # noqa: PLR0913  (everything that memory depends on)
    encoder: Vgg,
    size: Size,
    styles: Sequence[Style],
    options: PaintOptions,
    arithmetic: Arithmetic,
    run: Run,
    *,
    is_masked: bool = False,
) -> MemoryPlan:
    """Decide which sizes to paint in tiles, so that painting stays within the memory limit.

    Raises:
        ResourceError: the picture does not fit, even in tiles; the message says which size would fit.
    """
    limit = MemoryLimit.of(run, arithmetic.device)
    whole = predicted_memory(encoder, size, options, arithmetic)
    reason = reason_for_whole(options, is_masked=is_masked)
    if reason:
        _check(lambda each: predicted_memory(encoder, each, options, arithmetic), size, limit, options, reason)
        return MemoryPlan(None, 1, round(limit.used + whole))
    if whole <= limit.wanted:
        return MemoryPlan(TilePlan(encoder.layers), 1, round(limit.used + whole))
    pictures = [style for style in styles if isinstance(style, Picture)]
    predicted = TiledMemory(encoder, arithmetic, pictures, options, is_masked).peak
    for tile_px, on_disk in _TILINGS:
        needed = predicted(size, tile_px, on_disk=on_disk)
        if needed <= limit.wanted:
            break
    _check(lambda each: predicted(each, tile_px, on_disk=on_disk), size, limit, options, reason)
    height, width = (side * (1 + 2 * options.margin) for side in size)
    kept = _BYTES_OF_PHOTO * height * width  # the photo is in memory at its final size from the start
    fixed = predicted_memory(encoder, (0, 0), options, arithmetic)
    whole_pixels = max(0.0, 0.9 * (limit.wanted - kept - fixed) / (whole - fixed)) * height * width
    tiles = TilePlan(encoder.layers, whole_pixels, 0.0 if on_disk else math.inf, tile_px)
    count = math.ceil(height / tile_px) * math.ceil(width / tile_px)
    return MemoryPlan(tiles, count, round(limit.used + needed))


def _check(predicted: Callable[[Size], float], size: Size, limit: MemoryLimit, options: PaintOptions, reason: str) -> None:
    """Raise ResourceError if painting at a size needs more memory than there is; name a size that would fit.

    ``reason`` is the option that requires the picture to be painted whole, or empty.
    """
    needed = predicted(size)
    if needed <= limit.most:
        return
    fits = options.size
    while fits >= SMALLEST_SIDE and predicted(fitted_size(size, fits)) > limit.most:
        fits = int(0.97 * fits)
    is_free = limit.source.endswith("free")
    others = "close other programs" if is_free else "use a larger --max-memory"
    advice = f"--size {fits} would fit" if fits >= SMALLEST_SIDE else f"no size would fit: {others}"
    total = needed if is_free else limit.used + needed
    whole = f" ({reason} paints without tiles; the default settings use tiles)" if reason else ""
    raise ResourceError(f"--size {options.size} needs about {amount(total)} of memory, but {limit.source}; {advice}{whole}")
