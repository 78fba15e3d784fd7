"""The painting context: the data that is prepared before the first step."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from impasto.encoders import Vgg
from impasto.encoders.precision import Arithmetic
from impasto.features.statistics import Moments, joined_moments, moments
from impasto.images import Picture
from impasto.losses.features import Loss, Objective
from impasto.losses.tiled import halo_of, stride_of
from impasto.optim.engine import Drawing, Size
from impasto.optim.tiled import TilePlan
from impasto.options import PaintOptions
from impasto.recipes.coloring import Coloring
from impasto.recipes.regions import NO_LAYOUT, RegionMasks
from impasto.recipes.starts import Style
from impasto.runtime.tiling import ORIGIN_PX, Tile, tiles_of
from impasto.tensors import FeatureMap, Features, Image

_LARGEST_ENCODED_PX = 512
"""Greatest side of the tiles in which pictures are encoded without gradients."""


@dataclass(frozen=True)
class PaintingContext:
    """The data that is prepared before the first step.

    Attributes:
        content: the photo with its margin, (1, 3, height, width), at the final size.
        margin: width of the border that is cropped at the end, in pixels of the final size.
        sizes: the sizes with margin, coarse to fine, each with its number of steps.
        styles: the styles to paint in.
        start: the initial picture, at the first size; or a function that returns it, so that a large picture takes no memory
            after the first step.
        encoder: the feature extractor.
        arithmetic: device and precision of the encoder.
        options: how to paint.
        first_scale: index of the first size; above 0 if painting resumes from a checkpoint.
        region_masks: masks of the regions and of the area where the photo is kept.
        coloring: color control for every picture that is shown; None: no color control.
        seed: random seed for losses that are computed from random samples.
        is_resumed: whether painting resumes from a checkpoint.
        done: number of steps at the first size that were taken before the checkpoint was saved.
        losses: losses to add to the objective of every size.
        tiles: the sizes that are painted in tiles; None: every size is painted whole.
        tile_count: number of tiles at the final size.
        peak_bytes: predicted peak memory of painting.
        base: the size up to which a large picture is painted like a small one, with its margin; see
            :func:`impasto.recipes.starts.base_size`.
        is_painted: whether ``start`` is already a painting; if so, it is also matched with the styles at the first size.
    """

    content: Image
    margin: int
    sizes: tuple[tuple[Size, int], ...]
    styles: tuple[Style, ...]
    start: Drawing
    encoder: Vgg
    arithmetic: Arithmetic
    options: PaintOptions
    first_scale: int = 0
    region_masks: RegionMasks = NO_LAYOUT
    coloring: Coloring | None = None
    seed: int = 0
    is_resumed: bool = False
    done: int = 0
    is_painted: bool = False
    base: Size | None = None
    tiles: TilePlan | None = None
    tile_count: int = 1
    peak_bytes: int = 0
    losses: tuple[Loss | Objective, ...] = ()

    def margin_at(self, size: Size) -> int:
        """Return the width of the margin of a size, in pixels."""
        return round(self.margin / max(self.content.shape[-2:]) * max(size))

    def shown_size(self, size: Size) -> Size:
        """Return a size without its margin."""
        margin = self.margin_at(size)
        return size[0] - 2 * margin, size[1] - 2 * margin

    @property
    def pictures(self) -> list[Picture]:
        """The styles that are pictures."""
        return [style for style in self.styles if isinstance(style, Picture)]

    def generator(self) -> torch.Generator:
        """Return a new generator with the seed."""
        return torch.Generator().manual_seed(self.seed)


def encode(context: PaintingContext, image: Image, layers: Sequence[str]) -> Features:
    """Encode a picture without gradients."""
    with torch.no_grad():
        return context.arithmetic.encode(context.encoder, image, frozenset(layers))


def encoded_tiles(context: PaintingContext, picture: Image, layers: Sequence[str]) -> Iterator[tuple[Tile, Features]]:
    """Encode a picture tile by tile, without gradients; the features include those of the halo."""
    planned = context.tiles.tile_px if context.tiles else _LARGEST_ENCODED_PX
    side = max(ORIGIN_PX, min(planned, _LARGEST_ENCODED_PX) // ORIGIN_PX * ORIGIN_PX)
    for tile in tiles_of((picture.shape[-2], picture.shape[-1]), side, halo_of(layers, context.encoder.layers)):
        yield tile, encode(context, tile.around(picture), layers)


def encoded_sparingly(context: PaintingContext, image: Image, layers: Sequence[str]) -> Features:
    """Encode a picture without gradients; if pictures of its size are painted in tiles, encode it tile by tile."""
    if not is_tiled(context, image):
        return encode(context, image, layers)
    whole: dict[str, FeatureMap] = {}
    for tile, features in encoded_tiles(context, image, layers):
        for layer in layers:
            stride = stride_of(layer)
            found = tile.inside(features[layer], stride)
            if layer not in whole:
                whole[layer] = found.new_empty(*found.shape[:2], *(side // stride for side in tile.size))
            tile.part(whole[layer], stride).copy_(found)
    return whole


def moments_sparingly(context: PaintingContext, image: Image, layers: Sequence[str]) -> dict[str, Moments]:
    """Measure the moments of the layers of a picture; large pictures are encoded tile by tile."""
    if not is_tiled(context, image):
        return {layer: moments(features) for layer, features in encode(context, image, layers).items()}
    parts: dict[str, list[tuple[float, Moments]]] = {layer: [] for layer in layers}
    for tile, features in encoded_tiles(context, image, layers):
        for layer in layers:
            stride = stride_of(layer)
            found = tile.inside(features[layer], stride)
            count = math.prod(side // stride for side in tile.size)
            parts[layer].append((found.shape[-2] * found.shape[-1] / count, moments(found)))
    return {layer: joined_moments(each) for layer, each in parts.items()}


def is_tiled(context: PaintingContext, image: Image) -> bool:
    """Return whether pictures of the size of this one are painted in tiles."""
    return context.tiles is not None and context.tiles.at((image.shape[-2], image.shape[-1])) is not None
