"""Paint frames by optimization with a temporal loss: Ruder, Dosovitskiy and Brox 2016 (arXiv:1604.08610).

The first frame of a shot is painted like a photo. Each later frame starts from earlier results, moved along the optical flow. A
loss keeps it close to these results where they show the same pixels. Most pixels are compared with the previous frame (the
short-term loss of the paper). Pixels that are hidden in the previous frame are compared with earlier key frames (the long-term
loss). Departure from the paper: the objective is that of ``impasto paint``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch

from impasto.encoders import load_encoder
from impasto.images import Metadata, Picture
from impasto.losses.picture import TemporalLoss
from impasto.options import PaintOptions, Run
from impasto.recipes import gatys
from impasto.recipes.context import PaintingContext
from impasto.recipes.instant_painter import InstantPainter
from impasto.recipes.painting import run_recipe
from impasto.recipes.pastiche import described
from impasto.recipes.presets import paint_options
from impasto.recipes.starts import Checkpoint, Style, as_swatches, with_margin
from impasto.tensors import Image
from impasto.video.clips import Pixels
from impasto.video.flow import Array, Past, motion_between, warped
from impasto.video.frames import as_array, as_image
from impasto.video.shots import Shot

_STEPS = 12
"""Steps of each frame after the first one of a shot."""
_WEIGHT = 400.0
_LEAST_TRUST = 0.1
"""Loss weight of pixels hidden in all earlier frames. With 0, their colors become stronger than those around them."""


class PaintFrames:
    """Painter by optimization. Each frame starts from the results of earlier frames.

    Args:
        style: the style.
        stability: weight of the temporal loss, 0 (independent frames) to 1.
        strength: strength of the style, 0 to 1.
        run: device, precision and seed.
    """

    keys: ClassVar[int] = 3

    def __init__(self, style: Style, stability: float, strength: float, run: Run) -> None:
        self.style, self.stability, self.strength, self.run = style, stability, strength, run
        (self._picture,) = as_swatches((style,))
        self._instant = InstantPainter(run)
        self._code = self._instant.encode(style)
        self._encoder = load_encoder()

    @property
    def identity(self) -> dict[str, str]:
        """The data on which the result depends, apart from the options."""
        return {"method": "paint", **described(self.style)}

    def check(self, size: tuple[int, int]) -> None:
        """Raise unless frames of a size can be painted in the memory that is available."""
        self._context(torch.zeros(1, 3, *size))

    def look_at(self, shots: Iterable[Shot]) -> list[int]:
        """Count the frames of each shot."""
        return [shot.count for shot in shots]

    def paint(self, pixels: Pixels, shot: int, past: Sequence[Past] = ()) -> Array:
        """Paint a frame, given the results of earlier frames of the shot, newest last."""
        context = self._context(as_image(pixels))
        if past and self.stability:
            context = self._following(context, pixels, past)
        *_, last = run_recipe(context)
        return as_array(last.image)

    def _context(self, photo: Image) -> PaintingContext:
        options: PaintOptions = paint_options(size=max(photo.shape[-2:]), strength=self.strength)
        frame = Picture(photo, None, Metadata(), "frame", "")
        return gatys.set_up(frame, (self._picture,), options, self.run, encoder=self._encoder)

    def _following(self, context: PaintingContext, pixels: Pixels, past: Sequence[Past]) -> PaintingContext:
        moved, trust = moved_results(pixels, past)
        goal, mask = as_image(moved * 255), torch.from_numpy(trust)[None, None]
        start = torch.lerp(self._instant.paint(as_image(pixels), self._code, strength=self.strength).cpu(), goal, mask)
        last = len(context.sizes) - 1
        done = max(0, context.sizes[last][1] - _STEPS)
        compared = (start, mask.clamp_min(_LEAST_TRUST))
        loss = TemporalLoss(*(with_margin(each, context.margin).to(context.content) for each in compared))
        follows = gatys.resumed(context, Checkpoint(start, last, done))
        return replace(follows, is_painted=True, losses=(_WEIGHT * self.stability * loss,))


def moved_results(pixels: Pixels, past: Sequence[Past]) -> tuple[Array, Array]:
    """Return earlier results moved along the flow to a frame, and the weight of each pixel.

    An older result is used only for pixels that are hidden in the newer ones.

    Args:
        pixels: the frame of the clip, (height, width, 3).
        past: earlier frames, newest last.

    Returns:
        The results, (height, width, 3) in [0, 1], and the weights, (height, width) in [0, 1].
    """
    goal, seen = np.zeros(pixels.shape, np.float32), np.zeros(pixels.shape[:2], np.float32)
    for before in reversed(past):
        motion = motion_between(before.source, pixels)
        share = (motion.trust - seen).clip(0, 1)
        goal += share[..., None] * warped(before.result, motion.flow).astype(np.float32) / 255
        seen += share
    return goal / seen.clip(1e-6, None)[..., None], seen
