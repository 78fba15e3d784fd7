"""Weights of networks: a catalogue of what is published, a verified cache, readers of every form of VGG-19 and VGG-16.

A network that paints never cares where its weights came from: :func:`read_vgg` brings every form into one, and
:func:`find` says where a name's file lies.
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
from impasto.weights.files import read_vgg, save_vgg

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
    "save_vgg",
    "verify",
]
