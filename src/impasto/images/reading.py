"""Read pictures from files, bytes, Pillow images, arrays and tensors."""

import hashlib
import json
import math
import os
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from torch import Tensor

from impasto.errors import ImageFileError, OptionError, ShapeError
from impasto.images import chunks, tiffs, xmp
from impasto.images.colors import Opened, Pixels, is_deep, pixels_of, tiff_pixels
from impasto.images.files import (
    BYTES_OF_A_PIXEL,
    BYTES_OF_A_REDUCED_PIXEL,
    check_area,
    contents,
    decoding,
    header_of,
    kind_of,
    opened_file,
    opened_header,
    opened_picture,
    raw_photo,
)
from impasto.images.jpegs import completed
from impasto.images.metadata import Metadata, as_bytes, turned
from impasto.images.picture import Array, Picture, filled, fitted_size, reduced_size
from impasto.runtime.torch_state import in_known_state

Source: TypeAlias = str | os.PathLike[str] | bytes | PIL.Image.Image | npt.NDArray[Any] | Tensor
"""Supported sources of a picture.

A path; the bytes of a file; a Pillow image; a NumPy array (height, width), (height, width, 3) or (height, width, 4); a tensor
(3, height, width) or (1, 3, height, width), or one with 1 or 4 channels instead of 3. Arrays and tensors are uint8, uint16 or
float in [0, 1].
"""

_WORTH_REDUCING = 2
"""A picture is reduced before conversion to float if it exceeds the needed size by more than this factor."""

_NARROWEST_PX = 32
"""A picture is not reduced if a side would become shorter than this. So errors about narrow pictures show their real size."""

MAX_PIXELS = 300_000_000
"""Default limit on the number of pixels of a picture; without a limit, a small file could fill the memory."""


@dataclass(frozen=True)
class _Wanted:
    """The largest number of pixels that is decoded, and the needed length of the longer side."""

    max_pixels: int
    longest_px: int

    def smaller_size(self, size: tuple[int, int]) -> tuple[int, int] | None:
        """Return the size to which an 8-bit picture is reduced, in the same order as ``size``; None if it is not reduced."""
        if self.longest_px < 1 or max(size) <= _WORTH_REDUCING * self.longest_px:
            return None
        smaller = fitted_size(size, self.longest_px)
        return smaller if min(smaller) >= _NARROWEST_PX else None


@in_known_state
def read(source: Source, *, max_pixels: int = MAX_PIXELS, longest_px: int = 0) -> Picture:
    """Read a picture, turn it upright, and convert it to sRGB.

    Only the first frame of an animation is read. Damaged EXIF or ICC data is ignored. A note is added in either case.

    Args:
        source: see :data:`Source`.
        max_pixels: a picture with more pixels (height times width) is refused before it is decoded.
        longest_px: the needed length of the longer side. An opaque 8-bit picture that is more than twice as large is
            reduced to this length while it is read. This saves most of the time and memory. With 0, pictures keep their size.

    Raises:
        ImageFileError: the file is missing, unreadable, damaged, too large or not in a supported format.
        ShapeError: an array or tensor has an unsupported shape.
        OptionError: an array or tensor has an unsupported type, or contains NaN or values outside [0, 1].
        ResourceError: there is not enough memory.

    Example:
        >>> import numpy as np
        >>> picture = read(np.zeros((40, 30, 3), np.uint8))
        >>> picture.size, picture.image.shape, picture.alpha
        ((40, 30), torch.Size([1, 3, 40, 30]), None)
    """
    wanted = _Wanted(max_pixels, longest_px)
    if isinstance(source, np.ndarray | Tensor):
        return _read_array(source, wanted)
    notes: list[str] = []
    if isinstance(source, PIL.Image.Image):
        name = os.path.basename(str(getattr(source, "filename", ""))) or "image"
        _check_size(source, None, wanted, name)
        with decoding(name, notes):
            digest = _digest(source.tobytes(), source.mode, source.size)
            pixels, metadata = _decoded(Opened(source, None, name, wanted.smaller_size(source.size)), notes)
    else:
        data, name = contents(source)
        digest = hashlib.sha256(data).hexdigest()
        with decoding(name, notes):
            pixels, metadata = _decoded_file(data, name, wanted, notes)
    return _picture(pixels, metadata, name, digest, notes)


@dataclass(frozen=True)
class ReadingPlan:
    """How :func:`read` would read a file.

    Attributes:
        size: (height, width) in the file, before any rotation.
        read_size: (height, width) of the picture that is read, which may be reduced; before any rotation.
        peak_bytes: the peak memory of reading.
    """

    size: tuple[int, int]
    read_size: tuple[int, int]
    peak_bytes: int


