"""Measure a style for the live network, which is exported as an ONNX graph."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from impasto.color.transfer import color_moments
from impasto.encoders import Vgg, load_encoder
from impasto.features.statistics import Moments, moments
from impasto.images import fitted_size, resize
from impasto.networks import InstantNetwork, load_instant, shipped_instant
from impasto.networks.instant import STYLE_LAYERS
from impasto.recipes.instant_painter import in_eights
from impasto.recipes.starts import SMALLEST_SIDE, Style, at_least
from impasto.runtime.torch_state import in_known_state
from impasto.styles.named import NamedStyle

_LARGEST_PX = 1024


@dataclass(frozen=True)
class LiveStyle:
    """A style measured for the live network.

    Attributes:
        modulation: (1, modulations); see :meth:`impasto.networks.instant.InstantNetwork.measure`.
        colors: mean (1, 3) and covariance (1, 3, 3) of the style's colors.
    """

    modulation: Tensor
    colors: Moments


@lru_cache(maxsize=1)
def _networks() -> tuple[Vgg, InstantNetwork]:
    return load_encoder("vgg19-slim"), load_instant(shipped_instant())


@in_known_state
@torch.no_grad()
def live_style(style: Style, *, edge_px: float) -> LiveStyle:
    """Measure a style (for a named style, its swatch) after resizing its longer side to ``edge_px``.

    Raises:
        StyleFileError: a named style has no swatch.
    """
    encoder, network = _networks()
    picture = style.picture() if isinstance(style, NamedStyle) else style
    edge = min(max(edge_px, SMALLEST_SIDE), _LARGEST_PX)
    seen = in_eights(at_least(resize(picture.image, fitted_size(picture.size, round(edge))), SMALLEST_SIDE))
    features = encoder(seen, STYLE_LAYERS)
    modulation = network.measure(seen, {layer: moments(features[layer]) for layer in STYLE_LAYERS})
    return LiveStyle(modulation, style.colors if isinstance(style, NamedStyle) else color_moments(seen))
