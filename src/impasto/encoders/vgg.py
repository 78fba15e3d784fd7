"""The VGG-19 and VGG-16 topologies at any width; features are returned by layer name.

``vgg19`` is this class at full width; ``vgg16`` has three convolutions fewer. ``vgg19-slim`` is the topology of VGG-19 at a
fraction of the width, with a learned affine head for each layer that maps to the full network's channels.

Source: Simonyan and Zisserman 2014, arXiv:1409.1556, configurations E (VGG-19) and D (VGG-16).
"""

import copy
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.errors import OptionError, nearest_name
from impasto.features.statistics import Affine
from impasto.options import Border, Pooling
from impasto.tensors import FeatureMap, Features, Image

BLOCKS: tuple[int, ...] = (2, 2, 4, 4, 4)
"""Number of convolutions in each of the five blocks of VGG-19."""
BLOCKS_OF_VGG16: tuple[int, ...] = (2, 2, 3, 3, 3)


def names_in(blocks: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the convolutions of the given blocks, in order.

    Example:
        >>> names_in((2, 1))
        ('1_1', '1_2', '2_1')
    """
    return tuple(f"{block}_{index}" for block, count in enumerate(blocks, start=1) for index in range(1, count + 1))


CONVOLUTIONS: tuple[str, ...] = names_in(BLOCKS)
LAYERS: tuple[str, ...] = tuple(f"{kind}{name}" for name in CONVOLUTIONS for kind in ("conv", "relu"))
FULL_WIDTHS: tuple[int, ...] = (64, 128, 256, 512, 512)

DEEP_BLOCKS = (4, 5)
"""Blocks whose convolutions pad with zeros if the border is ``"mixed"``."""

_POOLING_SCALES: Mapping[Pooling, float] = {"max": 1.0, "average": 2.0, "l2": 2 * 0.78, "plain-average": 1.0}
"""Factors applied to pooled maps. For l2, the source uses the root of the sum of four squares, which is twice the root
of their mean."""


class Vgg(nn.Module):
    """Compute features by layer name; input normalization is included.

    Args:
        widths: number of channels of each of the five blocks, or of each convolution.
        pooling: how the network downsamples between blocks; see :func:`pool`.
        border: padding mode of the convolutions. ``"zero"`` was used in training: it keeps the deep, sparse features at the
            edge comparable to those inside, but at shallow layers it leaves a frame of artifacts in paintings. ``"replicate"``
            leaves no frame, but changes the deep features. ``"mixed"`` replicates in the first three blocks and pads with
            zeros in the last two.
        with_heads: whether every layer has an affine head that maps to the channels of the full network.
        last: the last convolution; some published files end early. The default is the last convolution of the last block.
        blocks: number of convolutions in each block: VGG-19's, or :data:`BLOCKS_OF_VGG16`.

    Raises:
        OptionError: when it is called, if a layer is unknown.

    Example:
        >>> import torch
        >>> encoder = Vgg((4, 4, 8, 8, 16))  # random weights
        >>> encoder(torch.rand(1, 3, 64, 96), ["relu1_1", "relu5_1"])["relu5_1"].shape  # (batch, channels, height, width)
        torch.Size([1, 16, 4, 6])

    Source:
        Simonyan and Zisserman 2014 (arXiv:1409.1556).
    """

    mean: Tensor
    std: Tensor
    sha256: str = ""
    """Hash of the weights file; empty if the weights did not come from a file."""

    def __init__(
        self,
        widths: tuple[int, ...] = FULL_WIDTHS,
        *,
        pooling: Pooling = "max",
        border: Border = "mixed",
        with_heads: bool = False,
        last: str | None = None,
        blocks: tuple[int, ...] = BLOCKS,
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.widths, self.pooling, self.border = each_width(widths, blocks), pooling, border
        self.convolutions = nn.ModuleDict()
        names, channels = names_in(blocks), 3
        for name, width in zip(names[: names.index(last or names[-1]) + 1], self.widths, strict=False):
            self.convolutions[name] = nn.Conv2d(channels, width, 3)
            channels = width
        self.heads = nn.ModuleDict()
        if with_heads:
            for layer in self.layers:
                self.heads[layer] = nn.Linear(self.widths[names.index(layer[4:])], FULL_WIDTHS[int(layer[4]) - 1])
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("std", torch.ones(3))

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of this network's layers, in order; for VGG-19 those of :data:`LAYERS`."""
        return tuple(f"{kind}{name}" for name in self.convolutions for kind in ("conv", "relu"))

    def forward(self, image: Image, layers: Iterable[str]) -> Features:
        """Compute the features of the requested layers; deeper layers are not evaluated.

        Args:
            image: (batch, 3, height, width), sRGB in [0, 1]; both sides at least 16.
            layers: names from :attr:`layers`.

        Returns:
            Features by layer name; a layer of block b has ``1 / 2 ** (b - 1)`` of the picture's height and width.

        Raises:
            OptionError: if a layer is not in this network.
        """
        wanted = set(layers)
        for layer in sorted(wanted.difference(self.layers)):
            raise OptionError(f"layer {layer!r} is not in this network{nearest_name(layer, self.layers)}")
        found: dict[str, FeatureMap] = {}
        x = (image - self.mean[:, None, None]) / self.std[:, None, None]
        x = x.to(self.precision)
        for name in self.convolutions:
            if name.endswith("_1") and name != "1_1":
                x = pool(x, self.pooling)
            x = self._convolve(name, x)
            if f"conv{name}" in wanted:
                found[f"conv{name}"] = x
            x = F.relu(x)
            if f"relu{name}" in wanted:
                found[f"relu{name}"] = x
            if len(found) == len(wanted):
                break
        return found

    @property
    def precision(self) -> torch.dtype:
        """The dtype of the filters; features are computed in this dtype."""
        first = next(iter(self.convolutions.values()))
        assert isinstance(first, nn.Conv2d)
        return first.weight.dtype

    def head(self, layer: str) -> Affine | None:
        """Return the map from a layer to the full network's channels, or None if the layer already has them."""
        if layer not in self.heads:
            return None
        linear = self.heads[layer]
        assert isinstance(linear, nn.Linear)
        return Affine(linear.weight, linear.bias)

    def _convolve(self, name: str, x: FeatureMap) -> FeatureMap:
        convolution = self.convolutions[name]
        assert isinstance(convolution, nn.Conv2d)
        if self.border == "zero" or (self.border == "mixed" and int(name[0]) in DEEP_BLOCKS):
            return F.conv2d(x, convolution.weight, convolution.bias, padding=1)
        mode = "reflect" if self.border == "reflect" and min(x.shape[-2:]) > 1 else "replicate"
        with torch.autocast(x.device.type, enabled=False):  # autocast would convert to float32 for padding and back
            x = F.pad(x, (1, 1, 1, 1), mode=mode)
        return F.conv2d(x, convolution.weight, convolution.bias)


def frozen_copy(network: Vgg) -> Vgg:
    """Return a copy that can be moved and converted without affecting the network; it shares the memory of the weights."""
    shared: dict[int, Tensor] = {id(each): each.detach() for each in network.buffers()}
    shared |= {id(each): nn.Parameter(each.detach(), requires_grad=False) for each in network.parameters()}
    return copy.deepcopy(network, shared)


def each_width(widths: tuple[int, ...], blocks: tuple[int, ...] = BLOCKS) -> tuple[int, ...]:
    """Return one width per convolution; widths that are given per block are repeated.

    Example:
        >>> each_width((1, 2, 3, 4, 5))
        (1, 1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5)
    """
    if len(widths) != len(blocks):
        return widths
    return tuple(width for width, count in zip(widths, blocks, strict=True) for _ in range(count))


def pool(x: FeatureMap, pooling: Pooling) -> FeatureMap:
    """Halve the height and the width of a feature map (batch, channels, height, width), rounded down.

    The network was trained with ``"max"``, and the maximum of four values is larger than their average. ``"average"`` and
    ``"l2"`` (the root of the mean of squares) are rescaled, because otherwise the amplitude decreases from block to block. With
    rescaling, features of a photo in VGG-19's fifth block have 3.6 (``"average"``) or 1.9 (``"l2"``) times the amplitude of
    ``"max"``.
    ``"plain-average"``, used by published programs that do not rescale, gives 0.2 times the amplitude of ``"max"``.

    Source:
        The scales are those of crowsonkb/style-transfer-pytorch (MIT).
    """
    if pooling == "max":
        return F.max_pool2d(x, 2)
    pooled = F.avg_pool2d(x.square(), 2).clamp_min(1e-8).sqrt() if pooling == "l2" else F.avg_pool2d(x, 2)
    return pooled * _POOLING_SCALES[pooling]
