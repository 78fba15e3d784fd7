"""What is optimized: a picture as planes that the optimizer moves.

``pixels`` is the picture itself. ``soft-chroma`` is one plane of light at full resolution and two of color at half of it, as
in JPEG and in the eye: a loss network is nearly blind to color noise of a pixel or two, and leaves it in the picture
wherever it is free to; color that cannot vary so finely cannot be noisy. ``laplacian`` is the differences between five
sizes of the picture, each half of the last, and the smallest: a step of the optimizer moves broad areas as easily as pixels.
``soft-laplacian`` is both: such differences of the plane of light, and of the planes of color at half the resolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.options import Canvas
from impasto.runtime.torch_state import known_state
from impasto.tensors import Image

with known_state():  # whatever the caller has set while this is imported
    _LIGHT_AND_COLOUR = torch.tensor([[0.299, 0.587, 0.114], [0.5, -0.5, 0.0], [0.25, 0.25, -0.5]])
    _BACK = torch.linalg.inv(_LIGHT_AND_COLOUR)
_LEVELS = 5


def to_planes(image: Image, canvas: Canvas) -> list[Tensor]:
    """Take a picture (batch, 3, height, width) apart into the planes that are optimized."""
    if canvas == "pixels":
        return [image.clone()]
    if canvas == "laplacian":
        return to_laplacian(image)
    light_and_color = mix(image, _LIGHT_AND_COLOUR)
    height, width = image.shape[-2:]
    half = ((height + 1) // 2, (width + 1) // 2)
    color = F.interpolate(light_and_color[:, 1:], size=half, mode="bilinear", antialias=True, align_corners=False)
    if canvas == "soft-laplacian":
        return [*to_laplacian(light_and_color[:, :1]), *to_laplacian(color, _LEVELS - 1)]
    return [light_and_color[:, :1].clone(), color]


def to_image(planes: list[Tensor], canvas: Canvas) -> Image:
    """Put the planes together to a picture, not clamped: (batch, 3, height, width)."""
    if canvas == "pixels":
        return planes[0]
    if canvas == "laplacian":
        return from_laplacian(planes)
    if canvas == "soft-laplacian":
        planes = [from_laplacian(planes[:_LEVELS]), from_laplacian(planes[_LEVELS:])]
    light, color = planes
    color = F.interpolate(color, size=light.shape[-2:], mode="bilinear", align_corners=False)
    return mix(torch.cat([light, color], dim=1), _BACK)


def to_laplacian(image: Image, levels: int = _LEVELS) -> list[Tensor]:
    """Take a picture apart: what each size has beyond the next smaller one, the finest first, and last the smallest size.

    Source:
        Burt and Adelson 1983; as what style transfer optimizes in Kolkin et al. 2019. Sizes are averaged and interpolated
        linearly, so that a picture of any size goes; each is half as large as the one before, down to one pixel.
    """
    planes = []
    for _ in range(levels - 1):
        height, width = image.shape[-2:]
        half = ((height + 1) // 2, (width + 1) // 2)
        small = F.interpolate(image, size=half, mode="bilinear", antialias=True, align_corners=False)
        planes.append(image - enlarged(small, image))
        image = small
    return [*planes, image.clone()]


def from_laplacian(planes: list[Tensor]) -> Image:
    """Put a picture together again; exact up to rounding."""
    image = planes[-1]
    for plane in reversed(planes[:-1]):
        image = enlarged(image, plane) + plane
    return image


def enlarged(small: Image, like: Image) -> Image:
    """Enlarge a picture to the size of another."""
    return F.interpolate(small, size=like.shape[-2:], mode="bilinear", align_corners=False)


def mix(image: Tensor, matrix: Tensor) -> Tensor:
    """Mix the three planes of a picture by a 3 × 3 matrix."""
    return torch.einsum("ij,bjhw->bihw", matrix.to(image), image)
