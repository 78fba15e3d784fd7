"""Chunks of PNG files: read them, and remove those that prevent Pillow from reading a file."""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from impasto.images.png16 import SIGNATURE, chunk_of

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_LARGEST_BYTES, _LARGEST_SUM = 2**20, 2**25
"""Pillow fails above 1 MiB for one compressed text or profile, and above 64 MiB for all texts together."""
_ANIMATION = (b"acTL", b"fcTL", b"fdAT")
_MOST_BYTES_OF_A_ROW = 9
"""A row of one pixel: the type of its filter, and up to four channels of two bytes."""


@dataclass(frozen=True)
class Chunk:
    """A chunk of a PNG: its type and body, its start and end in the file, and whether its checksum is correct."""

    kind: bytes
    body: bytes
    start: int
    end: int
    is_sound: bool

    @property
    def is_optional(self) -> bool:
        """Whether readers may ignore the chunk, that is, whether the first letter of its type is lower case."""
        return bool(self.kind[:1].islower())


def chunks_of(png: bytes) -> Iterator[Chunk]:
    """Yield the complete chunks of a PNG; the bodies of pixel chunks are omitted."""
    at = len(SIGNATURE)
    while at + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, at)
        kind, end = png[at + 4 : at + 8], at + 12 + length
        if end > len(png):
            return
        if kind in (b"IDAT", b"fdAT"):
            yield Chunk(kind, b"", at, end, is_sound=True)
        else:
            body = png[at + 8 : end - 4]
            yield Chunk(kind, body, at, end, png[end - 4 : end] == struct.pack(">I", zlib.crc32(kind + body)))
        at = end


def first(png: bytes, kind: bytes) -> bytes | None:
    """Return the body of the first valid chunk of a type before the pixels; None if there is none."""
    for chunk in chunks_of(png):
        if chunk.kind == b"IDAT":
            return None
        if chunk.kind == kind and chunk.is_sound:
            return chunk.body
    return None


def readable(png: bytes, notes: list[str]) -> bytes:
    """Remove the optional chunks of a PNG that are too large or damaged.

    Args:
        png: a PNG file.
        notes: list to which a message is appended for each removed chunk.

    Returns:
        The file; the same bytes if no chunk was removed.
    """
    parts, kept_to, total = [], 0, 0
    for chunk in chunks_of(png):
        size = _unpacked_size(chunk)
        reason = _reason(chunk, size, total)
        if reason and reason not in notes:
            notes.append(reason)
        if reason:
            parts.append(png[kept_to : chunk.start])
            kept_to = chunk.end
        elif chunk.kind in _TEXTS:
            total += size
    return b"".join((*parts, png[kept_to:])) if parts else png


def in_miniature(file: BinaryIO) -> bytes:
    """Return a PNG of one pixel with all other chunks of a PNG file, so that they can be read without decoding the picture.

    Animation chunks are omitted. The bodies of pixel chunks are not read.
    """
    file.seek(len(SIGNATURE))
    parts, has_pixels = [SIGNATURE], False
    while len(head := file.read(8)) == 8:
        (length,), kind = struct.unpack_from(">I", head), head[4:]
        if kind == b"IDAT" and not has_pixels:
            parts.append(chunk_of(kind, zlib.compress(bytes(_MOST_BYTES_OF_A_ROW))))
            has_pixels = True
        if kind == b"IDAT" or kind in _ANIMATION:
            file.seek(length + 4, os.SEEK_CUR)
        elif kind == b"IHDR":
            parts.append(chunk_of(kind, struct.pack(">II", 1, 1) + file.read(length + 4)[8:length]))
        else:
            parts.append(head + file.read(length + 4))
    return b"".join(parts)


def _reason(chunk: Chunk, size: int, total: int) -> str:
    """Return why a chunk is removed; an empty string if it is kept."""
    if not chunk.is_optional:
        return ""
    if chunk.kind in _TEXTS and ((size > _LARGEST_BYTES and _is_packed(chunk)) or size + total > _LARGEST_SUM):
        return "ignored a text that is too large"
    if chunk.kind == b"iCCP" and size > _LARGEST_BYTES:
        return "ignored a color profile that is too large"
    if not chunk.is_sound or len(chunk.body) < _SHORTEST.get(chunk.kind, 0):
        return (
            "ignored a damaged color profile" if chunk.kind == b"iCCP" else f"ignored a damaged {chunk.kind.decode('latin-1')}"
        )
    return ""


def _is_packed(chunk: Chunk) -> bool:
    _, _, rest = chunk.body.partition(b"\0")
    return chunk.kind in (b"zTXt", b"iCCP") or (chunk.kind == b"iTXt" and rest[:1] == b"\1")


def _unpacked_size(chunk: Chunk) -> int:
    """Return the uncompressed size of a text or a profile; counting stops just above the limit."""
    if not _is_packed(chunk):
        return len(chunk.body)
    _, _, rest = chunk.body.partition(b"\0")
    packed = rest[2:].split(b"\0", 2)[-1] if chunk.kind == b"iTXt" else rest[1:]
    try:
        return len(zlib.decompressobj().decompress(packed, _LARGEST_BYTES + 1))
    except zlib.error:
        return 0  # Pillow ignores such damage by itself


_SHORTEST = {b"gAMA": 4, b"cHRM": 32, b"sRGB": 1, b"pHYs": 9, b"iCCP": 4, b"acTL": 8}
