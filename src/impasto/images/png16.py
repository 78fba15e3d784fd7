"""PNG with 16 bits per channel, which Pillow cannot write.

Pillow writes everything except the pixels: :func:`deepen` takes a small 8-bit PNG with all metadata, and replaces its pixels
with a 16-bit picture.
"""

import struct
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOR_TYPE = {3: 2, 4: 6}  # number of channels -> PNG color type (RGB, RGBA)
_STRIP_ROWS = 128
_UP = 2  # PNG filter "Up": each byte minus the byte above; fast to decode


def deepen(small: bytes, pixels: npt.NDArray[np.uint16]) -> bytes:
    """Replace the pixels of a PNG with a 16-bit picture; keep all other chunks.

    Args:
        small: the bytes of a PNG of any size and bit depth, not animated.
        pixels: (height, width, 3) or (height, width, 4); the fourth channel is straight alpha.

    Returns:
        The bytes of the new PNG.
    """
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOR_TYPE[channels], 0, 0, 0)
    replaced = {b"IHDR": header, b"IDAT": _compressed(pixels)}
    return SIGNATURE + b"".join(_chunk(kind, replaced.get(kind, body)) for kind, body in _chunks(small))


def _compressed(pixels: npt.NDArray[np.uint16]) -> bytes:
    """Filter and compress the rows, in strips that limit memory."""
    packer, parts = zlib.compressobj(6), []
    above = np.zeros((1, 2 * pixels[0].size), np.uint8)
    for top in range(0, pixels.shape[0], _STRIP_ROWS):
        strip = pixels[top : top + _STRIP_ROWS]
        rows = strip.astype(">u2", order="C").reshape(len(strip), -1).view(np.uint8)
        filtered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
        filtered[:, 0] = _UP
        filtered[:, 1:] = rows - np.concatenate([above, rows[:-1]])  # modulo 256, as PNG requires
        parts.append(packer.compress(filtered.tobytes()))
        above = rows[-1:]
    return b"".join([*parts, packer.flush()])


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the type and body of each chunk of a valid PNG."""
    at = len(SIGNATURE)
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
