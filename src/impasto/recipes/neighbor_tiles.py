"""The neighbors recipe for large pictures: features and matches are computed tile by tile."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.color.transfer import recolored
from impasto.features.distributions import rows_of
from impasto.features.neighbors import GRID_STRIDE, PASSES, Keys, Matches, Patches, assigned, tile_columns, with_colors
from impasto.features.statistics import Affine, precise
from impasto.losses.picture import flatness, mean_activity
from impasto.losses.tiled import halo_of
from impasto.networks.style_swap import SWAP_LAYERS, blocks_of
from impasto.options import PaintOptions
from impasto.recipes.context import PaintingContext, encode, encoded_tiles
from impasto.recipes.neighbor_layers import PATCH, patches_where_flat, uniformity_at
from impasto.runtime.resampling import Side, antialiased_part, averaged_part, bilinear_part, sources
from impasto.runtime.tiling import Span, Tile, spans
from impasto.tensors import FeatureMap, Image

LARGEST_SEARCHED_PX = 1024
"""Greatest side of the tiles in which the photo is matched."""
_PATCH_PX = PATCH * GRID_STRIDE
"""Side of a patch. Tiles of the search begin at multiples of this value, so that patches are the same as without tiles."""
SEARCH_HALO_PX = _PATCH_PX * math.ceil(PASSES * GRID_STRIDE / _PATCH_PX)
"""Halo of the search: each pass makes a match depend on matches that are one position further away."""
LARGEST_STYLE_PX = 2048
"""Maximum size of style pictures when painting in tiles, because their features must fit into memory."""
FLAT_REDUCTION = 0.5
"""Reduction of the photo's share in flat areas."""


