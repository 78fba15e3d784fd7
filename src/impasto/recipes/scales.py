"""Two scales of one style mixed: fine statistics from one size of its picture, coarse ones from another.

Source:
    Gatys et al. 2017, section 6, mix scales by first painting the coarse style in the fine one. Here, where statistics are
    compared layer by layer, each layer takes them from one of the two sizes.
"""

from impasto.options import PaintOptions

FINE_BLOCKS = 3
"""Layers of the first three blocks take the first of two style scales, those of blocks 4 and 5 the second."""


def by_scale(options: PaintOptions) -> list[tuple[float, PaintOptions]]:
    """Return each of two style scales with the options that measure its layers alone; a scale without layers is left out."""
    fine = tuple(layer for layer in options.style_layers if int(layer[4]) <= FINE_BLOCKS)
    coarse = tuple(layer for layer in options.style_layers if layer not in fine)
    parts = zip(options.style_scales, (fine, coarse), strict=True)
    return [(scale, options.changed(style_layers=part, layer_weights=(), style_scales=())) for scale, part in parts if part]
