"""XMP packets as text: a run's record put in and taken out, and what must not be carried over removed.

XMP is XML, written by programs without number. It is edited here as text, never parsed, so that everything else in a packet
stays to the byte and no XML from a stranger's file is ever expanded.
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
    """Remove what no longer holds in a new file: the orientation, a pointer to more XMP, an earlier record.

    Returns:
        The packet, or None where it is not XMP in UTF-8.
    """
    text = _text(packet)
    return None if text is None else _without(text, _STALE).encode()


def without_place(packet: bytes) -> bytes | None:
    """Remove every property that says where a picture was taken, whoever's namespace it is in.

    Returns:
        The packet, or None where a trace of a place would remain: then the whole packet has to go.

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
    """Put a run's record into a packet as the property ``impasto:record``, JSON text; make a packet where there is none."""
    text = _text(packet or b"")
    if text is None or "</rdf:RDF>" not in text:
        text = _EMPTY
    property_text = f"<impasto:record>{escape(as_json(record))}</impasto:record>"
    element = f'<rdf:Description rdf:about="" xmlns:impasto="{NAMESPACE}">{property_text}</rdf:Description>'
    head, tail = _without(text, _STALE).rsplit("</rdf:RDF>", 1)
    return f"{head}{element}</rdf:RDF>{tail}".encode()


def record_in(packet: bytes) -> str | None:
    """Find the JSON text of the record in a packet, or None."""
    found = _RECORD.search(packet.decode("utf-8", "replace"))
    if found is None:
        return None
    return unescape(next(text for text in found.groups() if text is not None))


def as_json(record: Mapping[str, object]) -> str:
    """Write a record as one line of ASCII JSON; what JSON has no form for (a path, a date) becomes its text."""
    return json.dumps(record, default=str)


def _text(packet: bytes) -> str | None:
    """Decode a packet, or None where it is not UTF-8 (XMP in UTF-16 shows as text full of zeros)."""
    try:
        text = packet.rstrip(b"\x00 ").decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\x00" in text else text


def _without(text: str, names: str) -> str:
    """Text without the attributes and elements of the names in a pattern."""
    for pattern in (
        rf"<({names})(?=[\s>])[^<>]*(?<!/)>.*?</\1\s*>",
        rf"<({names})(?=[\s/])[^<>]*/>",
        rf"\s+({names})\s*=\s*(?:\"[^\"]*\"|'[^']*')",
    ):
        text = re.sub(pattern, "", text, flags=re.DOTALL | re.IGNORECASE)
    return text
