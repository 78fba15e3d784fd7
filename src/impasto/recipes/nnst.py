"""NNST: replace the features at each position of the photo by the most similar features of the style.

Source: Kolkin, Kucera, Paris, Sýkora, Shechtman and Shakhnarovich 2022, Neural Neighbor Style Transfer (arXiv:2203.13215),
the optimization-based variant. Departures from the paper: the network is VGG-19, or vgg19-slim with its heads; steps are fewer
and larger, and iterates are averaged; impasto's smoothness and edge-aware terms are added; a margin is painted and cropped. The
last pass has a third of the usual steps and keeps the previous target features, which preserves faces. This pass compares
random positions of each layer, resampled at each step, with 2048 positions of the style. Colors are matched by the
Monge-Kantorovich map: of all linear maps that give the result the mean and covariance of the style, it changes the colors
least.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from impasto.color.transfer import color_moments, monge_kantorovich, recolored
from impasto.features.distributions import centered, hypercolumns, nearest, picked, rows_of, scattered, through, unit
from impasto.features.statistics import Moments, blend
from impasto.images import resize
from impasto.losses.features import Heads, Objective
from impasto.losses.neighbors import HypercolumnLoss, NearestLoss
from impasto.optim.engine import Size, Step
from impasto.optim.parametrization import to_laplacian
from impasto.recipes.context import PaintingContext, encode
from impasto.recipes.gatys import painted
from impasto.recipes.objectives import features_of_pictures, picture_terms
from impasto.recipes.statistics import compact_head, joining_heads
from impasto.tensors import FeatureMap, Features, Image

_MOST_KEYS = 2**14
_MOST_NEIGHBOURS = 2048
_COARSENESS = 4
"""Distance between hypercolumns in pixels."""


def paint_steps(context: PaintingContext) -> Iterator[Step]:
    """Paint coarse to fine: replace features at each size and optimize; in the last pass, also match each layer separately."""
    left, replaced = len(context.sizes), None

    def objective_at(size: Size, picture: Image) -> Objective:
        nonlocal left, replaced
        left -= 1
        is_first = context.first_scale == 0 and left == len(context.sizes) - 1
        if left or replaced is None:
            replaced = replacement(context, size, None if is_first else picture)
        objective = replaced + picture_terms(context, size)
        return objective if left else objective + last_pass(context, size)

    colors = style_colors(context)
    yield from painted(context, objective_at, lambda image: in_colors(image, colors))


# ---------------------------------------------------------------------------------------------------- features


def replacement(context: PaintingContext, size: Size, picture: Image | None) -> HypercolumnLoss:
    """Replace each hypercolumn of the photo by its nearest style hypercolumn, and return the loss with these targets.

    From the second size on, hypercolumns are computed from a mix of the photo and the current picture with the photo's finest
    details.

    Args:
        context: the painting context.
        size: the size to paint, (height, width).
        picture: the current picture, at any size; None at the first size, where only the photo is used.
    """
    photo = resize(context.content, size)
    if picture is not None:
        detailed = resize(picture, size) + to_laplacian(photo, levels=2)[0]
        photo = torch.lerp(detailed, photo, context.options.content_weight)
    heads = joining_heads(context.encoder, context.options.style_layers)
    grid = (max(1, size[0] // _COARSENESS), max(1, size[1] // _COARSENESS))
    found = hypercolumns(encode(context, photo, context.options.style_layers), heads, grid)
    keys = torch.cat([style_rows(each, heads) for each in features_of_pictures(context, size)])
    chosen = unit(keys)[nearest(centered(rows_of(found)), centered(keys))]
    return HypercolumnLoss(chosen.T.reshape(1, -1, *grid), heads)


def style_rows(features: Features, heads: Heads) -> Tensor:
    """Return the hypercolumns of a style picture, evenly subsampled if there are too many: (rows, channels of all layers)."""
    height, width = next(iter(features.values())).shape[-2:]
    grid = (max(1, height // _COARSENESS), max(1, width // _COARSENESS))
    columns = hypercolumns(features, heads, grid)
    return columns_of(columns, _MOST_KEYS)


def columns_of(features: FeatureMap, most: int) -> Tensor:
    """Return the feature vectors of a map, evenly subsampled to at most ``most``: (rows, channels)."""
    if features.shape[-2] * features.shape[-1] <= most:
        return rows_of(features)
    return picked(features, scattered((features.shape[-2], features.shape[-1]), most, torch.Generator().manual_seed(0)))


def last_pass(context: PaintingContext, size: Size) -> NearestLoss:
    """Make the extra loss of the last pass: in each layer, compare the current picture with its nearest style features."""
    layers = context.options.style_layers
    heads = {layer: compact_head(context.encoder, layer) for layer in layers}
    styles = features_of_pictures(context, size)
    target = {
        layer: torch.cat([through(columns_of(each[layer], _MOST_NEIGHBOURS // len(styles)), heads[layer]) for each in styles])
        for layer in layers
    }
    return NearestLoss(target, dict.fromkeys(layers, 1 / len(layers)), heads, context.generator())


# ---------------------------------------------------------------------------------------------------- colors


def style_colors(context: PaintingContext) -> Moments:
    """Measure the mean and covariance of the colors of all styles together."""
    measured = [color_moments(style.image) for style in context.pictures]
    return blend(measured, [1.0] * len(measured))


def in_colors(image: Image, colors: Moments) -> Image:
    """Map the colors of a picture so that they have the given mean and covariance."""
    return recolored(image, monge_kantorovich(color_moments(image), colors.to(image))).clamp(0, 1)
