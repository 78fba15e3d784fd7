"""PNG with 16 bits per channel, which Pillow cannot write.

Pillow writes everything except the pixels: :func:`deepen` takes a small 8-bit PNG with all metadata, and replaces its pixels
with a 16-bit picture.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPE = {3: 2, 4: 6}  # number of channels -> PNG color type (RGB, RGBA)
_UP = 2  # PNG filter "Up": each byte minus the byte above; fast to decode


def deepen(small: bytes, size: tuple[int, int], strips: Iterable[npt.NDArray[np.uint16]]) -> Iterator[bytes]:
    """Replace the pixels of a PNG with a 16-bit picture; keep all other chunks.

    Args:
        small: the bytes of a PNG of any size and bit depth, not animated.
        size: (height, width) of the picture.
        strips: consecutive rows of it, each (rows, width, 3) or (rows, width, 4); the fourth channel is straight alpha.

    Yields:
        Consecutive parts of the bytes of the new PNG, so that only one strip is in memory at a time.
    """
    strips = iter(strips)
    first = next(strips)
    header = struct.pack(">IIBBBBB", size[1], size[0], 16, _COLOR_TYPE[first.shape[2]], 0, 0, 0)
    yield SIGNATURE
    for kind, body in _chunks(small):
        if kind == b"IDAT":
            yield from (chunk_of(kind, part) for part in _compressed(chain([first], strips)))
        else:
            yield chunk_of(kind, header if kind == b"IHDR" else body)


def _compressed(strips: Iterable[npt.NDArray[np.uint16]]) -> Iterator[bytes]:
    """Filter and compress the rows strip by strip."""
    packer = zlib.compressobj(6)
    above: npt.NDArray[np.uint8] | int = 0
    for strip in strips:
        rows = strip.astype(">u2", order="C").reshape(len(strip), -1).view(np.uint8)
        filtered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
        filtered[:, 0] = _UP
        filtered[:1, 1:] = rows[:1] - above  # modulo 256, as PNG requires
        filtered[1:, 1:] = rows[1:] - rows[:-1]
        if part := packer.compress(filtered.data):
            yield part
        above = rows[-1:]
    yield packer.flush()


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and body of each chunk of a valid PNG."""
    at = len(SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def chunk_of(kind: bytes, body: bytes) -> bytes:
    """Return the bytes of a chunk: its length, type, body and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
