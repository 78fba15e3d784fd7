"""ICC profiles for more than 8 bits: exact conversion of matrix and curve profiles to sRGB.

Pillow's color management is limited to 8 bits. A 16-bit photo (a TIFF in ProPhoto, a PNG in Display P3) would lose its
precision. So this module applies the profiles that such pictures usually have: three curves and a matrix.
"""

import struct
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Pixels: TypeAlias = npt.NDArray[np.float32]
"""(height, width, channels) in [0, 1]."""

SRGB_TO_XYZ = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
"""Matrix from linear sRGB to XYZ, Bradford-adapted to D50, the white of every ICC profile."""


def to_srgb(pixels: Pixels, profile: bytes) -> Pixels | None:
    """Convert pixels from the color space of a profile to sRGB; colors outside sRGB are clipped.

    Args:
        pixels: (height, width, 3) for an RGB profile or (height, width, 1) for a gray one, in [0, 1].
        profile: the bytes of an ICC profile.

    Returns:
        (height, width, 3) in [0, 1], or None if the profile is damaged, does not consist of a matrix and curves (but, for
        example, of a table), or has another number of channels.

    Source:
        ICC.1:2022, annex F.3 (three-component matrix-based profiles) and 10.6, 10.18 (curves).
    """
    try:
        tags = _tags(profile)
        if any(table in tags for table in ("A2B0", "A2B1")):
            return None
        if profile[16:20] == b"GRAY" and pixels.shape[2] == 1:
            return np.repeat(encode(_linear(pixels, tags["kTRC"])), 3, axis=2)
        if profile[16:20] == b"RGB " and pixels.shape[2] == 3:
            linear = np.stack([_linear(pixels[..., i], tags[f"{c}TRC"]) for i, c in enumerate("rgb")], axis=2)
            to_xyz = np.stack([_xyz(tags[f"{c}XYZ"]) for c in "rgb"], axis=1)
            return encode(linear @ (np.linalg.inv(SRGB_TO_XYZ) @ to_xyz).T.astype(np.float32))
    except (KeyError, ValueError, struct.error):
        pass
    return None


def _tags(profile: bytes) -> dict[str, bytes]:
    """Return the tagged elements of a profile by signature."""
    (count,) = struct.unpack_from(">I", profile, 128)
    if count > 200:
        raise ValueError("more tags than a profile has")
    entries = (struct.unpack_from(">4sII", profile, 132 + 12 * i) for i in range(count))
    return {name.decode("latin-1"): profile[start : start + length] for name, start, length in entries}


def _fixed(data: bytes, start: int, count: int) -> list[float]:
    """Read numbers in s15Fixed16 format."""
    return [number / 65536 for number in struct.unpack_from(f">{count}i", data, start)]


def _xyz(element: bytes) -> npt.NDArray[np.float64]:
    return np.array(_fixed(element, 8, 3))


def _linear(values: Pixels, curve: bytes) -> Pixels:
    """Undo a tone curve: convert device values in [0, 1] to linear light in [0, 1]."""
    if curve[:4] == b"para":
        return _parametric(values, curve)
    if curve[:4] != b"curv":
        raise ValueError("not a curve")
    (count,) = struct.unpack_from(">I", curve, 8)
    if count == 0:
        return values
    points = np.frombuffer(curve, dtype=">u2", count=count, offset=12)
    if count == 1:
        return np.power(values, np.float32(points[0] / 256))
    return np.interp(values, np.linspace(0, 1, count), points / 65535).astype(np.float32)


def _parametric(values: Pixels, curve: bytes) -> Pixels:
    """Apply a parametric curve: ``(a x + b)^g + e`` for x ≥ d, and ``c x + f`` below.

    Of the five types of parametric curves, only the last has all parameters.
    """
    (kind,) = struct.unpack_from(">H", curve, 8)
    counts = (1, 3, 4, 5, 7)
    if kind >= len(counts):
        raise ValueError("an unknown kind of curve")
    g, *rest = _fixed(curve, 12, counts[kind])
    a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind in (1, 2):
        a, b = rest[:2]
        e = f = rest[2] if kind == 2 else 0.0
        d = -b / a if a else 0.0
    elif kind >= 3:
        a, b, c, d = rest[:4]
        e, f = rest[4:] if kind == 4 else (0.0, 0.0)
    above = np.power(np.maximum(a * values + b, 0), g) + e
    return np.where(values >= d, above, c * values + f).clip(0, 1).astype(np.float32)


def encode(linear: Pixels) -> Pixels:
    """Apply the sRGB curve (IEC 61966-2-1), clipped to [0, 1]."""
    linear = linear.clip(0, 1)
    curved = 1.055 * np.power(linear, 1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curved).clip(0, 1).astype(np.float32)
