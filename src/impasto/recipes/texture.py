"""Texture: make a picture of any size from pieces of one or several pictures.

The result can be tileable. A picture can also be expanded, or a hole in it can be filled.

Source: see :mod:`impasto.recipes.synthesis`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from impasto.errors import OptionError
from impasto.images import Picture, Source, filled, fitted_size, resize
from impasto.optim.engine import Size
from impasto.options import Run
from impasto.options.guided import TextureOptions
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
from impasto.recipes.painting import StyleSource, read_content, read_styles
from impasto.recipes.pastiche import Pastiche
from impasto.recipes.starts import Style, as_swatches
from impasto.recipes.synthesis import Synthesis
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image, Mask

_MOST_FILLED_PX = 1024
"""If a picture is larger than this, the hole is filled at this size, and the result is enlarged."""
_SOFT_PX = 6
_WHITE, _LEAST_KEPT, _SMALL_HOLE = 0.5, 0.02, 0.1


@dataclass(frozen=True)
class TextureInputs:
    """The input pictures of a texture.

    Attributes:
        styles: the pictures to copy pieces from.
        hole: a mask that is white where the picture is filled; allowed only with a single style. None: nothing is filled.
    """

    styles: tuple[Style, ...]
    hole: Picture | None = None


@in_known_state
def texture(
    style: StyleSource | Sequence[StyleSource],
    *,
    inpaint: Source | Picture | None = None,
    run: Run | None = None,
    **options: Any,
) -> Pastiche:
    """Make a picture of any size from pieces of one or several pictures.

    Args:
        style: a picture in any form, the name of a style, or several of them, which are mixed.
        inpaint: a mask; its white area is filled with pieces of the rest of the picture. The result has the picture's size.
        run: device, precision and seed.
        options: any field of :class:`impasto.options.TextureOptions`.

    Returns:
        The result; see :class:`impasto.Pastiche`.

    Raises:
        ImpastoError: the inputs cannot be used; the message is one sentence.

    Example:
        >>> import impasto, skimage.data
        >>> impasto.texture(skimage.data.coffee(), size="96x64", tileable=True).image.shape
        torch.Size([1, 3, 64, 96])

    Source:
        Kwatra et al. 2005, Barnes et al. 2009 and Kaspar et al. 2015; see :mod:`impasto.recipes.synthesis`.
    """
    inputs = TextureInputs(read_styles(style), None if inpaint is None else read_content(inpaint))
    guided = texture_of(inputs, TextureOptions(**options), run or Run())
    return guided_pastiche(guided, last_of(guided_steps(guided, run or Run())))


@in_known_state
def texture_of(inputs: TextureInputs, options: TextureOptions, run: Run) -> Guided:
    """Prepare the synthesis.

    Raises:
        OptionError: the options or the mask do not fit the picture.
        ShapeError: a picture is too small.
    """
    styles = as_swatches(inputs.styles)
    record = record_of("texture", styles[0], inputs.styles, run, options) | described_pictures({"inpaint": inputs.hole})
    if (inputs.hole or options.expand) and len(styles) > 1:
        raise OptionError(
            f"{'--inpaint' if inputs.hole else '--expand'} works with a single picture, but {len(styles)} were given"
        )
    if inputs.hole:
        return _filled(styles[0], inputs.hole, options, run, record)
    size = options.height_width
    check_memory_of_size(size, run)
    if options.expand:
        return _expanded(styles[0], size, options, run, record)
    examples = tuple(example_of(style, max(size), options.style_scale) for style in styles)
    synthesis = Synthesis(examples, canvas_size(size), wraps=options.tileable, **_search(options, run))
    return Guided(synthesis, size, record)


def _search(options: TextureOptions, run: Run) -> dict[str, Any]:
    return {"coherence": options.coherence, "usage": options.variety, "seed": run.seed}


def _expanded(style: Picture, size: Size, options: TextureOptions, run: Run, record: dict[str, Any]) -> Guided:
    """Keep a picture in the middle of a larger one."""
    example = example_of(style, max(style.size), options.style_scale)
    height, width = example.shape[-2:]
    if height > size[0] or width > size[1] or (height, width) == size:
        raise OptionError(
            f"--expand to {size[1]}x{size[0]} would not enlarge the picture, which has {width}x{height} pixels; give a larger "
            "--size or a smaller --style-scale"
        )
    canvas = canvas_size(size)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    sides = (left, canvas[1] - width - left, top, canvas[0] - height - top)
    known = F.pad(example, sides), _shrunk(F.pad(torch.ones(1, 1, height, width), sides))
    return Guided(Synthesis((example,), canvas, known=known, **_search(options, run)), size, record)


def _filled(style: Picture, hole: Picture, options: TextureOptions, run: Run, record: dict[str, Any]) -> Guided:
    """Fill the white area of a mask.

    Raises:
        OptionError: the mask covers everything, or nothing.
    """
    mask = (resize(hole.image.mean(1, keepdim=True), style.size) > _WHITE).float()
    share = float(mask.mean())
    if share > 1 - _LEAST_KEPT or share == 0:
        what = "everything, so nothing is left to copy from" if share else "nothing"
        raise OptionError(f"the mask {hole.name!r} covers {what}; use white for the area to fill, and black for the rest")
    size = fitted_size(style.size, min(_MOST_FILLED_PX, max(style.size)))
    canvas = canvas_size(size)
    image = on_canvas(resize(style.image, size), canvas)
    kept = _shrunk(1 - on_canvas((resize(mask, size) > 0).float(), canvas))
    # A small hole starts from the colors around it, a large one from pieces of the picture.
    start = filled(image, 1 - on_canvas((resize(mask, size) > 0).float(), canvas)) if share < _SMALL_HOLE else None
    synthesis = Synthesis((image,), canvas, known=(image, kept), allowed=(kept,), start=start, **_search(options, run))
    notes = (
        []
        if hole.size == style.size
        else [f"the mask {hole.name!r} was scaled to the picture's {style.size[1]}x{style.size[0]}"]
    )
    finish = partial(_pasted, style.image, mask)
    return Guided(synthesis, size, record, style, tuple(notes), finish)


def _pasted(picture: Image, mask: Mask, filling: Image) -> Image:
    """Paste the filled area into the picture, at the size of the picture, with a soft edge outside the mask."""
    size = (picture.shape[-2], picture.shape[-1])
    edge = max(1, round(_SOFT_PX * max(size) / _MOST_FILLED_PX))
    wide = F.max_pool2d(mask, 2 * edge + 1, stride=1, padding=edge)
    soft = F.avg_pool2d(wide, 2 * edge + 1, stride=1, padding=edge, count_include_pad=False)
    return torch.lerp(picture, resize(filling, size), torch.maximum(soft, mask))


def _shrunk(mask: Mask) -> Mask:
    """Shrink the area of known pixels (white) by a few pixels, so that the pixels along the seam are synthesized, too."""
    return 1 - F.max_pool2d(1 - mask, 2 * _SOFT_PX + 1, stride=1, padding=_SOFT_PX)
