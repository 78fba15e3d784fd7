"""The network of a brush: a feed-forward network that paints any photo in one style.

Three convolutions reduce the photo to a quarter of its size, residual blocks follow, and three convolutions enlarge the result
again. Every convolution except the last is followed by instance normalization. Networks of other programs differ in details,
which a layout describes.

Source: Johnson et al. 2016 (arXiv:1603.08155) and its supplement, with the instance normalization of Ulyanov et al. 2016
(arXiv:1607.08022), the resize convolutions of Odena et al. 2016 and reflected borders.
"""

import copy
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args, get_type_hints

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.tensors import FeatureMap, Image

MULTIPLE_PX = 4
"""Photos are padded to a multiple of this, and the painted pictures are cropped again."""
SMALLEST_PX = 16
"""Shorter sides are padded, because a reflected border must be narrower than the picture."""
_LARGEST_WIDTH, _MOST_BLOCKS, _LARGEST_ENDS = 1024, 64, 31
"""Maximum sizes of a network from a file. They guard against files that would exhaust the memory of the machine."""


Statistics = tuple[Tensor, Tensor]
"""Variance and mean, (1, channels, 1, 1) each."""


class Layout(NamedTuple):
    """The shape of a network.

    Attributes:
        width: channels at full size; twice as many at half size, four times as many at a quarter.
        blocks: number of residual blocks.
        border: how convolutions pad the picture: by reflection, or with zeros.
        upsampling: nearest-neighbor upsampling and a convolution, or a transposed convolution.
        output: linear, or the normalized and scaled tanh of lengstrom's networks.
        epsilon: added to variances.
        ends: side length of the filters of the first and the last convolution.
    """

    width: int = 32
    blocks: int = 5
    border: Literal["reflect", "zero"] = "reflect"
    upsampling: Literal["resize", "transposed"] = "resize"
    output: Literal["linear", "tanh"] = "linear"
    epsilon: float = 1e-5
    ends: int = 9


LAYOUTS = {"full": Layout(), "medium": Layout(16, blocks=3, ends=5), "small": Layout(8, blocks=3, ends=5)}
"""Named layouts: 1.68 million parameters as in the paper, 270,000, and 70,000 for browsers."""


