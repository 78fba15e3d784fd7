"""Strength that means the same for every pair: the content weight found from how hard the two losses pull.

The gradient of the content loss is zero at the photo itself, so the two are measured elsewhere: at the photo in the style's
palette, mixed with two fifths of noise in the same palette. There both losses have far to go.
"""

from collections.abc import Sequence

import torch

from impasto.color.transfer import color_moments, monge_kantorovich, recolored
from impasto.features.statistics import Moments, blend
from impasto.losses.features import PIXELS, Loss, Objective
from impasto.optim.engine import Encode
from impasto.options import PaintOptions
from impasto.recipes.starts import Style, colors_of, with_moments
from impasto.tensors import Image

_SHARE_OF_NOISE = 0.4


def balanced_weight(content: Loss, style: Loss | Objective, reference: Image, encode: Encode, options: PaintOptions) -> float:
    """Return the content weight with which ``|α ∂C| = balance · |β ∂S|`` at a reference picture.

    Args:
        content: the unweighted content loss C.
        style: the unweighted style loss S; β is the option's style weight.
        reference: (1, 3, height, width), where the two are measured; see :func:`reference_picture`.
        encode: turns pictures into features.
        options: balance and style weight.
    """
    picture = reference.detach().clone().requires_grad_()
    with torch.enable_grad():
        features = {**encode(picture, (content.layers | style.layers) - {PIXELS}), PIXELS: picture}
        of_content, of_style = (
            float(torch.autograd.grad((1 * loss)(features)[0], picture, retain_graph=True)[0].norm())
            for loss in (content, style)
        )
    return options.balance * options.style_weight * of_style / max(of_content, 1e-12)


def reference_picture(photo: Image, styles: Sequence[Style], options: PaintOptions) -> Image:
    """Make the picture at which the two losses are compared, as large as the photo; the same noise every time."""
    given = options.style_weights or (1.0,) * len(styles)
    colors = blend([_moved(colors_of(style), photo) for style in styles], given).possible()
    noise = torch.rand(photo.shape, generator=torch.Generator().manual_seed(0)).to(photo)
    painted = recolored(photo, monge_kantorovich(color_moments(photo), colors))
    return torch.lerp(painted, with_moments(noise, colors), _SHARE_OF_NOISE).clamp(0, 1)


def _moved(measured: Moments, photo: Image) -> Moments:
    return Moments(measured.mean.to(photo), measured.covariance.to(photo))
