"""The instant network: any style in one pass.

A photo enters with its colours already those of the style, which is a closed form (:func:`impasto.color.monge_kantorovich`); the
network adds the strokes. It is a small U: three halvings, residual blocks at an eighth of the size, and the way back with
bilinear resizing, so that no lattice is left. Every normalization takes its scales and shifts from the style, predicted from
the moments that the slim encoder measured on it.

Source: conditional instance normalization of Dumoulin et al. 2017 (arXiv:1610.07629), its prediction by Ghiasi et al. 2017
(arXiv:1705.06830), resize-convolutions of Odena et al. 2016. New here: the closed-form palette around the network, and that the
style is read from moments instead of from a picture.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.stats import Moments
from impasto.tensors import FeatureMap, Image

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
MULTIPLE_PX = 8
"""A picture's sides are padded to a multiple of this."""


LIGHT_AND_COLOR = torch.tensor([[0.299, 0.587, 0.114], [0.5, -0.5, 0.0], [0.25, 0.25, -0.5]])
"""From sRGB to light and two differences of colour. Colour is painted at half the size: finer, it would only be noise."""
BACK = torch.linalg.inv(LIGHT_AND_COLOR)


class Widths(NamedTuple):
    """Channels at the full size, a half, a quarter and an eighth of it, and residual blocks at the eighth."""

    full: int = 12
    half: int = 16
    quarter: int = 64
    eighth: int = 96
    blocks: int = 4


class StyleReader(nn.Module):
    """Turn a style's moments at the slim encoder's layers into a code, and a code into scales and shifts.

    Args:
        channels: of the slim encoder at each of :data:`STYLE_LAYERS`.
        modulations: numbers that the network wants, see :attr:`Transfer.modulations`.
        code: length of a style's code.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, channels: tuple[int, ...], modulations: int, code: int = 256) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(2 * sum(channels)))
        self.register_buffer("spread", torch.ones(2 * sum(channels)))
        self.read = nn.Sequential(nn.Linear(2 * sum(channels), code), nn.LeakyReLU(0.2), nn.Linear(code, code))
        self.tell = nn.Sequential(nn.LeakyReLU(0.2), nn.Linear(code, code), nn.LeakyReLU(0.2), nn.Linear(code, modulations))

    def measure(self, moments: Mapping[str, Moments]) -> Tensor:
        """Lay a style's moments out as one row: (batch, numbers), logarithms of the means and the deviations of features."""
        found = [moments[layer] for layer in STYLE_LAYERS]
        rows = [torch.cat([m.mean.clamp_min(0), m.deviation.float()], dim=1) for m in found]
        return torch.cat([row.add(1e-2).log() for row in rows], dim=1)

    def code(self, moments: Mapping[str, Moments]) -> Tensor:
        """Return the code of a style, (batch, code)."""
        found: Tensor = self.read((self.measure(moments) - self.centre) / self.spread)
        return found

    def forward(self, code: Tensor) -> Tensor:
        """Return the scales and shifts of a code, (batch, modulations)."""
        found: Tensor = self.tell(code)
        return found


