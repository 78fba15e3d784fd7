"""Pictures that are read and written in parts: in memory, or in a file if they do not fit into memory."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.errors import ResourceError
from impasto.runtime.resampling import Side, antialiasing_part, bilinear_part, reached, sources
from impasto.runtime.tiling import Place, spans
from impasto.tensors import Image

Array: TypeAlias = npt.NDArray[Any]
Size = tuple[int, int]
Depth = Literal["uint8", "uint16", "float32"]

STRIP_ROWS = 256
"""Number of rows that are resized at a time."""


class Raster(Protocol):
    """A picture, sRGB in [0, 1], that is read and written in parts.

    Attributes:
        size: (height, width) in pixels.
    """

    size: Size

    def read(self, place: Place) -> Image:
        """Return a part of the picture, (1, 3, height, width), float32, contiguous."""

    def write(self, place: Place, image: Image) -> None:
        """Overwrite a part of the picture."""

    def delete(self) -> None:
        """Delete the file, if there is one."""


class MemoryRaster:
    """A picture in memory.

    Args:
        image: (1, 3, height, width); :meth:`write` overwrites it.
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self.size: Size = (image.shape[-2], image.shape[-1])

    def read(self, place: Place) -> Image:
        """Return a part of the picture."""
        return _part(self.image, place).contiguous()

    def write(self, place: Place, image: Image) -> None:
        """Overwrite a part of the picture."""
        _part(self.image, place).copy_(image)

    def delete(self) -> None:
        """Do nothing; there is no file."""


class FileRaster:
    """A picture in a file without a header: rows of pixels, red, green and blue in turn.

    Args:
        path: the file; it is created if it is missing or has another length.
        size: (height, width) of the picture.
        depth: how values are stored; integers are rounded.

    Raises:
        ResourceError: the disk is full, or the file cannot be written.

    Example:
        >>> from pathlib import Path
        >>> import torch
        >>> raster = FileRaster(Path("pixels"), (4, 6), "uint8")
        >>> raster.write(Place(1, 2, 1, 3), torch.ones(1, 3, 1, 3))
        >>> raster.read(Place(0, 0, 2, 6))[0, 0].tolist()
        [[0.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0, 1.0, 0.0]]
    """

    def __init__(self, path: Path, size: Size, depth: Depth) -> None:
        self.path, self.size, self.depth = path, size, depth
        self._dtype = np.dtype(depth)
        self._row_bytes = 3 * self._dtype.itemsize * size[1]
        with _disk_errors(path), path.open("ab") as file:
            if file.tell() != size[0] * self._row_bytes:
                file.truncate(size[0] * self._row_bytes)

    def read(self, place: Place) -> Image:
        """Return a part of the picture."""
        values = self.levels(place)
        image = torch.from_numpy(values).permute(2, 0, 1)[None].to(torch.float32).contiguous()
        return image if self.depth == "float32" else image.div_(float(np.iinfo(self._dtype).max))

    def levels(self, place: Place) -> Array:
        """Return a part of the picture as it is stored, (height, width, 3)."""
        values = np.empty((place.height, place.width, 3), self._dtype)
        with self.path.open("rb", buffering=0) as file:
            for offset, view in self._stretches(place, values):
                file.seek(offset)
                done = 0
                while done < len(view):
                    done += file.readinto(view[done:]) or _ended(self.path)
        return values

    def write(self, place: Place, image: Image) -> None:
        """Overwrite a part of the picture."""
        values = image[0].detach().to("cpu", torch.float32).permute(1, 2, 0)
        if self.depth == "float32":
            self.store(place, np.ascontiguousarray(values.numpy()))
        else:
            most = int(np.iinfo(self._dtype).max)
            self.store(place, np.ascontiguousarray((values.clamp(0, 1) * most).round().numpy().astype(self._dtype)))

    def store(self, place: Place, values: Array) -> None:
        """Overwrite a part of the picture with values as they are stored, (height, width, 3)."""
        with _disk_errors(self.path), self.path.open("r+b", buffering=0) as file:
            for offset, view in self._stretches(place, values):
                file.seek(offset)
                done = 0
                while done < len(view):
                    done += file.write(view[done:]) or 0

    def flush(self) -> None:
        """Wait until the disk has everything that was written."""
        with _disk_errors(self.path), self.path.open("r+b") as file:
            os.fsync(file.fileno())

    def delete(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)

    def _stretches(self, place: Place, values: Array) -> Iterator[tuple[int, memoryview]]:
        """Yield each range of a part that is contiguous in the file: its offset there, and a view of its values in memory."""
        if not values.size:
            return
        if place.width == self.size[1]:
            yield place.top * self._row_bytes, values.data.cast("B")
            return
        for row in range(place.height):
            offset = (place.top + row) * self._row_bytes + place.left * 3 * self._dtype.itemsize
            yield offset, values[row].data.cast("B")


def _part(image: Image, place: Place) -> Image:
    return image[..., place.top : place.top + place.height, place.left : place.left + place.width]


