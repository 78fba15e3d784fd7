"""Downscaling that is differentiable on every device.

MPS has no gradient for antialiased interpolation and no adaptive pooling to sizes that do not divide the input size. Both
operations are linear and separable. Where PyTorch's function is missing, they are computed as products with two small
matrices. These are obtained by downscaling identity matrices on the CPU.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.runtime.devices import is_complete

Size = tuple[int, int]


def antialiased(x: Tensor, size: Size) -> Tensor:
    """Downscale (batch, channels, height, width) to (height, width), bilinear with antialiasing."""
    return _shrunk(x, size, _bilinear)


def averaged(x: Tensor, size: Size) -> Tensor:
    """Average (batch, channels, height, width) over the cells of a (height, width) grid."""
    return _shrunk(x, size, F.adaptive_avg_pool2d)


def _bilinear(x: Tensor, size: Size) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)


def _shrunk(x: Tensor, size: Size, shrink: Callable[[Tensor, Size], Tensor]) -> Tensor:
    if is_complete(x.device):
        return shrink(x, size)
    rows, columns = (_matrix(x.shape[axis], count, shrink).to(x) for axis, count in zip((-2, -1), size, strict=True))
    return rows @ x @ columns.T


def _matrix(before: int, after: int, shrink: Callable[[Tensor, Size], Tensor]) -> Tensor:
    """Return the matrix that downscales one side: (after, before)."""
    return shrink(torch.eye(before)[None, None], (after, before))[0, 0]
