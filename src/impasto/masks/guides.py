"""Masks and guides: where in a picture something is wanted, at the picture's size and at that of a layer.

A mask is (1, 1, height, width) in [0, 1], 1 meaning "here"; soft masks stay soft. All of it is arithmetic on such tensors;
files are read in :mod:`impasto.recipes.masking`.

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
"""Masks that share less than this are taken to touch, not to overlap: soft edges do so."""


def gradient(kind: str, size: tuple[int, int]) -> Mask:
    """Make a mask that fades across the picture: 1 at the side that is named first (radial: in the middle), 0 at the other.

    Args:
        kind: one of :data:`GRADIENTS`.
        size: (height, width).

    Raises:
        OptionError: an unknown kind.

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
    """Let overlapping masks share: wherever they sum to more than 1 each is divided by the sum.

    Returns:
        The masks, and the share of the picture where two or more overlapped.

    Example:
        >>> halves, overlap = shared([torch.ones(1, 1, 1, 2), torch.tensor([[[[0.0, 1.0]]]])])
        >>> [half.flatten().tolist() for half in halves], overlap
        ([[1.0, 0.5], [0.0, 0.5]], 0.5)
    """
    total = torch.stack(list(masks)).sum(0)
    return [mask / total.clamp_min(1) for mask in masks], float((total > 1 + _TOUCHES).float().mean())


def softened(mask: Mask, width_px: int) -> Mask:
    """Soften a mask's edges over about a width, half of it on either side; masks that summed to 1 still do."""
    reach = width_px // 2
    if reach < 1:
        return mask
    for _ in range(2):  # two boxes are a tent: no corner is left
        mask = _box(mask, max(1, round(reach / 2)))
    return mask.clamp(0, 1)


def feathered(mask: Mask, width_px: int) -> Mask:
    """Give a mask a soft edge outside of it, over about a width; what was inside stays wholly inside."""
    if width_px < 2:
        return mask
    return torch.maximum(mask, softened(grown(mask, max(1, width_px // 2)), width_px))


def grown(mask: Mask, reach_px: int) -> Mask:
    """Let a mask grow on all sides."""
    return _highest(mask, 2 * reach_px + 1, 1, reach_px) if reach_px > 0 else mask


def receptive_field(layer: str, layers: Sequence[str]) -> tuple[int, int]:
    """Return how many pixels a position of a layer sees along a side, and how many pixels apart positions stand.

    Args:
        layer: its name, such as ``"relu4_1"``.
        layers: all layers of the encoder, in order; blocks are halved before their first convolution, as in VGG.

    Example:
        >>> from impasto.encoders.vgg import LAYERS
        >>> receptive_field("relu1_1", LAYERS), receptive_field("relu3_1", LAYERS)
        ((3, 1), (24, 4))
    """
    seen, apart = 1, 1
    for name in dict.fromkeys(each[4:] for each in layers):
        if name.endswith("_1") and name != "1_1":
            seen, apart = seen + apart, 2 * apart
        seen += 2 * apart
        if name == layer[4:]:
            break
    return seen, apart


def shrunk(mask: Mask, layer: str, layers: Sequence[str], how: Shrinking) -> Mask:
    """Shrink a mask to a layer's size.

    Args:
        mask: at the size of the picture that is encoded.
        layer: its name.
        layers: all layers of the encoder, in order.
        how: ``"simple"``: by area. ``"inside"``: the lowest value in the receptive field of a position, so that of a hard mask
            those count which see nothing else. ``"all"``: the highest.

    Returns:
        (1, 1, height / 2^(block - 1), width / 2^(block - 1)), rounded down as the encoder rounds.
    """
    seen, apart = receptive_field(layer, layers)
    if how == "simple":
        return F.avg_pool2d(mask, apart)
    if how == "all":
        return _highest(mask, seen, apart, (seen - apart) // 2)
    return 1 - _highest(1 - mask, seen, apart, (seen - apart) // 2)


def guides_at(masks: Sequence[Mask], layer: str, layers: Sequence[str], how: Shrinking) -> list[Mask]:
    """Shrink the masks of all regions to a layer's size.

    Where a region is so narrow that no receptive field lies inside it, it is shrunk by area instead: it would have no style at
    the coarse layers otherwise. That is our own.
    """
    guides = [shrunk(mask, layer, layers, how) for mask in masks]
    if how != "inside":
        return guides
    simple = [shrunk(mask, layer, layers, "simple") for mask in masks]
    return [guide if float(guide.sum()) >= _FEWEST_INSIDE else by_area for guide, by_area in zip(guides, simple, strict=True)]


_FEWEST_INSIDE = 4.0
_FEWEST_ROWS = 3
"""Of the box around a region at the coarsest layer: what compares patches needs so many."""


def places_inside(mask: Mask, wanted: Sequence[str], layers: Sequence[str], how: Shrinking) -> dict[str, Tensor]:
    """Say where the features of a region are taken from, for the box around it: from where they stand, or the nearest inside.

    A loss that looks at positions beside each other, or at several layers at once, can so be measured on the region alone: the
    boxes of all layers cover the same part of the picture.

    Args:
        mask: at the size of the picture that is encoded; what is at least half inside counts.
        wanted: names of the layers.
        layers: all layers of the encoder, in order.
        how: as in :func:`shrunk`.

    Returns:
        By layer, (height, width) of the box: indices into the positions of the layer, row by row.
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


def _box_around(mask: Mask, apart: int) -> list[tuple[int, int | None]]:
    """Return the first and the last row, and column, of the box around a mask, in units of pixels; None: to the end."""
    inside, box = mask[0, 0] >= min(0.5, float(mask.max())), []
    for side, seen in zip(mask.shape[-2:], (inside.any(1), inside.any(0)), strict=True):
        there, units = seen.nonzero()[:, 0], max(1, side // apart)
        first = min(int(there[0]) // apart, max(0, units - _FEWEST_ROWS))
        last = max(first + _FEWEST_ROWS, -(-(int(there[-1]) + 1) // apart))
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
    """Take the highest value in windows; a window is as good as one along each side in turn."""
    down = F.max_pool2d(mask, (window, 1), (stride, 1), (reach, 0))
    return F.max_pool2d(down, (1, window), (1, stride), (0, reach))


def _box(mask: Mask, reach: int) -> Mask:
    window = 2 * reach + 1
    height, width = mask.shape[-2:]
    mode = "replicate"
    padded = F.pad(mask, (reach, reach, reach, reach), mode=mode)
    return F.avg_pool2d(F.avg_pool2d(padded, (window, 1), 1), (1, window), 1)[..., :height, :width]
