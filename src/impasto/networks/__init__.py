"""Networks that paint in one pass, one paper per file: style_swap.py of `instant`, instant.py of the webcam page."""

from impasto.networks.instant import InstantNetwork, Widths
from impasto.networks.instant_files import instant_facts, load_instant, save_instant, shipped_instant

__all__ = ["InstantNetwork", "Widths", "instant_facts", "load_instant", "save_instant", "shipped_instant"]
