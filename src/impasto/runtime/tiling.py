"""Tiling: process pictures of any size in bounded memory, as tiles with a halo of surrounding pixels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from impasto.tensors import Image

ORIGIN_PX = 16
"""Tiles begin at multiples of this, so that an encoder with five blocks pools the same cells as in the whole picture."""


class Span(NamedTuple):
    """A range of rows or columns, ``start`` to ``end``, and the same range with its halo, ``first`` to ``last``."""

    first: int
    start: int
    end: int
    last: int


class Place(NamedTuple):
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int


def spans(length: int, tile: int, halo: int) -> Iterator[Span]:
    """Divide a length into ranges of at most ``tile``, each with a halo clipped at the ends of the picture.

    Example:
        >>> list(spans(20, 16, 4))
        [Span(first=0, start=0, end=16, last=20), Span(first=12, start=16, end=20, last=20)]
    """
    for start in range(0, length, tile):
        end = min(start + tile, length)
        yield Span(max(0, start - halo), start, end, min(length, end + halo))


def painted_in_tiles(image: Image, paint: Callable[[Image, Place], Image], tile: int, halo: int) -> Iterator[int]:
    """Process a picture in place, tile by tile.

    Args:
        image: (1, 3, height, width); overwritten from top to bottom.
        paint: takes a tile with its halo, and the location of both; returns a picture of the same size.
        tile: side of a tile without halo, in pixels.
        halo: width of the surroundings that a pixel of the result depends on, in pixels; at most one tile.

    Yields:
        The number of finished rows, after each row of tiles.
    """
    height, width = image.shape[-2:]
    above = image[..., :0, :]
    for row in spans(height, tile, halo):
        seen = torch.cat([above, image[..., row.start : row.last, :]], dim=2)
        above = image[..., max(row.start, row.end - halo) : row.end, :].clone()
        inner = slice(row.start - row.first, row.end - row.first)
        for column in spans(width, tile, halo):
            place = Place(row.first, column.first, row.last - row.first, column.last - column.first)
            found = paint(seen[..., column.first : column.last], place)
            across = slice(column.start - column.first, column.end - column.first)
            image[..., row.start : row.end, column.start : column.end] = found[..., inner, across]
        yield row.end


def spread_parts(size: tuple[int, int], part: int, count: int) -> Iterator[tuple[slice, slice]]:
    """Choose square parts spread evenly over a picture.

    Args:
        size: (height, width), no side shorter than a part.
        part: side of a part, in pixels.
        count: approximate number of parts.

    Yields:
        The row slice and column slice of a part.

    Example:
        >>> len(list(spread_parts((1000, 2000), 100, 8)))
        8
    """
    height, width = size
    down = min(count, max(1, round((count * height / width) ** 0.5)))
    across = max(1, round(count / down))
    for i in range(down):
        for j in range(across):
            top = round((i + 0.5) * (height - part) / down)
            left = round((j + 0.5) * (width - part) / across)
            yield slice(top, top + part), slice(left, left + part)


@dataclass(frozen=True)
class Tile:
    """A tile of a picture with its halo.

    The methods that crop take a stride: the distance in pixels between positions of a layer. A layer has floor(side / stride)
    positions per side.

    Attributes:
        rows: the rows, in pixels.
        columns: the columns, in pixels.
        size: (height, width) of the whole picture.
    """

    rows: Span
    columns: Span
    size: tuple[int, int]

    def inside(self, values: Tensor, stride: int = 1) -> Tensor:
        """Crop the halo from values that were computed from the tile with its halo."""
        (top, bottom), (left, right) = (
            (each.start // stride - each.first // stride, each.end // stride - each.first // stride)
            for each in (self.rows, self.columns)
        )
        return values[..., top:bottom, left:right]

    def part(self, whole: Tensor, stride: int = 1) -> Tensor:
        """Crop the tile without its halo from a map of the whole picture."""
        rows, columns = (slice(each.start // stride, each.end // stride) for each in (self.rows, self.columns))
        return whole[..., rows, columns]

    def around(self, whole: Tensor, stride: int = 1) -> Tensor:
        """Crop the tile with its halo from a map of the whole picture."""
        rows, columns = (slice(each.first // stride, each.last // stride) for each in (self.rows, self.columns))
        return whole[..., rows, columns]

    def with_halo(self, halo_px: int) -> "Tile":
        """Return the same tile with another halo."""
        rows, columns = (
            Span(max(0, span.start - halo_px), span.start, span.end, min(side, span.end + halo_px))
            for span, side in zip((self.rows, self.columns), self.size, strict=True)
        )
        return Tile(rows, columns, self.size)

    @property
    def is_last(self) -> tuple[bool, bool]:
        """Whether the tile reaches the lower edge, and the right edge, of the picture."""
        return self.rows.end == self.size[0], self.columns.end == self.size[1]


def tiles_of(size: tuple[int, int], tile_px: int, halo_px: int) -> list[Tile]:
    """Divide a picture into tiles of about equal size.

    Args:
        size: (height, width) of the picture.
        tile_px: maximum side of a tile without its halo; a multiple of :data:`ORIGIN_PX`.
        halo_px: width of the halo; a multiple of :data:`ORIGIN_PX`.

    Example:
        >>> [each.rows for each in tiles_of((100, 40), 64, 16)]
        [Span(first=0, start=0, end=64, last=80), Span(first=48, start=64, end=100, last=100)]
    """
    rows, columns = (_even_spans(side, tile_px, halo_px) for side in size)
    return [Tile(row, column, size) for row in rows for column in columns]


def _even_spans(length: int, tile_px: int, halo_px: int) -> list[Span]:
    """Divide a length; a remainder that is shorter than the distance between origins is added to the last range."""
    count = -(-length // tile_px)
    side = -(-length // (count * ORIGIN_PX)) * ORIGIN_PX
    *most, last = spans(length, side, halo_px)
    if most and last.end - last.start < ORIGIN_PX:
        *most, before = most
        last = Span(before.first, before.start, length, length)
    return [*most, last]
