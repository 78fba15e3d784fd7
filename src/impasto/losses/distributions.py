"""Losses that compare a style as a distribution of feature vectors: sliced Wasserstein, histograms, relaxed transport.

They are losses like those of :mod:`impasto.losses.features`. Where a loss draws places or directions, it draws them anew at each call
from its own generator: the same seed draws the same in the same order.
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

_COLOURS = ((0.299, 0.587, 0.114), (-0.147, -0.289, 0.436), (0.615, -0.515, -0.100))
"""Light and two differences of color (YUV of Rec. 601), which vary nearly independently in pictures."""


@dataclass(frozen=True)
class SlicedLoss(Loss):
    """Move the distribution of the features to that of a style, seen along many directions: sliced Wasserstein.

    ``Σ_l w_l mean_v mean_i (sort(vᵀF)_i - sort(vᵀS)_i)²``; where the style has another number of positions, its quantiles are
    resampled. The directions v are drawn anew at each call, as in the paper: a layer with many positions can afford few of
    them at a step, and all together they see everything.

    Args:
        target: feature vectors of the style by layer, (m, channels).
        weights: by layer, normalization included.
        heads: maps into the channels of the target.
        generator: draws the directions.
        effort: values that are sorted at a call in each layer, about; between 4 and 64 directions follow from it.

    Source:
        Heitz, Vanhoey, Chambon and Belcour 2021, equation 4.
    """

    name: ClassVar[str] = "style"
    target: Mapping[str, Tensor]
    weights: Mapping[str, float]
    heads: Heads
    generator: torch.Generator = field(repr=False, compare=False)
    effort: int = 2**19

    @property
    def layers(self) -> frozenset[str]:
        """The style layers."""
        return frozenset(self.target)

    def __call__(self, features: Features) -> Tensor:
        """Draw directions, and sum the weighted distances."""
        return sum_over(self.weights[layer] * self._distance(layer, features[layer]) for layer in self.target)

    def _distance(self, layer: str, features: FeatureMap) -> Tensor:
        rows, target, head = precise(features[0].flatten(1)), self.target[layer], self.heads.get(layer)
        count = min(64, max(4, self.effort // rows.shape[1]))
        axes = directions(count, target.shape[1], self.generator).to(target)
        found = axes @ rows if head is None else (axes @ head.matrix) @ rows + (axes @ head.bias)[:, None]
        return sliced_distance(found, axes @ target.T)


@dataclass(frozen=True)
class HistogramLoss(Loss):
    """Draw every channel's histogram to that of a style: ``Σ_l w_l mean_i Σ_c (F_ci - match(F, S)_ci)²``.

    The match is a constant when the gradient is taken.

    Args:
        target: the style's quantiles 0 to 1 by layer, (channels, knots), in the encoder's own channels.
        weights: by layer, normalization included.

    Source:
        Risser, Wilmot and Barnes 2017, equation 8; used beside Gram matrices, which leave the histograms open.
    """

    name: ClassVar[str] = "style"
    target: Mapping[str, Tensor]
    weights: Mapping[str, float]

    @property
    def layers(self) -> frozenset[str]:
        """The layers whose histograms are matched."""
        return frozenset(self.target)

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
    """Move hypercolumns to those of a style: relaxed earth mover's distance by cosine, and the difference of moments.

    Args:
        target: hypercolumns of the style, (m, channels of all layers).
        heads: by layer, in the order in which the layers are joined; their scale is what a layer weighs in the angle.
        generator: draws the places, anew at each call.
        count: places at the most.
        moments_weight: of the difference of moments beside the distance, which knows only angles.

    Attributes:
        moments: of the target, taken once when the loss is made.

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
        """Take the moments of the target."""
        object.__setattr__(self, "moments", moments_of(self.target))

    @property
    def layers(self) -> frozenset[str]:
        """The style layers."""
        return frozenset(self.heads)

    def __call__(self, features: Features) -> Tensor:
        """Draw places, and compare."""
        found = drawn_columns(features, self.heads, self.count, self.generator)
        transport = relaxed_emd(cosine_distances(found, self.target))
        return transport + self.moments_weight * moment_difference(moments_of(found), self.moments)


