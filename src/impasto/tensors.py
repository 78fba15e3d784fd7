"""Type aliases and shape conventions for the tensors used throughout impasto.

The picture contract: an :data:`Image` is ``(batch, 3, height, width)``, floating point, sRGB in [0, 1]. A network that needs a
different input (mean subtracted, another range, another channel order) converts the picture internally.
"""

from collections.abc import Mapping
from typing import TypeAlias

from torch import Tensor

Image: TypeAlias = Tensor
"""A picture: (batch, 3, height, width), float, sRGB in [0, 1]."""

Mask: TypeAlias = Tensor
"""A user's mask at picture size: (batch, 1, height, width), float in [0, 1]; 1 marks the selected area."""

FeatureMap: TypeAlias = Tensor
"""The output of one layer: (batch, channels, height, width), float."""

Features: TypeAlias = Mapping[str, FeatureMap]
"""Feature maps by layer name, such as ``"relu4_2"``."""

Gram: TypeAlias = Tensor
"""Correlations of channels, averaged over positions: (batch, channels, channels), float."""
