"""Truncated JPEG files: measure how much is missing, and make them decodable."""

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import PIL.JpegImagePlugin

from impasto.errors import ImageFileError
from impasto.images.picture import Array

_END, _SCAN = b"\xff\xd9", 0xDA
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_COEFFICIENTS = 64
_MOST_MISSING = 0.1
"""Maximum share of a picture that may be missing; if more is missing, the picture is refused."""


@dataclass(frozen=True)
class Scan:
    """One scan of a JPEG: its components, its first and last coefficient, and the number of low bits that later scans add."""

    components: tuple[int, ...]
    first: int
    last: int
    low_bits: int
    end: int


def completed(data: bytes, name: str, notes: list[str]) -> bytes:
    """Complete a truncated JPEG, so that the part that is present can be decoded.

    Args:
        data: a truncated JPEG file.
        name: file name for errors.
        notes: list to which a message is appended that says how much is missing.

    Raises:
        ImageFileError: a large part is missing; the message says how much.
    """
    scans, end = _scans(data)
    if not scans:
        raise ImageFileError(f"'{name}' is damaged or truncated (it ends before its pixels); copy or save it again")
    data = data[:end]
    progressive, components = _frame(data)
    is_whole = progressive or len(scans[-1].components) < components  # every scan covers the whole picture
    missing = _missing_detail(scans, components, progressive=progressive) if is_whole else _missing_area(data)
    if missing > _MOST_MISSING:
        of_what = "its detail" if is_whole else "the picture"
        raise ImageFileError(
            f"'{name}' is damaged or truncated: about {missing:.0%} of {of_what} is missing; copy or save it again"
        )
    at_edge = f": {missing:.1%} of the picture, at its lower edge, is missing and gray"
    lost = ": some of its finest detail is missing" if is_whole else at_edge if missing else ", but the picture is complete"
    notes.append("the file is truncated" + lost)
    return data + _END


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each complete segment; a scan includes its pixels, and may be truncated."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        if end > len(data) or marker == _END[1]:
            return
        if marker == _SCAN:
            found = _MARKER.search(data, end)
            end = found.start() if found else len(data)
        yield marker, at, end
        at = end


def _scans(data: bytes) -> tuple[list[Scan], int]:
    """Return the scans of a JPEG, and the end of its last complete segment."""
    scans, last_end = [], 0
    for marker, start, end in _segments(data):
        last_end = end
        count = data[start + 4] if end > start + 4 else 0
        if marker == _SCAN and start + 8 + 2 * count <= end:
            first, last, bits = data[start + 5 + 2 * count : start + 8 + 2 * count]
            scans.append(Scan(tuple(data[start + 5 : start + 5 + 2 * count : 2]), first, last, bits & 15, end))
    return scans, last_end


def _frame(data: bytes) -> tuple[bool, int]:
    """Return whether a JPEG is progressive, and its number of components."""
    for marker, start, _ in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker in _PROGRESSIVE, data[start + 9]
    return False, 1


def _missing_detail(scans: list[Scan], components: int, *, progressive: bool) -> float:
    """Return the share of coefficients for which more than the last bit is missing."""
    names = sorted({component for scan in scans for component in scan.components})
    remaining_bits = np.full((max(components, len(names)), _COEFFICIENTS), 99)
    for scan in scans[:-1]:
        for component in scan.components:
            last = min(scan.last, _COEFFICIENTS - 1) if progressive else _COEFFICIENTS - 1
            remaining_bits[names.index(component), scan.first : last + 1] = scan.low_bits if progressive else 0
    return float((remaining_bits > 1).mean())


def _missing_area(data: bytes) -> float:
    """Return the missing share of the picture.

    The missing part starts at the first block that changes if other bytes are added to the end of the data.
    """
    noise = np.random.default_rng(0).integers(0, 255, 1024, np.uint8).tobytes()  # without 255, which would start a marker
    noise += b"".join(bytes([0xFF, 0xD0 + number]) + noise for number in range(8))  # for files with restart markers
    one, other = (_small(data.rstrip(b"\xff") + end + _END) for end in (b"", noise))
    rows, columns = (one != other).any(axis=2).nonzero()
    if not rows.size:
        return 0.0
    height, width = one.shape[:2]
    missing = (height - int(rows[0])) * width - int(columns[rows == rows[0]][0])
    return float(missing / (height * width))


def _small(data: bytes) -> Array:
    """Decode the luminance of a JPEG at an eighth of its size, so each pixel is the mean of a block.

    Chroma is not decoded, because upsampling would mix the chroma of neighboring blocks.
    """
    opened = PIL.JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    opened.draft("L", (max(1, opened.width // 8), max(1, opened.height // 8)))
    return np.atleast_3d(np.asarray(opened))
