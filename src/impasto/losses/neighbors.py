"""Nearest-neighbor losses on patches (CNNMRF), hypercolumns and feature vectors (NNST)."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

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
from impasto.features.neighbors import GRID_STRIDE, pooled_columns
from impasto.features.statistics import Affine, precise
from impasto.losses.features import Heads, Loss, mapped, sum_over
from impasto.runtime.tiling import ORIGIN_PX, Tile, tiles_of
from impasto.tensors import FeatureMap, Features


@dataclass(frozen=True)
class PatchLoss(Loss):
    """Squared distance between each feature patch and its nearest style patch: ``Σ_l w_l mean_i |Ψ_i(F) - Ψ_NN(i)|²``.

    Each call finds the nearest patches again by normalized cross-correlation; the gradient treats them as constants.

    Args:
        target: patches of the style by layer, (m, channels times 9), see :func:`impasto.features.distributions.patches`.
        searched: by layer, the principal directions used in the search, (channels times 9, k).
        weights: weight of each layer, normalization included.
        heads: affine maps to the channels of the target.

    Raises:
        KeyError: when it is called, if the features of a layer are missing.

    Example:
        >>> from impasto.features.distributions import patches
        >>> style = torch.rand(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
        >>> loss = PatchLoss({"relu3_1": patches(style)}, {"relu3_1": torch.eye(18)}, weights={"relu3_1": 1.0})
        >>> loss({"relu3_1": style}).item() < 1e-6
        True

    Source:
        Li and Wand 2016, equations 2 and 3. The search uses only the principal directions of the style's patches, which makes
        it fast enough to run at every step.
    """

    name: ClassVar[str] = "style"
    target: Mapping[str, Tensor]
    searched: Mapping[str, Tensor]
    weights: Mapping[str, float]
    heads: Heads = field(default_factory=dict)

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted squared distances."""
        return sum_over(self.weights[layer] * self._distance(layer, features[layer]) for layer in self.target)

    def _distance(self, layer: str, features: FeatureMap) -> Tensor:
        """Average the squared distances over patches.

        At each position, the sum of the squared distances to n overlapping patches equals n times the squared distance to their
        mean, plus a constant. So the gradient does not need the patches of the picture, which take nine times the memory of its
        features.
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
    """Cosine distance between hypercolumns and the targets chosen for them, averaged over positions.

    Args:
        target: target hypercolumns, (1, channels of all layers, height, width), each of norm 1.
        heads: affine map of each layer, in concatenation order.

    Raises:
        KeyError: when it is called, if the features of a layer are missing.

    Example:
        >>> target = torch.nn.functional.normalize(torch.ones(1, 4, 8, 8), dim=1)
        >>> loss = HypercolumnLoss(target, {"relu3_1": None})
        >>> loss({"relu3_1": torch.ones(1, 4, 8, 8)}).item() < 1e-6
        True

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
        """Compare the hypercolumns with the target."""
        size = (self.target.shape[-2], self.target.shape[-1])
        found = hypercolumns({layer: features[layer] for layer in self.heads}, self.heads, size)
        cosine = (found * self.target).sum(1) / found.square().sum(1).clamp_min(1e-12).sqrt()
        return 1 - cosine.mean()


@dataclass(frozen=True)
class NeighborLoss(Loss):
    """Cosine distance between hypercolumns on a coarse grid and the targets chosen for them, averaged over positions.

    This loss measures the same distance as :class:`HypercolumnLoss` at a third of the cost, because layers are pooled in their
    own dtype before they are concatenated.

    Args:
        target: target hypercolumns, (1, channels of all layers, height, width), each of norm 1.
        heads: affine map of each layer, in concatenation order.

    Raises:
        KeyError: when it is called, if the features of a layer are missing.

    Example:
        >>> target = torch.nn.functional.normalize(torch.ones(1, 4, 8, 8), dim=1)
        >>> loss = NeighborLoss(target, {"relu3_1": Affine(torch.eye(4), torch.zeros(4))})
        >>> loss({"relu3_1": torch.ones(1, 4, 8, 8)}).item() < 1e-6
        True

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
        """Compare the hypercolumns with the target."""
        found = pooled_columns(features, self.heads, (self.target.shape[-2], self.target.shape[-1]))
        return 1 - cosines(found, self.target).mean()


class _Cosine(torch.autograd.Function):
    """Cosine similarity at each position between a feature map (1, channels, height, width) and a map of unit vectors.

    Autograd's gradient takes seven times as long because it multiplies maps with different memory layouts. The gradient of
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
class MatchLoss(Loss):
    """:class:`NeighborLoss` with a target that is gathered for one tile at a time, which takes little memory.

    Args:
        rows: hypercolumns of the styles, (positions, channels of all layers).
        position: (height, width), the row of each position's match.
        heads: affine map of each layer, in concatenation order.
        mixed: function of the target of a tile and the tile; returns the target to use, which is then scaled to length 1.
            None: no change.
    """

    name: ClassVar[str] = "style"
    rows: Tensor
    position: Tensor
    heads: Mapping[str, Affine]
    mixed: Callable[[FeatureMap, Tile], FeatureMap] | None = None

    @property
    def layers(self) -> frozenset[str]:
        """The layers of the hypercolumns."""
        return frozenset(self.heads)

    def target(self, tile: Tile) -> FeatureMap:
        """Gather the target of one tile: (1, channels, height, width), each position of norm 1."""
        position = tile.part(self.position, GRID_STRIDE)
        found = self.rows[position.flatten()].T.reshape(1, -1, *position.shape)
        found = self.mixed(found, tile) if self.mixed else found
        found = found / found.float().square().sum(1, keepdim=True).clamp_min(1e-12).sqrt().to(found.dtype)
        return found.contiguous(memory_format=torch.channels_last)

    def __call__(self, features: Features) -> Tensor:
        """Compare the hypercolumns of the whole picture with the target."""
        height, width = (GRID_STRIDE * side for side in self.position.shape)
        (whole,) = tiles_of((height, width), max(height, width) + ORIGIN_PX, 0)
        return NeighborLoss(self.target(whole), self.heads)(features)


def cosines(found: FeatureMap, target: FeatureMap) -> Tensor:
    """Return the cosine at each position between a feature map and a map of unit vectors."""
    cosine = _Cosine.apply(found, target)  # type: ignore[no-untyped-call]
    assert isinstance(cosine, Tensor)
    return cosine


@dataclass(frozen=True)
class Neighborhood:
    """The feature vectors of one layer that are searched for neighbors.

    Attributes:
        rows: (m, channels), centered and scaled to length 1.
        style: (m,), index of the style picture that each vector comes from.
    """

    rows: Tensor
    style: Tensor


class SparseGrid(NamedTuple):
    """Every n-th position of a layer in both directions, beginning at ``top`` and ``left``."""

    height: int
    width: int
    stride: int
    top: int
    left: int


@dataclass(frozen=True)
class PaletteLoss(Loss):
    """Cosine distance between picture features and the nearest style features: ``Σ_l w_l mean_i min_j (1 - cos(F_i, S_j))``.

    Both sets are centered. At shallow layers, the loss keeps colors and edges close to those of the style. Positions form a
    sparse grid that shifts at each call; the gradient treats the neighbors as constants.

    Args:
        target: the style's feature vectors by layer.
        heads: affine maps to the channels of the target.
        generator: random generator for the grid offset.
        style: index of the style picture to search at each position, (height, width), at any size; None: all style pictures
            are searched.
        positions: maximum number of positions per layer.

    Source:
        Kolkin et al. 2022 (NNST), section 3.3.
    """

    name: ClassVar[str] = "palette"
    target: Mapping[str, Neighborhood]
    heads: Heads
    generator: torch.Generator = field(repr=False, compare=False)
    style: Tensor | None = None
    positions: int = 4096

    def __call__(self, features: Features) -> Tensor:
        """Average the distances over layers."""
        grids = self.drawn({layer: (features[layer].shape[-2], features[layer].shape[-1]) for layer in self.target})
        return sum_over(
            self.distance(layer, features[layer][..., grid.top :: grid.stride, grid.left :: grid.stride], grid)
            for layer, grid in grids.items()
        ) / len(self.target)

    def drawn(self, sizes: Mapping[str, tuple[int, int]]) -> dict[str, SparseGrid]:
        """Draw a sparse grid for each layer; ``sizes`` gives (height, width) by layer."""
        grids = {}
        for layer, (height, width) in sizes.items():
            stride = math.ceil(math.sqrt(max(1, height * width / self.positions)))
            top, left = torch.randint(0, stride, (2,), generator=self.generator).tolist()
            grids[layer] = SparseGrid(height, width, stride, top, left)
        return grids

    def distance(self, layer: str, sampled: FeatureMap, grid: SparseGrid) -> Tensor:
        """Average the distances of one layer, given its features at the positions of a sparse grid."""
        found = centered(through(rows_of(sampled), self.heads.get(layer)))
        target = self.target[layer]
        with torch.no_grad():
            similarity = found @ target.rows.T
            if self.style is not None:
                rows = _nearest(len(self.style), grid.height).to(self.style.device)[grid.top :: grid.stride]
                columns = _nearest(self.style.shape[1], grid.width).to(self.style.device)[grid.left :: grid.stride]
                wanted = self.style[rows][:, columns].flatten()
                similarity = similarity.masked_fill(wanted[:, None] != target.style[None], -torch.inf)
            chosen = target.rows[similarity.argmax(1)]
        return 1 - ((found * chosen).sum(1) / found.square().sum(1).clamp_min(1e-12).sqrt()).mean()


def _nearest(before: int, after: int) -> Tensor:
    """Return the indices that resize a side with nearest-neighbor interpolation."""
    return F.interpolate(torch.arange(before, dtype=torch.float32)[None, None], size=after, mode="nearest")[0, 0].long()


@dataclass(frozen=True)
class NearestLoss(Loss):
    """Cosine distance to the nearest style features: ``Σ_l w_l mean_i min_j (1 - cos(F_i - F̄, S_j - S̄))``.

    Each call draws new positions and finds their nearest neighbors, separately for each layer.

    Args:
        target: feature vectors of the style by layer, (m, channels).
        weights: weight of each layer.
        heads: affine maps to the channels of the target.
        generator: random generator for the positions.
        effort: approximate number of positions times channels in each layer; layers with fewer channels use more positions.

    Source:
        Kolkin et al. 2022 (NNST), section 3.3: the objective of the final pass.
    """

    name: ClassVar[str] = "style"
    target: Mapping[str, Tensor]
    weights: Mapping[str, float]
    heads: Heads
    generator: torch.Generator = field(repr=False, compare=False)
    effort: int = 2**18

    def __call__(self, features: Features) -> Tensor:
        """Draw positions and sum the weighted distances."""
        return sum_over(self.weights[layer] * self._distance(layer, features[layer]) for layer in self.target)

    def _distance(self, layer: str, features: FeatureMap) -> Tensor:
        count = self.effort // features.shape[1]
        places = scattered((features.shape[-2], features.shape[-1]), count, self.generator)
        found = unit(centered(through(picked(features, places), self.heads.get(layer))))
        wanted = unit(centered(self.target[layer]))
        return 1 - (found * wanted[nearest(found, wanted)]).sum(1).mean()
