"""Color spaces from tags other than an ICC profile: PNG chunks, EXIF, and the nclx box of AVIF and HEIC."""

import PIL.Image

from impasto.images import chunks, spaces
from impasto.images.spaces import ADOBE_RGB, SRGB, ColorSpace

_EXIF_IFD, _INTEROPERABILITY_IFD = 0x8769, 0xA005
_COLOR_SPACE, _GAMMA, _WHITE_POINT, _PRIMARIES = 0xA001, 0xA500, 0x013E, 0x013F


def space_of(opened: PIL.Image.Image, data: bytes | None, notes: list[str]) -> ColorSpace | None:
    """Return the color space given by the tags of a file.

    Args:
        opened: the picture, loaded.
        data: the bytes of the file, or None.
        notes: list to which a message is appended for each ignored tag.

    Returns:
        The color space, or None if an ICC profile takes precedence or no tag gives one.

    Source:
        Portable Network Graphics (third edition), 4.3: the order of precedence is cICP, iCCP, sRGB, then gAMA
        and cHRM.
    """
    info = opened.info
    codes = chunks.first(data, b"cICP") if opened.format == "PNG" and data else None
    if codes is not None and (space := _from_codes(codes, notes)):
        return space
    if info.get("icc_profile"):
        return None
    if "srgb" in info:
        return SRGB
    if "gamma" in info or "chromaticity" in info:
        return _from_gamma(info.get("gamma"), info.get("chromaticity"), notes)
    if opened.format in ("AVIF", "HEIF") and data and (space := _from_nclx(data)):
        return space
    return _from_exif(opened)


def _from_codes(codes: bytes, notes: list[str]) -> ColorSpace | None:
    """Read a cICP chunk: primaries, curve, matrix (always 0 in PNG), and the full-range flag."""
    space = None
    if len(codes) == 4 and codes[2] == 0 and codes[3] in (0, 1):
        space = spaces.coded(codes[0], codes[1], is_full=bool(codes[3]))
    if space is None:
        notes.append(f"ignored an unknown color tag (cICP {', '.join(map(str, codes[:4]))})")
    return space


def _from_gamma(gamma: object, chromaticities: object, notes: list[str]) -> ColorSpace | None:
    """Read gAMA and cHRM; in PNG, gamma is the exponent that converts linear light to values."""
    try:
        exponent = None if gamma is None else 1 / float(str(gamma))
        primaries = tuple(float(number) for number in chromaticities) if isinstance(chromaticities, tuple) else None
        space = spaces.measured(primaries, exponent) if primaries is None or len(primaries) == 8 else None
    except (ValueError, ZeroDivisionError):
        space = None
    if space is None:
        notes.append("ignored a damaged color tag (gAMA or cHRM)")
    return space


def _from_nclx(data: bytes) -> ColorSpace | None:
    """Read the first color box of AVIF or HEIC; its range flag is ignored because the decoder already expands the range."""
    at = data.find(b"colrnclx", 0, 1 << 20) + 8
    if at < 8 or len(data) < at + 7:
        return None
    primaries, transfer = (int.from_bytes(data[at + i : at + i + 2], "big") for i in (0, 2))
    return spaces.coded(primaries, transfer, is_full=True)


def _from_exif(opened: PIL.Image.Image) -> ColorSpace | None:
    """Read the color space from EXIF: Adobe RGB (color space 2 or DCF index R03), or explicit primaries and gamma."""
    try:
        exif = opened.getexif()
        camera = exif.get_ifd(_EXIF_IFD)
        number = camera.get(_COLOR_SPACE, exif.get(_COLOR_SPACE))
        if number == 1:
            return None
        if number == 2 or _interoperability(exif) == "R03":
            return ADOBE_RGB
        if _WHITE_POINT in exif and _PRIMARIES in exif:
            numbers = tuple(float(number) for number in (*exif[_WHITE_POINT], *exif[_PRIMARIES]))
            return spaces.measured(numbers, float(camera.get(_GAMMA, 2.2))) if len(numbers) == 8 else None
    except Exception:  # damaged EXIF can raise almost any exception; metadata.py notes that it is ignored
        return None
    return None


def _interoperability(exif: PIL.Image.Exif) -> str:
    index = exif.get_ifd(_INTEROPERABILITY_IFD).get(1, "")
    text = index.decode("latin-1") if isinstance(index, bytes) else str(index)
    return text.strip("\0 ")
