"""Downscaling that is differentiable on every device.

MPS has no gradient for antialiased interpolation and no adaptive pooling to sizes that do not divide the input size. Both
operations are linear and separable. Where PyTorch's function is missing, they are computed as products with two small
matrices. These are obtained by downscaling identity matrices on the CPU.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

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


def sources(before: int, after: int, start: int, end: int) -> tuple[int, int]:
    """Return the range of input values that bilinear interpolation of a side needs for the results ``start`` to ``end``.

    Example:
        >>> sources(8, 16, 4, 8)
        (1, 5)
    """
    first, last = ((position + 0.5) * before / after - 0.5 for position in (start, end - 1))
    return max(0, min(math.floor(first), before - 1)), min(before, max(math.floor(last), 0) + 2)


class Side(NamedTuple):
    """One side of a picture that is interpolated: its length before and after, and the range of the result."""

    before: int
    after: int
    start: int
    end: int


def bilinear_part(x: Tensor, sides: tuple[Side, Side]) -> Tensor:
    """Compute a part of ``F.interpolate(whole, mode="bilinear", align_corners=False)`` from the values that it uses.

    Args:
        x: (batch, channels, height, width), cropped in both directions to the range that :func:`sources` returns.
        sides: rows and columns.
    """
    found = _BilinearPart.apply(x, *sides)  # type: ignore[no-untyped-call]
    assert isinstance(found, Tensor)
    return found


class _BilinearPart(torch.autograd.Function):
    """Interpolation with the arithmetic of PyTorch's CPU kernel, so that a part equals the whole bit for bit.

    A difference in the last bit can change which of four values max-pooling selects, and so the gradient. The gradient of the
    interpolation itself is computed by two matrix products.
    """

    @staticmethod
    def forward(context: Any, x: Tensor, rows: Side, columns: Side) -> Tensor:
        context.sides = rows, columns
        up, down, above, below = (each.to(x.device) for each in _weights(rows))
        before, after, left, right = (each.to(x.device) for each in _weights(columns))
        across = _fused(x.index_select(-1, before), left, x.index_select(-1, after), right)
        return _fused(across.index_select(-2, up), above[:, None], across.index_select(-2, down), below[:, None])

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        rows, columns = (_bilinear_matrix(each).to(gradient) for each in context.sides)
        return rows.T @ gradient @ columns, None, None


def _fused(a: Tensor, of_a: Tensor, b: Tensor, of_b: Tensor) -> Tensor:
    """Return ``a of_a + b of_b``, where only the second product and the sum are rounded, as a fused multiply-add does."""
    if a.device.type != "cpu":
        return a * of_a + b * of_b
    return a.double().mul_(of_a).add_(b * of_b).to(a.dtype)


def _weights(side: Side) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return, for each value of a range, the indices of its two sources within :func:`sources`, and their weights."""
    first, _ = sources(*side)
    scale = torch.tensor(side.before, dtype=torch.float32) / side.after
    places = (scale.double() * (torch.arange(side.start, side.end, dtype=torch.float64) + 0.5) - 0.5).float().clamp_min(0)
    low = places.floor().clamp_max(side.before - 1)
    share = (places - low).clamp(0, 1)
    high = (low + 1).clamp_max(side.before - 1)
    return (low - first).long(), (high - first).long(), 1 - share, share


@lru_cache(maxsize=256)
def _bilinear_matrix(side: Side) -> Tensor:
    """Return the matrix that interpolates the range of one side: (end - start, length of :func:`sources`)."""
    first, last = sources(*side)
    matrix = torch.zeros(side.end - side.start, last - first)
    low, high, of_low, of_high = _weights(side)
    return matrix.scatter_add_(1, low[:, None], of_low[:, None]).scatter_add_(1, high[:, None], of_high[:, None])


def antialiasing_matrices(before: Size, after: Size) -> tuple[Tensor, Tensor]:
    """Return the matrices of :func:`antialiased`: ``rows @ picture @ columns.T``."""
    sides = (Side(length, count, 0, count) for length, count in zip(before, after, strict=True))
    (_, rows), (_, columns) = (antialiasing_part(side, "bilinear") for side in sides)
    return rows, columns


