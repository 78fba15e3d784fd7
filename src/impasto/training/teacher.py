"""Photos painted by a teacher: pairs of crops from which a small network learns a style."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from impasto.tensors import Image
from impasto.training.drawing import square_crop

Teacher = Callable[[Image], Image]
"""A function that paints a photo, (1, 3, side, side) in [0, 1]; the result has the same shape and range."""

_FIRST_PAIRS, _STEPS_PER_PAIR, _MOST_PAIRS = 16, 2, 1024
"""Number of pairs at the first step, steps per additional pair, and maximum number of pairs. Painting also takes time."""
_MARGIN = 1.25
"""Side of a painted crop, relative to the side of the crops that are drawn from it."""
_MULTIPLE_PX = 8


def painted_px(edge_px: int) -> int:
    """Return the side of a painted crop from which smaller crops with side ``edge_px`` are drawn."""
    return math.ceil(_MARGIN * edge_px / _MULTIPLE_PX) * _MULTIPLE_PX


class PaintedPhotos:
    """Pairs of a photo and the teacher's painting of it. A pair is painted when it is drawn for the first time.

    A pair depends only on its number and the seed, so a resumed training draws the same pairs.

    Args:
        photos: training photos, each (3, height, width), uint8.
        teacher: the painter.
        edge_px: side of the crops that :meth:`draw` returns.
        least_part: smallest possible side of a painted crop, relative to the shorter side of the photo.
        seed: seed of the crops.
    """

    def __init__(
        self, photos: Sequence[Tensor], teacher: Teacher, edge_px: int, least_part: float, seed: Sequence[int]
    ) -> None:
        self._photos, self._teacher = list(photos), teacher
        self._edge_px, self._least_part, self._seed = edge_px, least_part, list(seed)
        self._side_px = painted_px(edge_px)
        self._painted: dict[int, Tensor] = {}

    def draw(self, batch: int, step: int, random: np.random.Generator) -> tuple[Image, Image]:
        """Draw crops for a step (0 is the first): photos and their paintings, (batch, 3, edge_px, edge_px) each."""
        pairs = min(_MOST_PAIRS, _FIRST_PAIRS + step // _STEPS_PER_PAIR)
        drawn = [self._crops(int(number), random) for number in random.integers(pairs, size=batch)]
        photos, paintings = (torch.cat(each) for each in zip(*drawn, strict=True))
        return photos, paintings

    def _crops(self, number: int, random: np.random.Generator) -> tuple[Image, Image]:
        photo = square_crop(self._photos, self._side_px, self._least_part, np.random.default_rng([*self._seed, number]))
        if number not in self._painted:
            self._painted[number] = (self._teacher(photo).clamp(0, 1) * 255).round().to(torch.uint8)
        top, left = (int(each) for each in random.integers(self._side_px - self._edge_px + 1, size=2))
        places = (..., slice(top, top + self._edge_px), slice(left, left + self._edge_px))
        return photo[places], self._painted[number][places].float() / 255
