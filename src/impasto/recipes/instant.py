"""The instant recipe: any style in one pass, with several styles, masks, color control and refinement."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import torch

from impasto.errors import OptionError, nearest_name
from impasto.images import Picture, Source, fitted_size, reduced_size, resize
from impasto.masks.guides import feathered, shared, softened
from impasto.optim.engine import Size, Step
from impasto.options import InstantOptions, Run
from impasto.recipes import gatys, instant_painter
from impasto.recipes.coloring import Coloring, color_record, coloring_of, in_proof, prepared
from impasto.recipes.context import PaintingContext
from impasto.recipes.instant_checks import as_masking, check, check_memory, with_swatches
from impasto.recipes.instant_painter import InstantPainter, StyleCode, blended
from impasto.recipes.masking import EVERYWHERE, NO_MASKS, Masking, MaskSource, read_masking, separated_masks
from impasto.recipes.painting import StyleSource, read_pictures, run_recipe
from impasto.recipes.pastiche import Pastiche, recorded
from impasto.recipes.presets import paint_options
from impasto.recipes.regions import at_size
from impasto.recipes.starts import SMALLEST_SIDE, Checkpoint, Style
from impasto.runtime.rasters import MemoryRaster, resized_whole
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image, Mask

BROADEST = 1.5
"""Maximum enlargement of the style picture; for broader strokes, the photo is painted at a smaller size."""
_FAST_PX, _FAST_REDUCTION = 1_000_000, 0.8
"""With ``fast``, larger pictures are painted at a smaller size; the smallest factor."""
_REFINED_SIZES = 2
_HQ: dict[str, Any] = {"steps": 10, "smallest_size": 100_000}
"""The painting options of ``--hq``: a few steps at one size, starting from the network's picture."""
_FEWEST_PX = 8


class Encode(Protocol):
    """Callable that encodes a style, such as :meth:`InstantPainter.encode`."""

    def __call__(self, style: Style, *, stroke: float) -> StyleCode:
        """Return the style code."""


@lru_cache(maxsize=1)
def _painter(run: Run, engine: str) -> InstantPainter:
    return InstantPainter(run, engine)


@in_known_state
def instant(
    content: Source | Picture,
    style: StyleSource | Sequence[StyleSource],
    *,
    masks: Sequence[MaskSource] = (),
    run: Run | None = None,
    **options: Any,
) -> Pastiche:
    """Paint a photo in any style in one pass.

    Args:
        content: the photo: a path, bytes, a Pillow image, a NumPy array or a tensor.
        style: a picture in any of those forms, the name of a style, or a sequence of them.
        masks: one mask per style, white where the style is applied. Empty: the styles are blended everywhere.
        run: device and precision.
        options: any field of :class:`impasto.InstantOptions`, and the masks with the same names as in
            :func:`impasto.paint`: ``style_masks`` (the same as ``masks``), ``style_regions``, ``content_mask``, ``protect``.

    Returns:
        The result; see :class:`impasto.Pastiche`.

    Raises:
        ImpastoError: if the inputs cannot be painted; the message is one sentence.

    Example:
        >>> import impasto, skimage.data
        >>> impasto.instant(skimage.data.astronaut(), skimage.data.coffee(), size=128).image.shape
        torch.Size([1, 3, 128, 128])

    Source:
        Chen and Schmidt 2016 (arXiv:1612.04337); see :mod:`impasto.networks.style_swap`.
    """
    sources, others = separated_masks({"style_masks": list(masks) or None} | options)
    chosen = instant_options(**others)
    photo, styles = read_pictures(content, style, chosen, sources)
    if photo is content:  # do not overwrite the caller's tensor
        photo = replace(photo, image=photo.image.clone())
    check(photo, styles, (), chosen)
    masking = read_masking(sources, photo, styles)
    pastiche = painted_pastiche(_painter(run or Run(), chosen.engine), photo, styles, masking, chosen)
    return refined(pastiche, photo, styles, chosen, run or Run(), masking) if chosen.goes_on else pastiche


@in_known_state
def refined(
    pastiche: Pastiche, photo: Picture, styles: Sequence[Style], options: InstantOptions, run: Run, masking: Masking = NO_MASKS
) -> Pastiche:
    """Refine an instant picture with the optimizer, as the options say."""
    size = (pastiche.image.shape[-2], pastiche.image.shape[-1])
    context = refining(pastiche.image, refining_context(size, photo, styles, options, run, masking))
    last = deque(run_recipe(context), maxlen=1).pop()
    return with_refinement(pastiche, last, photo, options)


