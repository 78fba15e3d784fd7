"""Headers of picture files: detect the format, and turn any problem into a one-sentence error."""

import importlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import PIL.Image
import torch

from impasto.errors import ImageFileError, ImpastoError, OptionError, ResourceError
from impasto.images import chunks, signatures
from impasto.runtime.amounts import amount
from impasto.runtime.memory import available_memory

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
"""Supported formats, as named by Pillow; HEIC needs the extra ``impasto[heic]``."""

PYTHON_ADVICE = ", or in Python increase max_pixels of impasto.read"
"""End of the message about too many pixels; the studio omits it."""
BYTES_OF_A_PIXEL = 26
"""Peak memory of reading, in bytes per pixel. On 24-megapixel pictures, it was 21 (gray TIFF) to 26 (PNG, rotated JPEG)."""
BYTES_OF_A_REDUCED_PIXEL = 11
"""Peak memory, in bytes per pixel, if the size is reduced before conversion to float: 10.5 on a progressive JPEG of 24
megapixels, 4 of them in Pillow and the rest in libjpeg."""
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis")
_WARNINGS = threading.Lock()  # catching warnings changes global state, so only one thread at a time may do it


def contents(source: str | os.PathLike[str] | bytes) -> tuple[bytes, str]:
    """Return the bytes and the name of a file; check the first bytes before reading the rest.

    Raises:
        ImageFileError: the file is missing, unreadable, empty, or not in a supported format.
        OptionError: the source is neither a path nor bytes.
    """
    if isinstance(source, bytes):
        check_kind(source, "bytes")
        return source, "bytes"
    if not isinstance(source, str | os.PathLike):
        raise OptionError(
            f"a picture cannot be read from {type(source).__name__}; give a path, bytes, an image, an array or a tensor"
        )
    with opened_file(source) as (file, head):
        return head + file.read(), Path(source).name


@contextmanager
def opened_file(source: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, bytes]]:
    """Open a picture file and read its first bytes; yield the file and these bytes.

    Raises:
        ImageFileError: see :func:`contents`.
    """
    path = Path(source)
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            what = "a folder" if stat.S_ISDIR(mode) else "a device"
            raise ImageFileError(f"'{path}' is {what}, not a picture; give the path of a picture file")
        with path.open("rb") as file:
            head = file.read(4096)
            check_kind(head, path.name)
            yield file, head
    except FileNotFoundError:
        raise ImageFileError(f"there is no file '{path}'; check its name and folder") from None
    except ImpastoError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise ImageFileError(f"'{path}' cannot be read ({reason}); check its name and permissions") from error


def check_kind(head: bytes, name: str) -> None:
    """Raise ImageFileError with a helpful message if a file is not in a supported format."""
    if not head:
        raise ImageFileError(f"'{name}' is empty (0 bytes); copy or download it again")
    if raw := signatures.raw_kind(head):
        raise raw_photo(name, raw)
    if kind_of(head) is not None:
        return
    words = signatures.kind_in_words(head)
    if b"<svg" in head[:4096].lower() and words is None:
        raise ImageFileError(f"'{name}' is an SVG, a vector picture without pixels; export it as PNG and use that")
    what = f"is {words}, which is not supported" if words else "is not a picture in a supported format"
    raise ImageFileError(f"'{name}' {what}; use JPEG, PNG, WebP, TIFF, AVIF, BMP, GIF or HEIC")


def raw_photo(name: str, kind: str = "") -> ImageFileError:
    """Make the error for a raw camera photo, which must be developed first."""
    kind = f" ({kind})" if kind else ""
    return ImageFileError(
        f"'{name}' is a raw camera photo{kind}, which is not supported; export a JPEG or TIFF from it and use that"
    )


def kind_of(head: bytes) -> str | None:
    """Determine the format of a file from its first bytes, never from its name: one of FORMATS, "HEIC" or None."""
    brand, brands = head[8:12], head[8:64]
    if head[4:8] == b"ftyp" and (brand in _HEIC_BRANDS or (brand in (b"mif1", b"msf1") and b"avif" not in brands)):
        return "HEIC"
    PIL.Image.init()
    for kind in FORMATS:
        _, accept = PIL.Image.OPEN[kind]
        if accept is None or accept(head[:16]) is True:
            return kind
    return None


