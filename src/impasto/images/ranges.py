"""Find the values of black and white in pictures whose type does not define them."""

from typing import Any

import numpy as np

from impasto.errors import ImageFileError
from impasto.images.picture import Array

_SAMPLES = 1_000_000
_FEW, _MOST_ABOVE = 0.01, 0.05
_HIGHLIGHTS = 8.0
"""Highlights of float pictures may reach this value, three stops above 1. If only a few values are above 1, white is 1."""


def scaled(values: Array, name: str, notes: list[str]) -> Array:
    """Scale values of any numeric type to float32 in [0, 1].

    Unsigned 8- and 16-bit types use their full range. Wider types have no fixed range. For these, white is the smallest
    usual full scale that covers nearly all values: 1 (floats only), 255, 65,535, 2^32 - 1, or the largest number of the type.
    Values above white are clipped, so that a single hot pixel does not make the picture black.

    Args:
        values: (height, width, channels).
        name: file name for errors.
        notes: list to which messages on the range and on clipped values are appended.

    Raises:
        ImageFileError: more than half of the values are NaN or infinite.
    """
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        if values.dtype.itemsize == 2:
            notes.append("16-bit")
        result = values.astype(np.float32)
        result /= np.float32(256**values.dtype.itemsize - 1)  # in place: a large picture fits only once
        return result
    is_float = values.dtype.kind == "f"
    values = _finite(values, name, notes) if is_float else values
    sample = values.reshape(-1)
    if sample.size > _SAMPLES:  # random positions: a regular grid might hit only one channel or column
        sample = sample[np.random.default_rng(0).integers(0, sample.size, _SAMPLES)]
    scale = _float_scale(sample) if is_float else _integer_scale(sample, values.dtype)
    notes.append(f"{values.dtype.itemsize * 8}-bit {'floats' if is_float else 'integers'}, assumed range 0 to {scale:g}")
    _note_clipped(values, scale, notes)
    return (values / scale).clip(0, 1).astype(np.float32)


def _finite(values: Array, name: str, notes: list[str]) -> Array:
    """Replace non-finite values: NaN and minus infinity with 0, infinity with the highest finite value."""
    is_finite = np.isfinite(values)
    share = 1 - float(is_finite.mean())
    if share == 0:
        return values
    if share > 0.5:
        raise ImageFileError(
            f"'{name}' contains NaN or infinite values in {_percent(share)} of its pixels; save it again without them"
        )
    notes.append(f"NaN or infinite values ({_percent(share)}) were replaced")
    highest = values[is_finite].max()
    return np.nan_to_num(values, nan=0, posinf=highest, neginf=0)


def _float_scale(sample: Array) -> float:
    """Return the value of white in floats."""
    nearly_all = float(np.quantile(sample, 1 - _FEW))
    if nearly_all <= 1:
        return 1.0
    if nearly_all <= _HIGHLIGHTS:
        return 1.0 if float((sample > 1).mean()) <= _MOST_ABOVE else nearly_all
    return next((scale for scale in (255.0, 65535.0) if nearly_all <= scale), nearly_all)


def _integer_scale(sample: Array, dtype: np.dtype[Any]) -> float:
    """Return the value of white in integers of a signed type, or of a type wider than 16 bits."""
    nearly_all, largest = float(np.quantile(sample, 1 - _FEW)), float(np.iinfo(dtype).max)
    return next((scale for scale in (255.0, 65535.0, 2.0**32 - 1) if nearly_all <= scale <= largest), largest)


def _note_clipped(values: Array, scale: float, notes: list[str]) -> None:
    for share, what in ((float((values > scale).mean()), f"above {scale:g}"), (float((values < 0).mean()), "below 0")):
        if share:
            notes.append(f"values {what} ({_percent(share)}) were clipped")


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.001 else "under 0.1%"
