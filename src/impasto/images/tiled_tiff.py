"""Write tiled TIFF files row by row, so that large pictures never have to fit into memory."""

import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from impasto.errors import ImageFileError
from impasto.images import tiffs, xmp
from impasto.images.colors import srgb_profile
from impasto.images.metadata import Metadata, without_place
from impasto.images.picture import Array
from impasto.images.writing import new_file

TILE_PX = 256
_LARGEST_CLASSIC_BYTES = 4_000_000_000
"""Larger files are BigTIFF. The size before compression, plus a tenth, is compared with this limit."""
_LEVEL = 6
_LONG8 = 16
SUFFIXES = (".tif", ".tiff")


def write_tiled(  # noqa: PLR0913  (the settings of impasto.images.write)
    path: str | os.PathLike[str],
    size: tuple[int, int],
    rows: Iterable[Array],
    *,
    metadata: Metadata | None = None,
    record: Mapping[str, object] | None = None,
    keep_gps: bool = False,
    folder: Path | None = None,
) -> None:
    """Save a picture as a TIFF of deflated tiles, tagged as sRGB; the file is written atomically.

    Args:
        path: ends in .tif or .tiff.
        size: (height, width) of the picture.
        rows: the picture in strips of any height, from top to bottom, (rows, width, 3) each, all uint8 or all uint16.
        metadata: metadata to write into the file.
        record: record of the run that made the picture.
        keep_gps: whether to keep the location of the photo in the metadata.
        folder: the folder of the temporary file, on the same file system; by default, the folder of ``path``.

    Raises:
        ImageFileError: the suffix is not that of a TIFF, the folder is missing, or the disk is full.

    Example:
        >>> import impasto
        >>> write_tiled("large.tif", (600, 400), (np.full((200, 400, 3), 255, np.uint8) for _ in range(3)))
        >>> impasto.read("large.tif").size
        (600, 400)

    Source:
        TIFF 6.0, sections 14 (differencing predictor) and 15 (tiled images); Adobe Photoshop TIFF Technical Notes (deflate).
    """
    if Path(path).suffix.lower() not in SUFFIXES:
        raise ImageFileError(f"'{path}' cannot be written in tiles; its name must end in .tif or .tiff")
    metadata = metadata or Metadata()
    metadata = metadata if keep_gps else without_place(metadata)
    if record is not None:
        metadata = replace(metadata, xmp=xmp.with_record(metadata.xmp, record))
    with new_file(path, folder) as file:
        _write(file, size, rows, metadata)


def _write(file: BinaryIO, size: tuple[int, int], rows: Iterable[Array], metadata: Metadata) -> None:
    """Write the header, the tiles, and at the end the directory with their offsets."""
    bands = _bands(rows)
    first = next(bands)
    is_big = 1.1 * size[0] * size[1] * 3 * first.itemsize > _LARGEST_CLASSIC_BYTES
    header = b"II+\x00\x08\x00\x00\x00" + bytes(8) if is_big else b"II*\x00" + bytes(4)
    file.write(header)
    offsets, counts = [], []
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        for band in _chained(first, bands):
            for tile in pool.map(_deflated, _tiles(band)):
                offsets.append(file.tell())
                counts.append(len(tile))
                file.write(tile)
    layout: dict[int, object] = {256: size[1], 257: size[0], 258: (8 * first.itemsize,) * 3, 259: 8, 262: 2, 277: 3, 284: 1}
    layout |= {317: 2, 322: TILE_PX, 323: TILE_PX, 324: tuple(offsets), 325: tuple(counts), 34675: srgb_profile()}
    tags = tiffs.described(header if is_big else b"II*\x00\x08\x00\x00\x00", metadata, layout)
    if is_big:
        tags.tagtype[324] = _LONG8
    file.write(bytes(-file.tell() % 16))
    start = file.tell()
    file.write(tags.tobytes(start))
    file.seek(8 if is_big else 4)
    file.write(struct.pack("<Q" if is_big else "<L", start))


def _bands(rows: Iterable[Array]) -> Iterator[Array]:
    """Regroup strips to the height of a row of tiles; the last band may be lower."""
    kept: list[Array] = []
    for strip in rows:
        kept.append(strip)
        while sum(map(len, kept)) >= TILE_PX:
            joined = np.concatenate(kept)
            yield joined[:TILE_PX]
            kept = [joined[TILE_PX:]]
    rest = np.concatenate(kept)
    if len(rest):
        yield rest


def _chained(first: Array, others: Iterator[Array]) -> Iterator[Array]:
    yield first
    yield from others


def _tiles(band: Array) -> Iterator[Array]:
    """Yield the tiles of a row of tiles; those at the edges are filled by repeating the border."""
    for left in range(0, band.shape[1], TILE_PX):
        tile = band[:, left : left + TILE_PX]
        down, across = TILE_PX - tile.shape[0], TILE_PX - tile.shape[1]
        yield np.pad(tile, ((0, down), (0, across), (0, 0)), mode="edge") if down or across else tile


def _deflated(tile: Array) -> bytes:
    """Compress a tile: each value is replaced by its difference from the value to its left."""
    differences = tile.copy()
    differences[:, 1:] -= tile[:, :-1]
    return zlib.compress(differences.astype(differences.dtype.newbyteorder("<"), copy=False).tobytes(), _LEVEL)
