"""Soft proof: show how a printer, or another device with an ICC profile, would reproduce a picture."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageCms
import torch

from impasto.errors import ImageFileError
from impasto.images.colors import srgb_profile
from impasto.images.picture import to_array
from impasto.tensors import Image

_INTENT = PIL.ImageCms.Intent.RELATIVE_COLORIMETRIC
_FLAGS = PIL.ImageCms.Flags.SOFTPROOFING | PIL.ImageCms.Flags.BLACKPOINTCOMPENSATION
_LARGEST_BYTES = 2**26


def proofed(image: Image, profile: str) -> Image:
    """Simulate how a picture looks in the color space of a profile; colors outside its gamut move to the nearest ones inside.

    Args:
        image: (1, 3, height, width), sRGB in [0, 1]; rounded to 8 bits.
        profile: path of an ICC profile, for a CMYK printer or another output device.

    Returns:
        (1, 3, height, width) in [0, 1], on the same device.

    Raises:
        ImageFileError: the profile is missing, damaged, or cannot be used for proofing.
    """
    data = _profile_bytes(profile)
    srgb = PIL.ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    try:
        shown = PIL.ImageCms.ImageCmsProfile(io.BytesIO(data))
        transform = PIL.ImageCms.buildProofTransform(srgb, srgb, shown, "RGB", "RGB", _INTENT, _INTENT, _FLAGS)
        converted = PIL.ImageCms.applyTransform(PIL.Image.fromarray(to_array(image)), transform)
    except (PIL.ImageCms.PyCMSError, OSError, ValueError) as error:
        raise ImageFileError(
            f"'{Path(profile).name}' cannot be used for proofing; give the ICC profile of a printer or a screen (.icc, .icm)"
        ) from error
    pixels = torch.from_numpy(np.array(converted, np.float32) / 255).permute(2, 0, 1)[None]
    return pixels.contiguous().to(image)


def _profile_bytes(profile: str) -> bytes:
    path = Path(profile)
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= _LARGEST_BYTES else b""
    except OSError as error:
        raise ImageFileError(f"the ICC profile {profile!r} cannot be read; check its name and folder") from error
    if size > _LARGEST_BYTES:
        raise ImageFileError(f"'{path.name}' is too large for an ICC profile; give a file that ends in .icc or .icm")
    return data
