"""Create a named style: measure a picture and store its statistics and a swatch."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from impasto.encoders import load_encoder
from impasto.features.statistics import Moments, moments
from impasto.images import Picture, fitted_size, resize, to_webp
from impasto.options import STYLE_LAYERS
from impasto.recipes.starts import at_least, colors_of
from impasto.runtime.torch_state import in_known_state
from impasto.styles.named import NamedStyle, measured_style
from impasto.tensors import Image

_SWATCH_PX, _SWATCH_QUALITY = 1024, 88


@in_known_state
def name_style(picture: Picture, facts: Mapping[str, str], swatch: Image | None = None) -> NamedStyle:
    """Measure a picture with vgg19-slim, without applying its heads, and create a named style with a swatch.

    Args:
        picture: the style picture. It is measured at several sizes; for sizes larger than its own, it is enlarged.
        facts: name, title, artist, date, source, licence; missing facts are left empty.
        swatch: a picture in the style, (1, 3, height, width); None: the picture itself, with a longer side of at most
            1024 pixels.

    Returns:
        The style, ready for :func:`impasto.styles.named.add_style` or :func:`impasto.styles.named.save_style`.
    """
    encoder = load_encoder("vgg19-slim")

    def small(edge_px: int) -> Image:
        return at_least(resize(picture.image, fitted_size(picture.size, edge_px)), 16)

    def measure(edge_px: int) -> dict[str, Moments]:
        features = encoder(small(edge_px), STYLE_LAYERS)
        return {layer: moments(features[layer]) for layer in STYLE_LAYERS}

    with torch.no_grad():
        style = measured_style({**facts, "encoder_sha256": encoder.sha256}, measure, colors_of(picture))
    if swatch is None:
        swatch = resize(picture.image, fitted_size(picture.size, min(_SWATCH_PX, max(picture.size))))
    return replace(style, swatch=to_webp(swatch, quality=_SWATCH_QUALITY))