def reading_plan(path: str | os.PathLike[str], *, longest_px: int = 0) -> ReadingPlan | None:
    """Plan how :func:`read` would read a file, from its header; None if the file cannot be read as a picture."""
    found = header_of(path)
    if found is None:
        return None
    (opened, head), wanted = found, _Wanted(MAX_PIXELS, longest_px)
    size, bytes_each = (opened.height, opened.width), _bytes_of_a_pixel(opened, head, wanted)
    is_reduced = bytes_each == BYTES_OF_A_REDUCED_PIXEL
    return ReadingPlan(size, reduced_size(size, longest_px) if is_reduced else size, bytes_each * math.prod(size))


def read_record(path: str | os.PathLike[str]) -> dict[str, object] | None:
    """Read the record of the run that made a picture, as saved by :func:`impasto.images.write`.

    Returns:
        The record, or None if the picture has none.

    Raises:
        ImageFileError: the file is missing or not a picture, or its record is damaged.
    """
    name = os.path.basename(path)
    with opened_file(path) as (file, head), decoding(name, []):
        opened, _ = opened_header(file, head, name, [])
        text = opened.info.get("impasto") or xmp.record_in(as_bytes(opened.info.get("xmp")))
    if not text:
        return None
    try:
        record = json.loads(str(text))
    except (ValueError, RecursionError) as error:
        raise ImageFileError(f"the record in '{name}' is damaged ({error}); give the record file instead") from error
    return record if isinstance(record, dict) else None


def _read_array(source: Array | Tensor, wanted: _Wanted) -> Picture:
    name = "array" if isinstance(source, np.ndarray) else "tensor"
    array = _channels_last(source) if isinstance(source, Tensor) else source
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ShapeError(
            f"an array of shape {source.shape} is not a picture; give (height, width), (height, width, 3) or "
            "(height, width, 4): in arrays the channels come last"
        )
    check_area((array.shape[1], array.shape[0]), wanted.max_pixels, name)
    values = _unit(_reduced(array, wanted), name)
    color = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values[..., :3]
    pixels = Pixels(color, values[..., 3] if values.shape[2] == 4 else None)
    digest = _digest(np.ascontiguousarray(array).tobytes(), array.dtype.str, array.shape)
    return _picture(pixels, Metadata(), name, digest, [])


def _reduced(array: Array, wanted: _Wanted) -> Array:
    """Reduce an opaque array of bytes if a smaller size is sufficient."""
    smaller = wanted.smaller_size((array.shape[1], array.shape[0]))
    if smaller is None or array.dtype != np.uint8 or array.shape[2] == 4:
        return array
    picture = PIL.Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    resized = np.asarray(picture.resize(smaller, PIL.Image.Resampling.BICUBIC))
    return resized[..., None] if resized.ndim == 2 else resized


def _channels_last(tensor: Tensor) -> Array:
    """Convert a tensor (channels, height, width), or a batch of one, to an array (height, width, channels)."""
    flat = tensor[0] if tensor.ndim == 4 and tensor.shape[0] == 1 else tensor
    if flat.ndim != 3 or flat.shape[0] not in (1, 3, 4) or 0 in flat.shape:
        raise ShapeError(
            f"a tensor of shape {tuple(tensor.shape)} is not a picture; give (3, height, width) or (1, 3, height, width): "
            "in tensors the channels come first"
        )
    flat = flat.detach().cpu().permute(1, 2, 0)
    return (flat.float() if flat.dtype in (torch.bfloat16, torch.float16) else flat).numpy()


def _unit(array: Array, name: str) -> Array:
    """Scale an array to float32 in [0, 1] according to its type; floats must already be in [0, 1]."""
    if array.dtype in (np.uint8, np.uint16):
        return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    if array.dtype == np.bool_:
        return array.astype(np.float32)
    if not np.issubdtype(array.dtype, np.floating):
        raise OptionError(f"{name} of type {array.dtype} is not a picture; use uint8, uint16 or float in [0, 1]")
    if not np.isfinite(array).all():
        raise OptionError(f"{name} contains NaN or infinite values; values must be from 0 to 1")
    low, high = float(array.min()), float(array.max())
    if low < -1e-3 or high > 1 + 1e-3:  # tolerance for rounding
        raise OptionError(f"{name} has values from {low:g} to {high:g}; floats must be in [0, 1]: rescale or clip them")
    return array.astype(np.float32).clip(0, 1)


def _decoded_file(data: bytes, name: str, wanted: _Wanted, notes: list[str]) -> tuple[Pixels, Metadata]:
    kind = kind_of(data)
    if kind == "PNG":
        data = chunks.readable(data, notes)
    if kind == "TIFF":
        data = _largest_page(data, name, notes)
    try:
        opened = opened_picture(data, name)
    except SyntaxError:  # Pillow supports the format, but not this variant
        if kind != "TIFF":
            raise
        return tiff_pixels(data, name, wanted.max_pixels, notes), Metadata()
    tags = getattr(opened, "tag_v2", {})
    if tags.get(0x011C) == 2 and max(tags.get(0x0102, (8,))) > 8:  # Pillow misreads planar channels of more than 8 bits
        orientation, metadata = turned(opened, notes)
        return _turn(tiff_pixels(data, name, wanted.max_pixels, notes), orientation), metadata
    _check_size(opened, data, wanted, name)
    return _decoded(_drafted(Opened(opened, data, name, wanted.smaller_size(opened.size))), notes)


