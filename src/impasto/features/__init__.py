"""Pure functions on features.

Modules:
    statistics: Gram matrices, moments (of whole pictures or of masked regions), affine heads, matrix square roots.
    distributions: sampling of feature vectors, distances between sets of them, histogram matching, patches.
    neighbors: hypercolumns on a coarse grid and nearest-neighbor matching.
"""

from impasto.features.neighbors import Matches, match
from impasto.features.statistics import Moments, blend, gram_matrix, moments, sqrtm

__all__ = ["Matches", "Moments", "blend", "gram_matrix", "match", "moments", "sqrtm"]
