"""Gatys: optimize a picture until it has the content of a photo and the style of a painting.

This file also contains the setup that all optimization recipes share.

Source: Gatys, Ecker and Bethge 2016, Image Style Transfer Using Convolutional Neural Networks; coarse to fine as in
crowsonkb/style-transfer-pytorch. The defaults depart from the paper: losses are normalized by the style's own statistics;
means and standard deviations are compared in addition to Gram matrices; chroma has half the resolution of lightness; shallow
layers use replicate padding, deep layers zero padding; the result is mapped to the style's palette at the end.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path

import torch

from impasto.encoders import Vgg, load_encoder
from impasto.encoders.precision import choose_arithmetic
from impasto.encoders.vgg import frozen_copy
from impasto.errors import OptionError, WeightsError
from impasto.images import Picture, fitted_size, resize
from impasto.losses.features import Objective, measure
from impasto.losses.tiled import halo_of
from impasto.optim.engine import Drawing, OptimizerSettings, Plan, Size, Step, drawn, pyramid
from impasto.optim.tiled import Encode
from impasto.options import INITS, PaintOptions, Run
from impasto.recipes.checks import check_layers, check_named_styles, check_pictures, compared_layers, planned_memory
from impasto.recipes.coloring import check_colors, coloring_of, in_proof, prepared
from impasto.recipes.context import PaintingContext
from impasto.recipes.masking import NO_MASKS, Masking
from impasto.recipes.neighbor_layers import layers_at
from impasto.recipes.objectives import objective_at
from impasto.recipes.presets import needs_picture
from impasto.recipes.regions import Restored, lay_out
from impasto.recipes.starts import (
    SMALLEST_SIDE,
    Checkpoint,
    Style,
    as_swatches,
    base_size,
    margin_px,
    planned_sizes,
    remaining,
    starting_picture,
    with_margin,
    without_margin,
)
from impasto.recipes.statistics import check_statistics
from impasto.runtime.devices import seconds_now
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image
from impasto.weights import SHIPPED, find


@in_known_state
def steps(
    content: Picture, styles: Sequence[Style], options: PaintOptions, run: Run, masking: Masking = NO_MASKS
) -> Iterator[Step]:
    """Paint and yield every step. Stop iterating to cancel.

    Args:
        content: the photo.
        styles: one or more styles.
        options: how to paint.
        run: device, precision, seed.
        masking: where each style is applied, and where the photo is kept.

    Yields:
        Steps whose ``image`` has the final aspect ratio, without margin, (1, 3, height, width).

    Raises:
        OptionError, ShapeError, ResourceError: if the inputs cannot be painted; raised before the first step.
    """
    yield from paint_steps(set_up(content, styles, options, run, masking))


def paint_steps(context: PaintingContext) -> Iterator[Step]:
    """Paint in a prepared context; see :func:`steps`."""
    yield from painted(context, lambda size, _: objective_at(context, size))


def painted(
    context: PaintingContext,
    objective_at: Callable[[Size, Image], Objective],
    finish: Callable[[Image], Image] | None = None,
    enlarge: Callable[[Image, Size], Image] = resize,
    rate_at: Callable[[Size], float] | None = None,
    encode: Encode | None = None,
) -> Iterator[Step]:
    """Minimize the objective of each size in turn. After each step, yield the picture to show.

    Args:
        context: the painting context.
        objective_at: returns the objective for a size and the current picture; the picture may have another size.
        finish: function that is applied to every picture before it is shown; it may overwrite the picture.
        enlarge: resizes the picture from one size to the next.
        rate_at: returns the factor of the learning rate at a size; None: 1.
        encode: computes the features of the picture; None: the encoder of the context.
    """
    options = context.options
    picture = context.start
    optimizer_settings = OptimizerSettings(
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
        lambda size: reduce(Objective.__add__, context.losses, objective_at(size, drawn(picture))),
        context.start,
        context.sizes,
        encode=encode or partial(context.arithmetic.encode, context.encoder),
        optimizer_settings=optimizer_settings,
        seconds=options.seconds,
        enlarge=enlarge,
        tiles=context.tiles,
        rate_at=rate_at,
        done=context.done,
    )
    restored = Restored(photo_of(context), context.region_masks.kept, context.margin)
    may_be_finished = context.is_resumed or options.init not in INITS  # a finished painting need not improve

    def shown(drawing: Drawing, size: Size) -> Image:
        image = without_margin(drawn(drawing), context.margin_at(size))
        image = image if callable(drawing) else image.clone()  # what follows may overwrite it
        image = finish(image) if finish else image
        return restored(context.coloring.over(image) if context.coloring else image)

    for step in steps_of_all:
        picture = step.drawing
        show = partial(shown, picture, step.size)
        failure = "" if may_be_finished else step.failure
        image: Drawing = show if callable(picture) else show()
        height, width = context.shown_size(step.size)
        scale = step.scale + context.first_scale
        yield replace(step, image=image, scale=scale, failure=failure, shown_size=(height, width))


def photo_of(context: PaintingContext) -> Image:
    """Return the photo with its margin. It is in color even if a gray version of it is painted."""
    if context.coloring is None or context.coloring.photo is None:
        return context.content
    height, width = (side - 2 * context.margin for side in context.content.shape[-2:])
    return with_margin(resize(context.coloring.photo, (height, width)), context.margin)


@in_known_state
def set_up(
    content: Picture,
    styles: Sequence[Style],
    options: PaintOptions,
    run: Run,
    masking: Masking = NO_MASKS,
    encoder: Vgg | None = None,
) -> PaintingContext:
    """Validate the inputs, load the encoder and build the painting context.

    Raises:
        OptionError: an unknown layer, a wrong number of weights, or an impossible init.
        ShapeError: a picture is too small or too narrow to paint.
        ImageFileError, WeightsError: the initial picture or the encoder cannot be read.
        ResourceError: not enough memory; the message says which size would fit.
    """
    options = with_best_encoder(options)
    styles = as_swatches(styles) if needs_picture(options) else tuple(styles)
    check_pictures(content, styles, options, is_masked=masking is not NO_MASKS)
    check_colors(styles, options)
    encoder = frozen_copy(encoder) if encoder else load_encoder(options.encoder, pooling=options.pooling, border=options.border)
    check_layers(encoder, options)
    check_statistics(styles, options, masking)
    check_named_styles(styles, encoder, options)
    arithmetic = choose_arithmetic(run, encoder, full_precision=options.optimizer == "lbfgs")
    size = fitted_size(content.size, options.size)
    content, styles = in_proof(content, styles, options)
    coloring = coloring_of(content, styles, options, arithmetic.device)
    content, styles = prepared(content, styles, options)
    margin = margin_px(size, options)
    plan = planned_memory(encoder, size, styles, options, arithmetic, run, is_masked=masking is not NO_MASKS)
    photo = with_margin(resize(content.image, size), margin).to(arithmetic.device)
    base = base_size(size, [style.size for style in styles if isinstance(style, Picture)], options)
    sizes = planned_sizes((photo.shape[-2], photo.shape[-1]), options, base)
    start = starting_picture(resize(photo, sizes[0][0]), styles, options, run.seed)
    context = PaintingContext(
        photo,
        margin,
        sizes,
        tuple(styles),
        start,
        encoder,
        arithmetic,
        options,
        coloring=coloring,
        seed=run.seed,
        base=base,
        tiles=plan.tiles,
        tile_count=plan.count,
        peak_bytes=plan.peak,
    )
    return masked(context, masking, size) if masking is not NO_MASKS or options.region_strengths else context


def with_best_encoder(options: PaintOptions) -> PaintOptions:
    """With ``quality="best"``, select the full VGG-19 if its weights are in the cache."""
    if options.recipe != "neighbors" or options.quality != "best" or options.encoder != SHIPPED:
        return options
    try:
        find("vgg19")
    except WeightsError:
        return options
    return options.changed(encoder="vgg19")


def masked(context: PaintingContext, masking: Masking, size: Size) -> PaintingContext:
    """Add the region masks to a context, for a result of the given size. Where the photo is kept, painting starts from it.

    Raises:
        OptionError: the masks leave nothing to paint.
    """
    region_masks = lay_out(masking, size, context.margin, context.options, len(context.styles)).to(context.arithmetic.device)
    start = drawn(context.start)
    if region_masks.kept is not None:
        shape = (start.shape[-2], start.shape[-1])
        start = torch.lerp(start, resize(context.content, shape), resize(region_masks.kept, shape))
    return replace(context, region_masks=region_masks, start=start)


@in_known_state
def resumed(context: PaintingContext, checkpoint: Checkpoint) -> PaintingContext:
    """Return a context that resumes painting from the picture of a checkpoint, at the same size and step.

    The optimizer state is not restored, so the result is close to that of an uninterrupted run but not bit-identical.

    Raises:
        OptionError: the plan has fewer sizes than the checkpoint requires, or the painting is finished.
    """
    place, count = checkpoint.scale - context.first_scale, len(context.sizes)
    if not 0 <= place < count:
        raise OptionError(
            f"the checkpoint is at size number {checkpoint.scale + 1}, but the last size of this painting is number "
            f"{context.first_scale + count}; paint from the start"
        )
    left = remaining(context.sizes, replace(checkpoint, scale=place))
    if not left:
        raise OptionError("this painting is finished, so it cannot be resumed; paint from the start")
    size = context.sizes[place][0]
    scale = context.first_scale + count - len(left)
    picture = partial(_picture_of, checkpoint, context, size)
    is_large = isinstance(checkpoint.picture, Path) and context.tiles and context.tiles.at(size)
    done = checkpoint.done if len(left) == count - place else 0  # otherwise, the next size starts
    start = picture if is_large else picture()
    return replace(context, start=start, sizes=left, first_scale=scale, is_resumed=True, done=done)


def _picture_of(checkpoint: Checkpoint, context: PaintingContext, size: Size) -> Image:
    """Return the picture of a checkpoint at a size, with its margin."""
    shown = resize(checkpoint.loaded(), context.shown_size(size))
    return with_margin(shown, context.margin_at(size)).to(context.content)


_TRIAL_PX, _LARGEST_TRIAL_PX = 128, 512
"""Limits of the longer side of the trial picture. A narrow picture exceeds them if its shorter side would be too short to
encode. A resumed painting may begin at a very large size."""
_WORK_OF_TWO_PASSES = 4 / 3
"""A backward pass is about twice the work of a forward pass."""
_SEARCH_STEPS, _MARGIN = 4, 1.1
"""Work of the search for neighbors at each size, in steps of this size; factor for what the trial does not include."""
_TRIALS = 4
"""Number of trial steps. The first is slow, and others may be delayed by other programs, so the fastest of the rest is used."""


def _halo_work(context: PaintingContext, size: Size, layers: Iterable[str]) -> float:
    """Return the work of painting a size in tiles, relative to painting it whole; 1 if it is painted whole.

    The extra work is due to halos and, for losses on statistics, to a second forward pass.
    """
    tiling = context.tiles.at(size) if context.tiles else None
    if tiling is None:
        return 1.0
    passes = _WORK_OF_TWO_PASSES if context.options.recipe == "gatys" else 1.0
    return passes * (1 + 2 * halo_of(layers, tiling.layers) / tiling.tile_px) ** 2


@in_known_state
def predicted_seconds(context: PaintingContext) -> float:
    """Predict the painting time from a trial at a small size; the cost of a step depends on its pixels and layers."""
    size, _ = context.sizes[0]
    smallest = math.ceil(SMALLEST_SIDE * max(size) / min(size))  # a narrow picture must not become too narrow to be encoded
    tried = resize(context.content, fitted_size(size, max(smallest, min(_LARGEST_TRIAL_PX, max(_TRIAL_PX, *size)))))
    layers = frozenset(compared_layers(context.options, _TRIAL_PX))
    trials = []
    for _ in range(_TRIALS):
        began = seconds_now()
        picture = tried.clone().requires_grad_()
        features = context.arithmetic.encode(context.encoder, picture, layers)
        torch.stack([measure(each, None).covariance.square().mean() for each in features.values()]).sum().backward()
        trials.append(seconds_now() - began)
    work = Plan((((picture.shape[-2], picture.shape[-1]), 1), *context.sizes), 0.0)
    total = 0.0
    for scale, (each, steps) in enumerate(context.sizes):
        compared = compared_layers(context.options, max(each))
        share = len(layers.intersection(compared)) / len(layers)
        steps_and_search = steps * _halo_work(context, each, compared)
        if context.options.recipe == "neighbors":
            steps_and_search += _SEARCH_STEPS * _halo_work(context, each, layers_at(max(each))[1])
        total += math.sqrt(share) * steps_and_search * work.work(1 + scale)
    seconds = _MARGIN * min(trials[1:]) * total / work.work(0)
    return min(seconds, context.options.seconds) if context.options.seconds else seconds