@in_known_state
def refining_context(
    size: Size, photo: Picture, styles: Sequence[Style], options: InstantOptions, run: Run, masking: Masking = NO_MASKS
) -> PaintingContext:
    """Return a painting context for refining an instant picture of a size, with the same masks.

    The last two sizes are painted; with ``--hq``, only the last size. They follow the photo, as the instant picture does. The
    context does not contain the instant picture yet; :func:`refining` adds it.
    """
    chosen = paint_options(
        size=max(size),
        seconds=options.refine_seconds,
        **(_HQ if options.hq else {}),
        style_weights=options.style_weights,
        feather=options.feather,
        **{each.name: getattr(options, each.name) for each in fields(options) if each.name.startswith("color")},
    )
    context = gatys.set_up(photo, styles, chosen, run, masking)
    first = max(0, len(context.sizes) - _REFINED_SIZES)
    return replace(context, sizes=context.sizes[first:], first_scale=first, is_painted=True, base=None)


def refining(picture: Image | Path, context: PaintingContext) -> PaintingContext:
    """Return a context of :func:`refining_context` that starts from an instant picture, or from its file."""
    return gatys.resumed(context, Checkpoint(picture, context.first_scale, done=0))


def with_refinement(pastiche: Pastiche, last: Step, photo: Picture, options: InstantOptions) -> Pastiche:
    """Replace the instant picture with the refined one; with ``--hq``, blend it with the photo according to the strength."""
    refined = replace(pastiche, image=last.image.cpu(), record=pastiche.record | {"refined": refinement(last)})
    return blended_by_strength(refined, photo, options)


def blended_by_strength(pastiche: Pastiche, photo: Picture, options: InstantOptions) -> Pastiche:
    """With ``--hq`` and a strength below 1, blend the photo with the picture, which was painted at full strength."""
    if not options.hq or options.strength >= 1:
        return pastiche
    (below, _), image = in_proof(photo, (), options), pastiche.image
    below = replace(below, image=resize(below.image, (image.shape[-2], image.shape[-1])))
    return replace(pastiche, image=torch.lerp(below.image, image, options.strength).clamp_(0, 1))


def refinement(last: Step) -> dict[str, Any]:
    """Return the record entry of the refinement."""
    losses = {name: round(value, 6) for name, value in last.losses.items()}
    return {"steps": last.number, "seconds": round(last.seconds, 2), "losses": losses}


def instant_options(**options: Any) -> InstantOptions:
    """Create the options of the instant recipe.

    Raises:
        OptionError: an unknown name, or a value that is not allowed.
    """
    names = [each.name for each in fields(InstantOptions)]
    for name in options:
        if name not in names:
            raise OptionError(f"{name!r} is not an option of instant{nearest_name(name, names)}")
    return InstantOptions(**options)


@in_known_state
def painted_pastiche(
    painter: InstantPainter,
    photo: Picture,
    styles: Sequence[Style],
    masks: Masking | Sequence[Picture],
    options: InstantOptions,
    encode: Encode | None = None,
) -> Pastiche:
    """Paint with a given painter. A large photo is painted in tiles and overwritten in place.

    Args:
        painter: encoder and decoder.
        photo: the photo.
        styles: pictures or named styles.
        masks: where each style is applied.
        options: how to paint.
        encode: returns the code of a style, for example from a cache shared by several photos. Default: ``painter.encode``.
    """
    record = {"options": asdict(options)}
    if options.hq:
        # For strengths below 1, blended_by_strength blends the result with the photo.
        options = replace(options, strength=max(1.0, options.strength))
    masking = as_masking(masks, photo, styles)
    size = reduced_size(photo.size, options.size)
    working = working_size(size, options)
    check_memory(working, painter.device, is_colored=options.color != "style")
    small, parts = in_proof(
        replace(photo, image=_resized(photo.image, size)), style_parts(with_swatches(styles, options), masking), options
    )
    colored, seen = prepared(small, parts, options)
    encode = encode or painter.encode
    codes = [encode(style, stroke=min(options.stroke, BROADEST)) for style in seen]
    if masking.style_masks:
        colorings = [coloring_of(small, [style], replace(options, style_weights=())) for style in parts]
        image = _in_regions(painter, (small.image, colored.image), list(zip(codes, colorings, strict=True)), masking, options)
    else:
        coloring, code = coloring_of(small, parts, options), blended(codes, options.style_weights)
        if masking.content_mask or masking.protect:
            image = _in_regions(painter, (small.image, colored.image), [(code, coloring)], masking, options)
        else:
            is_kept = coloring is not None and coloring.photo is colored.image
            is_refined = options.goes_on and colored.image is photo.image  # the refinement still needs the photo
            image = colored.image.clone() if is_kept or is_refined else colored.image
            image = _paint(painter, image, code, coloring, options)
    alpha = None if photo.alpha is None else resize(photo.alpha, size)
    network = {"name": "instant", "sha256": painter.network.sha256}
    record = recorded("instant", photo, styles, painter.run) | {"network": network} | record
    return Pastiche(image.cpu(), alpha, photo.metadata, record | masking.record | color_record(options))


