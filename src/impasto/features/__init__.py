"""Pure functions on features: statistics, distributions, nearest neighbors."""

from impasto.features.neighbors import Matches, match
from impasto.features.statistics import Moments, blend, gram_matrix, moments, sqrtm

__all__ = ["Matches", "Moments", "blend", "gram_matrix", "match", "moments", "sqrtm"]
