"""The live network: any style in one pass, small enough for a webcam; impasto only exports it, as an ONNX graph.

The input photo has already been given the colors of the style (by :func:`impasto.color.transfer.monge_kantorovich`, a
closed-form map); the network adds the strokes. It is a small U-Net: three downsamplings, residual blocks at 1/8 of the size,
and upsampling by bilinear resizing, which avoids checkerboard artifacts. Color is computed at half the resolution of luma.

To measure a style, the network runs on the style picture without normalization and records the mean and standard deviation of
every feature. To paint, the photo's features are normalized to these statistics (adaptive instance normalization). A reader
network corrects these statistics, based on the style's features from the slim encoder. By construction, a picture painted in
its own style is nearly unchanged, and interpolating the statistics of two styles gives a style in between.

Source: Huang and Belongie 2017 (arXiv:1703.06868) for adaptive instance normalization, here at every layer and with the
painting network itself as the style's encoder; Ghiasi et al. 2017 (arXiv:1705.06830) for scales and shifts that a network
predicts; Odena et al. 2016 for resize-convolutions.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.features.statistics import Affine, Moments
from impasto.optim.parametrization import LUMA_AND_CHROMA, LUMA_AND_CHROMA_INVERSE, mix
from impasto.runtime.torch_state import known_state
from impasto.tensors import FeatureMap, Image

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
MULTIPLE_PX = 8
"""Picture sides are padded to a multiple of this."""

_TINY = 1e-4
Normalize = Callable[[str, FeatureMap], FeatureMap]
"""Function applied to the features of a named convolution."""

with known_state():  # independent of the caller's torch defaults at import time
    # Matrices of two operations: bilinear upsampling by 2 (from three coarse values to four fine ones) and pixel unshuffling.
    # For each phase, _STEPS and _CUTS contain the three rows of these matrices that the three taps of the fine convolution
    # use. Their dimensions are (phase, fine tap, coarse tap[, unshuffled phase]).
    _DOUBLING = torch.tensor([[0.75, 0.25, 0.0], [0.25, 0.75, 0.0], [0.0, 0.75, 0.25], [0.0, 0.25, 0.75]])
    _CUTTING = torch.zeros(4, 3, 2)
    _CUTTING[[0, 1, 2, 3], [0, 1, 1, 2], [1, 0, 1, 0]] = 1
    _STEPS = torch.stack([_DOUBLING[phase : phase + 3] for phase in (0, 1)])
    _CUTS = torch.stack([_CUTTING[phase : phase + 3] for phase in (0, 1)])


class Widths(NamedTuple):
    """Channels at full, 1/2, 1/4 and 1/8 size, and the number of residual blocks at 1/8."""

    full: int = 12
    half: int = 16
    quarter: int = 64
    eighth: int = 96
    blocks: int = 4


class StyleReader(nn.Module):
    """Map a style's moments at the slim encoder's layers to a code, and a code to scales and shifts.

    Args:
        channels: number of channels of the slim encoder at each of :data:`STYLE_LAYERS`.
        modulations: number of outputs, see :attr:`Transfer.modulations`.
        code: length of a style code.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, channels: tuple[int, ...], modulations: int, code: int = 256) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(2 * sum(channels)))  # the spelling in published files
        self.register_buffer("spread", torch.ones(2 * sum(channels)))
        self.read = nn.Sequential(nn.Linear(2 * sum(channels), code), nn.LeakyReLU(0.2), nn.Linear(code, code))
        last = nn.Linear(code, modulations)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.tell = nn.Sequential(nn.LeakyReLU(0.2), nn.Linear(code, code), nn.LeakyReLU(0.2), last)

    def measure(self, moments: Mapping[str, Moments]) -> Tensor:
        """Concatenate the logarithms of the means and deviations of a style's features: (batch, numbers)."""
        found = [moments[layer] for layer in STYLE_LAYERS]
        rows = [torch.cat([m.mean.clamp_min(0), m.deviation.float()], dim=1) for m in found]
        return torch.cat([row.add(1e-2).log() for row in rows], dim=1)

    def code(self, moments: Mapping[str, Moments]) -> Tensor:
        """Return the code of a style, (batch, code)."""
        found: Tensor = self.read((self.measure(moments) - self.centre) / self.spread)
        return found

    def forward(self, code: Tensor) -> Tensor:
        """Return the scales and shifts for a code, (batch, modulations)."""
        found: Tensor = self.tell(code)
        return found


