"""Paint frames by optimization with a temporal loss: Ruder, Dosovitskiy and Brox 2016 (arXiv:1604.08610).

The first frame of a shot is painted like a photo. Each later frame starts from earlier results, moved along the optical flow. A
loss keeps it close to these results at the pixels that are visible in both. Most pixels are compared with the previous frame
(the short-term loss of the paper). Pixels that are hidden in the previous frame are compared with earlier key frames (the
long-term loss). Departure from the paper: the objective is that of ``impasto paint``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch

from impasto.encoders import load_encoder
from impasto.images import Metadata, Picture, fitted_size
from impasto.losses.picture import TemporalLoss
from impasto.options import PaintOptions, Run
from impasto.recipes import gatys
from impasto.recipes.context import PaintingContext
from impasto.recipes.instant_painter import steady_painter
from impasto.recipes.painting import run_recipe
from impasto.recipes.pastiche import described
from impasto.recipes.presets import paint_options
from impasto.recipes.starts import SMALLEST_SIDE, Checkpoint, Style, as_swatches, with_margin
from impasto.runtime.devices import seconds_now
from impasto.tensors import Image
from impasto.video.clips import Pixels
from impasto.video.flow import Array, Past, motion_between, warped
from impasto.video.frames import as_array, as_image
from impasto.video.shots import Shot

_STEPS = 12
"""Number of steps for each frame except the first of a shot."""
_WEIGHT = 400.0
_LEAST_TRUST = 0.05
"""Loss weight of pixels hidden in all earlier frames. With 0, their colors become stronger than those around them."""
_TRIAL_PX = (48, 96)
"""Sides of the square frames that are painted to predict the time of other frames."""
_MOST_TRIAL_PX = 320


class PaintFrames:
    """Painter by optimization. Each frame starts from the results of earlier frames.

    Args:
        style: the style.
        stability: weight of the temporal loss, 0 (independent frames) to 1.
        strength: strength of the style, 0 to 1.
        run: device, precision and seed.
    """

    keys: ClassVar[int] = 3
    contrast: ClassVar[float] = 1.0

    def __init__(self, style: Style, stability: float, strength: float, run: Run) -> None:
        self.style, self.stability, self.strength, self.run = style, stability, strength, run
        (self._picture,) = as_swatches((style,))
        self._instant = steady_painter(run)
        self._code = self._instant.encode(style)
        self._encoder = load_encoder()

    @property
    def follows(self) -> bool:
        """Whether each frame is painted from earlier results."""
        return self.stability > 0

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
        if past and self.follows:
            context = self._following(context, pixels, past)
        *_, last = run_recipe(context)
        return as_array(last.image)

    def predicted_seconds(self, size: tuple[int, int], frames: int, shots: int = 1) -> float:
        """Predict the total seconds. The first frame of a shot takes as long as a photo; small trial frames predict the others.

        Args:
            size: (height, width) of the frames.
            frames: number of frames.
            shots: number of shots.

        Raises:
            ShapeError: a side has less than 32 pixels.
        """
        if min(size) < SMALLEST_SIDE:
            self.check(size)
        alone = min(frames, shots) if self.follows else frames
        height, width = (max(side, SMALLEST_SIDE) for side in fitted_size(size, min(_MOST_TRIAL_PX, max(size))))
        grows = max(1.0, size[0] * size[1] / (height * width))
        seconds = alone * grows * gatys.predicted_seconds(self._context(torch.zeros(1, 3, height, width)))
        return seconds + (frames - alone) * self._seconds_of_other(size) if frames > alone else seconds

    def _seconds_of_other(self, size: tuple[int, int]) -> float:
        """Predict the seconds of any frame but the first of a shot: a fixed part, and a part that grows with the pixels."""
        self._trial(_TRIAL_PX[0])  # the first one is slower
        fewer, more = map(self._trial, _TRIAL_PX)
        per_pixel = max(0.0, more - fewer) / (_TRIAL_PX[1] ** 2 - _TRIAL_PX[0] ** 2)
        return max(fewer, more + per_pixel * (size[0] * size[1] - _TRIAL_PX[1] ** 2))

    def _trial(self, edge_px: int) -> float:
        """Return the seconds of painting a square frame that is not the first of its shot."""
        frame = np.random.default_rng(0).integers(0, 256, (edge_px, edge_px, 3), np.uint8)
        began = seconds_now()
        self.paint(frame, 0, [Past(frame, frame, number) for number in range(1 + self.keys)])
        return seconds_now() - began

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
        return replace(follows, is_painted=True, done=0, losses=(_WEIGHT * self.stability * loss,))


def moved_results(pixels: Pixels, past: Sequence[Past], *, is_fine: bool = True) -> tuple[Array, Array]:
    """Return earlier results moved along the flow to a frame, and the weight of each pixel.

    An older result is used only for pixels that are hidden in the newer ones.

    Args:
        pixels: the frame of the clip, (height, width, 3).
        past: earlier frames, newest last.
        is_fine: see :func:`impasto.video.flow.motion_between`.

    Returns:
        The results, (height, width, 3) in [0, 1], and the weights, (height, width) in [0, 1].
    """
    goal, seen = np.zeros(pixels.shape, np.float32), np.zeros(pixels.shape[:2], np.float32)
    for before in reversed(past):
        motion = motion_between(before.source, pixels, is_fine=is_fine)
        share = (motion.trust - seen).clip(0, 1)
        goal += share[..., None] * warped(before.result, motion.flow).astype(np.float32) / 255
        seen += share
    return goal / seen.clip(1e-6, None)[..., None], seen
