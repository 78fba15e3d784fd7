"""JPEG files that end early: how much of the picture is there, and a file that decodes."""

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
"""The largest share of a picture that may be missing for it to be painted all the same."""


@dataclass(frozen=True)
class Scan:
    """One scan of a JPEG: its components, its coefficients from first to last, and the bits that are not sent yet."""

    components: tuple[int, ...]
    first: int
    last: int
    low_bits: int
    end: int


def completed(data: bytes, name: str, notes: list[str]) -> bytes:
    """End a JPEG that ends early, so that what is there of it can be decoded.

    Args:
        data: a JPEG file that a decoder found to be cut short.
        name: of the file, for errors.
        notes: how much is missing is appended.

    Raises:
        ImageFileError: a large part is missing; the sentence says how much.
    """
    scans, end = _scans(data)
    if not scans:
        raise ImageFileError(f"'{name}' is damaged or cut short (it ends before its pixels); copy or save it again")
    data = data[:end]
    progressive, components = _frame(data)
    is_whole = progressive or len(scans[-1].components) < components  # each scan covers the whole picture
    missing = _missing_detail(scans, components, progressive=progressive) if is_whole else _missing_area(data)
    if missing > _MOST_MISSING:
        of_what = "its detail" if is_whole else "the picture"
        raise ImageFileError(
            f"'{name}' is damaged or cut short: about {missing:.0%} of {of_what} is missing; copy or save it again"
        )
    at_edge = f": {missing:.1%} of the picture, at its lower edge, is missing and gray"
    lost = ": some of its finest detail is missing" if is_whole else at_edge if missing else ", but the picture is whole"
    notes.append("the file ends early" + lost)
    return data + _END


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each whole segment; that of a scan includes its pixels, and may be cut."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a filling byte
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
    """List the scans of a JPEG, and where its last whole segment ends."""
    scans, last_end = [], 0
    for marker, start, end in _segments(data):
        last_end = end
        count = data[start + 4] if end > start + 4 else 0
        if marker == _SCAN and start + 8 + 2 * count <= end:
            first, last, bits = data[start + 5 + 2 * count : start + 8 + 2 * count]
            scans.append(Scan(tuple(data[start + 5 : start + 5 + 2 * count : 2]), first, last, bits & 15, end))
    return scans, last_end


def _frame(data: bytes) -> tuple[bool, int]:
    """Tell whether a JPEG is progressive, and how many components it has."""
    for marker, start, _ in _segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            return marker in _PROGRESSIVE, data[start + 9]
    return False, 1


def _missing_detail(scans: list[Scan], components: int, *, progressive: bool) -> float:
    """Measure the share of the coefficients that no whole scan has sent to all but their last bit."""
    names = sorted({component for scan in scans for component in scan.components})
    sent = np.full((max(components, len(names)), _COEFFICIENTS), 99)
    for scan in scans[:-1]:
        for component in scan.components:
            last = min(scan.last, _COEFFICIENTS - 1) if progressive else _COEFFICIENTS - 1
            sent[names.index(component), scan.first : last + 1] = scan.low_bits if progressive else 0
    return float((sent > 1).mean())


def _missing_area(data: bytes) -> float:
    """Measure the share of the picture that is missing: all behind the first block that another end of the file changes."""
    noise = np.random.default_rng(0).integers(0, 255, 1024, np.uint8).tobytes()  # no 255, which would be a marker
    noise += b"".join(bytes([0xFF, 0xD0 + number]) + noise for number in range(8))  # where a restart has to come first
    one, other = (_small(data.rstrip(b"\xff") + end + _END) for end in (b"", noise))
    rows, columns = (one != other).any(axis=2).nonzero()
    if not rows.size:
        return 0.0
    height, width = one.shape[:2]
    missing = (height - int(rows[0])) * width - int(columns[rows == rows[0]][0])
    return float(missing / (height * width))


def _small(data: bytes) -> Array:
    """Decode a JPEG at an eighth of its size, which takes the mean of each block alone; in gray, as colors spread beyond."""
    opened = PIL.JpegImagePlugin.JpegImageFile(io.BytesIO(data))
    opened.draft("L", (max(1, opened.width // 8), max(1, opened.height // 8)))
    return np.atleast_3d(np.asarray(opened))
