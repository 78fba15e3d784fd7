"""The context: everything that stands ready before the first stroke."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from impasto.encoders import Vgg
from impasto.encoders.precision import Arithmetic
from impasto.losses.features import Loss, Objective
from impasto.optim.engine import Size
from impasto.options import PaintOptions
from impasto.recipes.coloring import Coloring
from impasto.recipes.regions import NO_LAYOUT, RegionMasks
from impasto.recipes.starts import Style
from impasto.tensors import Features, Image


@dataclass(frozen=True)
class PaintingContext:
    """Everything that stands ready before the first stroke.

    Attributes:
        content: the photo with its margin, (1, 3, height, width), at the final size.
        margin: what is cut away from each side at the end, in pixels of the final size.
        sizes: the sizes with margin, coarse to fine, each with its number of steps.
        styles: what to paint in the manner of.
        start: the picture painting begins with, at the first size.
        first_scale: index of the first size, above 0 where an interrupted painting goes on.
        region_masks: regions, and what stays the photo.
        coloring: what is done to the colors of every picture that is shown; None: nothing.
        seed: of whatever a loss draws at random.
        is_resumed: whether an interrupted painting goes on.
        losses: added to the objective of every size.
        is_painted: whether the start is a painting already, which is matched with the styles from the first size on.
    """

    content: Image
    margin: int
    sizes: tuple[tuple[Size, int], ...]
    styles: tuple[Style, ...]
    start: Image
    encoder: Vgg
    arithmetic: Arithmetic
    options: PaintOptions
    first_scale: int = 0
    region_masks: RegionMasks = NO_LAYOUT
    coloring: Coloring | None = None
    seed: int = 0
    is_resumed: bool = False
    is_painted: bool = False
    losses: tuple[Loss | Objective, ...] = ()


def encode(context: PaintingContext, image: Image, layers: Sequence[str]) -> Features:
    """Encode a picture that stays as it is: no gradient."""
    with torch.no_grad():
        return context.arithmetic.encode(context.encoder, image, frozenset(layers))