def averaged_part(x: Tensor, sides: tuple[Side, Side], origin: Size) -> Tensor:
    """Compute a part of :func:`averaged`.

    Args:
        x: a part of the picture that contains all values to average.
        sides: rows and columns.
        origin: the first row and the first column of ``x``.

    Example:
        >>> whole = torch.arange(70.0).reshape(1, 1, 10, 7)
        >>> found = averaged_part(whole[..., 3:, :], (Side(10, 3, 1, 3), Side(7, 7, 0, 7)), (3, 0))
        >>> torch.allclose(found, averaged(whole, (3, 7))[..., 1:, :])
        True
    """
    rows, columns = (
        _averaging_part(side, first, count).to(x) for side, first, count in zip(sides, origin, x.shape[-2:], strict=True)
    )
    return rows @ x @ columns.T


def _averaging_part(side: Side, first: int, count: int) -> Tensor:
    """Return the matrix that averages the ``count`` values from index ``first`` on within each cell of a range."""
    cells, places = torch.arange(side.start, side.end)[:, None], torch.arange(first, first + count)
    start, end = cells * side.before // side.after, -(-(cells + 1) * side.before // side.after)
    return ((places >= start) & (places < end)) / (end - start)


def antialiased_part(whole: Tensor, size: Size, part: tuple[tuple[int, int], tuple[int, int]], filter_: str) -> Tensor:
    """Compute a part of ``F.interpolate(whole, size, mode=filter_, antialias=True)`` from the values that it uses.

    Args:
        whole: (batch, channels, height, width).
        size: (height, width) of the whole result.
        part: first and last row, and first and last column, of the part; the last ones are not included.
        filter_: ``"bilinear"`` or ``"bicubic"``.

    Example:
        >>> whole = torch.rand(1, 3, 9, 8, generator=torch.Generator().manual_seed(0))
        >>> found = F.interpolate(whole, (16, 20), mode="bicubic", antialias=True)[..., 5:10, 3:20]
        >>> torch.allclose(antialiased_part(whole, (16, 20), ((5, 10), (3, 20)), "bicubic"), found, atol=1e-5)
        True
    """
    sides = zip(whole.shape[-2:], size, part, strict=True)
    (top, rows), (left, columns) = (antialiasing_part(Side(before, after, *ends), filter_) for before, after, ends in sides)
    seen = whole[..., top : top + rows.shape[1], left : left + columns.shape[1]]
    return rows.to(seen) @ seen @ columns.T.to(seen)


def antialiasing_part(side: Side, filter_: str) -> tuple[int, Tensor]:
    """Return the index of the first input value that a range needs, and the matrix of the range, as PyTorch computes it."""
    ratio = side.before / side.after
    centers = (torch.arange(side.start, side.end, dtype=torch.float64) + 0.5) * ratio
    lows, highs = (each[side.start : side.end] for each in reached(side.before, side.after, filter_))
    low, high = int(lows[0]), int(highs[-1])
    places = torch.arange(low, high)
    apart = ((places + 0.5 - centers[:, None]) / max(ratio, 1.0)).abs()
    weights = _triangle(apart) if filter_ == "bilinear" else _cubic(apart)
    weights = weights * ((places >= lows[:, None]) & (places < highs[:, None]))
    return low, (weights / weights.sum(1, keepdim=True)).float()


def reached(before: int, after: int, filter_: str) -> tuple[Tensor, Tensor]:
    """Return, for each value of a resized side, the first index and the end index of the input values that it needs.

    Example:
        >>> low, high = reached(8, 4, "bilinear")
        >>> low.tolist(), high.tolist()
        ([0, 1, 3, 5], [3, 5, 7, 8])
    """
    ratio = before / after
    reach = max(ratio, 1.0) * _REACHES[filter_]
    centers = (torch.arange(after, dtype=torch.float64) + 0.5) * ratio
    return (centers - reach + 0.5).long().clamp_min(0), (centers + reach + 0.5).long().clamp_max(before)


_REACHES = {"bilinear": 1.0, "bicubic": 2.0}
"""How many values each filter reads in each direction, if it enlarges."""


def _triangle(apart: Tensor) -> Tensor:
    return (1 - apart).clamp_min(0)


def _cubic(apart: Tensor, a: float = -0.5) -> Tensor:
    """Return Keys' cubic kernel at some distances."""
    near = ((a + 2) * apart - (a + 3)) * apart.square() + 1
    far = a * (((apart - 5) * apart + 8) * apart - 4)
    return torch.where(apart < 1, near, torch.where(apart < 2, far, torch.zeros_like(apart)))
