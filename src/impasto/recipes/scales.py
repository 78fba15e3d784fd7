"""Mix two scales of a style: shallow layers are measured at one size of its picture, deep layers at another.

Source:
    Gatys et al. 2017, section 6. The paper mixes scales differently: it first restyles the coarse style picture with the
    fine style picture. Here, statistics are compared layer by layer, so each layer is measured at one of
    the two sizes.
"""

from impasto.options import PaintOptions

FINE_BLOCKS = 3
"""Layers of the first three blocks use the first of the two style scales, layers of blocks 4 and 5 the second."""


def by_scale(options: PaintOptions) -> list[tuple[float, PaintOptions]]:
    """Return each of the two style scales with options restricted to its layers; a scale without layers is omitted."""
    fine = tuple(layer for layer in options.style_layers if int(layer[4]) <= FINE_BLOCKS)
    coarse = tuple(layer for layer in options.style_layers if layer not in fine)
    parts = zip(options.style_scales, (fine, coarse), strict=True)
    return [(scale, options.changed(style_layers=part, layer_weights=(), style_scales=())) for scale, part in parts if part]
