"""PNG with 16 bits a channel, which Pillow reads only in half and cannot write.

Pillow writes everything of such a file but its pixels: :func:`deepen` takes a small 8-bit PNG with all its metadata, and
puts a 16-bit picture in the place of the small one.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPE = {3: 2, 4: 6}  # channels to PNG's numbers for RGB and RGBA
_UP = 2  # the filter: each byte less the byte above, whose inverse every reader does fast


def deepen(small: bytes, pixels: npt.NDArray[np.uint16]) -> bytes:
    """Replace the picture in a PNG by a 16-bit one; every other chunk stays.

    Args:
        small: the bytes of a PNG of any size and depth, not animated.
        pixels: (height, width, 3) or (height, width, 4), the fourth channel being straight alpha.

    Returns:
        The bytes of the new PNG.
    """
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPE[channels], 0, 0, 0)
    replaced = {b"IHDR": header, b"IDAT": _compressed(pixels)}
    return SIGNATURE + b"".join(_chunk(kind, replaced.get(kind, body)) for kind, body in _chunks(small))


def _compressed(pixels: npt.NDArray[np.uint16]) -> bytes:
    height = pixels.shape[0]
    rows = pixels.astype(">u2", order="C").reshape(height, -1).view(np.uint8)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    filtered[1:, 1:] = rows[1:] - rows[:-1]  # modulo 256, as PNG has it
    return zlib.compress(filtered.tobytes(), 6)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the kind and body of each chunk of a sound PNG."""
    at = len(SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
