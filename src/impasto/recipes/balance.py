"""Balance: choose the content weight from gradient norms, so that ``balance`` has a similar effect for every pair of pictures.

The gradient of the content loss is zero at the photo itself. Therefore both gradients are measured at a reference picture: the
photo in the style's palette, mixed with 40 % noise in the same palette. Both losses are large there.
"""

from collections.abc import Sequence

import torch

from impasto.color.transfer import color_moments, monge_kantorovich, recolored
from impasto.features.statistics import blend
from impasto.losses.features import PIXELS, Loss, Objective
from impasto.optim.tiled import Encode
from impasto.options import PaintOptions
from impasto.recipes.starts import Style, colors_of, with_moments
from impasto.tensors import Image

_SHARE_OF_NOISE = 0.4


def balanced_weight(content: Loss, style: Loss | Objective, reference: Image, encode: Encode, options: PaintOptions) -> float:
    """Return the content weight α for which ``|α ∂C| = balance · |β ∂S|`` at a reference picture.

    Args:
        content: the unweighted content loss C.
        style: the unweighted style loss S; β is ``options.style_weight``.
        reference: the picture at which gradients are measured, (1, 3, height, width); see :func:`reference_picture`.
        encode: encodes a picture into features.
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
    """Make the picture at which the two gradients are compared. It has the photo's size; the noise is always the same."""
    given = options.style_weights or (1.0,) * len(styles)
    colors = blend([colors_of(style).to(photo) for style in styles], given).possible()
    noise = torch.rand(photo.shape, generator=torch.Generator().manual_seed(0)).to(photo)
    painted = recolored(photo, monge_kantorovich(color_moments(photo), colors))
    return torch.lerp(painted, with_moments(noise, colors), _SHARE_OF_NOISE).clamp(0, 1)
