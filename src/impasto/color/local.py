"""Local colors: the difference in color between two versions of a picture, without the differences in shape."""

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.tensors import Image

_REACH = 8
"""Half of the side of the square in which differences are averaged, in pixels; they are averaged twice."""
_TOLERANCES = (0.3, 0.15, 0.08, 0.08, 0.08)
"""Differences that deviate from the local average by much more than this are left out; one number for each round."""
_LEAST_SHARE = 0.1
"""If only this share of the differences agrees, half of their average is used."""


def color_shift(picture: Image, wanted: Image) -> Image:
    """Return a smooth change of colors that gives a picture the local colors of another version of it.

    The change at a pixel is the average difference around it. Where the two versions have different shapes, differences vary,
    and those that deviate from the average are left out. If most are left out, the change is small. So edges and strokes remain
    as they are.

    Args:
        picture: (1, 3, height, width) in [0, 1].
        wanted: the other version, of the same size.

    Returns:
        The change to add, (1, 3, height, width).

    Raises:
        RuntimeError: the sizes differ (raised by PyTorch).

    Example:
        >>> picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> bool((color_shift(picture, picture + 0.1) > 0.09).all())
        True

    Source:
        The weights are those of an M-estimator with a Gaussian influence (Welsch), which is computed by reweighting.
    """
    difference = wanted - picture
    shift = torch.zeros_like(difference)
    for tolerance in _TOLERANCES:
        weight = torch.exp((difference - shift).square().sum(1, keepdim=True) / (-2 * tolerance**2))
        shift = _smooth(weight * difference) / (_smooth(weight) + _LEAST_SHARE)
    return shift


def _smooth(values: Tensor) -> Tensor:
    for _ in range(2):
        values = F.pad(values, (_REACH, _REACH, _REACH, _REACH), mode="replicate")
        values = F.avg_pool2d(F.avg_pool2d(values, (2 * _REACH + 1, 1), stride=1), (1, 2 * _REACH + 1), stride=1)
    return values
