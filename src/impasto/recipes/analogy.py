"""Analogy: change B in the same way as A was changed to get A'.

The neural engine matches B with A by the features of the encoder, coarse to fine, and copies features from A'. The classic
engine is :mod:`impasto.recipes.analogy_classic`.

Source: Hertzmann et al. 2001, Image Analogies; Liao et al. 2017, Visual Attribute Transfer through Deep Image Analogy
(arXiv:1705.01088). Departures from the papers: matches are searched in one direction only; see also
:mod:`impasto.recipes.synthesis`.
"""

from dataclasses import dataclass
from typing import Any

from impasto.errors import ShapeError
from impasto.images import Picture, Source, fitted_size, resize
from impasto.optim.engine import Size
from impasto.options import Run
from impasto.options.guided import AnalogyOptions
from impasto.recipes.analogy_classic import AnalogySettings, ClassicAnalogy
from impasto.recipes.checks import check_enough_pixels
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
from impasto.recipes.painting import read_content
from impasto.recipes.pastiche import Pastiche
from impasto.recipes.synthesis import PictureGuide, Synthesis
from impasto.runtime.torch_state import in_known_state


@dataclass(frozen=True)
class AnalogyInputs:
    """The three pictures of an analogy: A is to A' as B is to the result."""

    a: Picture
    a_prime: Picture
    b: Picture


@in_known_state
def analogy(
    a: Source | Picture, a_prime: Source | Picture, b: Source | Picture, *, run: Run | None = None, **options: Any
) -> Pastiche:
    """Change B in the same way as A was changed to get A'.

    Args:
        a: the photo of the example, in any form.
        a_prime: the painting of that photo, with the same size and composition.
        b: the photo to paint.
        run: device, precision and seed.
        options: any field of :class:`impasto.options.AnalogyOptions`.

    Returns:
        The result; see :class:`impasto.Pastiche`.

    Raises:
        ImpastoError: the inputs cannot be used; the message is one sentence.

    Example:
        >>> import impasto, skimage.data
        >>> photo = skimage.data.coffee()[::4, ::4]
        >>> impasto.analogy(photo, 255 - photo, skimage.data.astronaut()[::8, ::8]).image.shape
        torch.Size([1, 3, 64, 64])

    Source:
        Liao et al. 2017 (arXiv:1705.01088) for the neural engine; Hertzmann et al. 2001 for the classic engine.
    """
    inputs = AnalogyInputs(read_content(a), read_content(a_prime), read_content(b))
    chosen, where = AnalogyOptions(**options), run or Run()
    guided = analogy_of(inputs, chosen, where)
    return guided_pastiche(guided, last_of(guided_steps(guided, where)))


@in_known_state
def analogy_of(inputs: AnalogyInputs, options: AnalogyOptions, run: Run) -> Guided:
    """Prepare the synthesis.

    Raises:
        ShapeError: A and A' have different proportions, or a picture is too small.
    """
    check_analogy(inputs)
    notes = (
        [f"A' was scaled from {_shown(inputs.a_prime)} to A's {_shown(inputs.a)}"]
        if inputs.a.size != inputs.a_prime.size
        else []
    )
    size = fitted_size(inputs.b.size, min(options.size, max(inputs.b.size)))
    if min(size) < 16:
        raise ShapeError(f"B would have {size[1]}x{size[0]} pixels at --size {options.size}; give a larger --size, or crop B")
    record = record_of("analogy", inputs.b, (inputs.a_prime,), run, options) | described_pictures({"a": inputs.a})
    if options.engine == "classic":
        return Guided(_classic(inputs, size, options), size, record, inputs.b, tuple(notes))
    check_memory_of_size(size, run)
    canvas = canvas_size(size)
    example = example_of(inputs.a_prime, max(size))
    guide = PictureGuide((inputs.a.image,), on_canvas(resize(inputs.b.image, size), canvas), options.analogy_weight)
    synthesis = Synthesis((example,), canvas, guide=guide, coherence=options.coherence, usage=0.0, seed=run.seed)
    return Guided(synthesis, size, record, inputs.b, tuple(notes))


def _classic(inputs: AnalogyInputs, size: Size, options: AnalogyOptions) -> ClassicAnalogy:
    """Prepare the classic engine: resize A and A' to a common size that is no larger than needed."""
    edge_px = min(options.size, max(inputs.a.size))
    example = fitted_size(inputs.a.size, edge_px)
    settings = AnalogySettings(kappa=options.kappa, color="learn" if options.colors else "keep", transfer=options.transfer)
    a, a_prime, b = (resize(each.image, to) for each, to in ((inputs.a, example), (inputs.a_prime, example), (inputs.b, size)))
    return ClassicAnalogy(a, a_prime, b, settings)


def check_analogy(inputs: AnalogyInputs) -> None:
    """Raise ShapeError if A and A' have different proportions, or if a picture is too small."""
    for name, picture in (("A", inputs.a), ("A'", inputs.a_prime), ("B", inputs.b)):
        check_enough_pixels(name, picture, "picture")
    (height, width), (other_height, other_width) = inputs.a.size, inputs.a_prime.size
    if abs(height * other_width - width * other_height) > 0.01 * height * other_width + max(height, width):
        raise ShapeError(
            f"A has {_shown(inputs.a)} pixels and A' has {_shown(inputs.a_prime)}; they must show the same composition, so "
            "crop one of them"
        )


def _shown(picture: Picture) -> str:
    return f"{picture.size[1]}x{picture.size[0]}"
