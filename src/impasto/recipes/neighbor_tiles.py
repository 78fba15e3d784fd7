"""The neighbors recipe for large pictures: features and matches are computed tile by tile."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.features.distributions import rows_of
from impasto.features.neighbors import GRID_STRIDE, Keys, Matches, Patches, pooled_columns, tile_columns
from impasto.features.statistics import Affine, precise
from impasto.losses.picture import activity_of, flatness
from impasto.losses.tiled import halo_of
from impasto.networks.style_swap import SWAP_LAYERS, blocks_of
from impasto.optim.parametrization import to_laplacian
from impasto.options import PaintOptions
from impasto.recipes.context import PaintingContext, encode
from impasto.recipes.neighbor_layers import patches_where_flat
from impasto.runtime.resampling import Side, bilinear_part, sources
from impasto.runtime.tiling import Span, Tile, spans, spread_parts, tiles_of
from impasto.tensors import FeatureMap, Features, Image

_ENCODED_PX = 512
"""Side of the tiles in which style pictures are encoded."""
_SEARCH_PX, _SEARCH_HALO_PX = 1024, 64
"""Tiles of the search. Both are multiples of 32 pixels, the side of a patch, so that patches are the same in every tile. The
halo is wider than what the searched layers depend on, because coherence reaches three positions further."""
_PARTS, _PART_PX = 16, 256
"""Parts of a picture that are encoded to estimate the mean of its hypercolumns."""
FLAT_REDUCTION = 0.5
"""Reduction of the photo's share in flat areas."""


def encoded_tiles(
    context: PaintingContext, picture: Image, layers: Sequence[str], tile_px: int
) -> Iterator[tuple[Tile, Features]]:
    """Encode a picture tile by tile, without gradients."""
    size = (picture.shape[-2], picture.shape[-1])
    for tile in tiles_of(size, tile_px, halo_of(layers, context.encoder.layers)):
        yield tile, encode(context, tile.around(picture), layers)


@dataclass(frozen=True)
class StyleColumns:
    """The hypercolumns of a style picture.

    Attributes:
        searched: hypercolumns of the layers that are searched, (1, channels, height, width).
        compared: hypercolumns of the layers that are compared.
        palette: some feature vectors of the palette layers, by layer, (count, channels).
    """

    searched: FeatureMap
    compared: FeatureMap
    palette: Mapping[str, Tensor]


def style_columns(
    context: PaintingContext,
    picture: Image,
    heads: tuple[Mapping[str, Affine], Mapping[str, Affine]],
    palette: Mapping[str, int],
) -> StyleColumns:
    """Encode a style picture tile by tile.

    Args:
        context: the painting context.
        picture: the style picture, at the size to encode.
        heads: the heads of the layers that are searched, and of the layers that are compared.
        palette: how many feature vectors to keep at most, by layer.
    """
    grid = picture.shape[-2] // GRID_STRIDE, picture.shape[-1] // GRID_STRIDE
    maps: list[Tensor | None] = [None, None]
    sampled: dict[str, list[Tensor]] = {layer: [] for layer in palette}
    for tile, features in encoded_tiles(context, picture, (*heads[0], *heads[1], *palette), _ENCODED_PX):
        for index, each in enumerate(heads):
            columns = tile_columns(features, each, tile)
            whole = maps[index]
            whole = maps[index] = columns.new_empty(1, columns.shape[1], *grid) if whole is None else whole
            tile.part(whole, GRID_STRIDE).copy_(columns)
        for layer, most in palette.items():
            sampled[layer].append(_evenly_in(tile, features[layer], layer, most))
    assert maps[0] is not None
    assert maps[1] is not None
    return StyleColumns(maps[0], maps[1], {layer: torch.cat(rows) for layer, rows in sampled.items()})


