"""What a file says about its picture beside the pixels, and what of it holds for a new picture of the same subject."""

from dataclasses import dataclass
from typing import cast

import PIL.Image

from impasto.images import xmp

_ORIENTATION, _EXIF_IFD, _GPS_IFD, _COLOUR_SPACE = 0x0112, 0x8769, 0x8825, 0xA001
# Who, when and with what: the tags that outlive a change of pixels. RegionMasks of the old file and thumbnails do not.
_LASTING_TAGS = (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298, *range(0x9C9B, 0x9CA0))
# Maker's notes (their offsets break when moved, and they may hide a place), old width and height, interoperability.
_STALE_TAGS = (0x927C, 0xA002, 0xA003, 0xA005, _COLOUR_SPACE)


@dataclass(frozen=True)
class Metadata:
    """What a file says about its picture, ready to be written back.

    Attributes:
        exif: EXIF, already upright (orientation 1), with the place still in it; :func:`impasto.images.write` drops that.
        xmp: an XMP packet in UTF-8, without orientation and without an earlier record.
        dpi: pixels per inch (across, down).
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None


def turned(opened: PIL.Image.Image, notes: list[str]) -> tuple[int, Metadata]:
    """Read the orientation of a picture, 1 to 8, and its metadata as of one that stands upright; damage becomes a note."""
    orientation, exif = 1, None
    try:
        found = opened.getexif()
        if opened.format == "JPEG" and opened.info.get("exif") and not len(found):  # its reader keeps silent about damage
            raise ValueError("EXIF without a tag")
        orientation = int(found.get(_ORIENTATION, 1))
        exif = lasting_exif(found, keep_gps=True)
    except Exception:  # damaged EXIF makes its reader raise nearly anything
        notes.append("left out damaged EXIF")
    if not 1 <= orientation <= 8:
        orientation = 1
    if orientation != 1:
        notes.append("turned upright")
    packet = as_bytes(opened.info.get("xmp"))
    metadata = Metadata(exif, xmp.without_stale(packet) if packet else None, _dpi(opened.info.get("dpi")))
    return orientation, metadata


def lasting_exif(exif: PIL.Image.Exif, *, keep_gps: bool) -> bytes | None:
    """Keep what of a picture's EXIF holds for another with the same subject: who, when and with what; and where, if asked.

    Returns:
        EXIF with orientation 1 and color space sRGB, or None where there is nothing to say.
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
    lasting[_EXIF_IFD] = camera | {_COLOUR_SPACE: 1}
    if place:
        lasting[_GPS_IFD] = place
    return lasting.tobytes()


def without_place(metadata: Metadata) -> Metadata:
    """Remove from metadata everything that says where a picture was taken.

    Returns:
        The rest; without its XMP altogether where a trace of a place would stay in it.
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
    """Take an XMP packet as bytes, however a reader gave it; empty where there is none."""
    return value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""
