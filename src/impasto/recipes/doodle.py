"""Doodle: a painting guided by maps of flat colors. No photo is needed.

The style map labels the parts of the style picture, and the map labels the parts of the result. Each part of the result is
copied from a part of the style picture that has the same color in the style map.

Source: Champandard 2016, Semantic Style Transfer and Turning Two-Bit Doodles into Fine Artworks (arXiv:1603.01768). Departures:
see :mod:`impasto.recipes.synthesis`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from impasto.errors import OptionError, ShapeError
from impasto.images import Picture, Source, fitted_size, resize
from impasto.optim.engine import Size, Step
from impasto.options import Run
from impasto.options.guided import MOST_LABELS, SUGGESTED_LABELS, DoodleOptions
from impasto.recipes.guided import (
    Guided,
    canvas_size,
    check_memory_of_size,
    described_pictures,
    example_of,
    guided_pastiche,
    guided_steps,
    last_of,
    on_canvas,
    record_of,
)
from impasto.recipes.maps import check_labels, labels_of, resize_nearest, suggested_map
from impasto.recipes.painting import StyleSource, read_content, read_style
from impasto.recipes.pastiche import Pastiche
from impasto.recipes.starts import Style, as_swatches
from impasto.recipes.synthesis import LabelGuide, Synthesis
from impasto.runtime.torch_state import in_known_state


@dataclass(frozen=True)
class DoodleInputs:
    """The pictures of a doodle.

    Attributes:
        style: the style.
        map: the map of the result.
        style_map: the map of the style picture; None: a suggested map.
        content: a photo whose shapes the result follows; None: no photo.
    """

    style: Style
    map: Picture
    style_map: Picture | None = None
    content: Picture | None = None


@in_known_state
def doodle(
    style: StyleSource,
    map: Source | Picture,
    *,
    style_map: Source | Picture | None = None,
    content: Source | Picture | None = None,
    run: Run | None = None,
    **options: Any,
) -> Pastiche:
    """Paint a map of flat colors in the style of a picture.

    Args:
        style: a picture in any form, or the name of a style.
        map: the map of the result, a picture of flat colors; it sets the proportions of the result unless ``content`` is given.
        style_map: the map of the style picture, in the same colors. Default: a map drafted by :func:`suggest_map`.
        content: a photo whose shapes the result follows; the result then has the photo's proportions.
        run: device, precision and seed.
        options: any field of :class:`impasto.options.DoodleOptions`.

    Returns:
        The result; see :class:`impasto.Pastiche`.

    Raises:
        ImpastoError: the inputs cannot be painted; the message is one sentence.

    Example:
        >>> import impasto, numpy, skimage.data
        >>> colors = numpy.zeros((64, 64, 3), numpy.uint8)
        >>> colors[32:] = 255
        >>> impasto.doodle(skimage.data.coffee(), colors, style_map=colors, size=64).image.shape
        torch.Size([1, 3, 64, 64])

    Source:
        Champandard 2016 (arXiv:1603.01768).
    """
    inputs = DoodleInputs(
        read_style(style),
        read_content(map),
        None if style_map is None else read_content(style_map),
        None if content is None else read_content(content),
    )
    guided = doodle_of(inputs, DoodleOptions(**options), run or Run())
    return guided_pastiche(guided, last_of(guided_steps(guided, run or Run())))


@in_known_state
def suggest_map(style: StyleSource, *, labels: int = SUGGESTED_LABELS) -> Picture:
    """Draft a map for a style picture from regions that are found automatically.

    Args:
        style: a picture in any form, or the name of a style.
        labels: maximum number of colors, 2 to 16.

    Returns:
        A picture of flat colors with the size of the style picture.

    Raises:
        ImpastoError: the style cannot be read, or ``labels`` is not from 2 to 16.

    Example:
        >>> import impasto, skimage.data
        >>> impasto.suggest_map(skimage.data.coffee()).size
        (400, 600)
    """
    if not 2 <= labels <= MOST_LABELS:
        raise OptionError(f"--labels is {labels}; it must be a number from 2 to {MOST_LABELS}")
    (picture,) = as_swatches([read_style(style)])
    return Picture(suggested_map(picture.image, labels), None, picture.metadata, f"map of {picture.name}", "")


@in_known_state
def doodle_of(inputs: DoodleInputs, options: DoodleOptions, run: Run) -> Guided:
    """Read the maps, and prepare the synthesis.

    Raises:
        OptionError: the maps do not fit together, see :func:`impasto.recipes.maps.check_labels`.
        ShapeError: a picture is too small.
    """
    (picture,) = as_swatches([inputs.style])
    style_map = inputs.style_map or suggest_map(picture, labels=options.labels or SUGGESTED_LABELS)
    names = (f"style map {style_map.name!r}", f"map {inputs.map.name!r}")
    size = fitted_size((inputs.content or inputs.map).size, options.size)
    _check_size(size, options.size)
    check_memory_of_size(size, run)
    labels = labels_of([style_map, inputs.map], options.labels)
    notes = [] if inputs.style_map else ["no --style-map was given, so a map was drafted from the style's colors"]
    notes += [*_size_notes(inputs, picture), *check_labels(labels, names)]
    canvas = canvas_size(size)
    guide = LabelGuide((labels.maps[0],), on_canvas(resize_nearest(labels.maps[1], size), canvas), options.semantic_weight)
    content = None if inputs.content is None else on_canvas(resize(inputs.content.image, size), canvas)
    synthesis = Synthesis(
        (example_of(picture, max(size), options.style_scale),),
        canvas,
        guide=guide,
        content=content,
        content_weight=options.content_weight,
        coherence=options.coherence,
        usage=options.variety,
        seed=run.seed,
    )
    record = record_of("doodle", inputs.content or inputs.map, (inputs.style,), run, options)
    record |= described_pictures({"map": inputs.map, "style_map": inputs.style_map})
    return Guided(synthesis, size, record, inputs.content, tuple(notes))


@in_known_state
def transfer_of(style: Style, content: Picture, options: DoodleOptions, run: Run) -> Guided:
    """Prepare the synthesis of a photo in a style, without maps.

    Raises:
        ShapeError: a picture is too small.
    """
    (picture,) = as_swatches([style])
    size = fitted_size(content.size, options.size)
    _check_size(size, options.size)
    check_memory_of_size(size, run)
    canvas = canvas_size(size)
    synthesis = Synthesis(
        (example_of(picture, max(size), options.style_scale),),
        canvas,
        content=on_canvas(resize(content.image, size), canvas),
        content_weight=options.content_weight,
        coherence=options.coherence,
        usage=options.variety,
        seed=run.seed,
    )
    return Guided(synthesis, size, record_of("doodle", content, (style,), run, options), content)


def doodle_steps(inputs: DoodleInputs, options: DoodleOptions, run: Run) -> Iterator[Step]:
    """Paint and yield every iteration; see :func:`doodle`."""
    yield from guided_steps(doodle_of(inputs, options, run), run)


def _size_notes(inputs: DoodleInputs, style: Picture) -> list[str]:
    """Return a note for each map that is scaled."""
    pairs = [(inputs.style_map, style, "style picture"), (inputs.map if inputs.content else None, inputs.content, "photo")]
    return [
        f"map {each.name!r} was scaled from {each.size[1]}x{each.size[0]} to the {what}'s {other.size[1]}x{other.size[0]}"
        for each, other, what in cast("list[tuple[Picture | None, Picture, str]]", pairs)
        if each is not None and each.size != other.size
    ]


def _check_size(size: Size, edge_px: int) -> None:
    if min(size) < 16:
        raise ShapeError(
            f"the result would have {size[1]}x{size[0]} pixels at --size {edge_px}; give a larger --size or a squarer map"
        )
