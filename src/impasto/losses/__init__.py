"""Loss functions: frozen dataclasses that map features, or the picture itself, to a scalar.

Modules:
    features: the ``Loss`` and ``Objective`` base types; content, Gram, Wasserstein and region-guided style losses.
    distributions: sliced Wasserstein, histogram, relaxed earth mover's distance and self-similarity losses.
    neighbors: nearest-neighbor losses on patches, hypercolumns and feature vectors.
    chained: chained Gram matrices between adjacent layers.
    picture: losses on pixels: total variation, structural similarity, gamut, fixed regions.
    normalization: the normalization constants of published methods, as weights by layer.
"""

from impasto.losses.distributions import HistogramLoss, RelaxedEmdLoss, SelfSimilarityLoss, SlicedLoss
from impasto.losses.features import PIXELS, ContentLoss, Loss, Objective, StyleLoss, Term, WassersteinLoss
from impasto.losses.neighbors import HypercolumnLoss, NeighborLoss, PatchLoss
from impasto.losses.picture import EdgeAwareSmoothness, Gamut, Smoothness, StructureLoss

__all__ = [
    "PIXELS",
    "ContentLoss",
    "EdgeAwareSmoothness",
    "Gamut",
    "HistogramLoss",
    "HypercolumnLoss",
    "Loss",
    "NeighborLoss",
    "Objective",
    "PatchLoss",
    "RelaxedEmdLoss",
    "SelfSimilarityLoss",
    "SlicedLoss",
    "Smoothness",
    "StructureLoss",
    "StyleLoss",
    "Term",
    "WassersteinLoss",
]
