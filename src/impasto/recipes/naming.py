"""Name a style: measure a picture once, and keep its statistics."""

from collections.abc import Mapping

from impasto.arithmetic import choose_arithmetic
from impasto.encoders import load_encoder
from impasto.images import Picture, fitted_size, resize
from impasto.options import STYLE_LAYERS, Run
from impasto.recipes.starts import at_least, colours_of
from impasto.stats import Moments, moments
from impasto.styles import NamedStyle, measured_style


def name_style(picture: Picture, facts: Mapping[str, str]) -> NamedStyle:
    """Measure a picture as a named style, in the channels of the shipped encoder before its heads.

    Args:
        picture: of the manner; sizes above its own are measured on an enlargement.
        facts: name, title, artist, date, source, licence; what is missing is left empty.

    Returns:
        The style, ready for :func:`impasto.styles.add_style` or :func:`impasto.styles.save_style`.
    """
    encoder = load_encoder("vgg19-slim")
    arithmetic = choose_arithmetic(Run(device="cpu", precision="fp32"), encoder)

    def measure(edge_px: int) -> dict[str, Moments]:
        small = at_least(resize(picture.image, fitted_size(picture.size, edge_px)), 16)
        features = arithmetic.encode(encoder, small, frozenset(STYLE_LAYERS))
        return {layer: moments(features[layer]) for layer in STYLE_LAYERS}

    return measured_style({**facts, "encoder_sha256": encoder.sha256}, measure, colours_of(picture))
