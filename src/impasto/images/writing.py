"""Write pictures to files, atomically."""

import io
import math
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import PIL.Image
from PIL.PngImagePlugin import PngInfo

from impasto.errors import ImageFileError, ImpastoError, OptionError
from impasto.images import png16, tiffs, xmp
from impasto.images.colors import srgb_profile
from impasto.images.metadata import Metadata, without_place
from impasto.images.picture import Array, Picture, fitting, levels, one_picture, to_array
from impasto.runtime.atomic import replacing, try_writing
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image, Mask

_KINDS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".gif": "GIF",
}
_LONGEST_PX = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535, "AVIF": 65_536}
_KEEPS_ALPHA = ("PNG", "WEBP", "TIFF", "AVIF")
_STRIP_ROWS = 128
_MARKER_BYTES = 65_000  # a JPEG segment for EXIF or XMP has at most 64 KiB, including its header


@in_known_state
def write(  # noqa: PLR0913  (a file has many independent settings, each with a good default)
    path: str | os.PathLike[str],
    image: Image | Picture,
    *,
    alpha: Mask | None = None,
    metadata: Metadata | None = None,
    record: Mapping[str, object] | None = None,
    keep_gps: bool = False,
    bits: Literal[8, 16] = 8,
    quality: int = 95,
) -> None:
    """Save a picture, tagged as sRGB, in the format given by the suffix; the file is written atomically.

    PNG, WebP, TIFF and AVIF keep transparency; in JPEG, BMP and GIF the picture is placed on white. The record is saved as text
    in PNG (key ``impasto``) and as XMP in JPEG, WebP, TIFF and AVIF (``impasto:record``). BMP and GIF contain neither metadata
    nor a record.

    Args:
        path: ends in .jpg, .jpeg, .png, .webp, .tif, .tiff, .avif, .bmp or .gif.
        image: (1, 3, height, width) in [0, 1], or a picture with its own alpha and metadata.
        alpha: (1, 1, height, width) in [0, 1]; resized to the image if the sizes differ.
        metadata: metadata to write into the file.
        record: record of the run that made the picture; any JSON-compatible mapping.
        keep_gps: whether to keep the location of the photo in the metadata.
        bits: bits per channel; 16 only for PNG and TIFF.
        quality: quality of JPEG, WebP and AVIF, 1 to 100.

    Raises:
        ImageFileError: the format is unknown or does not support the size, the folder is missing, or the disk is full.
        OptionError: bits or quality is not allowed, the image contains NaN, or the record is too large for JPEG.
        ShapeError: the image has an unsupported shape.

    Example:
        >>> import torch
        >>> from impasto.images import read_record
        >>> write("gray.png", torch.full((1, 3, 32, 32), 0.5), record={"seed": 0})
        >>> read_record("gray.png")
        {'seed': 0}
    """
    parts = _parts(path, image, alpha, metadata, record, keep_gps, bits, quality)
    with new_file(path) as file:
        file.writelines(parts)


def encode(  # noqa: PLR0913  (the parameters of write)
    path: str | os.PathLike[str],
    image: Image | Picture,
    *,
    alpha: Mask | None = None,
    metadata: Metadata | None = None,
    record: Mapping[str, object] | None = None,
    keep_gps: bool = False,
    bits: Literal[8, 16] = 8,
    quality: int = 95,
) -> bytes:
    """Return the bytes of the file that :func:`write` would write, for the same parameters.

    Example:
        >>> import torch
        >>> encode("gray.bmp", torch.full((1, 3, 32, 32), 0.5))[:2]
        b'BM'
    """
    return b"".join(_parts(path, image, alpha, metadata, record, keep_gps, bits, quality))