class Johnson(nn.Module):
    """A network that paints in one style.

    Args:
        layout: the shape of the network.
    """

    sha256: str = ""
    """Hash of the brush file; empty if the weights did not come from a file."""

    def __init__(self, layout: Layout | None = None) -> None:
        super().__init__()
        layout = layout or Layout()
        self.layout = layout
        full, half, quarter = layout.width, 2 * layout.width, 4 * layout.width
        self.down = nn.ModuleList(
            [
                _Convolution(3, full, layout.ends, 1, layout),
                _Convolution(full, half, 3, 2, layout),
                _Convolution(half, quarter, 3, 2, layout),
            ]
        )
        self.blocks = nn.ModuleList([_Residual(quarter, layout) for _ in range(layout.blocks)])
        self.up = nn.ModuleList([_Upsampling(quarter, half, layout), _Upsampling(half, full, layout)])
        last = _Convolution if layout.output == "tanh" else _Padded
        self.out: nn.Module = last(full, 3, layout.ends, 1, layout)

    def forward(self, photo: Image) -> Image:
        """Paint photos.

        Args:
            photo: (batch, 3, height, width), sRGB in [0, 1]; any size.

        Returns:
            Pictures of the same size; values may slightly exceed [0, 1].
        """
        height, width = photo.shape[-2:]
        x = padded(photo)
        for layer in self.down:
            x = F.relu(layer(x))
        for block in self.blocks:
            x = block(x)
        for layer in self.up:
            x = F.relu(layer(x))
        x = self.out(x)[..., :height, :width]
        picture: Image = 0.5 + (150 / 255 * x.tanh() if self.layout.output == "tanh" else x)
        return picture

    @torch.no_grad()
    def initialize(self, generator: torch.Generator) -> "Johnson":
        """Set all weights of convolutions to random values from PyTorch's default distribution, and their biases to zero."""
        for each in self.modules():
            if isinstance(each, nn.Conv2d | nn.ConvTranspose2d) and each.bias is not None:
                nn.init.kaiming_uniform_(each.weight, a=5**0.5, generator=generator)
                each.bias.zero_()
        return self

    @property
    def halo_px(self) -> int:
        """Largest distance at which a pixel of the photo affects the result, except through the picture's statistics."""
        ends = 2 * (self.layout.ends // 2)
        reach = ends + 1 + 2 + 2 * MULTIPLE_PX * self.layout.blocks + 2 + 1 + MULTIPLE_PX
        return -(-reach // MULTIPLE_PX) * MULTIPLE_PX

    @torch.no_grad()
    def with_statistics_of(self, photos: Image) -> "Johnson":
        """Return a copy that normalizes every picture with the statistics of these photos.

        The copy paints all tiles of a picture in the same way, and the frames of a video with the same colors.

        Args:
            photos: (batch, 3, height, width); the statistics are those of all photos together.
        """
        network = copy.deepcopy(self)
        norms = [each for each in network.modules() if isinstance(each, _Norm)]
        hooks = [each.register_forward_pre_hook(_fix_statistics) for each in norms]
        network(photos)
        for hook in hooks:
            hook.remove()
        return network

    @property
    def fixed_statistics(self) -> tuple[Statistics | None, ...]:
        """The fixed statistics of each normalization, in order; None: those of each picture."""
        return tuple(each.statistics for each in self.modules() if isinstance(each, _Norm))

    def with_statistics(self, statistics: Sequence[Statistics | None]) -> "Johnson":
        """Return a copy with the :attr:`fixed_statistics` of another copy."""
        network = copy.deepcopy(self)
        norms = [each for each in network.modules() if isinstance(each, _Norm)]
        for norm, each in zip(norms, statistics, strict=True):
            norm.statistics = each
        return network


def empty_network(layout: Layout) -> Johnson:
    """Create a network without memory for its weights (on the meta device), for a layout from an untrusted file.

    Raises:
        ValueError: a value of the layout is not allowed.
    """
    sizes = ((layout.width, 1, _LARGEST_WIDTH), (layout.blocks, 0, _MOST_BLOCKS), (layout.ends, 1, _LARGEST_ENDS))
    are_sizes = all(type(size) is int and low <= size <= high for size, low, high in sizes) and layout.ends % 2
    kinds = get_type_hints(Layout)
    are_known = all(getattr(layout, name) in get_args(kinds[name]) for name in ("border", "upsampling", "output"))
    if not (are_sizes and are_known and type(layout.epsilon) is float and 0 < layout.epsilon < 1):
        raise ValueError(f"layout outside the limits: {layout}")
    with torch.device("meta"):
        return Johnson(layout)


def padded(photo: Image) -> Image:
    """Pad a picture at the right and the bottom to the size that the network needs, by repeating its border."""
    height, width = (max(SMALLEST_PX, -(-side // MULTIPLE_PX) * MULTIPLE_PX) for side in photo.shape[-2:])
    if (height, width) == photo.shape[-2:]:
        return photo
    return F.pad(photo, (0, width - photo.shape[-1], 0, height - photo.shape[-2]), mode="replicate")


class _Padded(nn.Module):
    """A convolution whose output has the size of its input, divided by the stride."""

    def __init__(self, channels: int, out: int, side: int, stride: int, layout: Layout) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(channels, out, side, stride)
        self.border = layout.border

    def forward(self, x: FeatureMap) -> FeatureMap:
        side, stride = self.convolution.kernel_size[0], self.convolution.stride[0]
        if self.border == "reflect":
            around = [side // 2] * 4
        else:  # TensorFlow's "same"
            before = max(0, side - stride) // 2
            around = [before, side - stride - before] * 2
        with torch.autocast(x.device.type, enabled=False):  # autocast would convert to float32 for padding and back
            x = F.pad(x, around, mode="reflect" if self.border == "reflect" else "constant")
        found: FeatureMap = self.convolution(x)
        return found


class _Norm(nn.Module):
    """Instance normalization with a scale and a shift for each channel."""

    def __init__(self, channels: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.epsilon = epsilon
        self.statistics: Statistics | None = None
        """Variance and mean, (1, channels, 1, 1) each; None: those of the picture."""

    def forward(self, x: FeatureMap) -> FeatureMap:
        if self.statistics is None:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.epsilon)
        variance, mean = self.statistics
        scale = self.weight[:, None, None] * torch.rsqrt(variance + self.epsilon)
        return torch.addcmul((self.bias[:, None, None] - mean * scale).to(x.dtype), x, scale.to(x.dtype))


def _fix_statistics(norm: _Norm, given: tuple[FeatureMap]) -> None:
    """Store the statistics of the features that a layer is about to normalize."""
    norm.statistics = torch.var_mean(given[0].float(), (0, 2, 3), correction=0, keepdim=True)


class _Convolution(nn.Module):
    def __init__(self, channels: int, out: int, side: int, stride: int, layout: Layout) -> None:
        super().__init__()
        self.inner = _Padded(channels, out, side, stride, layout)
        self.norm = _Norm(out, layout.epsilon)

    def forward(self, x: FeatureMap) -> FeatureMap:
        found: FeatureMap = self.norm(self.inner(x))
        return found


class _Residual(nn.Module):
    def __init__(self, channels: int, layout: Layout) -> None:
        super().__init__()
        self.first = _Convolution(channels, channels, 3, 1, layout)
        self.second = _Convolution(channels, channels, 3, 1, layout)

    def forward(self, x: FeatureMap) -> FeatureMap:
        found: FeatureMap = x + self.second(F.relu(self.first(x)))
        return found


class _Upsampling(nn.Module):
    """A convolution that doubles the size."""

    def __init__(self, channels: int, out: int, layout: Layout) -> None:
        super().__init__()
        self.is_transposed = layout.upsampling == "transposed"
        transposed = nn.ConvTranspose2d(channels, out, 3, 2)
        self.inner: nn.Module = transposed if self.is_transposed else _Padded(channels, out, 3, 1, layout)
        self.norm = _Norm(out, layout.epsilon)

    def forward(self, x: FeatureMap) -> FeatureMap:
        if self.is_transposed:  # TensorFlow's padding "same" cuts off the last row and column
            x = self.inner(x)[..., :-1, :-1]
        else:
            x = self.inner(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        found: FeatureMap = self.norm(x)
        return found
