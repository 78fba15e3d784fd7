"""Convert decoded pixels of any mode, bit depth and profile to sRGB."""

import importlib
import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
import PIL.Image
import PIL.ImageCms

from impasto.errors import ImageFileError
from impasto.images import icc, spaces
from impasto.images.files import check_area, opened_picture, raw_photo
from impasto.images.picture import Array
from impasto.images.ranges import scaled
from impasto.images.tagged import space_of
from impasto.images.tiffs import SENSOR_COLORS

_ROWS = 256
"""Colors are converted in strips of this height, because a conversion needs several copies of its values."""


@dataclass(frozen=True)
class Pixels:
    """Decoded pixels: color (height, width, 3) and alpha (height, width) or None, float32 in [0, 1]."""

    color: Array
    alpha: Array | None = None


@dataclass(frozen=True)
class Opened:
    """A picture opened by Pillow.

    Attributes:
        picture: the Pillow image, in any mode.
        data: the bytes of the file, or None; needed to decode 16-bit color, of which Pillow keeps only 8 bits.
        name: file name for errors.
        smaller_size: (width, height) to reduce the picture to; None to keep its size.
        box: left, upper, right and lower edge of the picture within the decoded pixels; None if it fills them.
    """

    picture: PIL.Image.Image
    data: bytes | None
    name: str
    smaller_size: tuple[int, int] | None = None
    box: tuple[float, float, float, float] | None = None


def pixels_of(opened: Opened, notes: list[str]) -> Pixels:
    """Convert a decoded picture of any mode to sRGB, without rotating it.

    Args:
        opened: the picture.
        notes: list to which messages on the conversion are appended.

    Raises:
        ImageFileError: most values of a float picture are NaN or infinite.
    """
    picture = opened.picture
    space = None if picture.mode in ("CMYK", "LAB") else space_of(picture, opened.data, notes)
    profile = None if space else picture.info.get("icc_profile")
    values = _deep_values(picture, opened.data, opened.name, notes)
    pixels = _eight_bit(opened, profile, notes) if values is None else _deep(values, opened, profile, notes)
    if picture.format == "BMP" and pixels.alpha is not None and not pixels.alpha.any():
        notes.append("its alpha channel is empty, so it is read as opaque")
        pixels = Pixels(pixels.color)
    if space is None or space.is_srgb:
        return pixels
    notes.append(f"converted from {space.name} to sRGB")
    return Pixels(spaces.to_srgb(pixels.color, space), pixels.alpha)


def _eight_bit(opened: Opened, profile: bytes | None, notes: list[str]) -> Pixels:
    """Convert pixels of up to 8 bits per channel to sRGB; opaque pictures are reduced in size before conversion to float."""
    picture = opened.picture
    gray = picture.mode in ("1", "L", "LA", "La")
    alpha = None
    if picture.has_transparency_data:
        _widen_key(opened)
        rgba = picture.convert("RGBA")
        alpha = np.asarray(rgba.getchannel("A"), np.float32) / 255
        plain = rgba.getchannel("R") if gray else rgba.convert("RGB")
    elif picture.mode in ("CMYK", "LAB", "L", "RGB"):
        plain = picture
    else:
        plain = picture.convert("L" if gray else "RGB")
    if opened.smaller_size is not None and alpha is None and plain.mode != "LAB":
        plain = plain.resize(opened.smaller_size, PIL.Image.Resampling.BICUBIC, opened.box)
    converted = managed(plain, profile, notes)
    color = np.array(converted, np.float32)
    color /= 255
    return Pixels(color, alpha)


def _widen_key(opened: Opened) -> None:
    """Scale the transparent gray value of a 2- or 4-bit PNG to 8 bits; Pillow scales only the pixels."""
    key, data = opened.picture.info.get("transparency"), opened.data
    if data is not None and opened.picture.format == "PNG" and data[24:26] in (b"\2\0", b"\4\0") and isinstance(key, int):
        opened.picture.info["transparency"] = key * (85 if data[24] == 2 else 17)


