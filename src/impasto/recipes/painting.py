"""Entry points for painting. They take pictures in any form, take options by name, and return steps or a pastiche."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack, cast, get_args

from impasto import images
from impasto._version import __version__
from impasto.encoders import Vgg
from impasto.errors import OptionError
from impasto.images import Picture, Source
from impasto.losses.features import Loss, Objective
from impasto.losses.tiled import can_be_tiled
from impasto.optim.engine import Step
from impasto.options import InstantOptions, PaintOptions, Recipe, Run
from impasto.recipes import gatys, neighbors, nnst, strotss
from impasto.recipes.coloring import color_record
from impasto.recipes.context import PaintingContext
from impasto.recipes.keywords import PaintKeywords
from impasto.recipes.masking import Masking, MaskSources, read_masking, separated_masks
from impasto.recipes.pastiche import Pastiche, new_record, with_progress
from impasto.recipes.presets import paint_options
from impasto.recipes.starts import Style
from impasto.runtime.torch_state import in_known_state, plain
from impasto.styles.named import SUFFIX, NamedStyle, find_style, load_style, shipped_styles

StyleSource = Source | Picture | NamedStyle
"""A style picture in any readable form, a named style, or the name of one."""

_STYLE_OVERSAMPLING = 2
"""Style pictures are read at this multiple of the size at which they are encoded.

