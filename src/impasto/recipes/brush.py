"""The brush recipe: paint photos with a network that was trained for one style."""

import copy
import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from impasto.encoders.precision import choose_device, has_fast_bf16
from impasto.errors import OptionError, ResourceError, nearest_name
from impasto.images import Picture, Source, fitted_size, reduced_size, resize
from impasto.networks.brush_engines import Engines
from impasto.networks.brush_files import brush_facts, load_brush
from impasto.networks.flat_parts import with_noise
from impasto.networks.johnson import SMALLEST_PX, Johnson, Statistics
from impasto.options import Run
from impasto.options.brush import BrushOptions
from impasto.recipes.painting import read_content
from impasto.recipes.pastiche import Pastiche, recorded
from impasto.runtime.amounts import amount
from impasto.runtime.memory import available_memory
from impasto.runtime.rasters import MemoryRaster, Raster, resized_whole, strips_of
from impasto.runtime.tiling import Place, painted_in_tiles
from impasto.runtime.torch_state import in_known_state, plain
from impasto.tensors import Image

_WHOLE_PX = 2**21
"""Pictures with more pixels are painted in tiles, with statistics measured on the picture reduced to this many pixels."""
TILE_PX = 1024
_FIXED_BYTES, _BYTES_OF_A_CHANNEL, _BYTES_OF_A_PAINTED_PIXEL = 50 * 2**20, 30, 60
"""Memory of the network in bytes: a fixed amount, an amount for each channel of each pixel, and an amount for each pixel.
Pixels beyond ``_WHOLE_PX`` add nothing, because larger pictures are painted in tiles. The amounts are fitted to measurements of
the three network layouts."""
_BYTES_OF_A_PIXEL = 40
"""Memory in bytes for each pixel of the picture: the photo, the result and intermediate copies."""
_SMALLEST_SIZE = 16
_FAINT = 0.02
"""Photos whose colors have a smaller standard deviation are painted by PyTorch in float32. The network divides by the standard
deviation, which would make the rounding errors of bfloat16 visible."""


