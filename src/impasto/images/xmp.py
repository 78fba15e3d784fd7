"""XMP packets as text: add and read the record of a run, and remove properties that must not be copied.

XMP is XML that is written by many different programs. This module edits it as text and never parses it. So the parts of a
packet that are not edited stay identical byte for byte, and XML entities from an untrusted file are never expanded.
"""

import json
import re
from collections.abc import Mapping
from html import unescape
from xml.sax.saxutils import escape

NAMESPACE = "urn:impasto:1.0:"
"""The namespace of the property ``impasto:record``."""

_RECORD = re.compile(r"<impasto:record>(.*?)</impasto:record>|\bimpasto:record=(?:\"(.*?)\"|'(.*?)')", re.DOTALL)
_PLACE = r"[\w.-]*(?:gps|latitude|longt?itude)[\w.-]*"
_STALE = r"tiff:Orientation|xmpNote:HasExtendedXMP|impasto:record"
_EMPTY = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    "</rdf:RDF></x:xmpmeta>"
)


def without_stale(packet: bytes) -> bytes | None:
    """Remove properties that are wrong in a new file: the orientation, a pointer to extended XMP, an earlier record.

    Returns:
        The packet, or None if it is not XMP in UTF-8.
    """
    text = _text(packet)
    return None if text is None else _without(text, _STALE).encode()


def without_place(packet: bytes) -> bytes | None:
    """Remove every property that gives the location of a picture, in any namespace.

    Returns:
        The packet; None if a trace of a location would remain, in which case the caller must drop the whole packet.

    Example:
        >>> without_place(b'<rdf:Description dc:title="Mill" exif:GPSLatitude="52,3N"/></rdf:RDF>')
        b'<rdf:Description dc:title="Mill"/></rdf:RDF>'
    """
    text = _text(packet)
    if text is None:
        return None
    text = _without(text, rf"[\w.-]+:{_PLACE}")
    return None if re.search(_PLACE, text, re.IGNORECASE) else text.encode()


def with_record(packet: bytes | None, record: Mapping[str, object]) -> bytes:
    """Add the record of a run to a packet as the property ``impasto:record`` (JSON text); create a packet if there is none."""
    text = _text(packet or b"")
    if text is None or "</rdf:RDF>" not in text:
        text = _EMPTY
    property_text = f"<impasto:record>{escape(as_json(record))}</impasto:record>"
    element = f'<rdf:Description rdf:about="" xmlns:impasto="{NAMESPACE}">{property_text}</rdf:Description>'
    head, tail = _without(text, _STALE).rsplit("</rdf:RDF>", 1)
    return f"{head}{element}</rdf:RDF>{tail}".encode()


def record_in(packet: bytes) -> str | None:
    """Return the JSON text of the record in a packet, or None."""
    found = _RECORD.search(packet.decode("utf-8", "replace"))
    if found is None:
        return None
    return unescape(next(text for text in found.groups() if text is not None))


def as_json(record: Mapping[str, object]) -> str:
    """Format a record as one line of ASCII JSON; values that JSON does not support (paths, dates) become strings."""
    return json.dumps(record, default=str)


def _text(packet: bytes) -> str | None:
    """Decode a packet; None if it is not UTF-8 (UTF-16 is detected by its null bytes)."""
    try:
        text = packet.rstrip(b"\x00 ").decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text


def _without(text: str, names: str) -> str:
    """Remove the attributes and elements whose names match a pattern."""
    for pattern in (
        rf"<({names})(?=[\s>])[^<>]*(?<!/)>.*?</\1\s*>",
        rf"<({names})(?=[\s/])[^<>]*/>",
        rf"\s+({names})\s*=\s*(?:\"[^\"]*\"|'[^']*')",
    ):
        text = re.sub(pattern, "", text, flags=re.DOTALL | re.IGNORECASE)
    return text
