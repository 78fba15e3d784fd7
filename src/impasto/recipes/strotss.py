"""STROTSS: match the style's features by relaxed optimal transport, and preserve the photo's self-similarity.

``(α ℓ_content + ℓ_transport + ℓ_moments + ℓ_palette / α) / (2 + α + 1/α)``, with α halved at each size.

Source: Kolkin, Salavon and Shakhnarovich 2019, Style Transfer by Relaxed Optimal Transport and Self-Similarity
(arXiv:1904.12785). Departures from the paper: the network is VGG-19, or vgg19-slim with its heads; hypercolumns do not include
pixels; positions are sampled evenly, 1024 for the style and 512 for the content; features are divided by the root mean
square of the style's features; there are fewer but larger steps, and iterates are averaged; impasto's smoothness and
edge-aware terms are added; a margin is painted and cropped.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from impasto.features.statistics import Affine
from impasto.images import resize
from impasto.losses.distributions import DrawnSelfSimilarityLoss, PaletteLoss, RelaxedEmdLoss, sampled_colors
from impasto.losses.features import Objective
from impasto.optim.engine import Size, Step
from impasto.recipes.context import PaintingContext, encode
from impasto.recipes.gatys import painted
from impasto.recipes.objectives import features_of_pictures, picture_terms
from impasto.recipes.statistics import compact_head, identity, style_columns
from impasto.tensors import Image

_FIRST_CONTENT_WEIGHT = 16.0
_PLACES = 1024
_CONTENT_PLACES = 512


def paint_steps(context: PaintingContext) -> Iterator[Step]:
    """Paint coarse to fine, halving the content weight at each size."""
    scale = context.first_scale - 1

    def objective_of_next(size: Size, _: Image) -> Objective:
        nonlocal scale
        scale += 1
        return objective_at(context, size, _FIRST_CONTENT_WEIGHT * context.options.content_weight / 2**scale)

    yield from painted(context, objective_of_next)


def objective_at(context: PaintingContext, size: Size, alpha: float) -> Objective:
    """Build the objective of the paper for one size.

    Args:
        context: the painting context.
        size: the size to paint, (height, width).
        alpha: the content weight relative to the style weight.
    """
    options, heads = context.options, heads_of(context)
    styles = features_of_pictures(context, size)
    shares = [1 / len(styles)] * len(styles)
    heads, columns = of_unit_size(heads, style_columns(styles, shares, heads, context.generator(), _PLACES))
    count = _PLACES // len(styles)
    colors = [sampled_colors(each.image.to(context.content), count, context.generator()) for each in context.pictures]
    photo = encode(context, resize(context.content, size), options.style_layers)
    total = 2 + alpha + 1 / max(alpha, 1e-6)
    objective = (1 / total) * RelaxedEmdLoss(columns, heads, context.generator(), _PLACES)
    objective += (alpha / total) * DrawnSelfSimilarityLoss(photo, heads, context.generator(), _CONTENT_PLACES)
    objective += (1 / (max(alpha, 1e-6) * total)) * PaletteLoss(torch.cat(colors), context.generator(), _PLACES)
    return objective + picture_terms(context, size)


def heads_of(context: PaintingContext) -> dict[str, Affine]:
    """Return the head that maps each layer before concatenation; see :func:`impasto.recipes.statistics.compact_head`."""
    encoder = context.encoder
    return {layer: compact_head(encoder, layer) or identity(encoder, layer) for layer in context.options.style_layers}


def of_unit_size(heads: Mapping[str, Affine], columns: Tensor) -> tuple[dict[str, Affine], Tensor]:
    """Scale features so that those of the style have a root mean square of 1.

    The weight of the moments then does not depend on the scale of a network's features.

    Returns:
        The heads and the style's hypercolumns, both divided by the root mean square of the hypercolumns.
    """
    size = columns.square().mean().sqrt().clamp_min(1e-8)
    return {layer: Affine(head.matrix / size, head.bias / size) for layer, head in heads.items()}, columns / size
