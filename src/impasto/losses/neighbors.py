"""Losses that draw features to their nearest neighbors in a style: patches (CNNMRF), hypercolumns and features (NNST)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.features.distributions import (
    centered,
    hypercolumns,
    nearest,
    patches,
    picked,
    put_together,
    rows_of,
    scattered,
    through,
    unit,
)
from impasto.features.neighbors import pooled_columns
from impasto.features.statistics import Affine, precise
from impasto.losses.features import Heads, Loss, mapped, sum_over
from impasto.tensors import FeatureMap, Features


@dataclass(frozen=True)
class PatchLoss(Loss):
    """Make every patch of the features that of the style which is most like it: ``Σ_l w_l mean_i |Ψ_i(F) - Ψ_NN(i)|²``.

    The neighbors are found anew at each call, by normalized cross-correlation, and are constants when the gradient is taken.

    Args:
        target: patches of the style by layer, (m, channels times 9), see :func:`impasto.features.distributions.patches`.
        searched: by layer the directions in which neighbors are searched for, (channels times 9, k).
        weights: by layer, normalization included.
        heads: maps into the channels of the target.

    Source:
        Li and Wand 2016, equations 2 and 3. The search looks along the strongest directions of the style's patches instead of
        all, which is what makes it affordable at every step.
    """

    name: ClassVar[str] = "style"
    target: Mapping[str, Tensor]
    searched: Mapping[str, Tensor]
    weights: Mapping[str, float]
    heads: Heads = field(default_factory=dict)

    @property
    def layers(self) -> frozenset[str]:
        """The layers whose patches are compared."""
        return frozenset(self.target)

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted squared distances."""
        return sum_over(self.weights[layer] * self._distance(layer, features[layer]) for layer in self.target)

    def _distance(self, layer: str, features: FeatureMap) -> Tensor:
        """Average the squared distances over patches.

        Where patches overlap, the squared distances to all of them are that to their mean, times their number, and a constant.
        So the gradient never needs the patches of the picture, which are nine times its features.
        """
        found = precise(mapped(features, self.heads.get(layer)))
        with torch.no_grad():
            cut = patches(found)
            chosen = self.target[layer][nearest(cut @ self.searched[layer], self.target[layer] @ self.searched[layer])]
            mean, count = put_together(chosen, (found.shape[-2], found.shape[-1]))
            spread = chosen.square().sum() - (count * mean.square()).sum()
        return ((count * (found - mean).square()).sum() + spread) / len(cut)


@dataclass(frozen=True)
class HypercolumnLoss(Loss):
    """Draw hypercolumns to those that were chosen for them: one minus the cosine of the angle, averaged over positions.

    Args:
        target: the hypercolumns wanted, (1, channels of all layers, height, width), each of length 1.
        heads: by layer, in the order in which the layers are joined.

    Source:
        Kolkin et al. 2022 (NNST), equation 2.
    """

    name: ClassVar[str] = "style"
    target: FeatureMap
    heads: Heads

    @property
    def layers(self) -> frozenset[str]:
        """The layers of the hypercolumns."""
        return frozenset(self.heads)

    def __call__(self, features: Features) -> Tensor:
        """Compare the hypercolumns."""
        size = (self.target.shape[-2], self.target.shape[-1])
        found = hypercolumns({layer: features[layer] for layer in self.heads}, self.heads, size)
        cosine = (found * self.target).sum(1) / found.square().sum(1).clamp_min(1e-12).sqrt()
        return 1 - cosine.mean()


@dataclass(frozen=True)
class NeighborLoss(Loss):
    """Draw hypercolumns of a coarse grid to those that were chosen for them: one minus the cosine, averaged over positions.

    What :class:`HypercolumnLoss` measures, at a third of the cost: layers are pooled in their own type before they are joined.

    Args:
        target: the hypercolumns wanted, (1, channels of all layers, height, width), each of length 1.
        heads: by layer, in the order in which the layers are joined.

    Source:
        Kolkin et al. 2022 (NNST), equation 2.
    """

    name: ClassVar[str] = "style"
    target: FeatureMap
    heads: Mapping[str, Affine]

    @property
    def layers(self) -> frozenset[str]:
        """The layers of the hypercolumns."""
        return frozenset(self.heads)

    def __call__(self, features: Features) -> Tensor:
        """Compare the hypercolumns."""
        found = pooled_columns(features, self.heads, (self.target.shape[-2], self.target.shape[-1]))
        cosine = _Cosine.apply(found, self.target)  # type: ignore[no-untyped-call]
        assert isinstance(cosine, Tensor)
        return 1 - cosine.mean()


