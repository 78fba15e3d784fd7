"""Identify files that are not pictures, or not in a supported format, by their first bytes."""

import re

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF document"),
    (b"%!PS", "a PostScript document"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript document"),
    (b"PK\x03\x04", "a ZIP archive or an office document"),
    (b"PK\x05\x06", "an empty ZIP archive"),
    (b"Rar!", "a RAR archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (b"ID3", "a sound file (MP3)"),
    (b"OggS", "a sound or video file (Ogg)"),
    (b"fLaC", "a sound file (FLAC)"),
    (b"MThd", "a music file (MIDI)"),
    (b"#!AMR", "a sound file (AMR)"),
    (b".snd", "a sound file (AU)"),
    (b"\x1aE\xdf\xa3", "a video file (Matroska or WebM)"),
    (b"FLV", "a video file (Flash)"),
    (b"\0\0\x01\xba", "a video file (MPEG)"),
    (b"\0\0\x01\xb3", "a video file (MPEG)"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a sound or video file (Windows Media)"),
    (b"icns", "an icon (ICNS)"),
    (b"8BPS", "a Photoshop document (PSD)"),
    (b"gimp xcf", "a GIMP document (XCF)"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"v/1\x01", "an OpenEXR picture"),
    (b"#?RADIANCE", "a Radiance HDR picture"),
    (b"DDS ", "a DDS texture"),
    (b"SIMPLE  =", "a FITS file"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"SQLite format 3", "a database (SQLite)"),
)
_RAW_PREFIXES: tuple[tuple[bytes, int, str], ...] = (
    (b"FUJIFILMCCD-RAW", 0, "RAF"),
    (b"IIRO", 0, "ORF"),
    (b"IIRS", 0, "ORF"),
    (b"MMOR", 0, "ORF"),
    (b"IIU\0", 0, "RW2"),
    (b"FOVb", 0, "X3F"),
    (b"\0MRM", 0, "MRW"),
    (b"HEAPCCDR", 6, "CRW"),
    (b"CR\x02", 8, "CR2"),
    (b"IIII", 8, "IIQ"),
    (b"ftypcrx ", 4, "CR3"),
)
_MOVIES = {
    b"M4A ": "a sound file (M4A)",
    b"M4B ": "a sound file (M4B)",
    b"qt  ": "a video file (QuickTime)",
    b"jp2 ": "a JPEG 2000 picture",
    b"jxl ": "a JPEG XL picture",
}
_RIFF = {b"WAVE": "a sound file (WAV)", b"AVI ": "a video file (AVI)", b"RMID": "a music file (MIDI)"}
_FORM = {b"AIFF": "a sound file (AIFF)", b"AIFC": "a sound file (AIFF)", b"ILBM": "an Amiga picture (ILBM)"}


def raw_kind(head: bytes) -> str | None:
    """Determine the format of a raw camera photo, such as "CR2", from its first bytes; None for any other file.

    Formats that start like a plain TIFF (DNG, NEF, ARW and others) are identified by their tags, see
    :mod:`impasto.images.tiffs`.
    """
    return next((kind for prefix, at, kind in _RAW_PREFIXES if head[at : at + len(prefix)] == prefix), None)


def kind_in_words(head: bytes) -> str | None:
    """Describe the format of an unsupported file, such as "a sound file (MP3)"; None if it is unknown.

    Example:
        >>> kind_in_words(b"%PDF-1.7")
        'a PDF document'
    """
    if head[4:8] == b"ftyp":
        return _MOVIES.get(head[8:12], "a video file (MP4)")
    if head[:4] in (b"RIFF", b"FORM"):
        return (_RIFF if head[:4] == b"RIFF" else _FORM).get(head[8:12])
    found = next((words for prefix, words in _PREFIXES if head.startswith(prefix)), None)
    return found or _without_signature(head)


def _without_signature(head: bytes) -> str | None:
    """Describe a file whose format has no fixed first bytes."""
    if len(head) > 3 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0 and head[1] < 0xFE:
        layer = head[1] >> 1 & 3
        return "a sound file (MP3)" if layer else "a sound file (AAC)" if head[1] & 0xF0 == 0xF0 else None
    if re.match(rb"\0\0[\1\2]\0(?!\0\0)", head):  # the next two bytes, the number of icons, are not 0
        return "an icon (ICO)" if head[2] == 1 else "a mouse cursor (CUR)"
    if re.match(rb"\0\0[\2\x0a]\0{5}", head):
        return "a Targa picture (TGA)"
    if re.match(rb"P[1-7][\s#]", head):
        return "a Netpbm picture (PBM, PGM, PPM or PAM)"
    if re.match(
        rb"\s*(<!--.*?-->\s*)?<(!doctype html|html|head|body)", head.lstrip(b"\xef\xbb\xbf"), re.IGNORECASE | re.DOTALL
    ):
        return "a web page (HTML)"
    return None
