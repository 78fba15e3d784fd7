"""Losses that compare distributions of feature vectors: sliced Wasserstein, histograms, relaxed earth mover's distance.

These are losses as defined in :mod:`impasto.losses.features`. A loss that samples positions or directions draws new ones at
each call from its own generator, so the same seed gives the same sequence.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from impasto.features.distributions import (
    columns_at,
    cosine_distances,
    directions,
    euclidean_distances,
    histogram_matched,
    moment_difference,
    moments_of,
    picked,
    relaxed_emd,
    rows_of,
    scattered,
    self_similarity,
    sliced_distance,
    through,
)
from impasto.features.statistics import Moments, precise
from impasto.losses.features import PIXELS, Heads, Loss, sum_over
from impasto.runtime.resampling import averaged
from impasto.tensors import FeatureMap, Features, Image

_YUV = ((0.299, 0.587, 0.114), (-0.147, -0.289, 0.436), (0.615, -0.515, -0.100))
"""Luma and two color differences (YUV, Rec. 601), which are nearly uncorrelated in pictures."""


@dataclass(frozen=True)
class SlicedLoss(Loss):
    """Sliced Wasserstein distance between the features and those of a style.

    ``Σ_l w_l mean_v mean_i (sort(vᵀF)_i - sort(vᵀS)_i)²``. If the style has a different number of positions, its quantiles are
    resampled. As in the paper, new directions v are drawn at each call: a layer with many positions uses few directions per
    step, but the directions of many steps together cover the sphere.

    Args:
        target: feature vectors of the style by layer, (m, channels).
        weights: weight of each layer, normalization included.
        heads: affine maps to the channels of the target.
        generator: random generator for the directions.
        effort: approximate number of values sorted per call and layer; it determines the number of directions, 4 to 64.

    Raises:
        KeyError: when it is called, if the features of a layer are missing.

    Example:
        >>> style = torch.rand(64, 3, generator=torch.Generator().manual_seed(0))
        >>> loss = SlicedLoss({"relu1_1": style}, {"relu1_1": 1.0}, {}, torch.Generator().manual_seed(1))
        >>> loss({"relu1_1": style.T.reshape(1, 3, 8, 8)}).item()  # the same distribution
        0.0

    Source:
        Heitz, Vanhoey, Chambon and Belcour 2021, equation 4.
    """

    name: ClassVar[str] = "style"
    target: Mapping[str, Tensor]
    weights: Mapping[str, float]
    heads: Heads
    generator: torch.Generator = field(repr=False, compare=False)
    effort: int = 2**19

    def __call__(self, features: Features) -> Tensor:
        """Draw directions and sum the weighted distances."""
        return sum_over(self.weights[layer] * self._distance(layer, features[layer]) for layer in self.target)

    def _distance(self, layer: str, features: FeatureMap) -> Tensor:
        rows, target, head = precise(features[0].flatten(1)), self.target[layer], self.heads.get(layer)
        count = min(64, max(4, self.effort // rows.shape[1]))
        axes = directions(count, target.shape[1], self.generator).to(target)
        found = axes @ rows if head is None else (axes @ head.matrix) @ rows + (axes @ head.bias)[:, None]
        return sliced_distance(found, axes @ target.T)


@dataclass(frozen=True)
class HistogramLoss(Loss):
    """Squared distance between features and their histogram-matched values: ``Σ_l w_l mean_i Σ_c (F_ci - match(F, S)_ci)²``.

    The gradient treats the matched values as constants.

    Args:
        target: quantiles of the style by layer, (channels, quantiles): evenly spaced, from the minimum to the maximum of each
            channel. The channels are those of the encoder; no head is applied.
        weights: weight of each layer, normalization included.

    Raises:
        KeyError: when it is called, if the features of a layer are missing.

    Example:
        >>> quantiles = torch.tensor([[0.0, 1.0, 2.0, 3.0]])  # of one channel
        >>> loss = HistogramLoss({"relu1_1": quantiles}, weights={"relu1_1": 1.0})
        >>> loss({"relu1_1": torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])}).item() < 1e-6  # the same histogram
        True

    Source:
        Risser, Wilmot and Barnes 2017, equation 8. The loss is meant to be added to a Gram loss: Gram matrices do
        not determine histograms.
    """

    name: ClassVar[str] = "style"
    target: Mapping[str, Tensor]
    weights: Mapping[str, float]

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted squared differences."""
        return sum_over(self.weights[layer] * self._difference(layer, features[layer]) for layer in self.target)

    def _difference(self, layer: str, features: FeatureMap) -> Tensor:
        values = precise(features[0].flatten(1))
        with torch.no_grad():
            matched = histogram_matched(values, self.target[layer])
        return (values - matched).square().sum(0).mean()


