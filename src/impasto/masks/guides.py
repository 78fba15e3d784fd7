"""Masks and guides: regions of a picture at the picture's size and at the size of a layer.

A mask is (1, 1, height, width) in [0, 1], where 1 means "here". Soft masks are not thresholded. This module only computes with
such tensors; :mod:`impasto.recipes.masking` reads the files.
Source: Gatys, Ecker, Bethge, Hertzmann and Shechtman 2017, Controlling Perceptual Factors in Neural Style Transfer, section 4.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.errors import OptionError, nearest_name
from impasto.options import Shrinking
from impasto.tensors import Mask

GRADIENTS = ("left-right", "right-left", "top-bottom", "bottom-top", "radial")
_TOUCHES = 0.02
"""Soft edges overlap slightly. So masks whose sum exceeds 1 by at most this value are treated as adjacent, not overlapping."""


def gradient(kind: str, size: tuple[int, int]) -> Mask:
    """Create a mask that fades from 1 at the side named first to 0 at the opposite side; "radial" is 1 in the center.

    Args:
        kind: one of :data:`GRADIENTS`.
        size: (height, width).

    Raises:
        OptionError: if the kind is unknown.

    Example:
        >>> gradient("left-right", (1, 3))[0, 0].tolist()
        [[1.0, 0.5, 0.0]]
    """
    if kind not in GRADIENTS:
        raise OptionError(f"gradient {kind!r} is not known{nearest_name(kind, GRADIENTS)}")
    height, width = size
    down = torch.linspace(0, 1, height)[:, None].expand(size)
    right = torch.linspace(0, 1, width)[None].expand(size)
    values = {
        "left-right": 1 - right,
        "right-left": right,
        "top-bottom": 1 - down,
        "bottom-top": down,
        "radial": (1 - torch.hypot(2 * down - 1, 2 * right - 1) / 2**0.5).clamp(0, 1),
    }[kind]
    return values[None, None].contiguous()


def shared(masks: Sequence[Mask]) -> tuple[list[Mask], float]:
    """Normalize overlapping masks: where they sum to more than 1, divide each by the sum.

    Returns:
        The masks, and the share of the picture where two or more overlap.

    Example:
        >>> halves, overlap = shared([torch.ones(1, 1, 1, 2), torch.tensor([[[[0.0, 1.0]]]])])
        >>> [half.flatten().tolist() for half in halves], overlap
        ([[1.0, 0.5], [0.0, 0.5]], 0.5)
    """
    total = torch.stack(list(masks)).sum(0)
    return [mask / total.clamp_min(1) for mask in masks], float((total > 1 + _TOUCHES).float().mean())


def softened(mask: Mask, width_px: int) -> Mask:
    """Soften a mask's edges over a width centered on the edge; masks that sum to 1 still sum to 1 afterwards."""
    reach = width_px // 2
    if reach < 1:
        return mask
    for _ in range(2):  # applied twice, a box filter gives a smooth ramp without corners
        mask = _box(mask, max(1, round(reach / 2)))
    return mask.clamp(0, 1)


