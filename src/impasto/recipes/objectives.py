"""The objective of the gatys recipe at one size: its losses, their targets and their weights."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from impasto.encoders import Vgg
from impasto.features.statistics import Affine, Guide, Moments, blend, guided_moments, moments
from impasto.images import Picture, fitted_size, resize
from impasto.losses.features import (
    ContentLoss,
    Loss,
    Objective,
    ScaledContentLoss,
    StyleLoss,
    WassersteinLoss,
    WithinLoss,
    gathered,
    mapped,
    mapped_moments,
)
from impasto.losses.normalization import content_weight, gram_weight, moment_weights, wasserstein_weight
from impasto.losses.picture import EdgeAwareSmoothness, Gamut, KeptPhotoLoss, Smoothness, StructureLoss, flatness_sparingly
from impasto.masks.guides import guides_at, places_inside, receptive_field
from impasto.optim.engine import Size
from impasto.options import PaintOptions
from impasto.recipes.balance import balanced_weight, reference_picture
from impasto.recipes.checks import slim_encoder
from impasto.recipes.context import PaintingContext, encode, encoded_sparingly, is_tiled, moments_sparingly
from impasto.recipes.regions import KEPT_WEIGHT, guided_style_loss
from impasto.recipes.scales import by_scale
from impasto.recipes.starts import Style, at_least
from impasto.recipes.statistics import PICTURE_STATISTICS, StyleFeatures, picture_style_loss, self_similarity_loss
from impasto.runtime.memory import return_freed_memory
from impasto.styles.named import NamedStyle
from impasto.tensors import FeatureMap, Features, Image, Mask

_GAMUT_WEIGHT = 10.0
_UNIT_RANGE = 1 / 0.226
"""Size of the input range if pictures in [0, 1] are divided by the standard deviation of their values, as in torchvision."""


def objective_at(context: PaintingContext, size: Size) -> Objective:
    """Build the objective of the paper for one size: ``α J_content + β J_style``, plus the regularizers."""
    options = context.options
    photo = resize(context.content, size)
    style = style_loss(context, size)
    if is_tiled(context, photo):
        return_freed_memory()
    objective = options.style_weight * style
    if options.content_weight:
        content = content_loss(context, photo)
        objective += content_weight_at(context, photo, content, style) * content
    return objective + picture_terms(context, size)


def picture_terms(context: PaintingContext, size: Size) -> Objective:
    """Collect the losses on the picture itself: smoothness, edge-aware smoothness, structure, gamut, and the kept photo."""
    options, objective = context.options, Objective(())
    photo = resize(context.content, size)
    if options.smoothness_weight:
        scale = 255.0 if options.pixel_range == "255" else 1.0
        objective += options.smoothness_weight * Smoothness(options.smoothness_form, scale)
    if options.edge_aware_weight:
        objective += options.edge_aware_weight * EdgeAwareSmoothness(flatness_sparingly(photo))
    if options.structure_weight:
        objective += options.structure_weight * StructureLoss(photo)
    if options.canvas != "pixels":
        objective += _GAMUT_WEIGHT * Gamut()
    if context.region_masks.kept is not None:
        objective += KEPT_WEIGHT * KeptPhotoLoss(photo, resize(context.region_masks.kept, size))
    return objective


def content_weight_at(context: PaintingContext, photo: Image, content: Loss, style: Loss | Objective) -> float:
    """Return the content weight for one size: that of the options or, with ``balance``, the one that balances the gradients."""
    options = context.options
    if not options.balance:
        return options.content_weight
    reference = reference_picture(photo, context.styles, options)
    return balanced_weight(content, style, reference, partial(context.arithmetic.encode, context.encoder), options)


def content_loss(context: PaintingContext, photo: Image) -> Loss:
    """Make the content loss for the photo at the current size."""
    options, encoder = context.options, context.encoder
    heads = heads_of(encoder, options.content_layers)
    target = encoded_sparingly(context, photo, options.content_layers)
    if options.content_comparison == "self-similarity":
        return self_similarity_loss(target, encoder)
    target = {layer: mapped(features, heads[layer]) for layer, features in target.items()}
    scale = feature_scale(encoder, options)
    equal = (1 / len(target),) * len(options.content_layers)
    shares = dict(zip(options.content_layers, options.content_layer_weights or equal, strict=True))
    weights = {
        layer: content_weight(options.content_normalization, features, scale) * shares[layer]
        for layer, features in target.items()
    }
    kind = ScaledContentLoss if options.content_normalization == "scaled" else ContentLoss
    return kind(target, weights, heads)


def style_loss(context: PaintingContext, size: Size) -> Loss | Objective:
    """Make the style loss for one size: for the whole picture, or for each region."""
    options, region_masks = context.options, context.region_masks
    given = options.style_weights or (1.0,) * len(context.styles)
    edge_px = style_edge(size, options)
    if options.statistics in PICTURE_STATISTICS:
        return pictures_loss(context, size, edge_px, given)
    parts_of = region_masks.style_masks or (None,) * len(context.styles)
    measured = [style_moments(context, style, edge_px, part) for style, part in zip(context.styles, parts_of, strict=True)]
    if not region_masks.masks:
        return moments_loss(context, size, measured, given)
    parts = [moments_loss(context, size, measured, weights) for weights in region_masks.weights]
    return guided_style_loss(parts, region_masks, size, context.encoder, options)


def pictures_loss(context: PaintingContext, size: Size, edge_px: float, given: Sequence[float]) -> Loss | Objective:
    """Make the style loss for statistics that need style pictures: for the whole picture, or summed over its regions."""
    options, region_masks = context.options, context.region_masks
    if not region_masks.masks:
        return picture_style_loss(features_of_styles(context, edge_px, given), options)
    total = Objective(())
    for mask, weights, strength in zip(region_masks.masks, region_masks.weights, region_masks.strengths, strict=True):
        here = resize(mask, size)
        places = places_inside(here, options.style_layers, context.encoder.layers, options.mask_shrinking)
        share = strength * float(here.mean())
        for term in 1.0 * picture_style_loss(features_of_styles(context, edge_px, weights), options):
            total += share * term.weight * WithinLoss(term.loss, places)
    return total


def moments_loss(
    context: PaintingContext, size: Size, measured: Sequence[dict[str, Moments]], given: Sequence[float]
) -> StyleLoss | WassersteinLoss:
    """Make the style loss for the blended moments of the styles.

    Args:
        context: the painting context.
        size: the size to paint, (height, width).
        measured: moments by layer, for each style.
        given: the weight of each style.
    """
    options, encoder = context.options, context.encoder
    layers = options.style_layers
    target = {layer: blend([each[layer] for each in measured], given) for layer in layers}
    shares = dict(zip(layers, options.layer_weights or (1 / len(layers),) * len(layers), strict=True))
    heads, scale = heads_of(encoder, layers), feature_scale(encoder, options)
    if options.statistics == "wasserstein":
        target = {layer: blended.possible() for layer, blended in target.items()} if min(given) < 0 else target
        weights = {
            layer: shares[layer] * wasserstein_weight(options.style_normalization, target[layer], scale) for layer in layers
        }
        # The value of style-transfer-pytorch, converted to the units of this network's features.
        ridge = 1e-4 / (_UNIT_RANGE * float(encoder.std.mean())) ** 2
        return WassersteinLoss(target, weights, heads, ridge)
    shift = options.activation_shift / scale
    gram, mean, deviation = {}, {}, {}
    for layer in layers:
        here = target[layer].shifted(shift)
        if options.statistics != "moments":
            halvings = int(layer[4]) - 1
            positions = (size[0] >> halvings) * (size[1] >> halvings)
            weight = gram_weight(options.style_normalization, here, positions, size[0] * size[1], scale)
            gram[layer] = shares[layer] * weight
        if options.statistics != "gram":
            mean[layer], deviation[layer] = (shares[layer] * weight for weight in moment_weights(here))
    return StyleLoss(target, gram, mean, deviation, heads, shift)


def style_moments(context: PaintingContext, style: Style, edge_px: float, part: Mask | None = None) -> dict[str, Moments]:
    """Measure a style, or part of its picture, in the channels of the full network.

    The longer side of the style picture is ``edge_px``.
    """
    layers, device = context.options.style_layers, context.arithmetic.device
    if context.options.style_scales:
        sized = [(replace(context, options=chosen), edge_px * scale) for scale, chosen in by_scale(context.options)]
        return {k: v for here, at_px in sized for k, v in style_moments(here, style, at_px, part).items()}
    if isinstance(style, NamedStyle):
        # All threads share these heads, so they are not moved to the device.
        known, heads = style.at(edge_px, layers), heads_of(slim_encoder(), layers)
        return {layer: mapped_moments(known[layer], heads[layer]).to(device) for layer in layers}
    heads = heads_of(context.encoder, layers)
    if part is None:
        found = moments_sparingly(context, resized_style(context, style, edge_px), layers)
    else:
        found = measured_part(context, style_features(context, style, edge_px, layers), part)
    return {layer: mapped_moments(found[layer], heads[layer]) for layer in layers}


def measured_part(context: PaintingContext, features: Features, part: Mask) -> dict[str, Moments]:
    """Measure the features of part of a style picture; a layer too coarse to isolate the part is measured as a whole."""
    found, how = {}, context.options.mask_shrinking
    for layer, values in features.items():
        apart = receptive_field(layer, context.encoder.layers)[1]
        mask = resize(part, (values.shape[-2] * apart, values.shape[-1] * apart)).to(values.device)
        (shrunk,) = guides_at([mask], layer, context.encoder.layers, how)
        guide = Guide.of(shrunk, dtype=values.dtype)
        found[layer] = moments(values) if guide is None else guided_moments(values, [guide])[0]
    return found


def style_edge(size: Size, options: PaintOptions) -> float:
    """Return the longer side, in pixels, of the style pictures that are encoded for a size (which includes the margin)."""
    return (options.style_size or max(size) / (1 + 2 * options.margin)) * options.style_scale


def style_features(context: PaintingContext, style: Picture, edge_px: float, layers: Sequence[str]) -> Features:
    """Resize the longer side of a style picture to ``edge_px``, and encode the picture."""
    return encode(context, resized_style(context, style, edge_px), layers)


def resized_style(context: PaintingContext, style: Picture, edge_px: float) -> Image:
    """Resize the longer side of a style picture to ``edge_px``; both sides have at least 16 pixels."""
    picture = resize(style.image, fitted_size(style.size, max(16, round(edge_px))))
    return at_least(picture.to(context.arithmetic.device), 16)


def features_of_pictures(context: PaintingContext, size: Size) -> list[Features]:
    """Compute the style layers of every style picture, at the size of the painting without its margin."""
    edge_px = style_edge(size, context.options)
    return [style_features(context, each, edge_px, context.options.style_layers) for each in context.pictures]


def features_of_styles(context: PaintingContext, edge_px: float, weights: Sequence[float]) -> StyleFeatures:
    """Encode the style pictures with nonzero weight (or their masked parts), for statistics that need style pictures."""
    options, layers = context.options, context.options.style_layers
    sized = [(edge_px * scale, part.style_layers) for scale, part in by_scale(options)] if options.style_scales else []
    parts_of = context.region_masks.style_masks or (None,) * len(context.styles)
    styles = []
    for style, part, weight in zip(context.styles, parts_of, weights, strict=True):
        if isinstance(style, Picture) and weight:
            found: dict[str, FeatureMap] = {}
            for at_px, some in sized or [(edge_px, layers)]:
                found |= features_of_part(context, style_features(context, style, at_px, some), part)
            styles.append(found)
    return StyleFeatures(
        styles,
        [weight / sum(weights) for weight in weights if weight],
        dict(zip(layers, options.layer_weights or (1 / len(layers),) * len(layers), strict=True)),
        context.encoder,
        context.seed,
        options.activation_shift / feature_scale(context.encoder, options),
    )


def features_of_part(context: PaintingContext, features: Features, part: Mask | None) -> dict[str, FeatureMap]:
    """Select the features of part of a style picture; without a mask, return all features."""
    if part is None:
        return dict(features)
    layers = context.encoder.layers
    finest = min(features, key=lambda layer: receptive_field(layer, layers)[1])
    apart = receptive_field(finest, layers)[1]
    height, width = features[finest].shape[-2:]
    mask = resize(part, (height * apart, width * apart)).to(features[finest].device)
    places = places_inside(mask, tuple(features), layers, context.options.mask_shrinking)
    return {layer: gathered(values, places[layer]) for layer, values in features.items()}


def heads_of(encoder: Vgg, layers: Sequence[str]) -> dict[str, Affine | None]:
    """Return the encoder's head for each layer; None for layers without one."""
    return {layer: encoder.head(layer) for layer in layers}


def feature_scale(encoder: Vgg, options: PaintOptions) -> float:
    """Return the factor that scales this network's features to those of the published program, whose input range may differ."""
    wanted = 255.0 if options.pixel_range == "255" else _UNIT_RANGE
    return wanted * float(encoder.std.mean())
