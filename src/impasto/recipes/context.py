"""The painting context: the data that is prepared before the first step."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from impasto.encoders import Vgg
from impasto.encoders.precision import Arithmetic
from impasto.images import Picture
from impasto.losses.features import Loss, Objective
from impasto.optim.engine import Size
from impasto.optim.tiled import TilePlan
from impasto.options import PaintOptions
from impasto.recipes.coloring import Coloring
from impasto.recipes.regions import NO_LAYOUT, RegionMasks
from impasto.recipes.starts import Style
from impasto.tensors import Features, Image


@dataclass(frozen=True)
class PaintingContext:
    """The data that is prepared before the first step.

    Attributes:
        content: the photo with its margin, (1, 3, height, width), at the final size.
        margin: width of the border that is cropped at the end, in pixels of the final size.
        sizes: the sizes with margin, coarse to fine, each with its number of steps.
        styles: the styles to paint in.
        start: the initial picture, at the first size.
        encoder: the feature extractor.
        arithmetic: device and precision of the encoder.
        options: how to paint.
        first_scale: index of the first size; above 0 if painting resumes from a checkpoint.
        region_masks: masks of the regions and of the area where the photo is kept.
        coloring: color control for every picture that is shown; None: no color control.
        seed: random seed for losses that are computed from random samples.
        is_resumed: whether painting resumes from a checkpoint.
        losses: losses to add to the objective of every size.
        tiles: the sizes that are painted in tiles; None: every size is painted whole.
        tile_count: number of tiles at the final size.
        peak_bytes: predicted peak memory of painting.
        is_painted: whether ``start`` is already a painting; if so, it is also matched with the styles at the first size.
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
    tiles: TilePlan | None = None
    tile_count: int = 1
    peak_bytes: int = 0
    losses: tuple[Loss | Objective, ...] = ()

    @property
    def pictures(self) -> list[Picture]:
        """The styles that are pictures."""
        return [style for style in self.styles if isinstance(style, Picture)]

    def generator(self) -> torch.Generator:
        """Return a new generator with the seed."""
        return torch.Generator().manual_seed(self.seed)


def encode(context: PaintingContext, image: Image, layers: Sequence[str]) -> Features:
    """Encode a picture without gradients."""
    with torch.no_grad():
        return context.arithmetic.encode(context.encoder, image, frozenset(layers))
