"""Swatches: textures synthesized from a style. A swatch replaces the picture from which the style was measured.

A swatch has the strokes, palette and shapes of the picture, but not its composition.
"""

from impasto.images import Picture, fitted_size, resize
from impasto.options import Run
from impasto.recipes.synthesis import Networks, Synthesis, synthesized
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image

SWATCH_PX = 512


@in_known_state
def paint_swatch(picture: Picture, run: Run | None = None, size: int = SWATCH_PX) -> Image:
    """Synthesize a square swatch from a picture.

    Args:
        picture: the style. A longer side of more than 1.25 times ``size`` is first reduced to 1.25 times ``size``.
        run: device, precision and seed.
        size: side length in pixels.

    Returns:
        (1, 3, size, size), sRGB in [0, 1].
    """
    run = run or Run()
    longer = min(round(1.25 * size), max(picture.size))
    small = resize(picture.image, fitted_size(picture.size, longer))
    *_, last = synthesized(Synthesis((small,), (size, size), seed=run.seed), Networks.load(run))
    return last.image
