"""Paint: optimise the pixels of a picture until it has the content of a photo and the style of a painting.

Source: Gatys, Ecker and Bethge 2016, Image Style Transfer Using Convolutional Neural Networks; coarse to fine as in
crowsonkb/style-transfer-pytorch. Departures from the paper, in the defaults: statistics are compared relative to the style's
own, means and deviations beside Gram matrices; colour has half the resolution of light; shallow layers see the border
replicated, deep ones zeros; the photo's structure, seen small, is held on to.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from impasto.arithmetic import Arithmetic, choose_arithmetic
from impasto.encoders import Vgg, load_encoder
from impasto.engine import Descent, Plan, Size, Step, pyramid
from impasto.errors import OptionError
from impasto.guides import guides_at, receptive_field
from impasto.images import Picture, fitted_size, resize
from impasto.losses import (
    ContentLoss,
    Loss,
    Objective,
    ScaledContentLoss,
    StyleLoss,
    WassersteinLoss,
    mapped,
    measure,
)
from impasto.normalization import content_weight, gram_weight, moment_weights, wasserstein_weight
from impasto.options import PaintOptions, Run
from impasto.picture_losses import EdgeAwareSmoothness, Gamut, Held, Smoothness, StructureLoss, flatness
from impasto.recipes.balance import balanced_weight, reference_picture
from impasto.recipes.checks import check_layers, check_memory, check_named_styles, check_pictures, slim_encoder
from impasto.recipes.coloring import Coloring, check_colors, coloring_of, in_proof, prepared
from impasto.recipes.masking import NO_MASKS, Masking
from impasto.recipes.regions import HELD_WEIGHT, NO_LAYOUT, Layout, Restored, guided_style_loss, lay_out
from impasto.recipes.scales import by_scale
from impasto.recipes.starts import (
    Resumption,
    Style,
    at_least,
    planned_sizes,
    remaining,
    starting_picture,
    with_margin,
    without_margin,
)
from impasto.recipes.statistics import (
    PICTURE_STATISTICS,
    Heap,
    check_statistics,
    picture_style_loss,
    self_similarity_loss,
)
from impasto.stats import Affine, Guide, Moments, blend, guided_moments, moments
from impasto.styles import NamedStyle
from impasto.tensors import Features, Image, Mask

_GAMUT_WEIGHT = 10.0
_UNIT_RANGE = 1 / 0.226
"""The range of the input where a network takes pictures of unit variance (torchvision's)."""


@dataclass(frozen=True)
class Easel:
    """Everything that stands ready before the first stroke.

    Attributes:
        content: the photo with its margin, (1, 3, height, width), at the final size.
        margin: what is cut away from each side at the end, in pixels of the final size.
        sizes: the sizes with margin, coarse to fine, each with its number of steps.
        styles: what to paint in the manner of.
        start: the picture painting begins with, at the first size.
        first_scale: index of the first size, above 0 where an interrupted painting goes on.
        layout: regions, and what stays the photo.
        coloring: what is done to the colours of every picture that is shown; None: nothing.
        seed: of whatever a loss draws at random.
    """

    content: Image
    margin: int
    sizes: tuple[tuple[Size, int], ...]
    styles: tuple[Style, ...]
    start: Image
    encoder: Vgg
    arithmetic: Arithmetic
    options: PaintOptions
    first_scale: int = 0
    layout: Layout = NO_LAYOUT
    coloring: Coloring | None = None
    seed: int = 0


def steps(
    content: Picture, styles: Sequence[Style], options: PaintOptions, run: Run, masking: Masking = NO_MASKS
) -> Iterator[Step]:
    """Paint, and yield every step; to cancel is to stop iterating.

    Args:
        content: the photo.
        styles: one or several manners.
        options: how to paint.
        run: device, precision, seed.
        masking: where each style goes, and what stays the photo.

    Yields:
        Steps whose ``image`` is at the final proportions, margin cut, (1, 3, height, width).

    Raises:
        OptionError, ShapeError, ResourceError: what cannot be painted, before the first step.
    """
    yield from paint_on(set_up(content, styles, options, run, masking))


def paint_on(easel: Easel) -> Iterator[Step]:
    """Paint on an easel that stands ready; see :func:`steps`."""
    yield from painted(easel, lambda size, _: objective_at(easel, size))


def painted(
    easel: Easel, objective_at: Callable[[Size, Image], Objective], finish: Callable[[Image], Image] | None = None
) -> Iterator[Step]:
    """Descend the objectives of all sizes as the options say, and yield what there is to show after each step.

    Args:
        easel: what stands ready.
        objective_at: makes the objective for a size out of the picture so far, which may be of another size.
        finish: what a recipe does last to every picture that is shown.
    """
    options, picture = easel.options, easel.start
    descent = Descent(
        optimizer=options.optimizer,
        learning_rate=options.learning_rate,
        betas=options.betas,
        history=options.lbfgs_history,
        averaging=options.averaging,
        decay=options.decay,
        min_improvement=options.min_improvement,
        canvas=options.canvas,
    )
    steps_of_all = pyramid(
        lambda size: objective_at(size, picture),
        easel.start,
        easel.sizes,
        encode=partial(easel.arithmetic.encode, easel.encoder),
        descent=descent,
        seconds=options.seconds,
    )
    share = easel.margin / max(easel.content.shape[-2:])
    restored = Restored(photo_of(easel), easel.layout.kept, easel.margin)
    for step in steps_of_all:
        picture = step.image
        image = without_margin(picture, round(share * max(step.size)))
        image = finish(image) if finish else image
        image = restored(easel.coloring.over(image.clone()) if easel.coloring else image)
        yield replace(step, image=image, scale=step.scale + easel.first_scale)


def photo_of(easel: Easel) -> Image:
    """Return the photo with its margin, in its own colours where it is painted in grey."""
    if easel.coloring is None or easel.coloring.photo is None:
        return easel.content
    height, width = (side - 2 * easel.margin for side in easel.content.shape[-2:])
    return with_margin(resize(easel.coloring.photo, (height, width)), easel.margin)


def set_up(content: Picture, styles: Sequence[Style], options: PaintOptions, run: Run, masking: Masking = NO_MASKS) -> Easel:
    """Check what is asked for, load the network, and make everything ready.

    Raises:
        OptionError: an unknown layer, a wrong number of weights, an init that cannot be.
        ShapeError: a picture too small or too narrow to paint.
        ImageFileError, WeightsError: a starting picture or an encoder that cannot be read.
        ResourceError: more memory than there is; the sentence says which size would fit.
    """
    check_pictures(content, styles, options)
    check_colors(styles, options)
    encoder = load_encoder(options.encoder, pooling=options.pooling, border=options.border)
    check_layers(encoder, options)
    check_named_styles(styles, encoder)
    check_statistics(styles, options, masking)
    arithmetic = choose_arithmetic(run, encoder, full_precision=options.optimizer == "lbfgs")
    size = fitted_size(content.size, options.size)
    content, styles = in_proof(content, styles, options)
    coloring = coloring_of(content, styles, options, arithmetic.device)
    content, styles = prepared(content, styles, options)
    margin = min(round(options.margin * max(size)), min(size) - 1)  # no wider than what it mirrors
    check_memory(encoder, size, options, arithmetic)
    photo = with_margin(resize(content.image, size), margin).to(arithmetic.device)
    sizes = planned_sizes((photo.shape[-2], photo.shape[-1]), options)
    start = starting_picture(resize(photo, sizes[0][0]), styles, options, run.seed)
    easel = Easel(photo, margin, sizes, tuple(styles), start, encoder, arithmetic, options, coloring=coloring, seed=run.seed)
    return masked(easel, masking, size) if masking is not NO_MASKS or options.region_strengths else easel


def masked(easel: Easel, masking: Masking, size: Size) -> Easel:
    """Lay the masks out on an easel, for a result of a size; painting starts from the photo where it stays.

    Raises:
        OptionError: nothing would be painted.
    """
    layout = lay_out(masking, size, easel.margin, easel.options, len(easel.styles)).to(easel.arithmetic.device)
    start = easel.start
    if layout.kept is not None:
        shape = (start.shape[-2], start.shape[-1])
        start = torch.lerp(start, resize(easel.content, shape), resize(layout.kept, shape))
    return replace(easel, layout=layout, start=start)


def resumed(easel: Easel, resumption: Resumption) -> Easel:
    """Put an interrupted painting back on the easel: its picture, at the size and the step where it stood.

    The optimizer starts afresh, so that the result is near to, but not bit for bit, that of a run without interruption.

    Raises:
        OptionError: the painting has not as many sizes, or is finished.
    """
    if not 0 <= resumption.scale < len(easel.sizes):
        raise OptionError(f"there is no size {resumption.scale + 1} of {len(easel.sizes)} to go on from; paint from the start")
    left = remaining(easel.sizes, resumption)
    if not left:
        raise OptionError("this painting is finished: there is nothing to go on with; paint it anew")
    height, width = easel.sizes[resumption.scale][0]
    margin = round(easel.margin / max(easel.content.shape[-2:]) * max(height, width))
    start = with_margin(resize(resumption.picture, (height - 2 * margin, width - 2 * margin)), margin)
    return replace(easel, start=start.to(easel.start), sizes=left, first_scale=len(easel.sizes) - len(left))


# ---------------------------------------------------------------------------------------------------- the objective


def objective_at(easel: Easel, size: Size) -> Objective:
    """Build the objective of the paper for one size: ``α J_content + β J_style``, and what keeps a picture a picture."""
    options = easel.options
    photo = resize(easel.content, size)
    style = style_loss(easel, size)
    objective = options.style_weight * style
    if options.content_weight:
        content = content_loss(easel, photo)
        objective += content_weight_at(easel, photo, content, style) * content
    return objective + picture_terms(easel, size)


def picture_terms(easel: Easel, size: Size) -> Objective:
    """Collect what keeps a picture a picture, and no encoder looks at: smooth, calm, in bounds, the photo where it stays."""
    options, objective = easel.options, Objective(())
    photo = resize(easel.content, size)
    if options.smoothness_weight:
        scale = 255.0 if options.pixel_range == "255" else 1.0
        objective += options.smoothness_weight * Smoothness(options.smoothness_form, scale)
    if options.calm_weight:
        objective += options.calm_weight * EdgeAwareSmoothness(flatness(photo))
    if options.structure_weight:
        objective += options.structure_weight * StructureLoss(photo)
    if options.canvas != "pixels":
        objective += _GAMUT_WEIGHT * Gamut()
    if easel.layout.kept is not None:
        objective += HELD_WEIGHT * Held(photo, resize(easel.layout.kept, size))
    return objective


def content_weight_at(easel: Easel, photo: Image, content: Loss, style: Loss | Objective) -> float:
    """Return the content weight for one size: the option's, or the one that balances the two losses."""
    options = easel.options
    if not options.balance:
        return options.content_weight
    reference = reference_picture(photo, easel.styles, options)
    return balanced_weight(content, style, reference, partial(easel.arithmetic.encode, easel.encoder), options)


def content_loss(easel: Easel, photo: Image) -> Loss:
    """Make the content loss for the photo at the size that is painted."""
    options, encoder = easel.options, easel.encoder
    heads = heads_of(encoder, options.content_layers)
    target = encode(easel, photo, options.content_layers)
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


def style_loss(easel: Easel, size: Size) -> Loss | Objective:
    """Make the style loss for one size: of the picture, or of each of its regions."""
    options, layout = easel.options, easel.layout
    given = options.style_weights or (1.0,) * len(easel.styles)
    edge_px = style_edge(size, options)
    if options.statistics in PICTURE_STATISTICS:
        return picture_style_loss(heap_of_styles(easel, edge_px), options)
    parts_of = layout.style_masks or (None,) * len(easel.styles)
    measured = [style_moments(easel, style, edge_px, part) for style, part in zip(easel.styles, parts_of, strict=True)]
    if not layout.masks:
        return moments_loss(easel, size, measured, given)
    parts = [moments_loss(easel, size, measured, weights) for weights in layout.weights]
    return guided_style_loss(parts, layout, size, easel.encoder, options)


def moments_loss(
    easel: Easel, size: Size, measured: Sequence[dict[str, Moments]], given: Sequence[float]
) -> StyleLoss | WassersteinLoss:
    """Make the style loss for the statistics of the styles, blended, and what they are weighted with."""
    options, encoder = easel.options, easel.encoder
    layers = options.style_layers
    target = {layer: blend([each[layer] for each in measured], given) for layer in layers}
    shares = dict(zip(layers, options.layer_weights or (1 / len(layers),) * len(layers), strict=True))
    heads, scale = heads_of(encoder, layers), feature_scale(encoder, options)
    if options.statistics == "wasserstein":
        target = {layer: blended.possible() for layer, blended in target.items()} if min(given) < 0 else target
        weights = {
            layer: shares[layer] * wasserstein_weight(options.style_normalization, target[layer], scale) for layer in layers
        }
        ridge = 1e-4 / (_UNIT_RANGE * float(encoder.std.mean())) ** 2  # crowsonkb's, in units of this network's features
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


def style_moments(easel: Easel, style: Style, edge_px: float, part: Mask | None = None) -> dict[str, Moments]:
    """Measure one style, or part of its picture, at a longer side of edge_px, in the channels of the full network."""
    layers, device = easel.options.style_layers, easel.arithmetic.device
    if easel.options.style_scales:
        sized = [(replace(easel, options=chosen), edge_px * scale) for scale, chosen in by_scale(easel.options)]
        return {k: v for here, at_px in sized for k, v in style_moments(here, style, at_px, part).items()}
    if isinstance(style, NamedStyle):
        known, heads = style.at(edge_px, layers), heads_of(slim_encoder().to(device), layers)
        return {layer: through(to_device(known[layer], device), heads[layer]) for layer in layers}
    heads = heads_of(easel.encoder, layers)
    features = style_features(easel, style, edge_px, layers)
    found = {layer: moments(features[layer]) for layer in layers} if part is None else measured_part(easel, features, part)
    return {layer: through(found[layer], heads[layer]) for layer in layers}


def measured_part(easel: Easel, features: Features, part: Mask) -> dict[str, Moments]:
    """Measure the features of part of a style picture; a layer too coarse to see the part alone is measured whole."""
    found, how = {}, easel.options.mask_shrinking
    for layer, values in features.items():
        apart = receptive_field(layer, easel.encoder.layers)[1]
        mask = resize(part, (values.shape[-2] * apart, values.shape[-1] * apart)).to(values.device)
        (shrunk,) = guides_at([mask], layer, easel.encoder.layers, how)
        guide = Guide.of(shrunk, dtype=values.dtype)
        found[layer] = moments(values) if guide is None else guided_moments(values, [guide])[0]
    return found


def style_edge(size: Size, options: PaintOptions) -> float:
    """Return the longer side at which a style is seen while a size, margin included, is painted."""
    return (options.style_size or max(size) / (1 + 2 * options.margin)) * options.style_scale


def style_features(easel: Easel, style: Picture, edge_px: float, layers: Sequence[str]) -> Features:
    """Encode a style picture at a longer side of edge_px."""
    picture = resize(style.image, fitted_size(style.size, max(16, round(edge_px))))
    return encode(easel, at_least(picture.to(easel.arithmetic.device), 16), layers)


def heap_of_styles(easel: Easel, edge_px: float) -> Heap:
    """Encode all style pictures, for the losses that compare more than moments."""
    options, layers = easel.options, easel.options.style_layers
    given = options.style_weights or (1.0,) * len(easel.styles)
    sized = [(edge_px * scale, part.style_layers) for scale, part in by_scale(options)] if options.style_scales else []
    styles = [
        {k: v for at_px, some in sized or [(edge_px, layers)] for k, v in style_features(easel, style, at_px, some).items()}
        for style in easel.styles
        if isinstance(style, Picture)
    ]
    return Heap(
        styles,
        [weight / sum(given) for weight in given],
        dict(zip(layers, options.layer_weights or (1 / len(layers),) * len(layers), strict=True)),
        easel.encoder,
        easel.seed,
        options.activation_shift / feature_scale(easel.encoder, options),
    )


def heads_of(encoder: Vgg, layers: Sequence[str]) -> dict[str, Affine | None]:
    """Return the encoder's heads of some layers; None where a layer needs none."""
    return {layer: encoder.head(layer) for layer in layers}


def through(measured: Moments, head: Affine | None) -> Moments:
    """Carry moments through a head, where there is one."""
    return measured if head is None else head.moments(measured)


def to_device(measured: Moments, device: torch.device) -> Moments:
    """Move moments to a device."""
    return Moments(measured.mean.to(device), measured.covariance.to(device))


def encode(easel: Easel, image: Image, layers: Sequence[str]) -> Features:
    """Encode a picture that stays as it is: no gradient."""
    with torch.no_grad():
        return easel.arithmetic.encode(easel.encoder, image, frozenset(layers))


def feature_scale(encoder: Vgg, options: PaintOptions) -> float:
    """Return what this network's features are multiplied by to have the size of the published program's."""
    wanted = 255.0 if options.pixel_range == "255" else _UNIT_RANGE
    return wanted * float(encoder.std.mean())


def predicted_seconds(easel: Easel) -> float:
    """Predict how long painting takes from a trial at the first size: a step costs in proportion to its pixels."""
    layers = frozenset((*easel.options.content_layers, *easel.options.style_layers))
    for _ in range(2):
        began = time.perf_counter()
        picture = easel.start.clone().requires_grad_()
        features = easel.arithmetic.encode(easel.encoder, picture, layers)
        torch.stack([measure(each, None).covariance.square().mean() for each in features.values()]).sum().backward()
        trial = time.perf_counter() - began
    work = Plan(easel.sizes, 0.0)
    total = sum(count * work.work(scale) for scale, (_, count) in enumerate(easel.sizes))
    seconds = 1.2 * trial * total / work.work(0)
    return min(seconds, easel.options.seconds) if easel.options.seconds else seconds
