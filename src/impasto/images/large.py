"""Read pictures of any size in strips, through libvips, so that they never have to fit into memory.

libvips is an optional dependency: ``pip install 'impasto[big]'``. It decodes the pixels; metadata, orientation and colors are
handled as in :mod:`impasto.images.reading`.
"""

import hashlib
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import PIL.Image

from impasto.errors import ImageFileError
from impasto.images import spaces, tiffs
from impasto.images.colors import deep_color, managed
from impasto.images.files import decoding, kind_of, opened_file, opened_header, raw_photo
from impasto.images.metadata import Metadata, turned
from impasto.images.picture import Array
from impasto.images.ranges import scaled
from impasto.images.reading import note_frames, upright
from impasto.images.spaces import ColorSpace
from impasto.images.tagged import space_of
from impasto.runtime.tiling import Place, spans

_LOADERS = {"TIFF": "tiffload", "PNG": "pngload", "JPEG": "jpegload", "WEBP": "webpload"}
_ROWS = 256
_ALLOWED = "save it in gray or RGB with 8 or 16 bits"
ADVICE = "pip install 'impasto[big]'"


@dataclass(frozen=True)
class LargePicture:
    """A picture file that is read in strips.

    Attributes:
        path: the file.
        name: its name without folders.
        size: (height, width) in pixels, upright.
        metadata: metadata to write into the result.
        sha256: SHA-256 of the file.
        depth: the type of the values of :meth:`strips`.
        notes: messages on how the picture is read; complete after :meth:`strips`.
    """

    path: Path
    name: str
    size: tuple[int, int]
    metadata: Metadata
    sha256: str
    depth: Literal["uint8", "uint16"]
    notes: list[str] = field(compare=False)
    _orientation: int = field(repr=False)
    _profile: bytes | None = field(repr=False)
    _space: ColorSpace | None = field(repr=False)
    _channels: int = field(repr=False)

    @property
    def widest_px(self) -> int:
        """The width of the upright picture, or its width in the file if that is larger."""
        return self.size[1] if self._orientation < 5 else max(self.size)

    def strips(self) -> Iterator[tuple[Place, Array]]:
        """Decode the picture, from the top of the file to its end.

        Yields:
            The place of a strip in the upright picture, and its colors in sRGB, (height, width, 3), uint8 or uint16.

        Raises:
            ImageFileError: the file is damaged, or contains transparent pixels.
        """
        with decoding(self.name, self.notes):
            stored = _opened(self.path)
            region = _libvips().Region.new(stored)
        found: list[str] = []
        for span in spans(stored.height, _ROWS, 0):
            rows = span.end - span.start
            with decoding(self.name, found):
                data = region.fetch(0, span.start, stored.width, rows)
                values = np.frombuffer(data, _DTYPES[stored.format]).reshape(rows, stored.width, stored.bands)
                colors = self._converted(values, found)
            yield self._turned(Place(span.start, 0, rows, stored.width), colors)
        self.notes.extend(dict.fromkeys(found))

    def _converted(self, values: Array, notes: list[str]) -> Array:
        """Convert values of the file, (height, width, channels), to sRGB."""
        if values.shape[2] > self._channels and (values[..., self._channels :] < np.iinfo(values.dtype).max).any():
            raise ImageFileError(
                f"'{self.name}' has transparent pixels, which are not supported in pictures that are painted from disk; "
                "flatten it, or use a smaller --size"
            )
        colors = values[..., : self._channels]
        if values.dtype == np.uint8:
            converted = np.asarray(managed(_as_pillow(colors), self._profile, notes))
            if self.depth == "uint8":
                return converted
            unit: npt.NDArray[np.float32] = converted.astype(np.float32) / np.float32(255)
        else:
            unit = deep_color(scaled(colors, self.name, notes), self._profile, notes)
        if self._space is not None and not self._space.is_srgb:
            notes.append(f"converted from {self._space.name} to sRGB")
            unit = spaces.to_srgb(unit, self._space)
        levels: Array = np.rint(unit.clip(0, 1) * 65535).astype(np.uint16)
        return levels

    def _turned(self, place: Place, values: Array) -> tuple[Place, Array]:
        """Turn a strip upright."""
        top, left, height, width = place if self._orientation < 5 else (place.left, place.top, place.width, place.height)
        if self._orientation in (2, 3, 6, 7):
            left = self.size[1] - left - width
        if self._orientation in (3, 4, 7, 8):
            top = self.size[0] - top - height
        return Place(top, left, height, width), np.ascontiguousarray(upright(values, self._orientation))