def opened_picture(data: bytes, name: str) -> PIL.Image.Image:
    """Open a file and read its header.

    This calls the reader of the format directly. Pillow's ``open`` has its own, process-wide limit on pixels, and would try
    readers that are not safe for untrusted files.

    Raises:
        ImageFileError: the file is HEIC and the package for it is missing.
    """
    kind = kind_of(data)
    if kind == "HEIC":
        try:
            heif = importlib.import_module("pillow_heif")
        except ImportError:
            raise ImageFileError(f"'{name}' is HEIC, which needs another package: pip install 'impasto[heic]'") from None
        return cast("PIL.Image.Image", heif.HeifImageFile(io.BytesIO(data)))
    factory, _ = PIL.Image.OPEN[cast("str", kind)]
    return factory(io.BytesIO(data), "")


def opened_header(file: BinaryIO, head: bytes, name: str, notes: list[str]) -> tuple[PIL.Image.Image, bytes]:
    """Open a file for everything but its pixels, which are not read from PNG, JPEG and TIFF files.

    Args:
        file: the open file, of which the first bytes have been read. A pipe is read to its end.
        head: its first bytes.
        name: its name for errors.
        notes: list to which a message is appended for each damaged part.

    Returns:
        The picture, and bytes: for a PNG, a PNG of one pixel with the other chunks of the file; for other formats, the first
        bytes.
    """
    if not file.seekable():
        file = io.BytesIO(head + file.read())
    if kind_of(head) == "PNG":  # Pillow decodes the whole picture to find metadata behind the pixels
        head = chunks.readable(chunks.in_miniature(file), notes)
        return opened_picture(head, name), head
    return _opened(file, head, name), head


def _opened(file: BinaryIO, head: bytes, name: str) -> PIL.Image.Image:
    """Open a file with the reader of its format, which reads the pixels later from the same file."""
    kind = cast("str", kind_of(head))
    file.seek(0)
    return opened_picture(file.read(), name) if kind == "HEIC" else PIL.Image.OPEN[kind][0](file, "")


def size_in_header(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """Return the (height, width) that a file's header gives, before any rotation; None if it cannot be read as a picture."""
    found = header_of(path)
    return None if found is None else (found[0].height, found[0].width)


def header_of(path: str | os.PathLike[str]) -> tuple[PIL.Image.Image, bytes] | None:
    """Read the header of a file. Return the picture, whose pixels cannot be read, and the first bytes of the file.

    Returns:
        None if the file cannot be read as a picture.
    """
    try:
        with opened_file(path) as (file, head), decoding(str(path), []):
            return _opened(file, head, str(path)), head
    except (ImpastoError, OSError, ValueError):
        return None


@contextmanager
def decoding(name: str, notes: list[str]) -> Iterator[None]:
    """Turn the warnings of a decoder into notes, and its exceptions into one-sentence errors."""
    with _WARNINGS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except ImpastoError:
            raise
        except MemoryError as error:
            raise ResourceError(f"'{name}' does not fit into memory; reduce its size first") from error
        except PIL.Image.DecompressionBombError as error:
            raise ImageFileError(
                f"'{name}' has more pixels than its decoder allows ({error}); reduce its size first"
            ) from error
        except Exception as error:  # a damaged file can raise almost any exception
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise ImageFileError(f"'{name}' is damaged or truncated ({reason}); copy or save it again") from error
    for warning in caught:
        text = "the file is not quite valid: " + " ".join(str(warning.message).split())[:120]
        if not issubclass(warning.category, PIL.Image.DecompressionBombWarning) and text not in notes:
            notes.append(text)


def check_area(size: tuple[int, int], max_pixels: int, name: str, bytes_per_pixel: int = BYTES_OF_A_PIXEL) -> None:
    """Refuse a picture that is too large to decode, given its (width, height) from the header.

    Raises:
        ImageFileError: it has more pixels than allowed.
        ResourceError: it does not fit into the free memory.
    """
    width, height = size
    if width * height > max_pixels:
        raise ImageFileError(
            f"'{name}' is {width} x {height} = {width * height / 1e6:,.0f} megapixels, more than the {max_pixels / 1e6:,.0f} "
            f"that are allowed; reduce its size first{PYTHON_ADVICE}"
        )
    needed, free = bytes_per_pixel * width * height, available_memory(torch.device("cpu"))
    if free is not None and needed > free:
        raise ResourceError(
            f"'{name}' is {width} x {height} = {width * height / 1e6:,.0f} megapixels, which need {amount(needed)} of "
            f"memory, but only {amount(free)} are free; reduce its size first, or close other programs"
        )
