"""Detection of the black ground on which museums photograph objects, such as icons: it is not part of the painting."""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.color.transfer import color_moments
from impasto.features.statistics import Moments
from impasto.masks.superpixels import downscaled
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image, Mask

_EDGE_PX = 256
_DARKEST, _TOLERANCE = 0.18, 0.04
"""The ground is at most as light as the first value; its pixels differ from its median color by at most the second."""
_BORDER, _LARGEST, _ELSEWHERE = 0.98, 0.5, 0.1
"""Smallest share of the border that is ground; largest share of the picture that is ground; largest share of the other pixels
that have the same color."""


@in_known_state
def painted_area(picture: Image) -> Mask | None:
    """Return the area of a style picture without the black ground on which the painting was photographed.

    There is such a ground if nearly all of the border has one color that is nearly black, and if this color is rare elsewhere.
    So the black of a drawing, of a poster or of a night scene remains part of the painting.

    Args:
        picture: (1, 3, height, width) in [0, 1].

    Returns:
        1 where the picture is painted, (1, 1, height, width), downscaled to at most 256 px; None: everywhere.

    Example:
        >>> icon = torch.zeros(1, 3, 64, 48)
        >>> icon[..., 8:56, 8:40] = 0.5
        >>> painted_area(icon).mean()  # the ground, and a border of one pixel that may contain some of it
        tensor(0.4492)
        >>> painted_area(icon + 0.5) is None
        True
    """
    small = np.ascontiguousarray(downscaled(picture, _EDGE_PX))
    found = _painted(small.tobytes(), small.shape)
    return None if found is None else torch.from_numpy(found)[None, None].to(picture.device)


@lru_cache(maxsize=8)
def _painted(data: bytes, shape: tuple[int, int, int]) -> npt.NDArray[Any] | None:
    from scipy.ndimage import binary_dilation, label

    small = np.frombuffer(data).reshape(shape)
    color = np.median(np.concatenate(_border(small)), axis=0)
    if color.max() > _DARKEST:
        return None
    near = np.abs(small - color).max(2) <= _TOLERANCE
    labels, _ = label(near)
    ground = near & np.isin(labels, np.concatenate(_border(labels)))
    painted = ~ground
    if np.concatenate(_border(ground)).mean() < _BORDER or ground.mean() > _LARGEST:
        return None
    if (near & painted).sum() > _ELSEWHERE * painted.sum():
        return None
    found: npt.NDArray[Any] = (~binary_dilation(ground, np.ones((3, 3)))).astype(np.float32)
    return found


def _border(values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    return [values[0], values[-1], values[:, 0], values[:, -1]]


def colors_within(picture: Image, area: Mask | None) -> Moments:
    """Compute the mean and covariance of a picture's colors in an area, a mask of any size; None: everywhere."""
    if area is None:
        return color_moments(picture)
    mask = F.interpolate(area.to(picture), size=picture.shape[-2:], mode="nearest")
    return color_moments(picture, mask if float(mask.sum()) >= 1 else None)


def cells_within(area: Mask, grid: tuple[int, int]) -> Tensor:
    """Return the cells of a grid (height, width) that are entirely inside an area, bool."""
    return F.interpolate(area, size=grid, mode="area")[0, 0] > 1 - 1e-3