def _parts(  # noqa: PLR0913  (the parameters of write)
    path: str | os.PathLike[str],
    image: Image | Picture,
    alpha: Mask | None,
    metadata: Metadata | None,
    record: Mapping[str, object] | None,
    keep_gps: bool,
    bits: Literal[8, 16],
    quality: int,
) -> Iterator[bytes]:
    """Check the parameters, and return consecutive parts of the bytes of the file."""
    if isinstance(image, Picture):
        alpha = image.alpha if alpha is None else alpha
        metadata = image.metadata if metadata is None else metadata
        image = image.image
    metadata = metadata or Metadata()
    metadata = metadata if keep_gps else without_place(metadata)
    kind = _kind(path)
    _check_options(kind, bits, quality)
    size = (one_picture(image).shape[1], one_picture(image).shape[2])
    check_fits(path, size)
    if bits == 16:
        strips = _strips(image, alpha, kind)
        return _deep_png(size, strips, metadata, record) if kind == "PNG" else _tiff(size, strips, metadata, record)
    pixels = _pixels(image, alpha, kind, bits)
    if kind == "TIFF":
        return _tiff(size, iter([pixels]), metadata, record)
    return iter([_encoded(kind, pixels, metadata, record, quality)])


@in_known_state
def to_webp(image: Image, *, quality: int) -> bytes:
    """Encode a picture (1, 3, height, width) in [0, 1] as the bytes of a WebP file, without metadata."""
    return _encoded("WEBP", _pixels(image, None, "WEBP", 8), Metadata(), None, quality)