def _largest_page(data: bytes, name: str, notes: list[str]) -> bytes:
    """If the first page of a TIFF is a thumbnail, put the largest full page first.

    Raises:
        ImageFileError: the file is a raw camera photo.
    """
    pages = tiffs.pages_of(data)
    if any(page.is_raw for page in pages):
        raise raw_photo(name)
    largest = max((page for page in pages if page.is_whole), key=lambda page: page.area_px, default=None)
    if largest is None or not pages[0].is_reduced or largest.area_px <= pages[0].area_px:
        return data
    notes.append(f"took the largest of {len(pages)} pages; the first is a thumbnail")
    return tiffs.with_first(data, largest)


def _check_size(opened: PIL.Image.Image, data: bytes | None, wanted: _Wanted, name: str) -> None:
    """Refuse a picture that is too large."""
    check_area(opened.size, wanted.max_pixels, name, _bytes_of_a_pixel(opened, data, wanted))


def _bytes_of_a_pixel(opened: PIL.Image.Image, data: bytes | None, wanted: _Wanted) -> int:
    """Return the peak memory of reading a picture, per pixel; it is lower if the picture is reduced while it is decoded."""
    if wanted.smaller_size(opened.size) is None or opened.mode not in ("L", "RGB", "CMYK") or opened.has_transparency_data:
        return BYTES_OF_A_PIXEL
    return BYTES_OF_A_PIXEL if data is not None and is_deep(opened, data) else BYTES_OF_A_REDUCED_PIXEL


def _drafted(opened: Opened) -> Opened:
    """Decode a JPEG at a half, a quarter or an eighth of its size, but at least twice as large as needed."""
    if opened.smaller_size is not None and opened.picture.format in ("JPEG", "MPO"):
        width, height = opened.smaller_size
        drafted = opened.picture.draft(None, (2 * width, 2 * height))
        return replace(opened, box=drafted[1]) if drafted else opened  # the last block may extend beyond the picture
    return opened


def _decoded(opened: Opened, notes: list[str]) -> tuple[Pixels, Metadata]:
    """Decode an opened picture."""
    picture = opened.picture
    if not any(note.startswith("took") for note in notes):  # a later page was put first
        note_frames(picture, notes)
    if picture.format == "TIFF":  # load() turns the picture and drops the orientation, so read it first
        _, metadata = turned(picture, notes)
        picture.load()
        return pixels_of(opened, notes), metadata
    opened = _loaded(opened, notes)  # also reads metadata stored after the pixels
    orientation, metadata = turned(opened.picture, notes)
    return _turn(pixels_of(opened, notes), orientation), metadata


def note_frames(picture: PIL.Image.Image, notes: list[str]) -> None:
    """Add a note if a file has several pages or frames. Those of MPO and HEIF are depth maps, gain maps and previews."""
    frames = getattr(picture, "n_frames", 1)
    if frames > 1 and picture.format not in ("MPO", "HEIF"):
        notes.append(f"took the first of {frames} {'pages' if picture.format == 'TIFF' else 'frames'}")


def _loaded(opened: Opened, notes: list[str]) -> Opened:
    """Decode the pixels; for a truncated JPEG, those that are present.

    Raises:
        ImageFileError: a large part of the JPEG is missing.
    """
    try:
        opened.picture.load()
    except OSError as error:
        if opened.data is None or opened.picture.format not in ("JPEG", "MPO") or "truncated" not in str(error):
            raise
        whole = completed(opened.data, opened.name, notes)
        opened = _drafted(replace(opened, picture=opened_picture(whole, opened.name), data=whole))
        opened.picture.load()
    return opened


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    alpha = None if pixels.alpha is None else upright(pixels.alpha, orientation)
    return Pixels(upright(pixels.color, orientation), alpha)


def upright(array: Array, orientation: int) -> Array:
    """Turn an array (height, width, ...) upright, given its EXIF orientation."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def _picture(pixels: Pixels, metadata: Metadata, name: str, digest: str, notes: list[str]) -> Picture:
    color = pixels.color.transpose(2, 0, 1)
    if min(color.strides) < 0 or not color.flags.writeable:  # torch supports neither; copy only if needed
        color = np.ascontiguousarray(color)
    image = torch.from_numpy(color.astype(np.float32, copy=False))[None]
    alpha = None
    if pixels.alpha is not None and bool((pixels.alpha < 1).any()):
        if not pixels.alpha.any():
            notes.append("the picture is fully transparent: nothing is visible")
        alpha = torch.from_numpy(np.ascontiguousarray(pixels.alpha, dtype=np.float32))[None, None]
        image = filled(image, alpha)
    return Picture(image, alpha, metadata, name, digest, tuple(notes))


def _digest(data: bytes, *description: object) -> str:
    return hashlib.sha256(repr(description).encode() + data).hexdigest()
