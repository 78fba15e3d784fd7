"""The layers that the neighbors recipe compares at each size, and the places where it copies whole patches of a style."""

from torch import Tensor

from impasto.features.neighbors import Patches
from impasto.runtime.resampling import averaged

COARSE_LAYERS = tuple(f"relu{name}" for name in ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3"])
MIDDLE_LAYERS = ("relu1_2", "relu2_2", "relu3_1", "relu4_1")
FINE_LAYERS = ("relu1_2", "relu2_2", "relu3_1")
PALETTE_LAYERS = ("relu1_1", "relu2_1", "relu3_1")
_COARSE_PX, _MIDDLE_PX, _FINE_PX = 128, 256, 512
"""Limits of the longer side. Up to the first limit, all layers are compared; up to the second, the middle layers; above it, the
fine layers. Up to the third limit, the search uses all layers; above it, the middle layers.
"""
_COLOR, _COLOR_OF_MIDDLE = 8.0, 5.0
"""Standard deviation of the colors that are appended to hypercolumns of all layers and of the middle layers; see
:func:`impasto.features.neighbors.with_colors`. These hypercolumns have deviations of about 35 and 20."""
PATCH, VARIETY = 8, 0.01
"""Side of a patch in positions, and the most similar patches from which one is chosen at random, as a share of all patches."""
TOLERANCE, FLAT_TOLERANCE = 0.03, 0.4
"""How much less similar a patch may be than the single matches that it replaces, and how much is added in flat areas."""


_UNIFORMITY = 2.0


def uniformity_at(edge_px: float) -> float:
    """Return the exponent of the preference for uniform patches when painting.

    Objects of the style first appear at sizes up to 512 pixels; at these sizes, the preference keeps them out of skies. At
    larger sizes, it would repeat the few most uniform patches visibly.

    Example:
        >>> uniformity_at(512), uniformity_at(1024)
        (2.0, 0.0)
    """
    return _UNIFORMITY if edge_px <= _FINE_PX else 0.0


def layers_at(edge_px: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the layers compared at a size, and the layers used to search for matches.

    Example:
        >>> layers_at(2048)
        (('relu1_2', 'relu2_2', 'relu3_1'), ('relu1_2', 'relu2_2', 'relu3_1', 'relu4_1'))
    """
    compared = COARSE_LAYERS if edge_px <= _COARSE_PX else MIDDLE_LAYERS if edge_px <= _MIDDLE_PX else FINE_LAYERS
    return compared, COARSE_LAYERS if edge_px <= _FINE_PX else MIDDLE_LAYERS


def color_at(edge_px: float) -> float:
    """Return the standard deviation of the colors that are appended to the hypercolumns at a size.

    Example:
        >>> color_at(512), color_at(1024)
        (8.0, 5.0)
    """
    return _COLOR if layers_at(edge_px)[1] == COARSE_LAYERS else _COLOR_OF_MIDDLE


def patches_where_flat(
    flat: Tensor, grid: tuple[int, int], *, top: int = 0, left: int = 0, share: float = 1.0, uniformity: float = 0.0
) -> Patches:
    """Return the settings for whole patches of a style.

    Patches are allowed in flat areas, because single matches would repeat visibly there.

    Args:
        flat: flatness, (1, 1, height, width); see :func:`impasto.losses.picture.flatness`.
        grid: (height, width) of the grid of hypercolumns.
        top: row offset if the photo is part of a larger one, in positions.
        left: column offset in the larger photo, in positions.
        share: the current size relative to the final size; the side of the patches is multiplied by it.
        uniformity: exponent of the preference for uniform patches.
    """
    tolerance = TOLERANCE + FLAT_TOLERANCE * averaged(flat, grid)[0, 0].square()
    return Patches(max(2, round(PATCH * share)), tolerance, VARIETY, top, left, uniformity)