def working_size(size: tuple[int, int], options: InstantOptions) -> tuple[int, int]:
    """Return the (height, width) at which to paint: the size of the result, or a smaller one for broad strokes.

    With ``fast``, pictures of more than a megapixel are also painted at a smaller size. A blind jury found the results equally
    good.

    Example:
        >>> working_size((1080, 1920), InstantOptions(fast=True)), working_size((480, 640), InstantOptions(fast=True))
        ((864, 1536), (480, 640))
    """
    reduction = max(_FAST_REDUCTION, min(1.0, math.sqrt(_FAST_PX / math.prod(size)))) if options.fast else 1.0
    reduction = min(reduction, BROADEST / options.stroke)
    working = fitted_size(size, max(SMALLEST_SIDE, round(max(size) * reduction)))
    return working if min(working) >= SMALLEST_SIDE else size


# ---------------------------------------------------------------------------------------------------- parts


def _paint(painter: InstantPainter, image: Image, code: StyleCode, coloring: Coloring | None, options: InstantOptions) -> Image:
    """Paint a picture, at a smaller size if the strokes are broad. A large picture is overwritten in place."""
    if options.strength == 0:
        return image
    size = (image.shape[-2], image.shape[-1])
    image = _resized(image, working_size(size, options))
    image = _resized(painter.paint_in_place(image, code, strength=options.strength, fast=options.fast), size)
    return coloring.over(image) if coloring else image


def _resized(image: Image, size: tuple[int, int]) -> Image:
    """Resize a picture; a large one in strips, which needs less memory."""
    if image.shape[-2] * image.shape[-1] <= instant_painter.LARGEST_WHOLE_PX or tuple(image.shape[-2:]) == size:
        return resize(image, size)
    return resized_whole(MemoryRaster(image), size).to(image.device)


def style_parts(styles: Sequence[Style], masking: Masking) -> list[Style]:
    """Return the part of each style to encode: the whole picture, or the bounding box of its mask."""
    return [_part(style, masking.style_mask(index)) for index, style in enumerate(styles)]


def _part(style: Style, mask: Mask | None) -> Style:
    """Crop a style picture to the bounding box of its mask."""
    if mask is None or not isinstance(style, Picture):
        return style
    inside = mask[0, 0] > 0.5 * mask.max()
    rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
    height, width = style.size
    top, left = (min(int(first[0]), max(0, side - _FEWEST_PX)) for first, side in ((rows, height), (columns, width)))
    bottom, right = max(int(rows[-1]) + 1, top + _FEWEST_PX), max(int(columns[-1]) + 1, left + _FEWEST_PX)
    return replace(style, image=style.image[..., top:bottom, left:right])


def _in_regions(
    painter: InstantPainter,
    photo: tuple[Image, Image],
    painting: Sequence[tuple[StyleCode, Coloring | None]],
    masking: Masking,
    options: InstantOptions,
) -> Image:
    """Paint once in each style and combine the results with feathered masks. The photo is kept where no mask applies.

    Args:
        painter: the instant painter.
        photo: the original photo, and the photo with the colors used for painting.
        painting: the style code and color control of each style mask, or of the whole picture if there are no style masks.
        masking: the masks.
        options: how to paint.
    """
    image, colored = photo
    size = (image.shape[-2], image.shape[-1])
    feather_px = round(options.feather * max(size))
    masks, _ = shared([softened(resize(each.mask, size), feather_px) for each in masking.style_masks or (EVERYWHERE,)])
    if masking.content_mask:
        masks = [mask * softened(resize(masking.content_mask.mask, size), feather_px) for mask in masks]
    for each in masking.protect:
        masks = [mask * (1 - feathered(at_size(each.mask, size), feather_px)) for mask in masks]
    result = image * (1 - torch.stack(masks).sum(0)).clamp_min(0)
    for (code, coloring), mask in zip(painting, masks, strict=True):
        result += mask * _paint(painter, colored.clone(), code, coloring, options)
    return result
