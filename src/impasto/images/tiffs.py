"""Pages of TIFF files: detect raw camera photos, and find the page with the full picture. Tags of TIFF files to write."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import PIL.Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from impasto.images.metadata import Metadata

_WIDTH, _HEIGHT, _COMPRESSION, _PHOTOMETRIC, _PAGES_WITHIN = 256, 257, 259, 262, 330
_KIND, _OLD_KIND, _DNG_VERSION = 254, 255, 0xC612
_REDUCED, _MASK = 1, 4
SENSOR_COLORS = (32803, 34892)
"""Photometric interpretations of raw photos: color filter array, and linear raw."""
_SENSOR_COMPRESSIONS = (32767, 32769, 32770, 34713, 65000, 65535)  # Sony, packed raw, Samsung, Nikon, Kodak, Pentax
_MOST_PAGES = 256


@dataclass(frozen=True)
class Page:
    """A page of a TIFF: its area, its type, and the offset of its directory."""

    offset: int
    area_px: int
    is_whole: bool
    is_reduced: bool
    is_raw: bool


def pages_of(data: bytes) -> list[Page]:
    """List the readable pages of a TIFF: first the top-level pages, then their subpages."""
    return pages_in(io.BytesIO(data))


def pages_in(file: BinaryIO) -> list[Page]:
    """List the readable pages of an open TIFF; see :func:`pages_of`."""
    header = file.read(16)
    header = header if header[2:4] in (b"+\0", b"\0+") else header[:8]
    upper, offsets = list(_chained(header, file)), []
    for _, directory in upper:
        found = directory.get(_PAGES_WITHIN, ())
        offsets += [offset for offset in (found if isinstance(found, tuple) else (found,)) if isinstance(offset, int)]
    lower = [(offset, _directory(header, file, offset)) for offset in offsets[:_MOST_PAGES]]
    return [_page(offset, directory) for offset, directory in (*upper, *lower) if directory is not None]


def with_first(data: bytes, page: Page) -> bytes:
    """Return the TIFF with the given page as its first page."""
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        return data[:8] + struct.pack(f"{order}Q", page.offset) + data[16:]
    return data[:4] + struct.pack(f"{order}L", page.offset) + data[8:]


def _chained(header: bytes, file: BinaryIO) -> Iterator[tuple[int, ImageFileDirectory_v2]]:
    """Yield the top-level directories, which form a linked list; stop if the list is cyclic."""
    offset, seen = ImageFileDirectory_v2(header).next, set[int]()
    while offset and offset not in seen and len(seen) < _MOST_PAGES:
        seen.add(offset)
        directory = _directory(header, file, offset)
        if directory is None:
            return
        yield offset, directory
        offset = directory.next


def _directory(header: bytes, file: BinaryIO, offset: int) -> ImageFileDirectory_v2 | None:
    directory = ImageFileDirectory_v2(header)
    try:
        file.seek(offset)
        directory.load(file)
        directory.get(_KIND)
    except Exception:  # a damaged directory can raise almost any exception
        return None
    return directory


def _page(offset: int, directory: ImageFileDirectory_v2) -> Page:
    kind, old_kind = _number(directory, _KIND), _number(directory, _OLD_KIND)
    return Page(
        offset,
        _number(directory, _WIDTH) * _number(directory, _HEIGHT),
        is_whole=not kind & (_REDUCED | _MASK) and old_kind in (0, 1),
        is_reduced=bool(kind & _REDUCED) or old_kind == 2,
        is_raw=_DNG_VERSION in directory
        or _number(directory, _PHOTOMETRIC) in SENSOR_COLORS
        or _number(directory, _COMPRESSION) in _SENSOR_COMPRESSIONS,
    )


def _number(directory: ImageFileDirectory_v2, tag: int) -> int:
    """Return the value of a numeric tag; 0 if it is missing."""
    try:
        value = directory.get(tag, 0)
    except Exception:  # as above
        return 0
    value = value[0] if isinstance(value, tuple) and value else value
    return value if isinstance(value, int) else 0


def described(header: bytes, metadata: Metadata, layout: dict[int, object]) -> ImageFileDirectory_v2:
    """Make the directory of a TIFF to write.

    Args:
        header: the first bytes of the file, which give its byte order and type.
        metadata: EXIF, XMP and resolution to write.
        layout: other tags, by number.
    """
    tags = ImageFileDirectory_v2(header)
    if metadata.exif is not None:
        exif = PIL.Image.Exif()
        exif.load(metadata.exif)
        for tag in exif:
            tags[tag] = exif[tag] if tag not in (0x8769, 0x8825) else exif.get_ifd(tag)
    if metadata.dpi is not None:
        layout = layout | {282: metadata.dpi[0], 283: metadata.dpi[1], 296: 2}
    if metadata.xmp is not None:
        layout = layout | {700: metadata.xmp}
    for tag, value in layout.items():
        tags[tag] = value
    return tags