class Transfer(nn.Module):
    """Add a style's strokes to a photo: the part that runs at the size of the picture."""

    def __init__(self, widths: Widths = Widths()) -> None:
        super().__init__()
        full, half, quarter, eighth, blocks = widths
        self.widths = widths
        self.convolutions = nn.ModuleDict()
        self._slices: dict[str, tuple[int, int]] = {}
        self.modulations = 0

        def add(name: str, inputs: int, outputs: int, *, stride: int = 1, styled: bool = True) -> None:
            self.convolutions[name] = nn.Conv2d(inputs, outputs, 3, stride=stride, bias=not styled)
            if styled:
                self._slices[name] = (self.modulations, outputs)
                self.modulations += 2 * outputs

        add("down2", 6, half, styled=False)
        add("down4", half, quarter, stride=2)
        add("down8", quarter, eighth, stride=2)
        for block in range(blocks):
            add(f"block{block}a", eighth, eighth)
            add(f"block{block}b", eighth, eighth)
        add("up4", eighth, quarter)
        add("quarter_a", quarter, quarter)
        add("quarter_b", quarter, quarter)
        add("up2", quarter, half)
        add("half_a", half, half)
        add("half_b", half, half)
        add("up1", half, full)
        add("color", half, 2, styled=False)
        add("light", full + 1, 1, styled=False)

    def forward(self, light: FeatureMap, color: FeatureMap, modulation: Tensor) -> tuple[FeatureMap, FeatureMap]:
        """Compute what is to be added to a photo.

        Args:
            light: (batch, 1, height, width), about [-2, 2]; both sides multiples of 8.
            color: (batch, 2, height / 2, width / 2), likewise.
            modulation: (batch, modulations), of :class:`StyleReader`.

        Returns:
            What is to be added to each of the two.
        """
        two = F.relu(self._convolve("down2", torch.cat([F.pixel_unshuffle(light, 2), color], dim=1)))
        four = F.relu(self._styled("down4", two, modulation))
        x = F.relu(self._styled("down8", four, modulation))
        for block in range(self.widths.blocks):
            x = x + self._block(f"block{block}a", f"block{block}b", x, modulation)
        x = F.relu(_doubled(self._styled("up4", x, modulation)) + four)
        x = x + self._block("quarter_a", "quarter_b", x, modulation)
        x = F.relu(_doubled(self._styled("up2", x, modulation)) + two)
        x = x + self._block("half_a", "half_b", x, modulation)
        fine = _doubled(F.relu(self._styled("up1", x, modulation)))
        return self._convolve("light", torch.cat([fine, light], dim=1)), self._convolve("color", x)

    def _block(self, first: str, second: str, x: FeatureMap, modulation: Tensor) -> FeatureMap:
        return self._styled(second, F.relu(self._styled(first, x, modulation)), modulation)

    def _convolve(self, name: str, x: FeatureMap) -> FeatureMap:
        with torch.autocast(x.device.type, enabled=False):  # which would pad in float32, there and back
            x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        found: FeatureMap = self.convolutions[name](x)
        return found

    def _styled(self, name: str, x: FeatureMap, modulation: Tensor) -> FeatureMap:
        start, channels = self._slices[name]
        scale = 1 + modulation[:, start : start + channels, None, None]
        shift = modulation[:, start + channels : start + 2 * channels, None, None]
        return F.instance_norm(self._convolve(name, x), eps=1e-4) * scale + shift


class InstantNetwork(nn.Module):
    """Reader and transfer together.

    Args:
        channels: of the slim encoder at each of :data:`STYLE_LAYERS`.
        widths: of the transfer.
        code: length of a style's code.
    """

    def __init__(self, channels: tuple[int, ...], widths: Widths = Widths(), code: int = 256) -> None:
        super().__init__()
        self.transfer = Transfer(widths)
        self.reader = StyleReader(channels, self.transfer.modulations, code)

    def forward(self, photo: Image, modulation: Tensor) -> Image:
        """Paint a photo whose colours are already those of the style.

        Args:
            photo: (batch, 3, height, width), about [0, 1]; both sides multiples of :data:`MULTIPLE_PX`.
            modulation: (batch, modulations), from the reader.

        Returns:
            The picture, (batch, 3, height, width); it may leave [0, 1] a little.
        """
        planes = torch.einsum("ij,bjhw->bihw", LIGHT_AND_COLOR.to(photo), photo)
        light, color = planes[:, :1], F.avg_pool2d(planes[:, 1:], 2)
        more_light, more_color = self.transfer((light - 0.5) * 4, color * 4, modulation)
        planes = torch.cat([light + more_light / 4, _doubled(color + more_color / 4)], dim=1)
        return torch.einsum("ij,bjhw->bihw", BACK.to(photo), planes)


def _doubled(x: FeatureMap) -> FeatureMap:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
