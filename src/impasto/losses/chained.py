"""Style loss on correlations between adjacent layers: chained Gram matrices."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

from torch import Tensor

from impasto.features.statistics import Affine, precise
from impasto.losses.features import Heads, Loss, sum_over
from impasto.runtime.resampling import averaged
from impasto.tensors import FeatureMap, Features, Gram

Link = tuple[str, str]
"""Two layers, the finer one first."""


@dataclass(frozen=True)
class ChainedGramLoss(Loss):
    """Squared difference between the chained Gram matrices of picture and style: ``Σ w_lk Σ(G_lk - A_lk)²``.

    Args:
        target: the style's chained Gram matrices, by link.
        weights: weight of each link, normalization included.
        heads: affine map applied to each layer's features; its bias includes the shift of the features.

    Source:
        Novak and Nikulin 2016, section 3.4 (chained inter-layer Gram matrices).
    """

    name: ClassVar[str] = "style"
    target: Mapping[Link, Gram]
    weights: Mapping[Link, float]
    heads: Heads = field(default_factory=dict)

    @property
    def layers(self) -> frozenset[str]:
        """The layers that occur in any link."""
        return frozenset(layer for link in self.target for layer in link)

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted squared differences."""
        return sum_over(
            self.weights[link] * (chained_gram(features, link, self.heads) - target).square().sum()
            for link, target in self.target.items()
        )


def links(layers: tuple[str, ...]) -> list[Link]:
    """Link each layer to the next.

    Example:
        >>> links(("relu1_1", "relu2_1", "relu3_1"))
        [('relu1_1', 'relu2_1'), ('relu2_1', 'relu3_1')]
    """
    return list(pairwise(layers))


def chained_gram(features: Features, link: Link, heads: Heads) -> Gram:
    """Compute the Gram matrix between two linked layers, averaged over positions: (batch, finer channels, coarser channels).

    The paper upsamples the coarser layer by repetition to the size of the finer one. Averaging the finer layer down to the size
    of the coarser one gives the same result at lower cost.

    Source:
        Novak and Nikulin 2016: ``G = F_l up(F_k)ᵀ``.
    """
    size = min(((features[layer].shape[-2], features[layer].shape[-1]) for layer in link), key=lambda each: each[1])
    one, other = (_rows(averaged(precise(features[layer]), size), heads.get(layer)) for layer in link)
    return one.transpose(1, 2) @ other / one.shape[1]


def _rows(features: FeatureMap, head: Affine | None) -> Tensor:
    rows = features.flatten(2).transpose(1, 2)
    return rows if head is None else rows @ head.matrix.T + head.bias


def shifted(head: Affine, shift: float) -> Affine:
    """Add a constant to a head's output; the new head has only the channels needed to preserve lengths and dot products."""
    return Affine(head.matrix, head.bias + shift).compact()
