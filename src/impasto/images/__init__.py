"""Files to pictures and pictures to files: the only room where Pillow is known.

Reading undoes whatever a file does to its pixels (turned by EXIF, other colors by ICC, CMYK, palettes, gray, 16 bits, floats)
and answers one :class:`Picture` in the contract of :mod:`impasto.tensors`. Writing puts back what belongs with a picture
(transparency, EXIF, XMP, resolution), tags it as sRGB, and replaces the file in one step or not at all.

::

    reading     read(), read_record()             writing   write(), encode(), write_animation(), check_...()
    colors     any mode, depth, profile -> sRGB  png16     PNG with 16 bits a channel
    icc         profiles beyond 8 bits            xmp       packets: the record in, the place out
    tagged      color spaces by other tags        metadata  EXIF, XMP and resolution that last
    spaces      primaries, curves -> sRGB         sheet     many pictures on one
    ranges      floats and wide integers          proof     what a printer would show
    files       headers, and what is wrong        picture   Picture, sizes, bytes, alpha
    signatures  what other files are
    chunks, jpegs, tiffs: what Pillow does not read of a format by itself
"""

from impasto.images.metadata import Metadata
from impasto.images.picture import Picture, fitted_size, resize, to_array, to_pil
from impasto.images.proof import proofed
from impasto.images.reading import MAX_PIXELS, Source, read, read_record
from impasto.images.sheet import contact_sheet
from impasto.images.writing import check_fits, check_writable, encode, holds_record, to_webp, write, write_animation

__all__ = [
    "MAX_PIXELS",
    "Metadata",
    "Picture",
    "Source",
    "check_fits",
    "check_writable",
    "contact_sheet",
    "encode",
    "fitted_size",
    "holds_record",
    "proofed",
    "read",
    "read_record",
    "resize",
    "to_array",
    "to_pil",
    "to_webp",
    "write",
    "write_animation",
]
