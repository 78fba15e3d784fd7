"""Style swap: any style in one pass, by replacing the features of each part of a photo with the most similar style features.

An encoder extracts features of photo and style. A *position* is a position of relu3_1, that is, a cell of 4 × 4 pixels. Each
position of the photo is matched with a style position, and its features are replaced with those of this match: one vector of
relu3_1, and the blocks of relu2_1 (2 × 2) and relu1_1 (4 × 4). A decoder maps the features to a picture. The look of a style
comes from the style picture itself; the decoder only learns to invert features.

Source: Chen and Schmidt 2016 (arXiv:1612.04337), who swap patches of one layer. This module uses three layers and hypercolumns,
as in Kolkin et al. 2022, and the resize-convolutions of Odena et al. 2016.
"""

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.runtime.tiling import spans
from impasto.tensors import FeatureMap, Features, Image

SWAP_LAYERS = ("relu1_1", "relu2_1", "relu3_1")
"""Layers whose features are taken from the match, finest first."""
SEARCH_LAYERS = ("relu2_1", "relu3_1", "relu4_1")
"""Layers used to find matches."""
COHERENCE = 0.02
"""Bonus if the matches of neighboring positions are adjacent in the style; see :func:`impasto.features.neighbors.match`."""
COLOR = 0.4
"""Standard deviation of the colors that are appended to hypercolumns; see :func:`impasto.features.neighbors.with_colors`."""
CELL_PX = 4
"""Side, in pixels, of the square that one position covers. Picture sides are padded to a multiple of twice this value."""
TILE, _HALO = 256, 16
"""Tile size and halo width of :func:`decoded`, in positions; the decoder's receptive field reaches 12 positions."""
PATTERN_REACH, SHARE_REACH, STRONGEST, _GRID_ROWS = 6, 1, 0.06, 32
"""The grid pattern is averaged over ``PATTERN_REACH`` cells to each side, and its share in a cell over ``SHARE_REACH``. It is
removed if its root mean square is at most ``STRONGEST``, and kept if this is 1.41 times as large. It is removed in strips of
``_GRID_ROWS`` rows of cells."""
SIDES = {"relu1_1": 4, "relu2_1": 2, "relu3_1": 1}


class DecoderWidths(NamedTuple):
    """Channels of the decoder at full, 1/2 and 1/4 size, and the number of residual blocks at 1/4."""

    full: int = 32
    half: int = 64
    quarter: int = 128
    blocks: int = 2


class Decoder(nn.Module):
    """Decode features to a picture.

    Args:
        channels: number of channels of the encoder at each of :data:`SWAP_LAYERS`.
        widths: layer widths of the decoder.
    """

    sha256: str = ""
    """Hash of the weights file; empty if the weights did not come from a file."""
    scale: Tensor
    """Divisor of the features of each of :data:`SWAP_LAYERS`: their root mean square."""
    spread: Tensor
    """Divisor of each of :data:`SEARCH_LAYERS` in the search: the root mean square length of its centered feature vectors."""

    def __init__(self, channels: tuple[int, int, int], widths: DecoderWidths | None = None) -> None:
        super().__init__()
        widths = widths or DecoderWidths()
        full, half, quarter, blocks = widths
        self.channels, self.widths = channels, widths
        self.register_buffer("scale", torch.ones(3))
        self.register_buffer("spread", torch.ones(3))
        self.quarter_in = nn.Conv2d(channels[2], quarter, 3)
        self.at_quarter = nn.Sequential(*(_Residual(quarter) for _ in range(blocks)))
        self.to_half = nn.Conv2d(quarter, half, 3)
        self.half_in = nn.Conv2d(channels[1], half, 3)
        self.at_half = _Residual(half)
        self.to_full = nn.Conv2d(half, full, 3)
        self.full_in = nn.Conv2d(channels[0], full, 3)
        self.at_full = _Residual(full)
        self.out = nn.Conv2d(full, 3, 3)

    def forward(self, fine: FeatureMap, middle: FeatureMap, coarse: FeatureMap) -> Image:
        """Decode features.

        Args:
            fine: relu1_1, (batch, channels, height, width).
            middle: relu2_1, at half the size of ``fine``.
            coarse: relu3_1, at a quarter of the size of ``fine``.

        Returns:
            The picture, (batch, 3, height, width); it may slightly exceed [0, 1].
        """
        one, two, three = (1 / self.scale).unbind()
        x = self.at_quarter(_convolved(self.quarter_in, coarse * three.to(coarse.dtype)))
        x = _doubled(_convolved(self.to_half, F.relu(x)))
        x = self.at_half(x + _convolved(self.half_in, middle * two.to(middle.dtype)))
        x = _doubled(_convolved(self.to_full, F.relu(x)))
        x = self.at_full(x + _convolved(self.full_in, fine * one.to(fine.dtype)))
        return 0.5 + _convolved(self.out, F.relu(x))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3)

    def forward(self, x: FeatureMap) -> FeatureMap:
        return x + _convolved(self.second, F.relu(_convolved(self.first, F.relu(x))))


