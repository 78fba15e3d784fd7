"""TF Hub's calling convention: see :mod:`impasto.compat.notebook`."""

from impasto.compat.notebook import *  # noqa: F403
from impasto.compat.notebook import __all__ as __all__
