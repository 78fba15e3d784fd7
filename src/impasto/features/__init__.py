"""Pure functions on features.

Modules:
    statistics: Gram matrices, moments (of whole pictures or under guides), affine heads, matrix square roots.
    distributions: sampling of feature vectors, distances between sets of them, histogram matching, patches.
    neighbors: hypercolumns on a coarse grid and nearest-neighbor matching.
"""