def _convolved(convolution: nn.Module, x: FeatureMap) -> FeatureMap:
    with torch.autocast(x.device.type, enabled=False):  # autocast would convert to float32 for padding and back
        x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    found: FeatureMap = convolution(x)
    return found


def _doubled(x: FeatureMap) -> FeatureMap:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)


def blocks_of(features: Features) -> Tensor:
    """Concatenate the features of each position: the 4 × 4 block of relu1_1, the 2 × 2 block of relu2_1, and relu3_1.

    Args:
        features: features by layer of one picture whose sides are multiples of :data:`CELL_PX`.

    Returns:
        (positions, channels of all blocks), each block in row-major order with the channels last.
    """
    rows = []
    for layer in SWAP_LAYERS:
        side, grid = SIDES[layer], features[layer][0].permute(1, 2, 0)
        height, width, channels = grid.shape[0] // side, grid.shape[1] // side, grid.shape[2]
        blocks = grid.reshape(height, side, width, side, channels).transpose(1, 2)
        rows.append(blocks.reshape(height * width, side * side * channels))
    return torch.cat(rows, 1)


def swapped(rows: Tensor, position: Tensor, channels: tuple[int, int, int]) -> list[FeatureMap]:
    """Give each position of a photo the features of its match.

    Args:
        rows: features of the style, see :func:`blocks_of`; several styles are concatenated.
        position: (height, width), style position for each position of the photo.
        channels: number of channels of each layer.

    Returns:
        relu1_1, relu2_1 and relu3_1, (1, channels, height, width), at 4, 2 and 1 times the size of ``position``, channels
        last in memory.
    """
    (height, width), places, found = position.shape, position.flatten(), []
    widths = [count * SIDES[layer] ** 2 for layer, count in zip(SWAP_LAYERS, channels, strict=True)]
    for layer, count, part in zip(SWAP_LAYERS, channels, rows.split(widths, 1), strict=True):
        side = SIDES[layer]
        blocks = part.index_select(0, places).reshape(height, width, side, side, count).transpose(1, 2)
        found.append(blocks.reshape(1, height * side, width * side, count).permute(0, 3, 1, 2))
    return found


def decoded(decoder: Decoder, rows: Tensor, position: Tensor, tile: int = TILE) -> Image:
    """Decode matched features, in tiles if the picture is large: (1, 3, 4 * height, 4 * width) in [0, 1].

    Args:
        decoder: a decoder on the device of the rows.
        rows: features of the style, see :func:`blocks_of`.
        position: (height, width), style position for each position of the picture.
        tile: side of a tile, in positions; it affects the memory use, not the result.
    """
    height, width = position.shape
    found = torch.empty(1, 3, CELL_PX * height, CELL_PX * width, device=rows.device)
    for row, column in itertools.product(spans(height, tile, _HALO), spans(width, tile, _HALO)):
        part = position[row.first : row.last, column.first : column.last]
        painted = decoder(*swapped(rows, part, decoder.channels)).float()
        (top, bottom), (left, right) = (
            (CELL_PX * (each.start - each.first), CELL_PX * (each.end - each.first)) for each in (row, column)
        )
        target = found[..., CELL_PX * row.start : CELL_PX * row.end, CELL_PX * column.start : CELL_PX * column.end]
        target.copy_(painted[..., top:bottom, left:right])
    return found.clamp_(0, 1)


