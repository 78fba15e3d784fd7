"""The vocabulary of shapes: what a tensor in impasto means, said once.

The picture contract: an :data:`Image` is ``(batch, 3, height, width)``, floating point, sRGB in [0, 1]. Whatever a network
wants of its input (a mean taken off, another range, another order of channels) happens inside that network.
"""

from collections.abc import Mapping
from typing import TypeAlias

from torch import Tensor

Image: TypeAlias = Tensor
"""A picture: (batch, 3, height, width), float, sRGB in [0, 1]."""

Mask: TypeAlias = Tensor
"""A user's mask at picture size: (batch, 1, height, width), float in [0, 1]; 1 means "here"."""

FeatureMap: TypeAlias = Tensor
"""What one layer answers: (batch, channels, height, width), float."""

Features: TypeAlias = Mapping[str, FeatureMap]
"""Feature maps by layer name, such as ``"relu4_2"``."""

Gram: TypeAlias = Tensor
"""Correlations of channels, averaged over positions: (batch, channels, channels), float."""