class BrushPainter:
    """A brush that is ready to paint, on one device.

    Args:
        brush: a .brush file, or a name from ``impasto brushes list``.
        run: device and precision.
        engine: torch, openvino, onnxruntime, or auto: on the CPU, the first picture is painted with PyTorch, which starts
            immediately, and later pictures with OpenVINO if it is installed. Engines round differently.

    Raises:
        OptionError: if the engine or the device is not available.
        WeightsError: if the brush cannot be read.

    Example:
        >>> import impasto, skimage.data
        >>> from impasto.networks.brush_files import save_brush
        >>> from impasto.networks.johnson import Johnson, Layout
        >>> save_brush("mine.brush", Johnson(Layout(4, blocks=1)), {"name": "mine"})
        >>> painter = impasto.BrushPainter("mine.brush")
        >>> painter.paint(impasto.read(skimage.data.astronaut()).image).shape
        torch.Size([1, 3, 512, 512])

    Source:
        Johnson, Alahi and Fei-Fei 2016 (arXiv:1603.08155) for the network.
    """

    def __init__(self, brush: str | Path, run: Run | None = None, engine: str = "auto") -> None:
        self.run = run or Run()
        self.device = torch.device(choose_device(self.run.device))
        self.network = load_brush(brush).to(self.device)
        self.facts = brush_facts(brush)
        self.is_bf16 = self.run.precision == "bf16" or (self.run.precision == "auto" and has_fast_bf16(self.device))
        self.engines = Engines(engine, self.device, "bf16" if self.is_bf16 else "fp32")

    @in_known_state
    @torch.no_grad()
    def statistics_of(self, photos: Image) -> tuple[Statistics | None, ...]:
        """Measure the statistics of photos together, (batch, 3, height, width), for :meth:`with_statistics`.

        Photos of more than two megapixels in total are reduced.
        """
        count, _, height, width = photos.shape
        ratio = min(1.0, (_WHOLE_PX / (count * height * width)) ** 0.5)
        reduced = photos if ratio == 1 else resize(photos, (_scaled(height, ratio), _scaled(width, ratio)))
        return self.network.with_statistics_of(plain(reduced).to(self.device)).fixed_statistics

    @in_known_state
    def with_statistics(self, statistics: Sequence[Statistics | None]) -> "BrushPainter":
        """Return a painter that normalizes all pictures with the same statistics, such as the frames of a video."""
        painter = copy.copy(self)
        painter.network = self.network.with_statistics(statistics)
        return painter

    def for_size(self, size: tuple[int, int]) -> "BrushPainter":
        """Return a painter that is faster for pictures of one size (height, width), such as the frames of a video."""
        painter = copy.copy(self)
        painter.engines = self.engines.for_size(size)
        return painter

    @in_known_state
    @torch.no_grad()
    def paint(self, image: Image) -> Image:
        """Paint a picture of any size, (1, 3, height, width), sRGB in [0, 1]. The picture and the result are on the CPU.

        Pictures of more than two megapixels are painted in tiles. All tiles are normalized with the statistics of the reduced
        picture, so they fit together.
        """
        image = plain(image)
        height, width = (max(SMALLEST_PX, side) for side in image.shape[-2:])  # the network pads shorter sides
        if height * width > _WHOLE_PX:
            found = image.clone()
            paint_tile, halo_px = self.tiles_of(MemoryRaster(image))
            for _ in painted_in_tiles(found, paint_tile, TILE_PX, halo_px):
                pass
            return found
        is_faint = bool((image.std((2, 3), correction=0) < _FAINT).all())
        paint = (None if is_faint else self.engines.next_picture()) or self._painted
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.is_bf16 and not is_faint):
            return paint(self.network, image)

    @torch.no_grad()
    def tiles_of(self, photo: Raster) -> tuple[Callable[[Image, Place], Image], int]:
        """Return the function that paints the tiles of a large photo, and the width of their halo in pixels.

        All tiles are normalized with the statistics of the reduced photo.
        """
        is_faint = bool((_deviation(photo) < _FAINT).all())
        paint, network = (None if is_faint else self.engines.next_picture()) or self._painted, self.network
        is_bf16 = self.is_bf16 and not is_faint
        if not any(network.fixed_statistics):
            reduced = resized_whole(photo, statistics_size(photo.size))
            with torch.autocast(self.device.type, torch.bfloat16, enabled=is_bf16):
                network = network.with_statistics_of(reduced.to(self.device))

        def painted(tile: Image, _: Place) -> Image:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=is_bf16):
                return paint(network, tile.contiguous())

        return painted, network.halo_px

    def _painted(self, network: Johnson, image: Image) -> Image:
        painted: Image = network(image.to(self.device)).float().clamp(0, 1).cpu()
        return painted


@in_known_state
def apply(brush: str | Path | BrushPainter, content: Source | Picture, *, run: Run | None = None, **options: Any) -> Pastiche:
    """Paint a photo with a brush.

    Args:
        brush: a .brush file, a name from ``impasto brushes list``, a network of another program (see
            :mod:`impasto.networks.foreign_brushes`), or a :class:`BrushPainter`, which reads its file only once.
        content: the photo: a path, bytes, a Pillow image, a NumPy array or a tensor.
        run: device and precision; a :class:`BrushPainter` has its own.
        options: any field of :class:`impasto.BrushOptions`.

    Returns:
        The result; see :class:`impasto.Pastiche`.

    Raises:
        ImpastoError: if the brush or the photo cannot be read, or there is not enough memory; the message is one sentence.

    Example:
        >>> import impasto, skimage.data
        >>> from impasto.networks.brush_files import save_brush
        >>> from impasto.networks.johnson import Johnson, Layout
        >>> save_brush("mine.brush", Johnson(Layout(4, blocks=1)), {"name": "mine"})
        >>> impasto.apply("mine.brush", skimage.data.astronaut(), size=64).image.shape
        torch.Size([1, 3, 64, 64])

    Source:
        Johnson, Alahi and Fei-Fei 2016 (arXiv:1603.08155).
    """
    chosen = brush_options(**options)
    if isinstance(brush, BrushPainter) and run is not None and run != brush.run:
        raise OptionError("run= has no effect on a BrushPainter; pass it to BrushPainter(brush, run)")
    painter = brush if isinstance(brush, BrushPainter) else BrushPainter(brush, run)
    return applied(painter, read_content(content, longest_px=chosen.size), chosen)