def _ended(path: Path) -> int:
    raise ResourceError(f"'{path}' is shorter than it was; delete it and start again")


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
        raise ResourceError(
            f"'{path}' cannot be written ({reason}); free some space, or choose another folder for --output"
        ) from error


# ---------------------------------------------------------------------------------------------------- sizes


def resized_strips(source: Raster, sizes: Sequence[Size]) -> Iterator[tuple[int, int, Image]]:
    """Resize a picture to several sizes, reading it once.

    Up to rounding, the results equal those of :func:`impasto.images.resize`.

    Args:
        source: the picture; each strip of it is read before the result is yielded.
        sizes: (height, width) of each result.

    Yields:
        The index of a size, the first row of a strip of the result, and the strip, (1, 3, rows, width).
    """
    resized, end = [_Resized(source.size, size) for size in sizes], 0
    for strip in strips_of(source):
        end += strip.shape[-2]
        for index, each in enumerate(resized):
            start, rows = each.add(strip, end)
            if rows is not None:
                yield index, start, rows


def strips_of(source: Raster) -> Iterator[Image]:
    """Read a picture in strips of its whole width, from top to bottom."""
    for span in spans(source.size[0], STRIP_ROWS, 0):
        yield source.read(Place(span.start, 0, span.end - span.start, source.size[1]))


class _Resized:
    """A picture that is resized while its rows arrive."""

    def __init__(self, before: Size, after: Size) -> None:
        self.before, self.after = before, after
        self.lows, self.highs = reached(before[0], after[0], "bicubic")
        self.kept: Tensor | None = None
        self.first = self.done = 0

    def add(self, strip: Image, end: int) -> tuple[int, Image | None]:
        """Add the rows up to ``end``. Return the index of the first newly completed row, and all newly completed rows."""
        across = F.interpolate(strip, (strip.shape[-2], self.after[1]), mode="bicubic", align_corners=False, antialias=True)
        self.kept = across if self.kept is None else torch.cat([self.kept, across], dim=2)
        start, stop = self.done, int((self.highs <= end).sum())
        if stop == start:
            return start, None
        low, matrix = antialiasing_part(Side(self.before[0], self.after[0], start, stop), "bicubic")
        seen = self.kept[..., low - self.first : low - self.first + matrix.shape[1], :]
        rows = (matrix.to(seen) @ seen).clamp_(0, 1)
        self.done = stop
        if stop < self.after[0]:
            next_low = int(self.lows[stop])
            self.kept, self.first = self.kept[..., next_low - self.first :, :].clone(), next_low
        return start, rows


def resized_into(source: Raster, targets: Sequence[Raster]) -> None:
    """Resize a picture to the sizes of other rasters, and write it to them."""
    for index, top, rows in resized_strips(source, [each.size for each in targets]):
        targets[index].write(Place(top, 0, rows.shape[-2], rows.shape[-1]), rows)


def resized_whole(source: Raster, size: Size) -> Image:
    """Resize a picture to a size that fits into memory: (1, 3, height, width)."""
    found = MemoryRaster(torch.empty(1, 3, *size))
    resized_into(source, [found])
    return found.image


def interpolated_part(source: Raster, place: Place, size: Size) -> Image:
    """Compute a part of a bilinearly enlarged picture; only the pixels that this part needs are read.

    Args:
        source: the picture.
        place: the part of the enlarged picture.
        size: (height, width) of the whole enlarged picture.
    """
    sides = tuple(
        Side(before, after, start, start + count)
        for before, after, start, count in zip(
            source.size, size, (place.top, place.left), (place.height, place.width), strict=True
        )
    )
    (top, bottom), (left, right) = (sources(*side) for side in sides)
    return bilinear_part(source.read(Place(top, left, bottom - top, right - left)), (sides[0], sides[1]))


def painted_between(
    content: Raster, result: Raster, paint: Callable[[Image, Place], Image], tile: int, halo: int, first_row: int = 0
) -> Iterator[Place]:
    """Process a picture tile by tile, and write the results to another picture.

    Args:
        content: the picture; it must not be overwritten by ``result``.
        result: a picture of the same size.
        paint: see :func:`impasto.runtime.tiling.painted_in_tiles`, which overwrites a picture in memory.
        tile: side of a tile without halo, in pixels.
        halo: width of the surroundings that a pixel of the result depends on, in pixels.
        first_row: rows of tiles that end at or above this row are omitted.

    Yields:
        The place of each finished tile, without its halo.
    """
    height, width = content.size
    for row in spans(height, tile, halo):
        if row.end <= first_row:
            continue
        for column in spans(width, tile, halo):
            around = Place(row.first, column.first, row.last - row.first, column.last - column.first)
            inner = Place(row.start, column.start, row.end - row.start, column.end - column.start)
            found = paint(content.read(around), around)
            top, left = row.start - row.first, column.start - column.first
            result.write(inner, found[..., top : top + inner.height, left : left + inner.width])
            yield inner
