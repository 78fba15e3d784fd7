"""Color spaces without an ICC profile: primaries, a transfer curve, and the conversion to sRGB."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from impasto.images import icc

Colors: TypeAlias = npt.NDArray[np.float32]
"""(height, width, 3) in [0, 1]."""

_ROWS_AT_ONCE = 256
"""Pictures are converted in strips, so that the linear light of a whole large picture is never in memory."""
_WHITE_NITS, _HLG_PEAK_NITS = 203.0, 1000.0
"""Diffuse white and nominal peak of HDR pictures, in cd/m² (ITU-R BT.2408)."""
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


@dataclass(frozen=True)
class ColorSpace:
    """A color space with three primaries and one transfer curve.

    Attributes:
        name: name in notes.
        chromaticities: x and y of white, red, green and blue.
        curve: "srgb", "pq", "hlg", or the exponent that converts values to linear light.
        is_narrow: whether the value 16 (of 255) is black and 235 is white, as in video.
    """

    name: str
    chromaticities: tuple[float, ...]
    curve: str | float
    is_narrow: bool = False

    @property
    def is_srgb(self) -> bool:
        """Whether the color space is visually the same as sRGB."""
        has_curve = self.curve == "srgb" or (not isinstance(self.curve, str) and abs(self.curve - 2.2) < 0.03)
        return has_curve and not self.is_narrow and bool(np.abs(_to_linear_srgb(self.chromaticities) - np.eye(3)).max() < 0.01)


_D65 = (0.3127, 0.3290)
_BT709 = (*_D65, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_P3 = (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
_BT2020 = (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046)

SRGB = ColorSpace("sRGB", _BT709, "srgb")
ADOBE_RGB = ColorSpace("Adobe RGB", (*_D65, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), 563 / 256)

_PRIMARIES = {
    1: ("BT.709", _BT709),
    4: ("BT.470 M", (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08)),
    5: ("BT.601 (625)", (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06)),
    6: ("BT.601 (525)", (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    7: ("SMPTE 240", (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070)),
    9: ("BT.2020", _BT2020),
    11: ("DCI-P3", (0.314, 0.351, *_P3[2:])),
    12: ("Display P3", _P3),
}
# The curves of video cameras (1, 6, 14, 15) are replaced by the sRGB curve, as in browsers.
_CURVES: dict[int, tuple[str, str | float]] = {
    1: ("", "srgb"),
    4: (" with gamma 2.2", 2.2),
    5: (" with gamma 2.8", 2.8),
    6: ("", "srgb"),
    8: (" in linear light", 1.0),
    13: ("", "srgb"),
    14: ("", "srgb"),
    15: ("", "srgb"),
    16: (" PQ", "pq"),
    18: (" HLG", "hlg"),
}


def coded(primaries: int, transfer: int, *, is_full: bool) -> ColorSpace | None:
    """Return the color space for the code points of ITU-T H.273; None if one of them is unknown.

    Args:
        primaries: the code point ColorPrimaries.
        transfer: the code point TransferCharacteristics.
        is_full: whether the values use the full range.

    Source:
        ITU-T H.273, tables 2 and 3.

    Example:
        >>> coded(9, 16, is_full=True).name
        'BT.2020 PQ'
    """
    if primaries not in _PRIMARIES or transfer not in _CURVES:
        return None
    (name, chromaticities), (suffix, curve) = _PRIMARIES[primaries], _CURVES[transfer]
    return ColorSpace(name + suffix, chromaticities, curve, is_narrow=not is_full)


def measured(chromaticities: tuple[float, ...] | None, gamma: float | None) -> ColorSpace | None:
    """Return the color space for the primaries and the gamma in a file; None if the values are invalid.

    Args:
        chromaticities: x and y of white, red, green and blue; None for those of sRGB.
        gamma: exponent that converts values to linear light; None for the sRGB curve.
    """
    if gamma is not None and not 0.2 <= gamma <= 5:
        return None
    name = "its own primaries" if chromaticities else f"gamma {gamma:.3g}"
    space = replace(SRGB, name=name, chromaticities=chromaticities or _BT709, curve="srgb" if gamma is None else float(gamma))
    try:
        matrix = _to_linear_srgb(space.chromaticities)
    except (np.linalg.LinAlgError, ValueError, ZeroDivisionError):
        return None
    return space if np.isfinite(matrix).all() and np.abs(matrix).max() < 20 else None


def to_srgb(colors: Colors, space: ColorSpace) -> Colors:
    """Convert colors to sRGB; colors outside sRGB, or brighter than white, are clipped.

    Args:
        colors: (height, width, 3) in [0, 1].
        space: color space of the colors.

    Returns:
        (height, width, 3) in [0, 1].
    """
    matrix = _to_linear_srgb(space.chromaticities).T.astype(np.float32)
    converted = np.empty(colors.shape, np.float32)
    for top in range(0, len(colors), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        converted[rows] = icc.encode(_light(colors[rows].astype(np.float32), space) @ matrix)
    return converted


def _light(values: Colors, space: ColorSpace) -> Colors:
    """Undo the transfer curve; return linear light, 1 for white and above 1 for highlights."""
    if space.is_narrow:
        values = ((values * 255 - 16) / 219).clip(0, 1)
    if space.curve == "srgb":
        return np.where(values <= 0.04045, values / 12.92, np.power((values + 0.055) / 1.055, np.float32(2.4)))
    if space.curve == "pq":
        return _pq_light(values)
    if space.curve == "hlg":
        return _hlg_light(values)
    return np.power(values, np.float32(space.curve))


def _pq_light(values: Colors) -> Colors:
    """Convert values of the perceptual quantizer to linear light. Source: ITU-R BT.2100, table 4."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    root = np.power(values.astype(np.float64), 1 / m2)
    light = np.power(np.maximum(root - c1, 0) / (c2 - c3 * root), 1 / m1) * (10_000 / _WHITE_NITS)
    return light.astype(np.float32)


def _hlg_light(values: Colors) -> Colors:
    """Convert values of hybrid log-gamma to the linear light of a 1,000 cd/m² display. Source: ITU-R BT.2100, table 5."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(values <= 0.5, values * values / 3, (np.exp((values - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    light = np.power(luminance, 0.2)[..., None] * scene * (_HLG_PEAK_NITS / _WHITE_NITS)
    return np.asarray(light, np.float32)


@lru_cache(maxsize=16)
def _to_linear_srgb(chromaticities: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Return the matrix from linear light in the given primaries to linear sRGB; white stays white."""
    return np.linalg.inv(_to_xyz(_BT709)) @ _adapted(chromaticities[:2]) @ _to_xyz(chromaticities)


def _to_xyz(chromaticities: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Return the matrix from linear light to XYZ. Source: Lindbloom, RGB/XYZ Matrices."""
    white, *primaries = (_xyz(*chromaticities[i : i + 2]) for i in range(0, 8, 2))
    columns = np.stack(primaries, axis=1)
    return np.asarray(columns * np.linalg.solve(columns, white))


def _adapted(white: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Return the Bradford adaptation matrix from a white point to D65."""
    before, after = _BRADFORD @ _xyz(*white), _BRADFORD @ _xyz(*_D65)
    return np.asarray(np.linalg.inv(_BRADFORD) @ np.diag(after / before) @ _BRADFORD)


def _xyz(x: float, y: float) -> npt.NDArray[np.float64]:
    return np.array([x / y, 1, (1 - x - y) / y])
