"""A style as what neighboring layers have to do with each other: chained Gram matrices."""

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
"""Two layers, the finer first."""


@dataclass(frozen=True)
class ChainedGramLoss(Loss):
    """Compare the products between adjacent layers with those of a style: ``Σ w_lk Σ(G_lk - A_lk)²``.

    Args:
        target: the style's chained Gram matrices by link.
        weights: by link, normalization included.
        heads: what the features of each layer are mapped by, shift included.

    Source:
        Novak and Nikulin 2016, section 3.4 (chained inter-layer Gram matrices).
    """

    name: ClassVar[str] = "style"
    target: Mapping[Link, Gram]
    weights: Mapping[Link, float]
    heads: Heads = field(default_factory=dict)

    @property
    def layers(self) -> frozenset[str]:
        """The layers that are linked."""
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
    """Correlate the channels of two layers, averaged over positions: (batch, channels of the one, channels of the other).

    The coarser layer stands at every position of the finer one that it covers, as if it had been enlarged to its size by
    repetition. It comes to the same, and is cheaper, to average the finer one down to the coarser.

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
    """Add a constant to whatever a head gives, in as few channels as keep lengths and products."""
    return Affine(head.matrix, head.bias + shift).compact()