def drawn_columns(features: Features, heads: Heads, count: int, generator: torch.Generator) -> Tensor:
    """Draw hypercolumns at places spread over a picture: (places, channels of all layers)."""
    maps = [features[layer] for layer in heads]
    widest = max(maps, key=lambda each: each.shape[-1])
    places = scattered((widest.shape[-2], widest.shape[-1]), count, generator)
    return columns_at(maps, places, list(heads.values()))


@dataclass(frozen=True)
class PaletteLoss(Loss):
    """Move the picture's colors to those of a style: relaxed earth mover's distance of pixels.

    Args:
        target: colors of the style, (m, 3), see :func:`sampled_colors`.
        generator: draws the places, anew at each call.
        count: places at the most.

    Source:
        Kolkin, Salavon and Shakhnarovich 2019 (STROTSS), section 3.3, with YUV as the decorrelated colors.
    """

    name: ClassVar[str] = "palette"
    target: Tensor
    generator: torch.Generator = field(repr=False, compare=False)
    count: int = 1024

    @property
    def layers(self) -> frozenset[str]:
        """The picture itself."""
        return frozenset((PIXELS,))

    def __call__(self, features: Features) -> Tensor:
        """Draw places, and compare."""
        found = sampled_colors(features[PIXELS], self.count, self.generator)
        return relaxed_emd(euclidean_distances(found, self.target))


def sampled_colors(image: Image, count: int, generator: torch.Generator) -> Tensor:
    """Draw colors out of a picture, light and two differences of color: (places, 3)."""
    places = scattered((image.shape[-2], image.shape[-1]), count, generator)
    return picked(image, places) @ image.new_tensor(_COLOURS).T


@dataclass(frozen=True)
class SelfSimilarityLoss(Loss):
    """Keep how the parts of the content stand to each other: ``mean_ij |D_ij / mean_i D_ij - D̂_ij / mean_i D̂_ij|``.

    D are the cosine distances between feature vectors of one picture. What they are may change; which are alike may not.

    Args:
        target: the content's features by layer.
        weights: by layer; with more than one layer the losses are added.
        heads: maps into the channels in which angles are taken, by layer.
        edge: rows and columns, at the most, of the grid at which the features are compared; finer maps are averaged down to it.

    Source:
        Kolkin, Salavon and Shakhnarovich 2019 (STROTSS), equation 7, times the number of positions. The paper draws
        hypercolumns at random; this takes every layer by itself on a coarse grid and so is the same function at each step.
    """

    name: ClassVar[str] = "content"
    target: Features
    weights: Mapping[str, float]
    heads: Heads = field(default_factory=dict)
    edge: int = 32

    @property
    def layers(self) -> frozenset[str]:
        """The content layers."""
        return frozenset(self.target)

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
    """Average a feature map down to edge rows and columns at the most."""
    height, width = features.shape[-2:]
    return averaged(precise(features), (min(height, edge), min(width, edge)))


@dataclass(frozen=True)
class DrawnSelfSimilarityLoss(Loss):
    """Keep how hypercolumns of the content stand to each other, at places drawn anew at each call.

    Args:
        target: the content's features by layer.
        heads: by layer, in the order in which the layers are joined.
        generator: draws the places.
        count: places at the most.

    Source:
        Kolkin, Salavon and Shakhnarovich 2019 (STROTSS), equation 7, times the number of places.
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
        """Draw places, and compare."""
        state = self.generator.get_state()
        found = drawn_columns(features, self.heads, self.count, self.generator)
        self.generator.set_state(state)  # the same places in the content
        with torch.no_grad():
            wanted = drawn_columns(self.target, self.heads, self.count, self.generator)
        return (self_similarity(found) - self_similarity(wanted)).abs().mean()
