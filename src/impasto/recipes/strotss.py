"""STROTSS: move the photo's features to those of the style by relaxed transport, and keep which of its parts are alike.

``(α ℓ_content + ℓ_transport + ℓ_moments + ℓ_palette / α) / (2 + α + 1/α)``, with α halved at each size.

Source: Kolkin, Salavon and Shakhnarovich 2019, Style Transfer by Relaxed Optimal Transport and Self-Similarity
(arXiv:1904.12785). Departures from the paper: the layers are VGG-19's, seen through the slim encoder where that is asked for;
pixels are no part of the hypercolumns; places are drawn evenly, 1024 for the style and 512 for the content; features are
measured in units of the style's own; fewer and longer steps, averaged, and the painter's smoothness and calm;
a margin is painted and cut away.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from impasto.features.statistics import Affine
from impasto.images import Picture, resize
from impasto.losses.distributions import DrawnSelfSimilarityLoss, PaletteLoss, RelaxedEmdLoss, sampled_colors
from impasto.losses.features import Objective
from impasto.optim.engine import Size, Step
from impasto.recipes.context import PaintingContext, encode
from impasto.recipes.gatys import painted
from impasto.recipes.objectives import picture_terms, style_edge, style_features
from impasto.recipes.statistics import compact_head, identity, style_columns
from impasto.tensors import Image

_FIRST_CONTENT_WEIGHT = 16.0
_PLACES = 1024
_CONTENT_PLACES = 512


def paint_steps(context: PaintingContext) -> Iterator[Step]:
    """Paint coarse to fine, with half the weight on the content at each size."""
    scale = context.first_scale - 1

    def objective_of_next(size: Size, _: Image) -> Objective:
        nonlocal scale
        scale += 1
        return objective_at(context, size, _FIRST_CONTENT_WEIGHT * context.options.content_weight / 2**scale)

    yield from painted(context, objective_of_next)


def objective_at(context: PaintingContext, size: Size, alpha: float) -> Objective:
    """Build the objective of the paper for one size.

    Args:
        context: what stands ready.
        size: that is painted, (height, width).
        alpha: the weight of the content against that of the style.
    """
    options, heads = context.options, heads_of(context)
    edge_px = style_edge(size, options)
    pictures = [style for style in context.styles if isinstance(style, Picture)]
    styles = [style_features(context, each, edge_px, options.style_layers) for each in pictures]
    shares = [1 / len(styles)] * len(styles)
    heads, columns = of_unit_size(heads, style_columns(styles, shares, heads, random(context), _PLACES))
    colors = [sampled_colors(each.image.to(context.content), _PLACES // len(pictures), random(context)) for each in pictures]
    photo = encode(context, resize(context.content, size), options.style_layers)
    total = 2 + alpha + 1 / max(alpha, 1e-6)
    objective = (1 / total) * RelaxedEmdLoss(columns, heads, random(context), _PLACES)
    objective += (alpha / total) * DrawnSelfSimilarityLoss(photo, heads, random(context), _CONTENT_PLACES)
    objective += (1 / (max(alpha, 1e-6) * total)) * PaletteLoss(torch.cat(colors), random(context), _PLACES)
    return objective + picture_terms(context, size)


def heads_of(context: PaintingContext) -> dict[str, Affine]:
    """Return what each layer is mapped by before the layers are joined: as few channels as keep lengths and angles."""
    encoder = context.encoder
    return {layer: compact_head(encoder, layer) or identity(encoder, layer) for layer in context.options.style_layers}


def of_unit_size(heads: Mapping[str, Affine], columns: Tensor) -> tuple[dict[str, Affine], Tensor]:
    """Scale features so that a channel of the style has the size 1: moments then weigh as much with every network.

    Returns:
        The heads and the hypercolumns of the style, both divided by the size that a channel has on average.
    """
    size = columns.square().mean().sqrt().clamp_min(1e-8)
    return {layer: Affine(head.matrix / size, head.bias / size) for layer, head in heads.items()}, columns / size


def random(context: PaintingContext) -> torch.Generator:
    """Return a new generator that starts from the run's seed."""
    return torch.Generator().manual_seed(context.seed)