def _evenly_in(tile: Tile, features: FeatureMap, layer: str, most: int) -> Tensor:
    """Return the vectors of a tile among every n-th vector of the whole picture in row-major order, at most ``most`` in all."""
    stride = 1 << (int(layer[4]) - 1)
    width = tile.size[1] // stride
    apart = -(-(tile.size[0] // stride) * width // most)
    rows = torch.arange(tile.rows.start // stride, tile.rows.end // stride)[:, None]
    columns = torch.arange(tile.columns.start // stride, tile.columns.end // stride)[None]
    chosen = ((rows * width + columns) % apart == 0).flatten()
    return rows_of(tile.inside(features, stride))[chosen.to(features.device)]


def style_blocks(context: PaintingContext, picture: Image) -> Tensor:
    """Return :func:`impasto.networks.style_swap.blocks_of` a style picture, encoded tile by tile."""
    grid = picture.shape[-2] // GRID_STRIDE, picture.shape[-1] // GRID_STRIDE
    whole: Tensor | None = None
    for tile, features in encoded_tiles(context, picture, SWAP_LAYERS, _ENCODED_PX):
        rows = (tile.rows.start // GRID_STRIDE, tile.rows.end // GRID_STRIDE)
        columns = (tile.columns.start // GRID_STRIDE, tile.columns.end // GRID_STRIDE)
        sides = {layer: GRID_STRIDE >> (int(layer[4]) - 1) for layer in SWAP_LAYERS}
        inside = {layer: tile.inside(features[layer], GRID_STRIDE // side) for layer, side in sides.items()}
        height, width = rows[1] - rows[0], columns[1] - columns[0]
        blocks = blocks_of({layer: inside[layer][..., : side * height, : side * width] for layer, side in sides.items()})
        whole = blocks.new_empty(*grid, blocks.shape[1]) if whole is None else whole
        whole[rows[0] : rows[1], columns[0] : columns[1]] = blocks.reshape(height, width, -1)
    assert whole is not None
    return whole.flatten(0, 1)


@dataclass(frozen=True)
class Search:
    """The search of matches for a large picture, tile by tile against one set of keys.

    Attributes:
        context: the painting context.
        keys: the hypercolumns of the styles.
        heads: the heads of the layers that are searched.
        photo: the photo at the size to paint.
        picture: the picture of the previous size, mixed into the photo; None at the first size.
        owner: (height, width), index of the style picture at each position of some grid; None if there is only one style.
    """

    context: PaintingContext
    keys: Keys
    heads: Mapping[str, Affine]
    photo: Image
    picture: Image | None
    owner: Tensor | None

    def matches(self) -> Matches:
        """Match every position of the picture."""
        height, width = size = (self.photo.shape[-2], self.photo.shape[-1])
        grid = height // GRID_STRIDE, width // GRID_STRIDE
        position, style = (torch.empty(grid, dtype=torch.long, device=self.photo.device) for _ in range(2))
        activity = self._activity()
        mean = self._mean(activity)
        for rows in spans(height - height % GRID_STRIDE, _SEARCH_PX, _SEARCH_HALO_PX):
            for columns in spans(width - width % GRID_STRIDE, _SEARCH_PX, _SEARCH_HALO_PX):
                tile = Tile(rows, columns, size)
                found = self._match(tile, mean, activity)
                tile.part(position, GRID_STRIDE).copy_(tile.inside(found.position, GRID_STRIDE))
                tile.part(style, GRID_STRIDE).copy_(tile.inside(found.style, GRID_STRIDE))
        return Matches(position, style)

    def _match(self, tile: Tile, mean: Tensor, activity: Tensor) -> Matches:
        """Match a tile with its halo."""
        photo = tile.around(self.photo)
        columns = self._columns(photo, tile, activity)
        grid = columns.shape[-2], columns.shape[-1]
        flat = flatness(photo, average=activity)
        top, left = tile.rows.first // GRID_STRIDE, tile.columns.first // GRID_STRIDE
        patches: Patches = patches_where_flat(flat, grid, top=top, left=left)
        coherence = self.context.options.coherence
        return self.keys.match(columns, mean=mean, shares=self._shares(tile), coherence=coherence, patches=patches)

    def _columns(self, photo: Image, tile: Tile, activity: Tensor) -> FeatureMap:
        height, width = (side - side % GRID_STRIDE for side in photo.shape[-2:])
        mixed = self._mixture(photo, tile, activity)[..., :height, :width]
        features = encode(self.context, mixed, tuple(self.heads))
        return pooled_columns(features, self.heads, (height // GRID_STRIDE, width // GRID_STRIDE))

    def _mixture(self, photo: Image, tile: Tile, activity: Tensor) -> Image:
        """Return a tile of :func:`impasto.recipes.neighbors.mixture`."""
        if self.picture is None:
            return photo
        share = share_of_photo(self.context.options) * (1 - FLAT_REDUCTION * flatness(photo, average=activity))
        rows, columns = (
            Side(self.picture.shape[axis], tile.size[axis], span.first, span.last)
            for axis, span in ((-2, tile.rows), (-1, tile.columns))
        )
        (top, bottom), (left, right) = sources(*rows), sources(*columns)
        before = bilinear_part(self.picture[..., top:bottom, left:right], (rows, columns))
        return torch.lerp(before + to_laplacian(photo, levels=2)[0], photo, share)

    def _shares(self, tile: Tile) -> Tensor | None:
        """Return the share of each style at each position of a tile with its halo: 1 for the style chosen there, else 0."""
        if self.owner is None:
            return None
        rows, columns = (
            torch.arange(span.first // GRID_STRIDE, span.last // GRID_STRIDE) * self.owner.shape[axis] // (side // GRID_STRIDE)
            for axis, (span, side) in enumerate(zip((tile.rows, tile.columns), tile.size, strict=True))
        )
        owner = self.owner[rows.clamp_max(self.owner.shape[0] - 1)][:, columns.clamp_max(self.owner.shape[1] - 1)]
        return F.one_hot(owner, len(self.keys.sizes)).permute(2, 0, 1).float()

    def _activity(self) -> Tensor:
        """Return the mean activity of the photo, measured in strips."""
        height = self.photo.shape[-2]
        total = sum(activity_of(self.photo[..., top : top + _SEARCH_PX, :]).sum() for top in range(0, height, _SEARCH_PX))
        assert isinstance(total, Tensor)
        return total / (height * self.photo.shape[-1])

    def _mean(self, activity: Tensor) -> Tensor:
        """Estimate the mean of the hypercolumns from parts of the picture."""
        size = (self.photo.shape[-2], self.photo.shape[-1])
        part, sums = min(_PART_PX, *size), []
        count = min(_PARTS, -(-size[0] * size[1] // part**2))
        for rows, columns in spread_parts(size, part, count):
            of_rows, of_columns = (Span(each.start, each.start, each.stop, each.stop) for each in (rows, columns))
            tile = Tile(of_rows, of_columns, size)
            sums.append(precise(self._columns(tile.around(self.photo), tile, activity)).mean((0, 2, 3)))
        return torch.stack(sums).mean(0)


def share_of_photo(options: PaintOptions) -> float:
    """Return the share of the photo in the picture that is matched, where the photo is not flat."""
    return options.content_weight * min(1.0, 2 - options.strength)
