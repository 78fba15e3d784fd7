"""Picture files as far as their headers: what a file is, and one sentence for whatever is wrong with it."""

import importlib
import io
import os
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import PIL.Image
import torch

from impasto.errors import ImageFileError, ImpastoError, OptionError, ResourceError
from impasto.images import signatures
from impasto.runtime.memory import available_memory

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
"""Pillow's names of the formats that are read; HEIC comes with the extra ``impasto[heic]``."""

_BYTES_PER_PIXEL = 26
"""What reading takes at its peak, measured on pictures of 24 megapixels: 21 (gray TIFF) to 26 (PNG, a JPEG to be turned)."""
BYTES_OF_A_REDUCED_PIXEL = 9
"""The same where bytes are reduced at once: 4 of Pillow's and, in a progressive JPEG, up to 6 of libjpeg's."""
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis")
_WARNINGS = threading.Lock()  # catching warnings changes the whole interpreter for a moment: one thread at a time


def contents(source: str | os.PathLike[str] | bytes) -> tuple[bytes, str]:
    """Read the bytes and the name of a file, refused after its first bytes where these are no picture's.

    Raises:
        ImageFileError: missing, unreadable, empty, or not a picture that can be read.
        OptionError: not a path and not bytes.
    """
    if isinstance(source, bytes):
        _check_kind(source, "bytes")
        return source, "bytes"
    if not isinstance(source, str | os.PathLike):
        raise OptionError(
            f"a picture cannot come as {type(source).__name__}; give a path, bytes, an image, an array or a tensor"
        )
    path = Path(source)
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
            what = "a folder" if stat.S_ISDIR(mode) else "a device"
            raise ImageFileError(f"'{path}' is {what}, not a picture; give the path of a picture file")
        with path.open("rb") as file:
            head = file.read(4096)
            _check_kind(head, path.name)
            return head + file.read(), path.name
    except FileNotFoundError:
        raise ImageFileError(f"there is no file '{path}'; check its name and folder") from None
    except ImpastoError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a zero character in the path
        reason = getattr(error, "strerror", None) or error
        raise ImageFileError(f"'{path}' cannot be read ({reason}); check its name and permissions") from error


def _check_kind(head: bytes, name: str) -> None:
    """Refuse what is not a picture that can be read, in words that help."""
    if not head:
        raise ImageFileError(f"'{name}' is empty (0 bytes); copy or download it again")
    if raw := signatures.raw_kind(head):
        raise raw_photo(name, raw)
    if kind_of(head) is not None:
        return
    words = signatures.kind_in_words(head)
    if b"<svg" in head[:4096].lower() and words is None:
        raise ImageFileError(f"'{name}' is an SVG, a vector picture without pixels; export it as PNG and give that")
    what = f"is {words}, which" if words else "is not a picture that"
    not_read = "impasto does not read" if words else "impasto reads"
    raise ImageFileError(f"'{name}' {what} {not_read}; allowed are JPEG, PNG, WebP, TIFF, AVIF, BMP, GIF and HEIC")


def raw_photo(name: str, kind: str = "") -> ImageFileError:
    """Say that a file is a raw camera photo, which has to be developed first."""
    kind = f" ({kind})" if kind else ""
    return ImageFileError(
        f"'{name}' is a raw camera photo{kind}, not a finished picture; export a JPEG or TIFF from it and give that"
    )


def kind_of(head: bytes) -> str | None:
    """Tell the format of a file by its first bytes, never by its name: one of FORMATS, "HEIC" or None."""
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
    """Open a file as far as its header.

    Straight with the reader of its format: Pillow's ``open`` has a limit on pixels of its own, for the whole interpreter, and
    would try readers that are not for pictures from strangers.

    Raises:
        ImageFileError: HEIC without the package for it.
    """
    kind = kind_of(data)
    if kind == "HEIC":
        try:
            heif = importlib.import_module("pillow_heif")
        except ImportError:
            raise ImageFileError(f"'{name}' is HEIC, which needs one more package: pip install impasto[heic]") from None
        return cast("PIL.Image.Image", heif.HeifImageFile(io.BytesIO(data)))
    factory, _ = PIL.Image.OPEN[cast("str", kind)]
    return factory(io.BytesIO(data), "")


@contextmanager
def decoding(name: str, notes: list[str]) -> Iterator[None]:
    """Turn whatever a decoder says about a file into notes, and whatever it raises into one sentence."""
    with _WARNINGS, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except ImpastoError:
            raise
        except MemoryError as error:
            raise ResourceError(f"'{name}' does not fit into memory; make it smaller first") from error
        except PIL.Image.DecompressionBombError as error:
            raise ImageFileError(f"'{name}' has more pixels than its format is trusted with ({error})") from error
        except Exception as error:  # a damaged file makes decoders raise nearly anything
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            raise ImageFileError(f"'{name}' is damaged or cut short ({reason}); copy or save it again") from error
    for warning in caught:
        text = "the file is not quite sound: " + " ".join(str(warning.message).split())[:120]
        if not issubclass(warning.category, PIL.Image.DecompressionBombWarning) and text not in notes:
            notes.append(text)


def check_area(size: tuple[int, int], max_pixels: int, name: str, bytes_per_pixel: int = _BYTES_PER_PIXEL) -> None:
    """Refuse a picture, (width, height) as its header says, that is too large to decode.

    Raises:
        ImageFileError: more pixels than allowed.
        ResourceError: more than the free memory can take.
    """
    width, height = size
    if width * height > max_pixels:
        raise ImageFileError(
            f"'{name}' is {width} x {height} = {width * height / 1e6:,.0f} megapixels, more than the {max_pixels / 1e6:,.0f} "
            "that are allowed; make it smaller first, or in Python raise max_pixels of impasto.read"
        )
    needed, free = bytes_per_pixel * width * height, available_memory(torch.device("cpu"))
    if free is not None and needed > free:
        raise ResourceError(
            f"'{name}' is {width} x {height} = {width * height / 1e6:,.0f} megapixels, which take {needed / 2**30:.1f} GiB to "
            f"read, and {free / 2**30:.1f} GiB are free; make it smaller first, or close other programs"
        )
