"""Shrinking that has a gradient on every device.

Metal has no gradient of antialiased interpolation, and pools to no size that does not divide the picture's. Both are linear and
act on rows and columns separately: where PyTorch's own function is missing they are two products with small matrices, which
the CPU makes by shrinking an identity.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_NATIVE = ("cpu", "cuda")
"""Devices where PyTorch's own functions have gradients."""

Size = tuple[int, int]


def antialiased(x: Tensor, size: Size) -> Tensor:
    """Shrink (batch, channels, height, width) to a size (height, width), bilinear over the area that a pixel covers."""
    return _shrunk(x, size, _bilinear)


def averaged(x: Tensor, size: Size) -> Tensor:
    """Average (batch, channels, height, width) over the cells of a grid of a size (height, width)."""
    return _shrunk(x, size, F.adaptive_avg_pool2d)


def _bilinear(x: Tensor, size: Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)


def _shrunk(x: Tensor, size: Size, shrink: Callable[[Tensor, Size], Tensor]) -> Tensor:
    if x.device.type in _NATIVE:
        return shrink(x, size)
    rows, columns = (_matrix(x.shape[axis], count, shrink).to(x) for axis, count in zip((-2, -1), size, strict=True))
    return rows @ x @ columns.T


def _matrix(before: int, after: int, shrink: Callable[[Tensor, Size], Tensor]) -> Tensor:
    """Return what shrinks one side: (after, before)."""
    return shrink(torch.eye(before)[None, None], (after, before))[0, 0]
