"""Which layers neural neighbors compare at which size."""

COARSE_LAYERS = tuple(f"relu{name}" for name in ["1_1", "1_2", "2_1", "2_2", "3_1", "3_2", "3_3", "4_1", "4_2", "4_3"])
MIDDLE_LAYERS = ("relu1_2", "relu2_2", "relu3_1", "relu4_1")
FINE_LAYERS = ("relu1_2", "relu2_2", "relu3_1")
PALETTE_LAYERS = ("relu1_1", "relu2_1", "relu3_1")
_COARSE_PX, _MIDDLE_PX, _FINE_PX = 128, 256, 512
"""Up to these longer sides all layers are compared, or those of the middle; or all are searched in."""


def layers_at(edge_px: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the layers that a size compares, and those by which it searches.

    Example:
        >>> layers_at(2048)
        (('relu1_2', 'relu2_2', 'relu3_1'), ('relu1_2', 'relu2_2', 'relu3_1', 'relu4_1'))
    """
    compared = COARSE_LAYERS if edge_px <= _COARSE_PX else MIDDLE_LAYERS if edge_px <= _MIDDLE_PX else FINE_LAYERS
    return compared, COARSE_LAYERS if edge_px <= _FINE_PX else MIDDLE_LAYERS