def managed(plain: PIL.Image.Image, profile: bytes | None, notes: list[str]) -> PIL.Image.Image:
    """Convert an image of mode L, RGB, CMYK or LAB to sRGB; a profile for another color mode is ignored."""
    if plain.mode == "LAB":
        return _transformed(plain, PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("LAB")))
    if profile:
        wanted = {b"RGB ": "RGB", b"GRAY": "L", b"CMYK": "CMYK"}.get(profile[16:20])
        fits = wanted == plain.mode or (wanted, plain.mode) == ("RGB", "L")
        if fits and _is_srgb(profile):
            return plain.convert("RGB")
        try:
            opened = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if fits and wanted is not None:
                converted = _transformed(plain.convert(wanted), opened)
                notes.append(f"converted from {_profile_name(profile)} to sRGB")
                return converted
            notes.append(f"ignored a color profile for another color mode ({_profile_name(profile)})")
        except (PIL.ImageCms.PyCMSError, OSError, ValueError):
            notes.append("ignored a damaged color profile")
    elif plain.mode == "CMYK":
        notes.append("CMYK without a color profile: the colors are approximate")
    return plain.convert("RGB")


def _transformed(plain: PIL.Image.Image, profile: PIL.ImageCms.ImageCmsProfile) -> PIL.Image.Image:
    target = PIL.ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    converted = PIL.ImageCms.profileToProfile(
        plain,
        profile,
        target,
        renderingIntent=PIL.ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=PIL.ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return cast("PIL.Image.Image", converted)


@lru_cache(maxsize=1)
def srgb_profile() -> bytes:
    """Return the sRGB profile for results; always the same bytes."""
    profile = bytearray(PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes([7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])  # fixed creation date, 1 January 2000
    return bytes(profile)


@lru_cache(maxsize=8)
def _is_srgb(profile: bytes) -> bool:
    """Return whether a profile is sRGB, that is, whether it changes the values of color ramps by at most 1/255.

    The name of a profile does not answer this, because sRGB profiles have many names.
    """
    ramp = np.arange(256, dtype=np.uint8)[None, :, None]
    colors = np.array([[[r, g, b]] for r in (0, 1) for g in (0, 1) for b in (0, 1)], np.uint8)
    probe = PIL.Image.fromarray(ramp * colors if profile[16:20] == b"RGB " else ramp[..., 0])
    try:
        after = _transformed(probe, PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (PIL.ImageCms.PyCMSError, OSError, ValueError):
        return False
    return bool(np.abs(np.asarray(after, int) - np.asarray(probe.convert("RGB"), int)).max() <= 1)


def _profile_name(profile: bytes) -> str:
    try:
        text = PIL.ImageCms.getProfileDescription(PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (PIL.ImageCms.PyCMSError, OSError, ValueError):
        text = ""
    return "".join(letter for letter in text if letter.isprintable())[:60].strip() or "an unnamed profile"


def _deep_values(opened: PIL.Image.Image, data: bytes | None, name: str, notes: list[str]) -> Array | None:
    """Return the values (height, width, 1, 3 or 4) of a picture with more than 8 bits per channel, otherwise None."""
    if opened.mode in ("I", "F") or opened.mode.startswith("I;16"):
        values = np.asarray(opened)[..., None]
        tags = getattr(opened, "tag_v2", {})
        if tags.get(0x0102) == (12,):
            values = values * np.uint16(16)
        if opened.mode == "I" and tags.get(0x0102) == (32,) and tags.get(0x0153, (1,)) == (1,):
            values = values.view(np.uint32)  # Pillow stores unsigned numbers as signed
        if opened.mode == "I" and tags.get(0x0102) == (16,) and tags.get(0x0153) == (2,):
            values = values.astype(np.int16)  # Pillow reads signed 16-bit numbers as 32 bits
        if tags.get(0x0106) == 0 and values.dtype.kind == "u":
            values = np.iinfo(values.dtype).max - values  # white is zero
        return values
    if data is None or opened.format not in ("PNG", "TIFF") or not is_deep(opened, data):
        return None
    low = _low_bytes(data, name)
    if low is None:
        notes.append("16-bit, read as 8-bit")
        return None
    return np.asarray(opened).astype(np.uint16) * np.uint16(256) + low


def is_deep(opened: PIL.Image.Image, data: bytes) -> bool:
    """Return whether a PNG or a TIFF has more than 8 bits per channel.

    Args:
        opened: the picture.
        data: the bytes of the file, or the first ones.
    """
    if opened.format == "PNG":
        return data[24] == 16
    return bool(max(getattr(opened, "tag_v2", {}).get(0x0102, (8,))) > 8)


def _low_bytes(data: bytes, name: str) -> Array | None:
    """Read the lower bytes of 16-bit RGB or RGBA, (height, width, 3 or 4); None if that is not possible.

    Pillow keeps the upper byte of each channel. With the byte order swapped, it keeps the lower one.
    """
    swapped = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    again = opened_picture(data, name)
    tiles = []
    for tile in again.tile:  # type: ignore[attr-defined]  # every file image has tiles, but the base class does not
        args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
        raw = str(args[0])
        if raw[:-1] not in ("RGB;16", "RGBA;16"):
            return None
        raw = raw[:-1] + swapped[raw[-1]]
        tiles.append(tile._replace(args=(raw, *args[1:]) if isinstance(tile.args, tuple) else raw))
    again.tile = tiles  # type: ignore[attr-defined]
    again.load()
    return np.asarray(again)


def _deep(values: Array, opened: Opened, profile: bytes | None, notes: list[str]) -> Pixels:
    """Convert values of more than 8 bits, (height, width, channels) with 1, 3 or 4 channels, to sRGB."""
    alpha = None
    if values.shape[2] == 4:
        alpha = values[..., 3].astype(np.float32) / 65535
    elif (key := opened.picture.info.get("transparency")) is not None:  # PNG's one transparent color
        alpha = (values != np.asarray(key)).any(axis=2).astype(np.float32)
    color = scaled(values[..., :3], opened.name, notes)
    if getattr(opened.picture, "tag_v2", {}).get(0x0106) == 0 and values.dtype.kind != "u":
        color = 1 - color  # white is zero
    return Pixels(deep_color(color, profile, notes), alpha)


def deep_color(values: Array, profile: bytes | None, notes: list[str]) -> Array:
    """Convert values (height, width, 1 or 3) in [0, 1] to sRGB (height, width, 3); round to 8 bits only if necessary."""
    rgb = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values
    if not profile:
        return rgb
    fitting = rgb if profile[16:20] == b"RGB " else values
    if icc.to_srgb(fitting[:1, :1], profile) is not None:
        if _is_srgb(profile):
            return rgb
        notes.append(f"converted from {_profile_name(profile)} to sRGB")
        exact = np.empty(rgb.shape, np.float32)
        for top in range(0, len(exact), _ROWS):
            exact[top : top + _ROWS] = icc.to_srgb(fitting[top : top + _ROWS], profile)
        return exact
    eight = np.rint(fitting * 255).astype(np.uint8)
    before = len(notes)
    converted = managed(PIL.Image.fromarray(eight[..., 0] if eight.shape[2] == 1 else eight), profile, notes)
    if len(notes) > before and notes[-1].startswith("ignored"):
        return rgb
    return np.asarray(converted, np.float32) / 255


def tiff_pixels(data: bytes, name: str, max_pixels: int, notes: list[str]) -> Pixels:
    """Read a TIFF that Pillow does not support, such as one with float RGB.

    This uses tifffile, a dependency of scikit-image.

    Raises:
        ImageFileError: the TIFF is too large, of an unsupported type or compression, or contains mostly NaN.
    """
    tifffile = importlib.import_module("tifffile")
    with _silent("tifffile"), tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages[0]
        check_area((page.imagewidth, page.imagelength), max_pixels, name)
        if int(page.photometric) in SENSOR_COLORS:
            raise raw_photo(name)
        if int(page.photometric) not in (0, 1, 2):
            raise ImageFileError(f"'{name}' is a TIFF in {page.photometric.name} of an unsupported type; save it as RGB")
        try:
            values = page.asarray()
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            raise ImageFileError(
                f"'{name}' is a TIFF with {page.compression.name} compression, which is not supported; save it uncompressed"
            ) from error
        values = values.transpose(1, 2, 0) if int(page.planarconfig) == 2 and values.ndim == 3 else values
        values = values[..., None] if values.ndim == 2 else values
        white_is_zero, count = int(page.photometric) == 0, 3 if int(page.photometric) == 2 else 1
        extra, profile = [int(kind) for kind in page.extrasamples], page.iccprofile
    color = scaled(values[..., :count], name, notes)
    color = 1 - color if white_is_zero else color
    alpha = None
    if extra and extra[0] in (1, 2):
        alpha = scaled(values[..., count : count + 1], name, [])
        color = (color / np.maximum(alpha, 1e-6)).clip(0, 1).astype(np.float32) if extra[0] == 1 else color
    return Pixels(deep_color(color, profile, notes), None if alpha is None else alpha[..., 0])


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Disable the logger of a reader that both logs its errors and raises them."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