@dataclass(frozen=True)
class RelaxedEmdLoss(Loss):
    """Relaxed earth mover's distance (cosine) between hypercolumns, plus the difference of their moments.

    Args:
        target: hypercolumns of the style, (m, channels of all layers).
        heads: affine map of each layer, in concatenation order; its scale sets the layer's weight in the cosine distance.
        generator: random generator for the positions, which are redrawn at each call.
        count: maximum number of positions.
        moments_weight: weight of the moment difference, which complements the scale-invariant cosine distance.

    Attributes:
        moments: moments of the target, computed once at construction.

    Raises:
        KeyError: when it is called, if the features of a layer are missing.

    Example:
        >>> style = torch.rand(64, 3, generator=torch.Generator().manual_seed(0))
        >>> loss = RelaxedEmdLoss(style, {"relu1_1": None}, torch.Generator().manual_seed(1))
        >>> 0 <= loss({"relu1_1": style.T.reshape(1, 3, 8, 8)}).item() < 0.1
        True

    Source:
        Kolkin, Salavon and Shakhnarovich 2019 (STROTSS), equations 4 to 6.
    """

    name: ClassVar[str] = "style"
    target: Tensor
    heads: Heads
    generator: torch.Generator = field(repr=False, compare=False)
    count: int = 1024
    moments_weight: float = 1.0
    moments: Moments = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compute the moments of the target."""
        object.__setattr__(self, "moments", moments_of(self.target))

    @property
    def layers(self) -> frozenset[str]:
        """The style layers."""
        return frozenset(self.heads)

    def __call__(self, features: Features) -> Tensor:
        """Draw positions and compare their hypercolumns with the target."""
        found = drawn_columns(features, self.heads, self.count, self.generator)
        transport = relaxed_emd(cosine_distances(found, self.target))
        return transport + self.moments_weight * moment_difference(moments_of(found), self.moments)


def drawn_columns(features: Features, heads: Heads, count: int, generator: torch.Generator) -> Tensor:
    """Sample hypercolumns at positions spread over a picture: (positions, channels of all layers)."""
    maps = [features[layer] for layer in heads]
    widest = max(maps, key=lambda each: each.shape[-1])
    places = scattered((widest.shape[-2], widest.shape[-1]), count, generator)
    return columns_at(maps, places, list(heads.values()))


@dataclass(frozen=True)
class PaletteLoss(Loss):
    """Relaxed earth mover's distance between the colors of the picture and those of a style.

    Args:
        target: colors of the style, (m, 3), see :func:`sampled_colors`.
        generator: random generator for the positions, which are redrawn at each call.
        count: maximum number of positions.

    Source:
        Kolkin, Salavon and Shakhnarovich 2019 (STROTSS), section 3.3, with YUV as the decorrelated colors.
    """

    name: ClassVar[str] = "palette"
    target: Tensor
    generator: torch.Generator = field(repr=False, compare=False)
    count: int = 1024

    def __call__(self, features: Features) -> Tensor:
        """Draw positions and compare their colors with the target."""
        found = sampled_colors(features[PIXELS], self.count, self.generator)
        return relaxed_emd(euclidean_distances(found, self.target))


def sampled_colors(image: Image, count: int, generator: torch.Generator) -> Tensor:
    """Sample colors of a picture as luma and two color differences: (positions, 3)."""
    places = scattered((image.shape[-2], image.shape[-1]), count, generator)
    return picked(image, places) @ image.new_tensor(_YUV).T


@dataclass(frozen=True)
class SelfSimilarityLoss(Loss):
    """Preserve the self-similarity of the content: ``mean_ij |D_ij / mean_i D_ij - D̂_ij / mean_i D̂_ij|``.

    D contains the cosine distances between the feature vectors of the picture, and D̂ those of the content. The features may
    change, but the loss penalizes changes of their relative distances.

    Args:
        target: the content's features by layer.
        weights: weight of each layer; the losses of several layers are added.
        heads: affine map of each layer, applied before distances are computed.
        edge: maximum number of rows and columns of the comparison grid; finer feature maps are averaged down to it.

    Raises:
        KeyError: when it is called, if the features of a layer are missing.

    Example:
        >>> content = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> loss = SelfSimilarityLoss({"relu4_1": content}, weights={"relu4_1": 1.0})
        >>> loss({"relu4_1": 2 * content}).item() < 1e-6  # cosine distances do not change
        True

    Source:
        Kolkin, Salavon and Shakhnarovich 2019 (STROTSS), equation 7, multiplied by the number of positions. The paper samples
        hypercolumns at random; this loss compares each layer separately on a coarse grid, so it is deterministic.
    """

    name: ClassVar[str] = "content"
    target: Features
    weights: Mapping[str, float]
    heads: Heads = field(default_factory=dict)
    edge: int = 32

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted differences."""
        return sum_over(self.weights[layer] * self._difference(layer, features[layer]) for layer in self.target)

    def _difference(self, layer: str, features: FeatureMap) -> Tensor:
        found, wanted = (
            self_similarity(through(rows_of(on_grid(each, self.edge)), self.heads.get(layer)))
            for each in (features, self.target[layer])
        )
        return (found - wanted).abs().mean()


def on_grid(features: FeatureMap, edge: int) -> FeatureMap:
    """Average a feature map down to at most ``edge`` rows and columns."""
    height, width = features.shape[-2:]
    return averaged(precise(features), (min(height, edge), min(width, edge)))


@dataclass(frozen=True)
class DrawnSelfSimilarityLoss(Loss):
    """Preserve the self-similarity of the content's hypercolumns, at positions redrawn at each call.

    Args:
        target: the content's features by layer.
        heads: affine map of each layer, in concatenation order.
        generator: random generator for the positions.
        count: maximum number of positions.

    Source:
        Kolkin, Salavon and Shakhnarovich 2019 (STROTSS), equation 7, multiplied by the number of positions.
    """

    name: ClassVar[str] = "content"
    target: Features
    heads: Heads
    generator: torch.Generator = field(repr=False, compare=False)
    count: int = 1024

    @property
    def layers(self) -> frozenset[str]:
        """The layers of the hypercolumns."""
        return frozenset(self.heads)

    def __call__(self, features: Features) -> Tensor:
        """Draw positions and compare the two pictures there."""
        state = self.generator.get_state()
        found = drawn_columns(features, self.heads, self.count, self.generator)
        self.generator.set_state(state)  # sample the content at the same positions
        with torch.no_grad():
            wanted = drawn_columns(self.target, self.heads, self.count, self.generator)
        return (self_similarity(found) - self_similarity(wanted)).abs().mean()