def remove_grid(picture: Image, *, where_present: bool = False) -> None:
    """Remove a pattern that repeats in the cells of 4 x 4 pixels nearby, in place.

    The decoder paints such patterns, because neighboring cells may have features of style positions that are not neighbors.
    A strong pattern is kept, because it is part of the style.

    Args:
        picture: (1, 3, height, width) in [0, 1].
        where_present: remove the pattern only as far as cells contain it. Otherwise, it is subtracted from all cells nearby,
            and edges of patterned areas get a faint pattern, which optimization removes.

    Example:
        >>> picture = torch.full((1, 3, 64, 64), 0.5)
        >>> picture[..., ::4] = 0.6
        >>> remove_grid(picture)
        >>> float(picture[..., 30:34].std()) < 0.002
        True
    """
    height, rows, halo = picture.shape[-2], CELL_PX * _GRID_ROWS, CELL_PX * (PATTERN_REACH + SHARE_REACH + 1)
    above = picture[..., :0, :]
    for top in range(0, height, rows):
        strip, below = (picture[..., top : top + each, :] for each in (rows, rows + halo))
        first, window = above.shape[-2], torch.cat([above, below], -2)
        above = torch.cat([above, strip], -2)[..., -halo:, :]
        found = _grid_pattern(window, where_present=where_present)
        strip.sub_(found[..., first : first + strip.shape[-2], :]).clamp_(0, 1)


def _grid_pattern(picture: Image, *, where_present: bool) -> Image:
    """Return the pattern that repeats in each cell, averaged over the cells nearby."""
    height, width = picture.shape[-2:]
    padded = F.pad(picture, (0, -width % CELL_PX, 0, -height % CELL_PX), mode="replicate")
    details = _details_of_cells(padded)
    pattern = _averaged(details, PATTERN_REACH)
    length = pattern.square().sum(1, keepdim=True)
    share = (2 - length / (pattern.shape[1] * STRONGEST**2)).clamp(0, 1)
    if where_present:
        along = (details * pattern).sum(1, keepdim=True)
        along, length = (_averaged(each, SHARE_REACH).clamp_min(1e-12) for each in (along, length))
        share *= (along / length).clamp_max(1)
    pattern *= share
    return F.pixel_shuffle(pattern, CELL_PX)[..., :height, :width]


def grid_share(pictures: Image) -> Tensor:
    """Measure how much of the finest detail repeats in the cells of 4 x 4 pixels nearby, about 0 to 1; a loss for training.

    The total detail, by which it is divided, has no gradient. Otherwise, training could lower the share by adding noise.

    Args:
        pictures: (batch, 3, height, width); both sides are multiples of :data:`CELL_PX`.

    Example:
        >>> picture = torch.full((1, 3, 64, 64), 0.5)
        >>> picture[..., ::4] = 0.6
        >>> round(float(grid_share(picture)), 3)
        1.0
    """
    details = _details_of_cells(pictures)
    return _averaged(details, PATTERN_REACH).square().mean() / details.detach().square().mean().clamp_min(1e-8)


def _details_of_cells(pictures: Image) -> Tensor:
    """Return the details of pictures, (batch, 48, height / 4, width / 4): the 4 x 4 pixels of each cell are channels."""
    smooth = F.interpolate(F.avg_pool2d(pictures, CELL_PX), size=pictures.shape[-2:], mode="bilinear", align_corners=False)
    return F.pixel_unshuffle(pictures - smooth, CELL_PX).contiguous(memory_format=torch.channels_last)  # faster


def _averaged(values: Tensor, reach: int) -> Tensor:
    """Average over the positions at most ``reach`` away in each direction."""
    side, around = 2 * reach + 1, (reach, 0)
    values = F.avg_pool2d(values, (side, 1), 1, around, count_include_pad=False)
    return F.avg_pool2d(values, (1, side), 1, around[::-1], count_include_pad=False)


def search_columns(features: Features, spread: Tensor) -> FeatureMap:
    """Concatenate the search layers into hypercolumns, one per position.

    Args:
        features: by layer, (1, channels, height, width) each.
        spread: see :attr:`Decoder.spread`.

    Returns:
        (1, channels of all layers, height, width), in the dtype of the features.
    """
    size = (features["relu3_1"].shape[-2], features["relu3_1"].shape[-1])
    parts = [
        F.avg_pool2d(features["relu2_1"], 2)[..., : size[0], : size[1]],
        features["relu3_1"],
        F.interpolate(features["relu4_1"], size=size, mode="bilinear", align_corners=False),
    ]
    return torch.cat([part / each.to(part.dtype) for part, each in zip(parts, spread.unbind(), strict=True)], 1)
