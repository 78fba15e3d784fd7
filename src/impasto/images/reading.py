"""Pictures from files, bytes, Pillow images, arrays and tensors."""

import hashlib
import json
import os
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from torch import Tensor

from impasto.errors import ImageFileError, OptionError, ShapeError
from impasto.images import xmp
from impasto.images.colours import Pixels, pixels_of, tiff_pixels
from impasto.images.files import check_area, contents, decoding, kind_of, opened_picture
from impasto.images.metadata import Metadata, as_bytes, turned
from impasto.images.picture import Array, Picture, filled
from impasto.torch_state import in_known_state

Source: TypeAlias = str | os.PathLike[str] | bytes | PIL.Image.Image | npt.NDArray[Any] | Tensor
"""Whatever a picture may come as.

A path; the bytes of a file; a Pillow image; a NumPy array (height, width), (height, width, 3) or (height, width, 4); a tensor
(3, height, width) or (1, 3, height, width), with 1 or 4 channels too. Arrays and tensors are uint8, uint16 or float in [0, 1].
"""

MAX_PIXELS = 300_000_000
"""The largest picture that is decoded unless asked: beyond it a small file could fill the memory."""


@in_known_state
def read(source: Source, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Read a picture from wherever it is, turned upright and converted to sRGB.

    Of an animation the first frame is read, and a note says so. Damaged EXIF or ICC is left out, and a note says so.

    Args:
        source: see :data:`Source`.
        max_pixels: height times width above which the picture is refused before it is decoded.

    Raises:
        ImageFileError: the file is missing, unreadable, damaged, too large or no picture that impasto reads.
        ShapeError: an array or a tensor of another shape.
        OptionError: an array or a tensor of another type, with NaN or outside [0, 1].
        ResourceError: the memory is not enough.

    Example:
        >>> import numpy as np
        >>> picture = read(np.zeros((40, 30, 3), np.uint8))
        >>> picture.size, picture.image.shape, picture.alpha
        ((40, 30), torch.Size([1, 3, 40, 30]), None)
    """
    if isinstance(source, np.ndarray | Tensor):
        return _read_array(source, max_pixels)
    notes: list[str] = []
    if isinstance(source, PIL.Image.Image):
        name = os.path.basename(str(getattr(source, "filename", ""))) or "image"
        check_area(source.size, max_pixels, name)
        with decoding(name, notes):
            digest = _digest(source.tobytes(), source.mode, source.size)
            pixels, metadata = _decoded(source, None, name, max_pixels, notes)
    else:
        data, name = contents(source)
        digest = hashlib.sha256(data).hexdigest()
        with decoding(name, notes):
            pixels, metadata = _decoded_file(data, name, max_pixels, notes)
    return _picture(pixels, metadata, name, digest, notes)


def read_record(path: str | os.PathLike[str]) -> dict[str, object] | None:
    """Read back the record of the run that made a picture, as :func:`impasto.images.write` stored it.

    Returns:
        The record, or None where the picture carries none.

    Raises:
        ImageFileError: the file is missing or no picture, or its record is damaged.
    """
    data, name = contents(path)
    with decoding(name, []):
        opened = opened_picture(data, name)
        text = opened.info.get("impasto") or xmp.record_in(as_bytes(opened.info.get("xmp")))
    if not text:
        return None
    try:
        record = json.loads(str(text))
    except (ValueError, RecursionError) as error:
        raise ImageFileError(f"the record of the run in '{name}' is damaged ({error}); give the record's own file") from error
    return record if isinstance(record, dict) else None


def _read_array(source: Array | Tensor, max_pixels: int) -> Picture:
    name = "array" if isinstance(source, np.ndarray) else "tensor"
    array = _channels_last(source) if isinstance(source, Tensor) else source
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or 0 in array.shape:
        raise ShapeError(
            f"an array of shape {source.shape} is not a picture; give (height, width), (height, width, 3) or "
            "(height, width, 4): in arrays the channels come last"
        )
    check_area((array.shape[1], array.shape[0]), max_pixels, name)
    values = _unit(array, name)
    colour = np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values[..., :3]
    pixels = Pixels(colour, values[..., 3] if values.shape[2] == 4 else None)
    digest = _digest(np.ascontiguousarray(array).tobytes(), array.dtype.str, array.shape)
    return _picture(pixels, Metadata(), name, digest, [])


def _channels_last(tensor: Tensor) -> Array:
    """Turn a tensor (channels, height, width), alone or a batch of one, into an array (height, width, channels)."""
    flat = tensor[0] if tensor.ndim == 4 and tensor.shape[0] == 1 else tensor
    if flat.ndim != 3 or flat.shape[0] not in (1, 3, 4) or 0 in flat.shape:
        raise ShapeError(
            f"a tensor of shape {tuple(tensor.shape)} is not a picture; give (3, height, width) or (1, 3, height, width): "
            "in tensors the channels come first"
        )
    flat = flat.detach().cpu().permute(1, 2, 0)
    return (flat.float() if flat.dtype in (torch.bfloat16, torch.float16) else flat).numpy()


def _unit(array: Array, name: str) -> Array:
    """Bring an array's values to float32 in [0, 1] by its type; floats must be there already."""
    if array.dtype in (np.uint8, np.uint16):
        return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    if array.dtype == np.bool_:
        return array.astype(np.float32)
    if not np.issubdtype(array.dtype, np.floating):
        raise OptionError(f"{name} of type {array.dtype} is not a picture; allowed are uint8, uint16 and float in [0, 1]")
    if not np.isfinite(array).all():
        raise OptionError(f"{name} holds NaN or infinite values; a picture's values are from 0 to 1")
    low, high = float(array.min()), float(array.max())
    if low < -1e-3 or high > 1 + 1e-3:  # room for rounding alone
        raise OptionError(f"{name} has values from {low:g} to {high:g}; floats must be in [0, 1]: rescale or clip them")
    return array.astype(np.float32).clip(0, 1)


def _decoded_file(data: bytes, name: str, max_pixels: int, notes: list[str]) -> tuple[Pixels, Metadata]:
    try:
        opened = opened_picture(data, name)
    except SyntaxError:  # how Pillow says that it knows the format but not this kind of it
        if kind_of(data) != "TIFF":
            raise
        return tiff_pixels(data, name, max_pixels, notes), Metadata()
    tags = getattr(opened, "tag_v2", {})
    if tags.get(0x011C) == 2 and max(tags.get(0x0102, (8,))) > 8:  # Pillow misreads deep channels stored one after another
        orientation, metadata = turned(opened, notes)
        return _turn(tiff_pixels(data, name, max_pixels, notes), orientation), metadata
    return _decoded(opened, data, name, max_pixels, notes)


def _decoded(
    opened: PIL.Image.Image, data: bytes | None, name: str, max_pixels: int, notes: list[str]
) -> tuple[Pixels, Metadata]:
    """Decode an opened picture; data is the file it is from, where there is one."""
    check_area(opened.size, max_pixels, name)
    frames = getattr(opened, "n_frames", 1)
    if frames > 1 and opened.format not in ("MPO", "HEIF"):  # there the others are not frames but depths, gains, previews
        notes.append(f"took the first of {frames} {'pages' if opened.format == 'TIFF' else 'frames'}")
    if opened.format == "TIFF":  # its reader turns it by itself, and forgets
        _, metadata = turned(opened, notes)
        opened.load()
        return pixels_of(opened, data, name, notes), metadata
    opened.load()  # also reads the metadata that stands behind the pixels
    orientation, metadata = turned(opened, notes)
    return _turn(pixels_of(opened, data, name, notes), orientation), metadata


def _turn(pixels: Pixels, orientation: int) -> Pixels:
    alpha = None if pixels.alpha is None else _upright(pixels.alpha, orientation)
    return Pixels(_upright(pixels.colour, orientation), alpha)


def _upright(array: Array, orientation: int) -> Array:
    """Turn an array (height, width, ...) from the way EXIF says it was taken."""
    if orientation >= 5:
        array = array.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array


def _picture(pixels: Pixels, metadata: Metadata, name: str, digest: str, notes: list[str]) -> Picture:
    colour = pixels.colour.transpose(2, 0, 1)
    if min(colour.strides) < 0 or not colour.flags.writeable:  # which torch cannot look through; else there is one copy less
        colour = np.ascontiguousarray(colour)
    image = torch.from_numpy(colour.astype(np.float32, copy=False))[None]
    alpha = None
    if pixels.alpha is not None and bool((pixels.alpha < 1).any()):
        alpha = torch.from_numpy(np.ascontiguousarray(pixels.alpha, dtype=np.float32))[None, None]
        image = filled(image, alpha)
    return Picture(image, alpha, metadata, name, digest, tuple(notes))


def _digest(data: bytes, *description: object) -> str:
    return hashlib.sha256(repr(description).encode() + data).hexdigest()
