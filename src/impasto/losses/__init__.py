"""Losses: frozen values that turn features, or a picture, into a scalar."""

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