class Transfer(nn.Module):
    """Add a style's strokes to a photo; the part of the network that runs at picture size."""

    def __init__(self, widths: Widths | None = None) -> None:
        super().__init__()
        widths = widths or Widths()
        full, half, quarter, eighth, blocks = widths
        self.widths = widths
        self.convolutions = nn.ModuleDict()
        self._slices: dict[str, tuple[int, int]] = {}
        self.modulations = 0

        def add(name: str, inputs: int, outputs: int, *, stride: int = 1, styled: bool = True) -> None:
            self.convolutions[name] = nn.Conv2d(inputs, outputs, 3, stride=stride)
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

    @property
    def styled(self) -> tuple[tuple[str, int], ...]:
        """The names and channels of the convolutions whose features are normalized, in order."""
        return tuple((name, channels) for name, (_, channels) in self._slices.items())

    def forward(self, light: FeatureMap, color: FeatureMap, modulation: Tensor) -> tuple[FeatureMap, FeatureMap]:
        """Compute the residual to add to a photo.

        Args:
            light: (batch, 1, height, width), roughly in [-2, 2]; height and width are multiples of 8.
            color: (batch, 2, height / 2, width / 2), roughly in [-2, 2].
            modulation: (batch, modulations), from :class:`StyleReader`.

        Returns:
            The residuals of light and color.
        """
        return self._paint(light, color, partial(self._modulated, modulation))

    def measure(self, light: FeatureMap, color: FeatureMap) -> Tensor:
        """Measure a picture as a style: (batch, modulations), deviation and mean of every feature that is normalized."""
        found: list[Tensor] = []

        def noted(_: str, x: FeatureMap) -> FeatureMap:
            mean, variance = _Spread.apply(x)  # type: ignore[no-untyped-call]
            found.extend(((variance + _TINY).sqrt(), mean))
            return x

        self._paint(light, color, noted)
        return torch.cat(found, dim=1)

    def _paint(self, light: FeatureMap, color: FeatureMap, normalized: Normalize) -> tuple[FeatureMap, FeatureMap]:
        def styled(name: str, x: FeatureMap) -> FeatureMap:
            return normalized(name, self._convolve(name, x))

        def block(first: str, second: str, x: FeatureMap) -> FeatureMap:
            return x + styled(second, F.relu(styled(first, x)))

        two = F.relu(self._convolve("down2", torch.cat([F.pixel_unshuffle(light, 2), color], dim=1)))
        four = F.relu(styled("down4", two))
        x = F.relu(styled("down8", four))
        for number in range(self.widths.blocks):
            x = block(f"block{number}a", f"block{number}b", x)
        x = F.relu(_doubled(styled("up4", x)) + four)
        x = block("quarter_a", "quarter_b", x)
        x = F.relu(_doubled(styled("up2", x)) + two)
        x = block("half_a", "half_b", x)
        return self._fine_light(F.relu(styled("up1", x)), light), self._convolve("color", x)

    def _fine_light(self, fine: FeatureMap, light: FeatureMap) -> FeatureMap:
        """Convolve luma and the features that are not yet upsampled, in one convolution with four output phases."""
        weight, bias = self.folded_light()
        with torch.autocast(fine.device.type, enabled=False):
            cut = F.pixel_unshuffle(F.pad(light, (2, 2, 2, 2), mode="replicate"), 2)
            both = torch.cat([F.pad(fine, (1, 1, 1, 1), mode="replicate"), cut.to(fine.dtype)], dim=1)
        return F.pixel_shuffle(F.conv2d(both, weight, bias), 2)

    def folded_light(self) -> tuple[Tensor, Tensor]:
        """Return the filters of the finest convolution, combined with the upsampling that precedes it.

        Returns:
            Filters (4, channels + 4, 3, 3) that map the features at half size and the four phases of luma to the four phases of
            the result; and their bias, (4,).
        """
        finest = self.convolutions["light"]
        assert isinstance(finest, nn.Conv2d)
        assert finest.bias is not None
        with torch.autocast(finest.weight.device.type, enabled=False):
            w = finest.weight[0]
            steps, cuts = _STEPS.to(w), _CUTS.to(w)
            of_fine = torch.einsum("cab,pas,qbt->pqcst", w[:-1], steps, steps).reshape(4, -1, 3, 3)
            of_light = torch.einsum("ab,pasf,qbtg->pqfgst", w[-1], cuts, cuts).reshape(4, 4, 3, 3)
            return torch.cat([of_fine, of_light], dim=1), finest.bias.expand(4)

    def _convolve(self, name: str, x: FeatureMap) -> FeatureMap:
        with torch.autocast(x.device.type, enabled=False):  # autocast would convert to float32 for padding and back
            x = F.pad(x, (1, 1, 1, 1), mode="replicate")
        found: FeatureMap = self.convolutions[name](x)
        return found

    def _modulated(self, modulation: Tensor, name: str, x: FeatureMap) -> FeatureMap:
        start, channels = self._slices[name]
        scale, shift = modulation[:, start : start + channels], modulation[:, start + channels : start + 2 * channels]
        if torch.is_grad_enabled() and x.requires_grad:
            return _Normalized.apply(x, scale, shift)  # type: ignore[no-any-return, no-untyped-call]
        scale, shift = (each[:, :, None, None].to(x.dtype) for each in (scale, shift))
        return F.instance_norm(x, eps=_TINY) * scale + shift


