"""The Picture class, and basic operations on pictures: sizes, conversion to bytes, transparency."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from torch import Tensor
from torch.nn import functional

from impasto.errors import OptionError, ShapeError
from impasto.images.metadata import Metadata
from impasto.tensors import Image, Mask

Array: TypeAlias = npt.NDArray[Any]
"""Pixels in NumPy layout, (height, width) or (height, width, channels)."""

_ROWS_AT_ONCE = 512
"""Pictures are rounded in strips, to avoid a copy of a whole large picture."""


@dataclass(frozen=True)
class Picture:
    """A picture, upright and in sRGB, with its metadata.

    Attributes:
        image: (1, 3, height, width), float32, sRGB in [0, 1]; fully transparent pixels take the colors around them.
        alpha: (1, 1, height, width), float32 in [0, 1], straight (not premultiplied); None if opaque.
        metadata: metadata to write into the result.
        name: file name without folders; "bytes", "array", "tensor" or "image" for a source in memory.
        sha256: SHA-256 of the file, or of the pixels of a source in memory.
        notes: messages on how the picture was read, such as "turned upright".

    Raises:
        ImageFileError: raised by :func:`impasto.read`, which creates the picture, if the file cannot be read.

    Example:
        >>> import impasto
        >>> picture = impasto.read("picture.jpg")
        >>> picture.image.shape, picture.size, picture.name
        (torch.Size([1, 3, 100, 150]), (100, 150), 'picture.jpg')
    """

    image: Image
    alpha: Mask | None
    metadata: Metadata
    name: str
    sha256: str
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width = self.image.shape[-2:]
        return height, width


def to_array(image: Image) -> npt.NDArray[np.uint8]:
    """Convert an image to an array of bytes, the form that most other libraries use.

    Args:
        image: (1, 3, height, width) or (3, height, width), in [0, 1]; values outside are clipped.

    Returns:
        (height, width, 3), uint8.

    Raises:
        ShapeError: the tensor has an unsupported shape.
        OptionError: the image contains NaN or infinity.

    Example:
        >>> import torch
        >>> to_array(torch.ones(1, 3, 1, 2)).tolist()
        [[[255, 255, 255], [255, 255, 255]]]
    """
    return cast("npt.NDArray[np.uint8]", levels(image, bits=8))


def levels(image: Image, *, bits: int) -> Array:
    """Round an image or a mask to integers of 8 or 16 bits.

    Args:
        image: (1, channels, height, width) or (channels, height, width), with 1 or 3 channels, in [0, 1].
        bits: 8 or 16.

    Returns:
        (height, width, channels), uint8 or uint16.

    Raises:
        ShapeError: the tensor has an unsupported shape.
        OptionError: the image contains NaN or infinity.
    """
    flat = one_picture(image)
    height, width = flat.shape[1:]
    whole: Array = np.empty((height, width, len(flat)), np.uint8 if bits == 8 else np.uint16)
    for top in range(0, height, _ROWS_AT_ONCE):
        values = flat[:, top : top + _ROWS_AT_ONCE].detach().to("cpu", torch.float32)
        if not bool(values.isfinite().all()):
            raise OptionError("the picture contains NaN or infinite values; only values from 0 to 1 can be saved")
        scaled = (values.clamp(0, 1) * (2**bits - 1)).round()
        whole[top : top + _ROWS_AT_ONCE] = scaled.permute(1, 2, 0).numpy()
    return whole


def one_picture(image: Image) -> Tensor:
    """Return an image or a mask without its batch dimension, as (channels, height, width).

    Raises:
        ShapeError: it is not one picture with 1 or 3 channels.
    """
    flat = image[0] if image.ndim == 4 and image.shape[0] == 1 else image
    if flat.ndim != 3 or flat.shape[0] not in (1, 3) or 0 in flat.shape:
        raise ShapeError(f"a tensor of shape {tuple(image.shape)} is not one picture; give (1, 3, height, width)")
    return flat


def to_pil(image: Image, alpha: Mask | None = None) -> PIL.Image.Image:
    """Convert an image to a Pillow image: RGB, or RGBA if alpha is given.

    Args:
        image: (1, 3, height, width) in [0, 1].
        alpha: (1, 1, height, width) in [0, 1]; resized to the image if the sizes differ.

    Raises:
        ShapeError, OptionError: see :func:`to_array`.
    """
    array = to_array(image)
    if alpha is not None:
        array = np.concatenate([array, to_array(fitting(alpha, image).expand(-1, 3, -1, -1))[..., :1]], axis=2)
    return PIL.Image.fromarray(array)


def fitted_size(size: tuple[int, int], longest_px: int) -> tuple[int, int]:
    """Scale a size so that its longer side has a given length; keep the aspect ratio.

    Args:
        size: (height, width), each at least 1.
        longest_px: new length of the longer side, at least 1; may be larger than the current one.

    Returns:
        (height, width), rounded, each at least 1.

    Raises:
        OptionError: a number is below 1.

    Example:
        >>> fitted_size((3000, 4000), 512)
        (384, 512)
        >>> fitted_size((1, 5000), 512)
        (1, 512)
    """
    if longest_px < 1 or min(size) < 1:
        raise OptionError(f"cannot fit a picture of {size} to {longest_px} pixels; every side must be at least 1")
    scale = longest_px / max(size)
    height, width = (max(1, math.floor(side * scale + 0.5)) for side in size)
    return height, width


def reduced_size(size: tuple[int, int], longest_px: int) -> tuple[int, int]:
    """Reduce a size so that its longer side has at most a given length; keep the aspect ratio.

    Args:
        size: (height, width), each at least 1.
        longest_px: maximum length of the longer side; 0: no maximum.

    Example:
        >>> reduced_size((3000, 4000), 512), reduced_size((300, 400), 512), reduced_size((3000, 4000), 0)
        ((384, 512), (300, 400), (3000, 4000))
    """
    return fitted_size(size, longest_px) if 0 < longest_px < max(size) else size


def resize(image: Image, size: tuple[int, int]) -> Image:
    """Resize a picture or a mask with bicubic interpolation, with antialiasing when it shrinks.

    Args:
        image: (batch, channels, height, width) in [0, 1].
        size: (height, width), each at least 1.

    Returns:
        (batch, channels, *size), clamped to [0, 1]; the same tensor if the size does not change.

    Raises:
        ShapeError: the tensor does not have four dimensions.
        OptionError: a side is below 1.
    """
    if image.ndim != 4:
        raise ShapeError(f"a tensor of shape {tuple(image.shape)} cannot be resized; give (batch, channels, height, width)")
    if min(size) < 1:
        raise OptionError(f"a picture cannot be {size[0]} x {size[1]} pixels; every side must be at least 1")
    if tuple(image.shape[-2:]) == tuple(size):
        return image
    return functional.interpolate(image, size=size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def fitting(alpha: Mask, image: Image) -> Mask:
    """Resize a mask (1, 1, height, width) to the size of an image."""
    return resize(alpha, (image.shape[-2], image.shape[-1]))


def filled(image: Image, alpha: Mask) -> Image:
    """Fill fully transparent areas with the visible colors around them, so that hidden colors do not affect a painting.

    Args:
        image: (1, 3, height, width).
        alpha: (1, 1, height, width); the image does not change where alpha is above 0.

    Source:
        Gortler et al. 1996, "The Lumigraph", section 3.4: push and pull.
    """
    if bool((alpha == 0).all()):
        return torch.ones_like(image)
    if bool((alpha > 0).all()):
        return image
    return torch.where(alpha > 0, image, _pulled(image * alpha, alpha))


def _pulled(premultiplied: Tensor, weight: Tensor) -> Tensor:
    color = (premultiplied / weight.clamp_min(1e-30)).clamp(0, 1)
    if bool((weight > 0).all()):
        return color
    height, width = weight.shape[-2:]
    half = ((height + 1) // 2, (width + 1) // 2)
    coarse = _pulled(functional.adaptive_avg_pool2d(premultiplied, half), functional.adaptive_avg_pool2d(weight, half))
    around = functional.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    return torch.where(weight > 0, color, around)