class _Cosine(torch.autograd.Function):
    """The cosine at each position between feature maps (1, channels, height, width) and others of length 1.

    Autograd's own gradient takes seven times as long, as it multiplies maps that lie differently in memory. The gradient of
    ``c = q·k / |q|`` is ``k / |q| - c q / |q|²``.
    """

    @staticmethod
    def forward(context: Any, found: FeatureMap, target: FeatureMap) -> Tensor:
        query, key = found.permute(0, 2, 3, 1), target.permute(0, 2, 3, 1)
        product = (query * key).sum(-1, keepdim=True, dtype=torch.float32)
        inverse = query.square().sum(-1, keepdim=True, dtype=torch.float32).clamp_min(1e-12).rsqrt()
        context.save_for_backward(query, key, product * inverse, inverse)
        return product * inverse

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        query, key, cosine, inverse = context.saved_tensors
        (gradient,) = gradients
        along = (gradient * inverse).to(query.dtype)
        back = (-gradient * cosine * inverse.square()).to(query.dtype)
        return (key * along).addcmul_(query, back).permute(0, 3, 1, 2), None


@dataclass(frozen=True)
class Neighborhood:
    """Feature vectors of one layer that neighbors are looked for among.

    Attributes:
        rows: (m, channels), centered, of length 1.
        style: (m,), index of the style picture that each comes from.
    """

    rows: Tensor
    style: Tensor


@dataclass(frozen=True)
class PaletteLoss(Loss):
    """Draw fine features to the nearest of the style's, position by position: ``Σ_l w_l mean_i min_j (1 - cos(F_i, S_j))``.

    Both sets are centered. At the shallow layers this keeps to colors and edges that the style has. Positions are those of a
    sparse grid, which is moved at each call; the neighbors are constants when the gradient is taken.

    Args:
        target: by layer.
        heads: maps into the channels of the target.
        generator: moves the grid.
        style: (height, width), which style picture each part of the picture looks for neighbors in; None: all.
        positions: of each layer, at the most.

    Source:
        Kolkin et al. 2022 (NNST), section 3.3.
    """

    name: ClassVar[str] = "palette"
    target: Mapping[str, Neighborhood]
    heads: Heads
    generator: torch.Generator = field(repr=False, compare=False)
    style: Tensor | None = None
    positions: int = 4096

    @property
    def layers(self) -> frozenset[str]:
        """The layers that are compared."""
        return frozenset(self.target)

    def __call__(self, features: Features) -> Tensor:
        """Average the distances of all layers."""
        return sum_over(self._distance(layer, features[layer]) for layer in self.target) / len(self.target)

    def _distance(self, layer: str, features: FeatureMap) -> Tensor:
        height, width = features.shape[-2:]
        stride = math.ceil(math.sqrt(max(1, height * width / self.positions)))
        top, left = torch.randint(0, stride, (2,), generator=self.generator).tolist()
        sampled = features[..., top::stride, left::stride]
        found = centered(through(rows_of(sampled), self.heads.get(layer)))
        target = self.target[layer]
        with torch.no_grad():
            likeness = found @ target.rows.T
            if self.style is not None:
                wanted = F.interpolate(self.style[None, None].float(), size=(height, width), mode="nearest").long()
                wanted = wanted[0, 0, top::stride, left::stride].flatten()
                likeness = likeness.masked_fill(wanted[:, None] != target.style[None], -torch.inf)
            chosen = target.rows[likeness.argmax(1)]
        return 1 - ((found * chosen).sum(1) / found.square().sum(1).clamp_min(1e-12).sqrt()).mean()


@dataclass(frozen=True)
class NearestLoss(Loss):
    """Draw each layer's features to the nearest of the style's: ``Σ_l w_l mean_i min_j (1 - cos(F_i - F̄, S_j - S̄))``.

    The neighbors are found anew at each call, at places drawn anew, each layer by itself.

    Args:
        target: feature vectors of the style by layer, (m, channels).
        weights: by layer.
        heads: maps into the channels of the target.
        generator: draws the places.
        effort: places times channels drawn in each layer, about: of a layer with few channels many places can be afforded.

    Source:
        Kolkin et al. 2022 (NNST), section 3.3: what its last pass descends.
    """

    name: ClassVar[str] = "style"
    target: Mapping[str, Tensor]
    weights: Mapping[str, float]
    heads: Heads
    generator: torch.Generator = field(repr=False, compare=False)
    effort: int = 2**18

    @property
    def layers(self) -> frozenset[str]:
        """The layers that are compared."""
        return frozenset(self.target)

    def __call__(self, features: Features) -> Tensor:
        """Draw places, and sum the weighted distances."""
        return sum_over(self.weights[layer] * self._distance(layer, features[layer]) for layer in self.target)

    def _distance(self, layer: str, features: FeatureMap) -> Tensor:
        count = self.effort // features.shape[1]
        places = scattered((features.shape[-2], features.shape[-1]), count, self.generator)
        found = unit(centered(through(picked(features, places), self.heads.get(layer))))
        wanted = unit(centered(self.target[layer]))
        return 1 - (found * wanted[nearest(found, wanted)]).sum(1).mean()