Their palette is measured before they are reduced to that size.
"""


@in_known_state
def paint(
    content: Source | Picture,
    style: StyleSource | Sequence[StyleSource],
    options: PaintOptions | None = None,
    *,
    run: Run | None = None,
    encoder: Vgg | str | None = None,
    losses: Sequence[Loss | Objective] = (),
    **changes: Unpack[PaintKeywords],
) -> Pastiche:
    """Paint a photo in the style of one or several pictures.

    Args:
        content: the photo: a path, bytes, a Pillow image, a NumPy array or a tensor.
        style: a picture in any of these forms, the name of a style, or several of them.
        options: all options of the painting. Default: those of the preset and recipe named in ``changes``.
        run: device, precision and seed.
        encoder: feature extractor, such as ``impasto.load_encoder("vgg19-slim")``, or its name. Default: that of the options.
        losses: losses to add to the objective of every size, such as ``0.1 * MyLoss()``; see :mod:`impasto.losses`.
        changes: fields of :class:`impasto.PaintOptions`, which override ``options``; ``preset`` and ``recipe`` choose defaults.
            Masks: ``style_masks`` (where each style applies), ``style_regions`` (the part of each style picture to use),
            ``content_mask`` and ``protect``; each is a picture in any form or a name, see :mod:`impasto.recipes.masking`.

    Returns:
        The result, with ``.image`` (1, 3, height, width) in [0, 1], ``.save(path)`` and ``.record``. If the objective did not
        decrease, the last entry of ``.record["notes"]`` says so.

    Raises:
        ImpastoError: if the inputs cannot be painted; the message is one sentence.

    Example:
        >>> import impasto, skimage.data
        >>> pastiche = impasto.paint(skimage.data.astronaut(), skimage.data.coffee(), size=64, steps=2)
        >>> tuple(pastiche.image.shape)
        (1, 3, 64, 64)

    Source:
        Kolkin et al. 2022 (arXiv:2203.13215) for ``neighbors`` and ``nnst``; Gatys, Ecker and Bethge 2016 for ``gatys``;
        Kolkin, Salavon and Shakhnarovich 2019 (arXiv:1904.12785) for ``strotss``.
    """
    photo, styles, masking, chosen = _read(content, style, options, _with_encoder(changes, encoder))
    run = run or Run()
    context = _with_losses(gatys.set_up(photo, styles, chosen, run, masking, _loaded(encoder)), losses)
    record = new_record(photo, styles, context.options, run, context.encoder.sha256) | masking.record | color_record(chosen)
    notes = []
    for step in run_recipe(context):  # never empty: every size has at least one step
        notes += [step.note] if step.note else []
    return finished(photo, step, with_progress(record | ({"notes": notes} if notes else {}), step))


@in_known_state
def steps(
    content: Source | Picture,
    style: StyleSource | Sequence[StyleSource],
    options: PaintOptions | None = None,
    *,
    run: Run | None = None,
    encoder: Vgg | str | None = None,
    losses: Sequence[Loss | Objective] = (),
    **changes: Unpack[PaintKeywords],
) -> Iterator[Step]:
    """Paint like :func:`paint` and yield every step. Stop iterating to cancel.

    Args:
        content: the photo, in any form; see :func:`paint`.
        style: the style or styles.
        options: all options of the painting.
        run: device, precision and seed.
        encoder: feature extractor.
        losses: losses to add to the objective of every size.
        changes: options and masks.

    Yields:
        A :class:`impasto.Step` after each step, with ``.image`` (1, 3, height, width) in [0, 1] and ``.seconds``.

    Raises:
        ImpastoError: if the inputs cannot be painted; the message is one sentence.

    Example:
        >>> import impasto, skimage.data
        >>> for step in impasto.steps(skimage.data.astronaut(), skimage.data.coffee(), size=64, steps=2):
        ...     if step.number == 2:
        ...         break
        >>> step.number, step.losses["style"] > 0
        (2, True)

    Source:
        See :func:`paint`.
    """
    photo, styles, masking, chosen = _read(content, style, options, _with_encoder(changes, encoder))
    context = gatys.set_up(photo, styles, chosen, run or Run(), masking, _loaded(encoder))
    yield from run_recipe(_with_losses(context, losses))


def _with_losses(context: PaintingContext, losses: Sequence[Loss | Objective]) -> PaintingContext:
    """Add losses to a painting context. If one of them cannot be evaluated in tiles, every size is painted whole.

    Raises:
        OptionError: the picture is too large to be painted whole.
    """
    for each in losses:
        if not can_be_tiled(1.0 * each):
            if context.tile_count > 1:
                name = type(each).__name__
                raise OptionError(
                    f"losses contains {name}, which cannot be evaluated in tiles, and size {context.options.size} does not "
                    "fit into memory whole; use a smaller size, or a larger max_memory"
                )
            context = replace(context, tiles=None)
    return replace(context, losses=tuple(losses))


def _with_encoder(changes: PaintKeywords, encoder: Vgg | str | None) -> dict[str, Any]:
    """Add the name of an encoder to the options."""
    return {**changes, "encoder": encoder} if isinstance(encoder, str) else {**changes}


def _loaded(encoder: Vgg | str | None) -> Vgg | None:
    """Return the encoder if it was given as an object, otherwise None."""
    return None if isinstance(encoder, str) else encoder


def _read(
    content: Source | Picture,
    style: StyleSource | Sequence[StyleSource],
    options: PaintOptions | None,
    changes: Mapping[str, Any],
) -> tuple[Picture, tuple[Style, ...], Masking, PaintOptions]:
    """Read the pictures and the masks, and determine the options."""
    masks, others = separated_masks(changes)
    if options is None:
        chosen = paint_options(**others)
    else:
        for name in {"preset", "recipe"} & set(others):
            if others[name] != getattr(options, name):
                raise OptionError(f"options= and {name}= each define all options; give only one of them")
        chosen = options.changed(**others)
    photo, styles = read_pictures(content, style, chosen, masks)
    return photo, styles, read_masking(masks, photo, styles), chosen


@in_known_state
def run_recipe(context: PaintingContext) -> Iterator[Step]:
    """Run the recipe selected by the options of a painting context."""
    recipes = {"neighbors": neighbors, "gatys": gatys, "nnst": nnst, "strotss": strotss}
    yield from recipes[context.options.recipe].paint_steps(context)


def finished(photo: Picture, step: Step, record: dict[str, Any]) -> Pastiche:
    """Create the pastiche of a step: its picture with the photo's transparency and metadata."""
    image = step.image.cpu()
    alpha = None if photo.alpha is None else images.resize(photo.alpha, (image.shape[-2], image.shape[-1]))
    return Pastiche(image, alpha, photo.metadata, record)