_DTYPES = {"uchar": np.uint8, "ushort": np.uint16}


def open_large(path: str | os.PathLike[str]) -> LargePicture:
    """Open a picture of any size, without decoding it.

    Raises:
        ImageFileError: the file is missing, damaged or of an unsupported kind, or libvips is not installed.
    """
    path = Path(path)
    name, notes = path.name, list[str]()
    with opened_file(path) as (file, head), decoding(name, notes):
        kind = kind_of(head) or ""
        if kind not in _LOADERS:
            raise ImageFileError(f"'{name}' is {kind}, which cannot be painted from disk; save it as TIFF, PNG, JPEG or WebP")
        if kind == "TIFF":
            file.seek(0)
            _check_pages(tiffs.pages_in(file), name)
        try:
            opened, head = opened_header(file, head, name, notes)
        except SyntaxError as error:  # Pillow supports the format, but not this variant
            raise ImageFileError(f"'{name}' is a {kind} that cannot be painted from disk; {_ALLOWED}") from error
        if opened.mode == "LAB":
            raise ImageFileError(f"'{name}' is in Lab colors, which cannot be painted from disk; {_ALLOWED}")
        note_frames(opened, notes)
        orientation, metadata = turned(opened, notes)
        space = None if opened.mode == "CMYK" else space_of(opened, head, notes)
        profile = None if space else opened.info.get("icc_profile")
        stored = _opened(path)
        channels = stored.bands - bool(stored.hasalpha())
        is_cmyk = stored.interpretation == "cmyk" and stored.format == "uchar"
        if stored.format not in _DTYPES or channels not in ((4,) if is_cmyk else (1, 3)):
            raise ImageFileError(
                f"'{name}' has {stored.bands} channels of type {stored.format} ({stored.interpretation}), which cannot be "
                f"painted from disk; {_ALLOWED}"
            )
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    size = (stored.height, stored.width) if orientation < 5 else (stored.width, stored.height)
    is_deep = stored.format == "ushort" or (space is not None and not space.is_srgb)
    return LargePicture(
        path, name, size, metadata, sha256, "uint16" if is_deep else "uint8", notes, orientation, profile, space, channels
    )


def check_libvips(what: str) -> None:
    """Raise unless libvips is installed.

    Args:
        what: the start of the error message, which explains why libvips is needed.

    Raises:
        ImageFileError: it is not installed.
    """
    try:
        _libvips()
    except ImageFileError as error:
        raise ImageFileError(f"{what}; {ADVICE} to paint it from disk, or use a smaller --size") from error


def _libvips() -> Any:
    try:
        return importlib.import_module("pyvips")
    except (ImportError, OSError) as error:  # OSError: pyvips is installed, but not libvips
        raise ImageFileError(f"pictures of any size are read through libvips, which is not installed; {ADVICE}") from error


def _opened(path: Path) -> Any:
    """Open a file with the loader of its format; never with a loader that libvips chooses."""
    with path.open("rb") as file:
        kind = kind_of(file.read(4096)) or ""
    load = getattr(_libvips().Image, _LOADERS[kind])
    return load(str(path), access="sequential", fail_on="error")


def _check_pages(pages: list[tiffs.Page], name: str) -> None:
    """Raise if the first page of a TIFF is not the picture."""
    if any(page.is_raw for page in pages):
        raise raw_photo(name)
    largest = max((page.area_px for page in pages if page.is_whole), default=0)
    if pages and pages[0].is_reduced and largest > pages[0].area_px:
        raise ImageFileError(f"the first page of '{name}' is a thumbnail; save the full picture as a TIFF with one page")


def _as_pillow(colors: Array) -> PIL.Image.Image:
    """Convert values (height, width, 1, 3 or 4), uint8, to an image in gray, RGB or CMYK."""
    height, width, channels = colors.shape
    mode = {1: "L", 3: "RGB", 4: "CMYK"}[channels]
    return PIL.Image.frombytes(mode, (width, height), np.ascontiguousarray(colors).tobytes())
