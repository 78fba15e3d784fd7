"""Metadata of a picture, and the part of it that remains valid for a painting of the picture."""

from dataclasses import dataclass
from typing import cast

import PIL.Image

from impasto.images import xmp

_ORIENTATION, _EXIF_IFD, _GPS_IFD, _COLOR_SPACE = 0x0112, 0x8769, 0x8825, 0xA001
# Author, date and camera: tags that, unlike layout tags and thumbnails, stay valid when the pixels change.
_LASTING_TAGS = (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298, *range(0x9C9B, 0x9CA0))
# Tags to remove: maker notes (their offsets break when moved, and they may contain a location), the old width and height, and
# interoperability.
_STALE_TAGS = (0x927C, 0xA002, 0xA003, 0xA005, _COLOR_SPACE)


@dataclass(frozen=True)
class Metadata:
    """Metadata of a picture, ready to be written to a result.

    Attributes:
        exif: EXIF with orientation 1, including the location; :func:`impasto.images.write` removes the location.
        xmp: an XMP packet in UTF-8, without orientation or an earlier record.
        dpi: pixels per inch (horizontal, vertical).
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


def turned(opened: PIL.Image.Image, notes: list[str]) -> tuple[int, Metadata]:
    """Return the orientation of a picture, 1 to 8, and a copy of its metadata in which the orientation is 1.

    If the EXIF data is damaged, add a note.
    """
    orientation, exif = 1, None
    try:
        found = opened.getexif()
        if opened.format == "JPEG" and opened.info.get("exif") and not len(found):  # Pillow does not report damage here
            raise ValueError("EXIF without a tag")
        orientation = int(found.get(_ORIENTATION, 1))
        exif = lasting_exif(found, keep_gps=True)
    except Exception:  # damaged EXIF can raise almost any exception
        notes.append("ignored damaged EXIF")
    if not 1 <= orientation <= 8:
        orientation = 1
    if orientation != 1:
        notes.append("turned upright")
    packet = as_bytes(opened.info.get("xmp"))
    metadata = Metadata(exif, xmp.without_stale(packet) if packet else None, _dpi(opened.info.get("dpi")))
    return orientation, metadata


def lasting_exif(exif: PIL.Image.Exif, *, keep_gps: bool) -> bytes | None:
    """Return the EXIF tags that stay valid for a painting: author, date and camera; with ``keep_gps``, also the location.

    Returns:
        EXIF with orientation 1 and color space sRGB, or None if no tags remain.
    """
    lasting = PIL.Image.Exif()
    for tag in _LASTING_TAGS:
        if tag in exif:
            lasting[tag] = exif[tag]
    camera = {tag: value for tag, value in exif.get_ifd(_EXIF_IFD).items() if tag not in _STALE_TAGS}
    place = dict(exif.get_ifd(_GPS_IFD)) if keep_gps else {}
    if not (len(lasting) or camera or place):
        return None
    lasting[_ORIENTATION] = 1
    lasting[_EXIF_IFD] = camera | {_COLOR_SPACE: 1}
    if place:
        lasting[_GPS_IFD] = place
    return lasting.tobytes()


def without_place(metadata: Metadata) -> Metadata:
    """Remove the location of a picture from its metadata.

    Returns:
        The other metadata. If a trace of the location would remain in the XMP, the XMP is dropped.
    """
    exif = None
    if metadata.exif is not None:
        found = PIL.Image.Exif()
        found.load(metadata.exif)
        exif = lasting_exif(found, keep_gps=False)
    return Metadata(exif, xmp.without_place(metadata.xmp) if metadata.xmp else None, metadata.dpi)


def _dpi(dpi: object) -> tuple[float, float] | None:
    try:
        across, down = (float(number) for number in cast("tuple[float, float]", dpi))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 1 < across <= 30_000 and 1 < down <= 30_000 else None


def as_bytes(value: object) -> bytes:
    """Return an XMP packet as bytes; empty if there is none."""
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""