class _Spread(torch.autograd.Function):
    """Mean and variance of each channel, (batch, channels); their gradient takes one pass over the features."""

    @staticmethod
    def forward(context: Any, x: FeatureMap) -> tuple[Tensor, Tensor]:
        mean, variance = _spread(x)
        context.save_for_backward(x, mean)
        return mean, variance

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> FeatureMap:
        x, mean = context.saved_tensors
        of_mean, of_variance = (gradient / (x.shape[2] * x.shape[3]) for gradient in gradients)
        slope, offset = 2 * of_variance, of_mean - 2 * of_variance * mean
        return torch.addcmul(_wide(offset, x), x, _wide(slope, x))


class _Normalized(torch.autograd.Function):
    """Instance normalization with scale and shift; in any memory layout, its gradient takes two passes over the features."""

    @staticmethod
    def forward(context: Any, x: FeatureMap, scale: Tensor, shift: Tensor) -> FeatureMap:
        mean, variance = _spread(x)
        inverse = torch.rsqrt(variance + _TINY)
        context.save_for_backward(x, mean, inverse, scale)
        return torch.addcmul(_wide(shift - mean * inverse * scale, x), x, _wide(inverse * scale, x))

    @staticmethod
    def backward(context: Any, gradient: FeatureMap) -> tuple[FeatureMap, Tensor, Tensor]:
        x, mean, inverse, scale = context.saved_tensors
        of_shift = gradient.sum((2, 3)).float()
        of_scale = ((gradient * x).sum((2, 3)).float() - mean * of_shift) * inverse
        positions = x.shape[2] * x.shape[3]
        slope = -scale * inverse.square() * of_scale / positions
        offset = -scale * inverse * of_shift / positions - slope * mean
        found = torch.addcmul(_wide(offset, x), x, _wide(slope, x))
        return found.addcmul_(gradient, _wide(scale * inverse, x)), of_scale, of_shift


def _spread(x: FeatureMap) -> tuple[Tensor, Tensor]:
    mean = x.mean((2, 3), keepdim=True)
    centered = x - mean
    return mean[:, :, 0, 0].float(), centered.square_().mean((2, 3)).float()


def _wide(values: Tensor, x: FeatureMap) -> Tensor:
    return values[:, :, None, None].to(x.dtype)