def read_pictures(
    content: Source | Picture,
    style: StyleSource | Sequence[StyleSource],
    options: PaintOptions | InstantOptions,
    masks: MaskSources,
) -> tuple[Picture, tuple[Style, ...]]:
    """Read the photo and the styles at sizes that are not much larger than the painting needs.

    Masks refer to the original pictures, so if there are masks, all pictures are read at their original size.
    """
    if not masks.is_empty:
        return read_content(content), read_styles(style)
    content_px, style_px = needed_px(options)
    return read_content(content, longest_px=content_px), read_styles(style, longest_px=style_px)


def needed_px(options: PaintOptions | InstantOptions) -> tuple[int, int]:
    """Return the lengths of the longer side at which the photo and the styles are read; 0: at their own size."""
    if options.size == 0 or options.color_mask:
        return 0, 0
    edge_px = options.size
    if isinstance(options, PaintOptions):
        style_px = max(edge_px, options.style_size) * max(1, options.style_scale) * max(1, *options.style_scales, 1)
    else:
        style_px = edge_px * max(1, options.stroke)
    return edge_px, math.ceil(_STYLE_OVERSAMPLING * style_px)


def as_plain(picture: Picture) -> Picture:
    """Return a picture with plain tensors; see :func:`impasto.runtime.torch_state.plain`."""
    image, alpha = plain(picture.image), None if picture.alpha is None else plain(picture.alpha)
    return picture if image is picture.image and alpha is picture.alpha else replace(picture, image=image, alpha=alpha)


def read_content(content: Source | Picture, *, longest_px: int = 0) -> Picture:
    """Read the photo; see :func:`impasto.images.read` for ``longest_px``."""
    return as_plain(content) if isinstance(content, Picture) else images.read(content, longest_px=longest_px)


def read_styles(style: StyleSource | Sequence[StyleSource], *, longest_px: int = 0) -> tuple[Style, ...]:
    """Read one or more styles, given as pictures or names."""
    if isinstance(style, list | tuple):
        return tuple(read_style(each, longest_px=longest_px) for each in style)
    return (read_style(cast(StyleSource, style), longest_px=longest_px),)


def read_style(style: StyleSource, *, longest_px: int = 0) -> Style:
    """Read one style: a picture, a style file, or a name (a string that is not a file and does not look like a path)."""
    if isinstance(style, Picture):
        return as_plain(style)
    if isinstance(style, NamedStyle):
        return style
    if isinstance(style, str | Path) and str(style).endswith(SUFFIX):
        return load_style(style)
    if isinstance(style, str) and not os.path.exists(style):
        looks_like_a_file = "/" in style or "\\" in style or Path(style).suffix
        _refuse_joined(style)
        if style in shipped_styles() or not looks_like_a_file:
            return find_style(style)
    return images.read(style, longest_px=longest_px)


def _refuse_joined(style: str) -> None:
    """Raise OptionError if a style is several files joined by commas, which neural-style accepts."""
    parts = style.split(",")
    if len(parts) > 1 and all(os.path.exists(part) for part in parts):
        raise OptionError(f"style {style!r} is {len(parts)} files joined by commas; separate them by spaces: {' '.join(parts)}")


def options_of(record: dict[str, Any]) -> tuple[PaintOptions, Run]:
    """Return the options and the run stored in a record.

    Raises:
        OptionError: if the record contains no options, or the options of an incompatible version.
    """
    made_by = record.get("recipe", "paint")
    if made_by not in (*get_args(Recipe), "paint", "inetwork"):
        raise OptionError(
            f"the record was written by {made_by!r}, not by impasto paint, so impasto paint cannot repeat it; run the "
            "original command again with the options in the record"
        )
    try:
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in record["options"].items()
        }
        if fields.get("recipe") == "paint":  # the former name of gatys, which was the only recipe
            fields["recipe"] = "gatys"
        return PaintOptions(**fields), Run(**record["run"])
    except (KeyError, TypeError, AttributeError) as error:
        version = record.get("impasto", "an unknown version")
        raise OptionError(f"the record of impasto {version} cannot be repeated by impasto {__version__}: {error}") from error
