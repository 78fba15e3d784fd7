"""Brushes and the instant recipe as PyTorch modules, for torch.hub and other programs.

>>> import skimage.data, torch
>>> paint = InstantModule(skimage.data.coffee())
>>> paint(torch.rand(2, 3, 48, 64)).shape
torch.Size([2, 3, 48, 64])
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from impasto.errors import ShapeError
from impasto.networks.brush_files import load_brush
from impasto.options import Run
from impasto.options.fields import check_range
from impasto.recipes.instant_painter import InstantPainter
from impasto.recipes.painting import StyleSource, read_styles
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Image

__all__ = ["BrushModule", "InstantModule"]

_SMALLEST_SIDE = 32


class BrushModule(nn.Module):
    """A brush as a differentiable module, for any device.

    Input and output are tensors of shape (batch, 3, height, width) with values in [0, 1].

    Args:
        brush: a .brush file, or a name from ``impasto brushes list``.
        strength: 0 (the photo) to 1.

    Raises:
        WeightsError: if the brush cannot be read.
        OptionError: if the strength is not allowed.
    """

    def __init__(self, brush: str | Path, *, strength: float = 1.0) -> None:
        super().__init__()
        check_range("strength", strength, 0, 1)
        self.network = load_brush(brush)
        self.strength = strength

    def forward(self, photos: Image) -> Image:
        """Paint photos."""
        _check_batch(photos)
        return torch.lerp(photos, self.network(photos).clamp(0, 1), self.strength)


class InstantModule(nn.Module):
    """The instant recipe with one style, as a module.

    Input and output are tensors of shape (batch, 3, height, width) with values in [0, 1]. Sides have at least 32 pixels.

    Args:
        style: a picture, or the name of a style.
        strength: 0 (the photo) to 1.5.
        run: device and precision.

    Raises:
        ImpastoError: if the style cannot be read, or a value is not allowed.
    """

    def __init__(self, style: StyleSource, *, strength: float = 1.0, run: Run | None = None) -> None:
        super().__init__()
        check_range("strength", strength, 0, 1.5)
        self.painter = InstantPainter(run, "torch")
        self.code = self.painter.encode(read_styles(style)[0])
        self.strength = strength

    @in_known_state
    @torch.no_grad()
    def forward(self, photos: Image) -> Image:
        """Paint photos; the result is on their device."""
        _check_batch(photos)
        if min(photos.shape[-2:]) < _SMALLEST_SIDE:
            raise ShapeError(f"photos have shape {tuple(photos.shape)}; both sides must be at least {_SMALLEST_SIDE} pixels")
        found = [self.painter.paint(each[None], self.code, strength=self.strength) for each in photos.float().cpu()]
        return torch.cat(found).to(photos.device) if found else photos


def _check_batch(photos: Tensor) -> None:
    if photos.ndim != 4 or photos.shape[1] != 3 or not photos.is_floating_point():
        kind = str(photos.dtype).removeprefix("torch.")
        raise ShapeError(
            f"photos have shape {tuple(photos.shape)} and type {kind}; give (batch, 3, height, width), floats in [0, 1]"
        )