class InstantNetwork(nn.Module):
    """The style reader and the transfer network.

    Args:
        channels: number of channels of the slim encoder at each of :data:`STYLE_LAYERS`.
        widths: layer widths of the transfer network.
        code: length of a style code.
    """

    sha256: str = ""
    """Hash of the weights file; empty if the weights did not come from a file."""

    def __init__(self, channels: tuple[int, ...], widths: Widths | None = None, code: int = 256) -> None:
        super().__init__()
        self.transfer = Transfer(widths)
        self.reader = StyleReader(channels, self.transfer.modulations, code)

    def own(self, picture: Image) -> Tensor:
        """Measure a style picture with the transfer network: deviation and mean of every feature that is normalized.

        Args:
            picture: (batch, 3, height, width), in [0, 1]; both sides multiples of :data:`MULTIPLE_PX`.

        Returns:
            (batch, modulations).
        """
        return self.transfer.measure(*_planes(picture))

    def corrected(self, own: Tensor, moments: Mapping[str, Moments]) -> Tensor:
        """Apply the reader's correction, based on the slim encoder's moments, to the result of :meth:`own`.

        Args:
            own: (batch, modulations).
            moments: moments of the same picture in the slim encoder, at :data:`STYLE_LAYERS`.

        Returns:
            (batch, modulations): a scale and a shift for every feature that is normalized.
        """
        change = self.reader(self.reader.code(moments))
        parts, start = [], 0
        for _, channels in self.transfer.styled:
            scale, shift = own[:, start : start + channels], own[:, start + channels : start + 2 * channels]
            factor, offset = change[:, start : start + channels], change[:, start + channels : start + 2 * channels]
            parts += [scale * (1 + factor), shift + scale * offset]
            start += 2 * channels
        return torch.cat(parts, dim=1)

    def measure(self, picture: Image, moments: Mapping[str, Moments]) -> Tensor:
        """Measure a picture as a style: :meth:`own`, then :meth:`corrected`."""
        return self.corrected(self.own(picture), moments)

    def forward(self, photo: Image, modulation: Tensor) -> Image:
        """Paint a photo whose colors are already those of the style.

        Args:
            photo: (batch, 3, height, width), roughly in [0, 1]; both sides multiples of :data:`MULTIPLE_PX`.
            modulation: (batch, modulations), from :meth:`measure`.

        Returns:
            The picture, (batch, 3, height, width); it may slightly exceed [0, 1].
        """
        light, color = _planes(photo)
        return _together(light, color, *self.transfer(light, color, modulation))

    def recolored(self, photo: Image, colors: Affine, modulation: Tensor) -> Image:
        """Recolor a photo and paint it: :func:`impasto.color.transfer.recolored` and :meth:`forward` combined."""
        light, color = _planes(photo, colors)
        return _together(light, color, *self.transfer(light, color, modulation))


def _together(light: FeatureMap, color: FeatureMap, more_light: FeatureMap, more_color: FeatureMap) -> Image:
    with torch.autocast(light.device.type, enabled=False):  # bfloat16 would cause banding
        planes = torch.cat([light + more_light.float(), _doubled(color + more_color.float())], dim=1) / 4
        return mix(planes, LUMA_AND_CHROMA_INVERSE) + 0.5


def _planes(picture: Image, colors: Affine | None = None) -> tuple[FeatureMap, FeatureMap]:
    """Split a picture, optionally recolored, into luma at full size and color at half size, both roughly in [-2, 2]."""
    with torch.autocast(picture.device.type, enabled=False):  # bfloat16 would cause banding
        apart = 4 * LUMA_AND_CHROMA.to(picture)
        if colors is None:
            planes = mix(picture - 0.5, apart)
        else:
            bias = (colors.bias - 0.5) @ apart.T
            planes = torch.einsum("bij,bjhw->bihw", apart @ colors.matrix, picture) + bias[:, :, None, None]
        return planes[:, :1], _halved(planes[:, 1:])


def _halved(x: FeatureMap) -> FeatureMap:
    """Average 2 × 2 blocks; in OpenVINO, pooling would be slower for pictures with few channels."""
    rows = x[..., ::2, :] + x[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def _doubled(x: FeatureMap) -> FeatureMap:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