def brush_options(**options: Any) -> BrushOptions:
    """Create the options of brushes.

    Raises:
        OptionError: an unknown name, or a value that is not allowed.
    """
    names = [each.name for each in fields(BrushOptions)]
    for name in options:
        if name not in names:
            raise OptionError(f"{name!r} is not an option of apply{nearest_name(name, names)}")
    return BrushOptions(**options)


@in_known_state
def applied(painter: BrushPainter, photo: Picture, options: BrushOptions) -> Pastiche:
    """Paint a photo that has already been read; see :func:`apply`.

    Raises:
        ResourceError: not enough memory; the message says which size would fit.
    """
    size = reduced_size(photo.size, options.size)
    check_memory(painter, size, options)
    image = resize(photo.image, size)
    if options.strength == 0:
        image = image.clone()
    else:
        working = with_noise(resize(image, working_size(size, options)), options.grain)
        painted = resize(painter.paint(working), size)
        image = painted if options.strength == 1 else torch.lerp(image, painted, options.strength).clamp_(0, 1)
    record = recorded("brush", photo, (), painter.run) | {
        "brush": {"name": painter.facts.get("name", ""), "sha256": painter.network.sha256},
        "options": asdict(options),
    }
    if options.strength and not options.grain and bool((photo.image.amax((2, 3)) == photo.image.amin((2, 3))).all()):
        record["notes"] = ["the photo has only one color, so the result has only one color too; use --grain 0.5 to add strokes"]
    alpha = None if photo.alpha is None else resize(photo.alpha, size)
    return Pastiche(image, alpha, photo.metadata, record)


def check_memory(painter: BrushPainter, size: tuple[int, int], options: BrushOptions) -> None:
    """Raise unless the predicted memory is available.

    Args:
        painter: the brush.
        size: (height, width) of the result.
        options: how to paint.

    Raises:
        ResourceError: not enough memory; the message says which size would fit.
    """
    free, wanted = available_memory(painter.device), predicted_memory(painter.network, size, options)
    if free is None or wanted <= free:
        return
    sizes = range(_SMALLEST_SIZE, max(size))
    count = bisect_right(sizes, free, key=lambda px: predicted_memory(painter.network, fitted_size(size, px), options))
    advice = f"use --size {sizes[count - 1]}, or close other programs" if count else "close other programs"
    height, width = working_size(size, options)
    raise ResourceError(
        f"painting {width}x{height} pixels needs about {amount(wanted)} of memory, but only {amount(free)} are free; {advice}"
    )


def predicted_memory(network: Johnson, size: tuple[int, int], options: BrushOptions) -> int:
    """Predict the peak memory, in bytes, of painting at a size; the memory of the program itself is not included."""
    height, width = working_size(size, options)
    at_once = min(max(SMALLEST_PX, height) * max(SMALLEST_PX, width), _WHOLE_PX)
    bytes_each = _BYTES_OF_A_CHANNEL * network.layout.width + _BYTES_OF_A_PAINTED_PIXEL
    return _FIXED_BYTES + bytes_each * at_once + _BYTES_OF_A_PIXEL * max(height * width, size[0] * size[1])


def working_size(size: tuple[int, int], options: BrushOptions) -> tuple[int, int]:
    """Return the (height, width) at which to paint. It is smaller than the result if the strokes are larger."""
    return _scaled(size[0], 1 / options.stroke), _scaled(size[1], 1 / options.stroke)


def statistics_size(size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) to which a large photo is reduced to measure its statistics."""
    at_least = [max(SMALLEST_PX, side) for side in size]
    ratio = min((_WHOLE_PX / math.prod(at_least)) ** 0.5, _WHOLE_PX / SMALLEST_PX / max(at_least), 1.0)
    return _scaled(size[0], ratio), _scaled(size[1], ratio)


def _deviation(photo: Raster) -> Tensor:
    """Return the standard deviation of each color of a photo, (3,)."""
    sums = [torch.stack([strip.double().sum((0, 2, 3)), strip.double().square().sum((0, 2, 3))]) for strip in strips_of(photo)]
    mean, squares = torch.stack(sums).sum(0) / math.prod(photo.size)
    deviation: Tensor = (squares - mean.square()).clamp_min(0).sqrt()
    return deviation


def _scaled(side: int, ratio: float) -> int:
    return max(1, round(ratio * side))
