"""Shared parts of doodle, analogy and texture: pictures for :mod:`impasto.recipes.synthesis`, steps, and the pastiche."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F

from impasto.encoders.precision import choose_device
from impasto.errors import ResourceError
from impasto.images import Picture, fitted_size, resize
from impasto.optim.engine import Size, Step
from impasto.options import Run
from impasto.recipes.analogy_classic import ClassicAnalogy, classic_analogy
from impasto.recipes.checks import check_enough_pixels
from impasto.recipes.pastiche import Pastiche, Record, described, recorded, with_progress
from impasto.recipes.starts import Style, as_swatches
from impasto.recipes.synthesis import MULTIPLE_PX, Networks, Synthesis, synthesized
from impasto.runtime.amounts import amount
from impasto.runtime.memory import available_memory
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image

_FLOATS_PER_PX, _FIXED_BYTES = 170, 200 * 2**20
"""Predicted peak memory of guided synthesis: a number of floats per pixel, plus a constant number of bytes. Both are fitted to
measurements."""
_SMALLEST_PX = 32


@dataclass(frozen=True)
class Guided:
    """A picture to synthesize, with the data needed to finish it.

    Attributes:
        synthesis: the inputs of the synthesis.
        size: (height, width) of the result; the synthesis may be slightly larger.
        record: the record of how the picture is made.
        content: the picture whose transparency and metadata the result gets.
        notes: messages about the inputs.
        finish: function that is applied to every picture as the last step.
    """

    synthesis: Synthesis | ClassicAnalogy
    size: Size
    record: Record
    content: Picture | None = None
    notes: tuple[str, ...] = ()
    finish: Callable[[Image], Image] | None = field(default=None, repr=False)

    def finished(self, image: Image) -> Image:
        """Convert a picture that was synthesized at any size to the result."""
        image = resize(image, self.synthesis.size).cpu()[..., : self.size[0], : self.size[1]]
        return self.finish(image) if self.finish else image


@in_known_state
def guided_steps(guided: Guided, run: Run) -> Iterator[Step]:
    """Synthesize, and yield every iteration. The images have the size of the result.

    Raises:
        ResourceError: not enough memory.
    """
    for step in _steps_of(guided.synthesis, run):
        image = guided.finished(step.image)
        is_tile = isinstance(guided.synthesis, Synthesis) and guided.synthesis.wraps and step.number == step.total
        yield replace(step, image=with_quiet_seam(image) if is_tile else image)


def _steps_of(synthesis: Synthesis | ClassicAnalogy, run: Run) -> Iterator[Step]:
    if isinstance(synthesis, ClassicAnalogy):
        yield from classic_analogy(synthesis.a, synthesis.a_prime, synthesis.b, synthesis.settings)
        return
    networks = Networks.load(run)
    check_memory(synthesis, networks)
    yield from synthesized(synthesis, networks)


def with_quiet_seam(tile: Image) -> Image:
    """Shift a tileable picture until its seam lies on the smoothest row and column.

    Args:
        tile: (1, 3, height, width).
    """
    for side in (2, 3):
        steps = (tile - tile.roll(1, side)).abs().mean((0, 1, 5 - side))
        tile = tile.roll(-int(steps.argmin()), side)
    return tile


def guided_pastiche(guided: Guided, step: Step) -> Pastiche:
    """Return the pastiche of a step."""
    content = guided.content
    alpha = None if content is None or content.alpha is None else resize(content.alpha, guided.size)
    metadata = None if content is None else content.metadata
    return Pastiche(step.image.cpu(), alpha, metadata, with_progress(guided.record, step))


def last_of(steps: Iterator[Step]) -> Step:
    """Return the last step."""
    *_, last = steps
    return last


# ---------------------------------------------------------------------------------------------------- pictures


def example_of(style: Style, edge_px: float, scale: float = 1.0) -> Image:
    """Return a style picture, or a named style's swatch, at its size in the result; only ``scale`` can enlarge it.

    Args:
        style: a picture or a named style.
        edge_px: longer side of the result.
        scale: scale of the style in the result.
    """
    (picture,) = as_swatches([style])
    check_enough_pixels("style", picture, "style")
    longest = max(_SMALLEST_PX, round(scale * min(max(picture.size), edge_px)))
    return resize(picture.image, fitted_size(picture.size, longest))


def canvas_size(size: Size) -> Size:
    """Round a size up to multiples of :data:`MULTIPLE_PX`."""
    height, width = (MULTIPLE_PX * max(4, math.ceil(side / MULTIPLE_PX)) for side in size)
    return height, width


def on_canvas(image: Image, canvas: Size) -> Image:
    """Repeat the last row and column of a picture until it fills a canvas."""
    return F.pad(image, (0, canvas[1] - image.shape[-1], 0, canvas[0] - image.shape[-2]), mode="replicate")


def record_of(recipe: str, content: Picture, styles: tuple[Style, ...], run: Run, options: Any) -> Record:
    """Return the record of a guided recipe, with everything that is known before the first step."""
    return recorded(recipe, content, styles, run) | {"options": asdict(options)}


def described_pictures(pictures: Mapping[str, Picture | None]) -> Record:
    """Describe additional input pictures by name and hash."""
    return {role: described(picture) for role, picture in pictures.items() if picture is not None}


def check_memory(synthesis: Synthesis, networks: Networks) -> None:
    """Raise ResourceError unless the predicted memory is available; the message says which size would fit."""
    pixels = sum(math.prod(each.shape[-2:]) for each in synthesis.examples)
    _check_memory(synthesis.size, pixels, networks.arithmetic.device)


def check_memory_of_size(size: Size, run: Run) -> None:
    """Raise ResourceError if a result of this size does not fit into memory; call this before a picture is resized to it."""
    _check_memory(size, 0, torch.device(choose_device(run.device)))


def _check_memory(size: Size, example_pixels: int, device: torch.device) -> None:
    free = available_memory(device)
    pixels = math.prod(size) + example_pixels
    needed = _FIXED_BYTES + 4 * _FLOATS_PER_PX * pixels
    if free is None or needed <= free:
        return
    share = math.sqrt(max(0.0, (free - _FIXED_BYTES) / (needed - _FIXED_BYTES))) * 0.95
    fits = int(max(size) * share)
    advice = f"--size {fits} would fit" if fits >= _SMALLEST_PX else "no size would fit: close other programs"
    raise ResourceError(
        f"--size {max(size)} needs about {amount(needed)} of memory, but only {amount(free)} are free; {advice}"
    )
