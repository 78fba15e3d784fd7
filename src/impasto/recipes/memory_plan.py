"""Predict the memory of painting, with or without tiles."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from impasto.encoders import Vgg
from impasto.encoders.precision import Arithmetic
from impasto.images import Picture, fitted_size
from impasto.losses.tiled import halo_of
from impasto.networks.style_swap import SIDES, SWAP_LAYERS
from impasto.options import PaintOptions
from impasto.recipes.neighbor_layers import layers_at
from impasto.recipes.neighbor_tiles import LARGEST_SEARCHED_PX, LARGEST_STYLE_PX, SEARCH_HALO_PX
from impasto.recipes.starts import style_edge_px

Size = tuple[int, int]

_CELL_PIXELS = 16
"""Pixels per position of a style picture."""
_KEY_BYTES = 4 * 128
"""Bytes of the search key of a position."""
_PHOTO, _START, _RESULT = 12, 12, 24
"""Bytes for each pixel of the final size: the photo; the initial picture, or what is made of it; the result and its rows in
the file."""
_MASK, _KEPT, _AVERAGE = 4, 24, 12
"""Bytes for each pixel of the final size: the mask of a style; a kept area and the photo in it; the average of the planes."""


@dataclass(frozen=True)
class _State:
    """Bytes per pixel of the final size.

    Attributes:
        before: before the first step at a size: the picture and the state of the previous size, the matches, and the flatness
            of the photo.
        while_painting: during the steps: the planes, their gradient, the flatness, and, where they are not on disk, two
            snapshots and a temporary copy of the planes and the state of Adam.
        between: after the steps: the planes, the flatness, and the state of Adam where it is not on disk.
    """

    before: int
    while_painting: int
    between: int


_IN_MEMORY, _ON_DISK = _State(20, 88, 42), _State(10, 33, 11)
_FIXED = 200 * 2**20
"""Bytes for the workspace of the libraries."""
_GAPS = 1.3
"""Factor for fragmentation: gaps left by freed blocks of other sizes are not reused immediately."""
_DECODED_BYTES = 750
"""Bytes for each pixel that is decoded at the same time; to be multiplied by :func:`bytes_of_value`."""


def floats_of_pixel(encoder: Vgg, layers: Iterable[str]) -> float:
    """Return the number of values that a convolutional network computes per pixel, up to the deepest of the given layers."""
    deepest = max(encoder.layers.index(layer) for layer in layers)
    floats = 12.0
    for index in range(deepest // 2 + 1):
        block = int(encoder.layers[2 * index][4]) - 1
        floats += encoder.widths[index] / 4**block
    return floats


def bytes_of_value(arithmetic: Arithmetic) -> int:
    """Return the bytes of a feature in the precision of a run."""
    return 2 if arithmetic.precision == "bf16" else 4


@dataclass(frozen=True)
class TiledMemory:
    """The memory of painting in tiles, in bytes, excluding the program itself and the pictures that were read.

    Attributes:
        encoder: the encoder.
        arithmetic: its precision.
        styles: the style pictures.
        options: the options of the painting.
        is_masked: whether there are masks of regions or styles.
    """

    encoder: Vgg
    arithmetic: Arithmetic
    styles: Sequence[Picture]
    options: PaintOptions
    is_masked: bool = False

    def peak(self, size: Size, tile_px: int, *, on_disk: bool) -> int:
        """Predict the peak memory of painting at a size (height, width), without margin, in tiles.

        This is the memory of the stage that needs most: encoding the styles, the search, the initial picture, the steps, or
        saving. ``on_disk`` means that the state of Adam is on disk.
        """
        if self.options.recipe == "gatys":
            return self._peak_of_gatys(size, tile_px, on_disk=on_disk)
        pixels, state = self._pixels(size), self._state(on_disk=on_disk)
        positions = self._positions(max(size))
        compared, searched = (self._channels(layers) for layers in layers_at(max(size)))
        each = bytes_of_value(self.arithmetic)
        masks = _MASK * len(self.styles) if len(self.styles) > 1 else 0
        swapped = sum(self._width(layer) * SIDES[layer] ** 2 for layer in SWAP_LAYERS)
        copies = 1 if len(self.styles) == 1 else 2
        before = (_PHOTO + state.before) * pixels
        keys = positions * ((compared + searched) * each + _KEY_BYTES)
        blocks = positions * (compared + copies * swapped) * each
        rows = positions * compared * each
        stages = (
            before + _GAPS * (keys + self._searched_tile(tile_px, size)),
            before + (_START + masks) * pixels + max(_START * pixels, _GAPS * (blocks + self._decoded_tile(tile_px))),
            (_PHOTO + state.while_painting) * pixels + _GAPS * (rows + self._painted_tile(tile_px, size)),
            (_PHOTO + state.between + _RESULT + masks) * pixels + rows,
        )
        return round(_FIXED + self._always() * pixels + max(stages))

    def _peak_of_gatys(self, size: Size, tile_px: int, *, on_disk: bool) -> int:
        """Predict the peak for the gatys recipe. The features of the photo stay in memory at every stage."""
        options, pixels, state = self.options, self._pixels(size), self._state(on_disk=on_disk)
        each, layers = bytes_of_value(self.arithmetic), self.encoder.layers
        compared = (*options.content_layers, *options.style_layers)
        content = sum(self._width(name) / 4 ** (int(name[4]) - 1) for name in options.content_layers) * each * pixels
        style = max(
            (math.prod(fitted_size(style.size, round(max(size) * options.style_scale))) for style in self.styles), default=0
        )
        tile = self._tile(min(tile_px, *size) + 2 * halo_of(compared, layers), compared)
        stages = (
            (_PHOTO + state.before) * pixels + _PHOTO * style + _GAPS * tile,
            (_PHOTO + state.while_painting) * pixels + _GAPS * tile,
            (_PHOTO + state.between + _RESULT) * pixels,
        )
        return round(float(_FIXED + content + self._always() * pixels + max(stages)))

    def _always(self) -> float:
        """Return how many bytes per pixel the masks and the averaged planes need."""
        return (_KEPT if self.is_masked else 0) + (_AVERAGE if self.options.averaging else 0)

    def _pixels(self, size: Size) -> float:
        """Return the number of pixels with the margin."""
        return math.prod(side * (1 + 2 * self.options.margin) for side in size)

    def _state(self, *, on_disk: bool) -> _State:
        return _ON_DISK if on_disk and self.options.optimizer == "adam" else _IN_MEMORY

    def _positions(self, edge_px: float) -> float:
        scale = self.options.style_scale
        longest = [max(16, min(LARGEST_STYLE_PX, style_edge_px(style.size, edge_px, scale))) for style in self.styles]
        sizes = [fitted_size(style.size, each) for style, each in zip(self.styles, longest, strict=True)]
        return sum(math.prod(each) / _CELL_PIXELS for each in sizes)

    def _width(self, layer: str) -> int:
        return self.encoder.widths[self.encoder.layers.index(layer) // 2]

    def _channels(self, layers: Sequence[str]) -> int:
        return sum(self._width(layer) for layer in layers)

    def _painted_tile(self, tile_px: int, size: Size) -> float:
        layers = layers_at(max(size))[0]
        return self._tile(min(tile_px, *size) + 2 * halo_of(layers, self.encoder.layers), layers)

    def _searched_tile(self, tile_px: int, size: Size) -> float:
        layers = layers_at(max(size))[1]
        side = min(tile_px, LARGEST_SEARCHED_PX, *size)
        return self._tile(side + 2 * SEARCH_HALO_PX + 2 * halo_of(layers, self.encoder.layers), layers)

    def _tile(self, side_px: float, layers: Sequence[str]) -> float:
        """Every convolution keeps its padded input and its output; see :func:`impasto.recipes.checks.predicted_memory`."""
        return side_px**2 * (5 * bytes_of_value(self.arithmetic) * floats_of_pixel(self.encoder, layers) + 96)

    def _decoded_tile(self, tile_px: int) -> float:
        return float((tile_px + 128) ** 2 * _DECODED_BYTES * bytes_of_value(self.arithmetic))
