"""Feed-forward networks, one paper per file: johnson.py for brushes, style_swap.py for `instant`, instant.py for export."""

from impasto.networks.instant import InstantNetwork, Widths
from impasto.networks.instant_files import instant_facts, load_instant, save_instant, shipped_instant

__all__ = ["InstantNetwork", "Widths", "instant_facts", "load_instant", "save_instant", "shipped_instant"]
