"""The equations of the deeplearning.ai assignment: see :mod:`impasto.compat.classic`."""

from impasto.compat.classic import *  # noqa: F403
from impasto.compat.classic import __all__ as __all__