def _tile_px(context: PaintingContext) -> int:
    """Return the side of the tiles in which the photo is matched: the planned side, limited and rounded to whole patches."""
    planned = context.tiles.tile_px if context.tiles else LARGEST_SEARCHED_PX
    return max(_PATCH_PX, min(planned, LARGEST_SEARCHED_PX) // _PATCH_PX * _PATCH_PX)


@dataclass(frozen=True)
class StyleColumns:
    """The hypercolumns of a style picture.

    Attributes:
        searched: hypercolumns of the layers that are searched, with colors, (1, channels, height, width).
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
    colors: Affine,
    palette: Mapping[str, int],
) -> StyleColumns:
    """Encode a style picture tile by tile.

    Args:
        context: the painting context.
        picture: the style picture, at the size to encode.
        heads: the heads of the layers that are searched, and of the layers that are compared.
        colors: map of the colors that are appended to the hypercolumns of the layers that are searched.
        palette: maximum number of feature vectors to keep, by layer.
    """
    grid = picture.shape[-2] // GRID_STRIDE, picture.shape[-1] // GRID_STRIDE
    maps: list[Tensor | None] = [None, None]
    sampled: dict[str, list[Tensor]] = {layer: [] for layer in palette}
    for tile, features in encoded_tiles(context, picture, (*heads[0], *heads[1], *palette)):
        for index, each in enumerate(heads):
            columns = tile_columns(features, each, tile)
            if index == 0:
                columns = with_colors(columns, tile.part(picture), colors)
            whole = maps[index]
            whole = maps[index] = columns.new_empty(1, columns.shape[1], *grid) if whole is None else whole
            tile.part(whole, GRID_STRIDE).copy_(columns)
        for layer, most in palette.items():
            sampled[layer].append(_evenly_in(tile, features[layer], layer, most))
    assert maps[0] is not None
    assert maps[1] is not None
    return StyleColumns(maps[0], maps[1], {layer: torch.cat(rows) for layer, rows in sampled.items()})


def _evenly_in(tile: Tile, features: FeatureMap, layer: str, most: int) -> Tensor:
    """Take every n-th vector of the picture in row-major order, at most ``most``, and return those inside this tile."""
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
    for tile, features in encoded_tiles(context, picture, SWAP_LAYERS):
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
    """Search for the matches of a large picture, tile by tile, with one set of keys.

    Attributes:
        context: the painting context.
        keys: the hypercolumns of the styles.
        heads: the heads of the layers that are searched.
        photo: the photo at the size to paint.
        picture: the picture of the previous size, mixed into the photo; None at the first size.
        colors: map of the photo's colors that are appended to the hypercolumns.
        shares: share of each style at each position, see :func:`impasto.features.neighbors.match`; None if there is only one.
        photo_share: factor of the photo's share, see :func:`impasto.recipes.neighbors.mixture`.
        to_photo: map from the colors of the picture to those of the photo. The colors that are appended to the hypercolumns
            are mixed by ``photo_share``; None: they are those of the photo.
    """

    context: PaintingContext
    keys: Keys
    heads: Mapping[str, Affine]
    photo: Image
    picture: Image | None
    colors: Affine
    shares: Tensor | None
    photo_share: float = 1.0
    to_photo: Affine | None = None

    def matches(self) -> Matches:
        """Match every position of the picture."""
        height, width = (side - side % GRID_STRIDE for side in self.photo.shape[-2:])
        size = (self.photo.shape[-2], self.photo.shape[-1])
        grid = height // GRID_STRIDE, width // GRID_STRIDE
        position = torch.empty(grid, dtype=torch.long, device=self.photo.device)
        activity = mean_activity(self.photo)
        tile_px = _tile_px(self.context)
        rows, columns = (list(spans(side, tile_px, SEARCH_HALO_PX)) for side in (height, width))
        tiles = [Tile(row, column, size) for row in rows for column in columns]
        mean = self._mean(tiles, activity)
        style = self._styles(tiles, mean, activity)
        for tile in tiles:
            found = self._match(tile, style, mean, activity)
            tile.part(position, GRID_STRIDE).copy_(tile.inside(found, GRID_STRIDE))
        return Matches(position, style)

    def _styles(self, tiles: Sequence[Tile], mean: Tensor, activity: Tensor) -> Tensor:
        """Decide which style is used at each position: (height, width). The shares refer to the whole picture."""
        height, width = (side // GRID_STRIDE for side in self.photo.shape[-2:])
        if self.shares is None:
            return torch.zeros(height, width, dtype=torch.long, device=self.photo.device)
        similarity = torch.empty(len(self.shares), height, width, device=self.photo.device)
        for tile in tiles:
            columns = self._columns(self._with_features(tile), activity)
            tile.part(similarity, GRID_STRIDE).copy_(self.keys.similarity(columns, mean))
        return assigned(similarity, self.shares)

    def _match(self, tile: Tile, style: Tensor, mean: Tensor, activity: Tensor) -> Tensor:
        """Return the matched style position for each position of a tile and its halo."""
        outer = self._with_features(_with_halo_inside(tile))
        columns = self._columns(outer, activity)
        return self.keys.match(
            columns,
            mean=mean,
            coherence=self.context.options.coherence,
            patches=self._patches(outer, activity),
            style=outer.part(style, GRID_STRIDE),
        ).position

    def _patches(self, tile: Tile, activity: Tensor) -> Patches:
        """Return the settings for whole patches inside a tile."""
        flat = flatness(tile.around(self.photo), average=activity)
        rows, columns = (
            Side(side, side // GRID_STRIDE, span.start // GRID_STRIDE, span.end // GRID_STRIDE)
            for side, span in zip(tile.size, (tile.rows, tile.columns), strict=True)
        )
        pooled = averaged_part(flat, (rows, columns), (tile.rows.first, tile.columns.first))
        grid = pooled.shape[-2], pooled.shape[-1]
        uniformity = uniformity_at(max(self.context.shown_size(tile.size)))
        return patches_where_flat(pooled, grid, top=rows.start, left=columns.start, uniformity=uniformity)

    def _with_features(self, tile: Tile) -> Tile:
        """Return a tile with a halo that contains all pixels on which its features depend."""
        return tile.with_halo(halo_of(self.heads, self.context.encoder.layers))

    def _columns(self, tile: Tile, activity: Tensor) -> FeatureMap:
        """Return the hypercolumns inside a tile."""
        mixed = self._mixture(tile.around(self.photo), tile, activity)
        columns = tile_columns(encode(self.context, mixed, tuple(self.heads)), self.heads, tile)
        return with_colors(columns, self._colored(tile), self.colors)

    def _colored(self, tile: Tile) -> Image:
        """Return the colors to append inside a tile."""
        photo = tile.part(self.photo)
        if self.picture is None or self.to_photo is None:
            return photo
        part = (tile.rows.start, tile.rows.end), (tile.columns.start, tile.columns.end)
        before = antialiased_part(self.picture, tile.size, part, "bicubic").clamp(0, 1)
        return torch.lerp(recolored(before, self.to_photo), photo, self.photo_share)

    def _mean(self, tiles: Sequence[Tile], activity: Tensor) -> Tensor:
        """Return the mean of the hypercolumns of the picture."""
        total, count = torch.zeros((), dtype=torch.float64), 0
        for tile in tiles:
            columns = self._columns(self._with_features(tile), activity)
            total = total + precise(columns).sum((0, 2, 3)).double().cpu()
            count += columns.shape[-2] * columns.shape[-1]
        return (total / count).float().to(self.photo.device)

    def _mixture(self, photo: Image, tile: Tile, activity: Tensor) -> Image:
        """Return a tile of :func:`impasto.recipes.neighbors.mixture`, with its halo."""
        if self.picture is None:
            return photo
        share = share_of_photo(self.context.options) * (1 - FLAT_REDUCTION * flatness(photo, average=activity))
        share *= self.photo_share
        part = (tile.rows.first, tile.rows.last), (tile.columns.first, tile.columns.last)
        before = antialiased_part(self.picture, tile.size, part, "bicubic").clamp(0, 1)
        return torch.lerp(before + self.photo_share * finest_details(self.photo, tile), photo, share)


def finest_details(photo: Image, tile: Tile) -> Image:
    """Return the finest plane of the Laplacian pyramid of a photo, for a tile with its halo."""
    half = ((tile.size[0] + 1) // 2, (tile.size[1] + 1) // 2)
    rows, columns = (
        Side(short, side, span.first, span.last)
        for short, side, span in zip(half, tile.size, (tile.rows, tile.columns), strict=True)
    )
    small = antialiased_part(photo, half, (sources(*rows), sources(*columns)), "bilinear")
    return tile.around(photo) - bilinear_part(small, (rows, columns))


def _with_halo_inside(tile: Tile) -> Tile:
    """Return a tile that covers another tile and its halo, and has no halo itself."""
    rows, columns = (Span(each.first, each.first, each.last, each.last) for each in (tile.rows, tile.columns))
    return Tile(rows, columns, tile.size)


def share_of_photo(options: PaintOptions) -> float:
    """Return the share of the photo when it is mixed with the current picture, before the share is reduced in flat areas."""
    return options.content_weight * min(1.0, 2 - options.strength)
