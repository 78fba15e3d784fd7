"""Read pictures from files, and write pictures to files: the only package that imports Pillow.

Reading handles EXIF orientation, ICC profiles, CMYK, palettes, gray, 16 bits and floats, and returns a :class:`Picture` as
defined in :mod:`impasto.tensors`. Writing restores transparency, EXIF, XMP and resolution, tags the file as sRGB, and replaces
files atomically.

::

    reading     read(), read_record()             writing   write(), encode(), write_animation(), check_...()
    colors      any mode, depth, profile -> sRGB  png16     PNG with 16 bits per channel
    icc         profiles for more than 8 bits     xmp       XMP packets: add a record, remove the location
    tagged      tags that name a color space       metadata  EXIF, XMP and resolution to keep
    spaces      primaries, curves -> sRGB         sheet     contact sheets
    ranges      floats and wide integers          proof     soft proof for a printer
    files       headers and error messages        picture   Picture, sizes, bytes, alpha
    signatures  names of other file formats       animations  frames of GIF and WebP files, with their times
    chunks, jpegs, tiffs: parts of PNG, JPEG and TIFF files that Pillow does not read
"""

from impasto.images.animations import AnimationFrame, animation_frames, is_animation, write_frames
from impasto.images.metadata import Metadata
from impasto.images.picture import Picture, filled, fitted_size, reduced_size, resize, to_array, to_pil
from impasto.images.proof import proofed
from impasto.images.reading import MAX_PIXELS, Source, read, read_record
from impasto.images.sheet import contact_sheet
from impasto.images.writing import check_fits, check_writable, encode, holds_record, to_webp, write, write_animation

__all__ = [
    "MAX_PIXELS",
    "AnimationFrame",
    "Metadata",
    "Picture",
    "Source",
    "animation_frames",
    "check_fits",
    "check_writable",
    "contact_sheet",
    "encode",
    "filled",
    "fitted_size",
    "holds_record",
    "is_animation",
    "proofed",
    "read",
    "read_record",
    "reduced_size",
    "resize",
    "to_array",
    "to_pil",
    "to_webp",
    "write",
    "write_animation",
    "write_frames",
]