def feathered(mask: Mask, width_px: int) -> Mask:
    """Add a soft edge outside a mask; the inside stays 1."""
    if width_px < 2:
        return mask
    return torch.maximum(mask, softened(grown(mask, max(1, width_px // 2)), width_px))


def grown(mask: Mask, reach_px: int) -> Mask:
    """Grow a mask on all sides."""
    return _highest(mask, 2 * reach_px + 1, 1, reach_px) if reach_px > 0 else mask


def receptive_field(layer: str, layers: Sequence[str]) -> tuple[int, int]:
    """Return the receptive field of a layer and the stride between its positions, in pixels.

    Args:
        layer: layer name, such as ``"relu4_1"``.
        layers: all layers of the encoder, in order; each block after the first starts with a pooling by 2, as in VGG.

    Example:
        >>> from impasto.encoders.vgg import LAYERS
        >>> receptive_field("relu1_1", LAYERS), receptive_field("relu3_1", LAYERS)
        ((3, 1), (24, 4))
    """
    field, stride = 1, 1
    for name in dict.fromkeys(each[4:] for each in layers):
        if name.endswith("_1") and name != "1_1":
            field, stride = field + stride, 2 * stride
        field += 2 * stride
        if name == layer[4:]:
            break
    return field, stride


def shrunk(mask: Mask, layer: str, layers: Sequence[str], how: Shrinking) -> Mask:
    """Downscale a mask to a layer's size.

    Args:
        mask: a mask at the size of the encoded picture.
        layer: layer name.
        layers: all layers of the encoder, in order.
        how: ``"simple"``: average by area. ``"inside"``: the minimum in the receptive field of a position; with a hard mask,
            it is 1 only if the receptive field lies entirely inside. ``"all"``: the maximum in the receptive field.

    Returns:
        (1, 1, height / 2^(block - 1), width / 2^(block - 1)), rounded down as in the encoder.
    """
    field, stride = receptive_field(layer, layers)
    if how == "simple":
        return F.avg_pool2d(mask, stride)
    if how == "all":
        return _highest(mask, field, stride, (field - stride) // 2)
    return 1 - _highest(1 - mask, field, stride, (field - stride) // 2)


def guides_at(masks: Sequence[Mask], layer: str, layers: Sequence[str], how: Shrinking) -> list[Mask]:
    """Downscale the masks of all regions to a layer's size.

    If a region is so narrow that it contains no receptive field, its mask is averaged by area instead. Without this fallback,
    which is our addition, the region would have no style at the coarse layers.
    """
    guides = [shrunk(mask, layer, layers, how) for mask in masks]
    if how != "inside":
        return guides
    simple = [shrunk(mask, layer, layers, "simple") for mask in masks]
    return [guide if float(guide.sum()) >= _FEWEST_INSIDE else by_area for guide, by_area in zip(guides, simple, strict=True)]


_FEWEST_INSIDE = 4.0
_FEWEST_ROWS = 3
"""Minimum number of rows and columns of the box around a region at the coarsest layer; patch losses need that many."""


def places_inside(mask: Mask, wanted: Sequence[str], layers: Sequence[str], how: Shrinking) -> dict[str, Tensor]:
    """Return indices that gather a region's features into a box; outside the region, the nearest position inside is used.

    With such a box, a loss that uses adjacent positions or several layers can be measured on one region. The boxes of all
    layers cover the same part of the picture.

    Args:
        mask: a mask at the size of the encoded picture; positions that are at least half inside belong to the region.
        wanted: layer names.
        layers: all layers of the encoder, in order.
        how: as in :func:`shrunk`.

    Returns:
        By layer, row-major indices of positions of the layer, with the (height, width) of the box.
    """
    coarsest = max(receptive_field(layer, layers)[1] for layer in wanted)
    box = _box_around(mask, coarsest)
    found = {}
    for layer in wanted:
        (guide,) = guides_at([mask], layer, layers, how)
        times = coarsest // receptive_field(layer, layers)[1]
        rows, columns = (slice(first * times, None if last is None else last * times) for first, last in box)
        found[layer] = _nearest(guide[0, 0], rows, columns)
    return found


def _box_around(mask: Mask, unit: int) -> list[tuple[int, int | None]]:
    """Return (start, end) of the rows and of the columns of the box around a mask, in units of ``unit`` pixels.

    The end is None if the box extends to the edge of the picture.
    """
    inside, box = mask[0, 0] >= min(0.5, float(mask.max())), []
    for side, occupied in zip(mask.shape[-2:], (inside.any(1), inside.any(0)), strict=True):
        places, units = occupied.nonzero()[:, 0], max(1, side // unit)
        first = min(int(places[0]) // unit, max(0, units - _FEWEST_ROWS))
        last = max(first + _FEWEST_ROWS, -(-(int(places[-1]) + 1) // unit))
        box.append((first, last if last < units else None))
    return box


def _nearest(guide: Tensor, rows: slice, columns: slice) -> Tensor:
    from scipy.ndimage import distance_transform_edt

    part = guide[rows, columns].cpu()
    inside = part >= min(0.5, float(part.max()))
    y, x = torch.from_numpy(distance_transform_edt(~inside.numpy(), return_distances=False, return_indices=True)).long()
    places: Tensor = (y + rows.start) * guide.shape[1] + x + columns.start
    return places.to(guide.device)


def _highest(mask: Mask, window: int, stride: int, reach: int) -> Mask:
    """Compute the maximum in square windows, separably along each axis."""
    down = F.max_pool2d(mask, (window, 1), (stride, 1), (reach, 0))
    return F.max_pool2d(down, (1, window), (1, stride), (0, reach))


def _box(mask: Mask, reach: int) -> Mask:
    window = 2 * reach + 1
    height, width = mask.shape[-2:]
    mode = "replicate"
    padded = F.pad(mask, (reach, reach, reach, reach), mode=mode)
    return F.avg_pool2d(F.avg_pool2d(padded, (window, 1), 1), (1, window), 1)[..., :height, :width]