@in_known_state
def write_animation(path: str | os.PathLike[str], frames: Iterable[Image], *, seconds_per_frame: float) -> None:
    """Save frames as an endlessly looping GIF; smaller frames (from coarse scales) are enlarged to the largest size.

    Args:
        path: ends in .gif.
        frames: each (1, 3, height, width) in [0, 1]; at least one.
        seconds_per_frame: at least 0.02, the shortest time that viewers support; rounded to hundredths.

    Raises:
        ImageFileError: the folder is missing or the disk is full.
        OptionError: the suffix is not .gif, there are no frames, or the time is not allowed.
        ShapeError: a frame has an unsupported shape.
    """
    if _kind(path) != "GIF":
        raise OptionError(f"an animation cannot be saved as '{path}'; its name must end in .gif")
    if not 0.02 <= seconds_per_frame <= 600:
        raise OptionError(f"seconds_per_frame is {seconds_per_frame}; use 0.02 to 600")
    arrays = [to_array(frame) for frame in frames]
    if not arrays:
        raise OptionError("an animation without frames cannot be saved; give at least one frame")
    size = max(((array.shape[1], array.shape[0]) for array in arrays), key=math.prod)
    pictures = [PIL.Image.fromarray(array).resize(size, PIL.Image.Resampling.BICUBIC).quantize(256) for array in arrays]
    stream = io.BytesIO()
    pictures[0].save(
        stream, "GIF", save_all=True, append_images=pictures[1:], duration=round(seconds_per_frame * 100) * 10, loop=0
    )
    with new_file(path) as file:
        file.write(stream.getvalue())


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check, before painting, that a picture can be saved at a path.

    Raises:
        ImageFileError: the format is not supported, or the folder is missing or not writable.
    """
    _kind(path)
    target = _target_of(path)
    try:
        try_writing(target)
    except OSError as error:
        raise _cannot_write(path, error) from error


def check_fits(path: str | os.PathLike[str], size: tuple[int, int]) -> None:
    """Check that the format of a file supports a size (height, width).

    Raises:
        ImageFileError: the format does not support the size.

    Example:
        >>> check_fits("wide.png", (400, 20_000))
        >>> check_fits("a.gif", (4, 70_000))
        Traceback (most recent call last):
        impasto.errors.ImageFileError: 'a.gif' cannot be 70000 x 4 pixels: GIF allows up to 65,535 per side; use .png or .tif
    """
    (height, width), kind = size, _kind(path)
    longest = _LONGEST_PX.get(kind)
    if longest is not None and max(height, width) > longest:
        raise ImageFileError(
            f"'{path}' cannot be {width} x {height} pixels: {kind} allows up to {longest:,} per side; use .png or .tif"
        )


def holds_record(path: str | os.PathLike[str], record: Mapping[str, object]) -> bool:
    """Return whether the format of a file can contain a record: BMP and GIF cannot, and JPEG is limited to 65,000 bytes."""
    kind = _kind(path)
    if kind in ("BMP", "GIF"):
        return False
    return kind != "JPEG" or len(xmp.with_record(None, record)) <= _MARKER_BYTES


def _kind(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in _KINDS:
        raise ImageFileError(f"'{path}' cannot be written as a picture; its name must end in one of {', '.join(_KINDS)}")
    return _KINDS[suffix]


def _check_options(kind: str, bits: int, quality: int) -> None:
    if bits not in (8, 16):
        raise OptionError(f"bits is {bits}; use 8 or 16")
    if bits == 16 and kind not in ("PNG", "TIFF"):
        raise OptionError(f"16 bits cannot be saved as {kind}; choose a name that ends in .png or .tif, or use 8 bits")
    if not 1 <= quality <= 100:
        raise OptionError(f"quality is {quality}; use 1 to 100")


def _strips(image: Image, alpha: Mask | None, kind: str) -> Iterator[Array]:
    """Yield strips of rows of 16-bit pixels."""
    alpha = None if alpha is None else fitting(alpha.to(image), image)
    for top in range(0, image.shape[-2], _STRIP_ROWS):
        rows = slice(top, top + _STRIP_ROWS)
        yield _pixels(image[..., rows, :], None if alpha is None else alpha[..., rows, :], kind, 16)


def _pixels(image: Image, alpha: Mask | None, kind: str, bits: int) -> Array:
    """Return integer pixels (height, width, 3 or 4), placed on white if the format has no transparency."""
    if alpha is None:
        return levels(image, bits=bits)
    alpha = fitting(alpha.to(image), image)
    if kind not in _KEEPS_ALPHA:
        rows = [slice(top, top + _STRIP_ROWS) for top in range(0, image.shape[-2], _STRIP_ROWS)]
        strips = [levels(image[..., each, :] * alpha[..., each, :] + (1 - alpha[..., each, :]), bits=bits) for each in rows]
        return np.concatenate(strips)
    return np.concatenate([levels(image, bits=bits), levels(alpha, bits=bits)], axis=2)


# ---- the formats -------------------------------------------------------------------------------------------------------


def _encoded(kind: str, pixels: Array, metadata: Metadata, record: Mapping[str, object] | None, quality: int) -> bytes:
    """Encode pixels in a format."""
    if kind == "PNG":
        return _saved(PIL.Image.fromarray(pixels), "PNG", _png_options(metadata, record))
    packet = metadata.xmp if record is None else xmp.with_record(metadata.xmp, record)
    if kind == "JPEG" and packet is not None and len(packet) > _MARKER_BYTES:
        packet = None if record is None else _small_enough(xmp.with_record(None, record))
    metadata = replace(metadata, xmp=packet)
    return _saved(PIL.Image.fromarray(pixels), kind, _pillow_options(kind, metadata, quality))


def _small_enough(packet: bytes) -> bytes:
    if len(packet) > _MARKER_BYTES:
        raise OptionError(
            f"a record of {len(packet):,} bytes does not fit into JPEG (up to {_MARKER_BYTES:,} bytes); save as .png"
        )
    return packet


def _saved(picture: PIL.Image.Image, kind: str, options: Mapping[str, Any]) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _pillow_options(kind: str, metadata: Metadata, quality: int) -> dict[str, Any]:
    if kind in ("BMP", "GIF"):
        return {}
    fine = quality >= 90
    options: dict[str, Any] = {"icc_profile": srgb_profile(), "quality": quality}
    if kind in ("JPEG", "AVIF"):
        options["subsampling"] = "4:4:4" if fine else "4:2:0"
    if metadata.exif is not None and (kind != "JPEG" or len(metadata.exif) <= _MARKER_BYTES):
        options["exif"] = metadata.exif
    if metadata.xmp is not None:
        options["xmp"] = metadata.xmp
    if metadata.dpi is not None and kind == "JPEG":
        options["dpi"] = metadata.dpi
    return options


def _deep_png(
    size: tuple[int, int], strips: Iterator[Array], metadata: Metadata, record: Mapping[str, object] | None
) -> Iterator[bytes]:
    """Encode a PNG with 16 bits per channel, strip by strip."""
    return png16.deepen(_saved(PIL.Image.new("RGB", (1, 1)), "PNG", _png_options(metadata, record)), size, strips)


def _png_options(metadata: Metadata, record: Mapping[str, object] | None) -> dict[str, Any]:
    texts = PngInfo()
    if record is not None:
        texts.add_itxt("impasto", xmp.as_json(record))
    if metadata.xmp is not None:
        texts.add_itxt("XML:com.adobe.xmp", metadata.xmp.decode())
    options: dict[str, Any] = {"pnginfo": texts, "icc_profile": srgb_profile(), "exif": metadata.exif or b""}
    if metadata.dpi is not None:
        options["dpi"] = metadata.dpi
    return options


def _tiff(
    size: tuple[int, int], strips: Iterator[Array], metadata: Metadata, record: Mapping[str, object] | None
) -> Iterator[bytes]:
    """Encode a TIFF as tags and deflated rows; Pillow can write neither 16-bit color nor EXIF in a compressed TIFF."""
    metadata = metadata if record is None else replace(metadata, xmp=xmp.with_record(metadata.xmp, record))
    packer, parts = zlib.compressobj(6), []
    for pixels in strips:
        parts.append(packer.compress(pixels.astype(pixels.dtype.newbyteorder("<"), order="C").data))
    parts.append(packer.flush())
    (height, width), channels = size, pixels.shape[2]
    layout: dict[int, object] = {256: width, 257: height, 258: (8 * pixels.itemsize,) * channels, 259: 8, 262: 2, 273: 0}
    layout |= {277: channels, 278: height, 279: sum(map(len, parts)), 284: 1, 34675: srgb_profile()}
    layout |= {338: 2} if channels == 4 else {}  # the fourth channel is straight alpha
    tags = tiffs.described(b"II*\x00\x08\x00\x00\x00", metadata, layout)
    stream = io.BytesIO()
    tags.save(stream)
    return chain([stream.getvalue()], parts)


# ---- atomic writes -----------------------------------------------------------------------------------------------------


@contextmanager
def new_file(path: str | os.PathLike[str], folder: Path | None = None) -> Iterator[BinaryIO]:
    """Yield a new file. At the end of the block, flush it to disk, and replace the file at ``path`` with it.

    If the block fails, the new file is deleted.

    Args:
        path: the file to write.
        folder: see :func:`impasto.runtime.atomic.replacing`.

    Raises:
        ImageFileError: the folder is missing, or the disk is full.
    """
    target = _target_of(path)
    try:
        with replacing(target, folder) as part:
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            with suppress(OSError):  # there may be no old file
                shutil.copymode(target, part)
    except OSError as error:
        if isinstance(error, ImpastoError):
            raise
        raise _cannot_write(path, error) from error


def _target_of(path: str | os.PathLike[str]) -> Path:
    """Resolve a path; raise ImageFileError if its folder is missing, or if the path is a folder or a device."""
    target = Path(os.path.realpath(path))
    if not os.path.isdir(target.parent):
        raise ImageFileError(f"'{path}' cannot be written: there is no folder '{Path(path).parent}'; create it first")
    if os.path.exists(target) and not os.path.isfile(target):
        raise ImageFileError(f"'{path}' cannot be written: it is a folder or a device; give the name of a file")
    return target


def _cannot_write(path: str | os.PathLike[str], error: OSError) -> ImageFileError:
    """Make the error for a file that cannot be written."""
    return ImageFileError(f"'{path}' cannot be written ({error.strerror or error}); free some space or choose another folder")
