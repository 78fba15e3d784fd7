"""The hostile files and requests of docs/security.md, for the tests and for benchmarks/studio.py."""

import io
import zlib

import PIL.Image

import studio_pieces as pieces


def bomb() -> bytes:
    """A small PNG whose header declares 60000 x 60000 pixels."""
    stream = io.BytesIO()
    PIL.Image.new("L", (8, 8)).save(stream, "PNG")
    data = bytearray(stream.getvalue())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    return bytes(data)


HOSTILE = {
    "empty picture": b"\xff\xd8\xff",
    "cut JPEG": pieces.photo((300, 200))[:900],
    "cut PNG": pieces.photo((300, 200), "PNG")[:900],
    "bomb": bomb(),
    "html": b"<!doctype html><script>alert(1)</script>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "svg with XML": b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><svg>&a;</svg>",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file",
    "pickle": b"\x80\x04cos\nsystem\n(S'touch /tmp/owned'\ntR.",
    "zip": b"PK\x03\x04" + bytes(100),
    "elf": b"\x7fELF" + bytes(200),
    "pdf": b"%PDF-1.7\n",
    "noise": bytes((index * 7919) % 256 for index in range(5000)),
    "noise in a JPEG": pieces.photo((64, 64))[:200] + bytes((index * 7919) % 256 for index in range(5000)),
    "noise in a GIF": b"GIF89a" + bytes((index * 7919) % 256 for index in range(500)),
    "noise in a TIFF": b"II*\x00" + bytes((index * 104729) % 256 for index in range(500)),
    "noise in a WebP": b"RIFF\x00\x10\x00\x00WEBPVP8 " + bytes((index * 104729) % 256 for index in range(500)),
    "zeros": bytes(1000),
    "sound in a WAV": b"RIFF\x24\x08\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x02\x00" + bytes(2000),
    "sound in an MP3": b"ID3\x04\x00\x00\x00\x00\x00\x00\xff\xfb\x90\x64" + bytes(1000),
    "sound in a FLAC": b"fLaC\x00\x00\x00\x22" + bytes(500),
    "sound in an Ogg": b"OggS\x00\x02" + bytes(500),
    "video in an MP4": b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41" + bytes(500),
    "video in a WebM": b"\x1a\x45\xdf\xa3" + bytes(500),
    "raw photo of Canon, CR2": b"II*\x00\x10\x00\x00\x00CR\x02\x00" + bytes(500),
    "raw photo of Canon, CR3": b"\x00\x00\x00\x18ftypcrx \x00\x00\x00\x01crx isom" + bytes(500),
    "raw photo of Fuji": b"FUJIFILMCCD-RAW 0201FF119503" + bytes(500),
    "raw photo of Olympus": b"IIRO\x08\x00\x00\x00" + bytes(500),
    "raw photo of Panasonic": b"IIU\x00\x18\x00\x00\x00" + bytes(500),
}

RUBBISH = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01",
    "another HTTP": b"GET / HTTP/9.9\r\n\r\n",
    "endless word": b"G" * 70000,
    "negative length": b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
}
"""Data that is not an HTTP request: refused, or the connection is closed."""
