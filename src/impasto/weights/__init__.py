"""Network weights: a catalogue of published weights, a verified cache, and readers for all published VGG-19 and VGG-16 formats.

:func:`read_vgg` converts every format to the same canonical form; :func:`find` returns the cached file with a given name.
"""

from impasto.weights.cache import (
    SHIPPED,
    CatalogueEntry,
    Verified,
    cache_folder,
    catalogue,
    fetch,
    find,
    import_file,
    in_cache,
    verify,
)
from impasto.weights.canonical import VggWeights
from impasto.weights.files import read_vgg, read_vgg_once, save_vgg

__all__ = [
    "SHIPPED",
    "CatalogueEntry",
    "Verified",
    "VggWeights",
    "cache_folder",
    "catalogue",
    "fetch",
    "find",
    "import_file",
    "in_cache",
    "read_vgg",
    "read_vgg_once",
    "save_vgg",
    "verify",
]
