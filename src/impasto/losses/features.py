"""Losses as values, and their weighted sum.

A loss is frozen: its target, its weights by layer, and ``__call__(features) -> scalar``. It holds no buffers, hooks or
setters; a new target is a new loss. What a published method divides by is a weight by layer, computed once from the target
(see :mod:`impasto.losses.normalization`), so that one class serves every paper that measures the same difference.

An objective is made with ``weight * loss`` and ``+`` alone::

    objective = 5 * ContentLoss(...) + 100 * StyleLoss(...) + 1e-3 * Smoothness("l2")
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from impasto.features.statistics import Affine, Guide, Moments, eigh, guided_moments, moments, precise, root_trace, sqrtm
from impasto.tensors import FeatureMap, Features

PIXELS = "pixels"
"""The name under which the picture itself stands among the features."""

_SMALLEST_DIRECTION = 1e-3
"""Of the largest: shorter columns of a factor change the loss and its gradient by less than rounding does."""

Heads = Mapping[str, Affine | None]
"""The map of each layer into the channels in which a target speaks; None or absent: none is needed."""


class Loss(ABC):
    """What every loss can do: name itself, say which layers it needs, and be weighted and added."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def layers(self) -> frozenset[str]:
        """The layers whose features it needs; :data:`PIXELS` stands for the picture."""

    @abstractmethod
    def __call__(self, features: Features) -> Tensor:
        """Compare the features of a picture with the target: a scalar, not yet weighted."""

    def __rmul__(self, weight: float) -> Objective:
        """Weight the loss."""
        return Objective((Term(float(weight), self),))

    def __add__(self, other: Loss | Objective) -> Objective:
        """Add another loss, both with weight 1."""
        return 1.0 * self + other


@dataclass(frozen=True)
class Term:
    """A loss and its weight in an objective."""

    weight: float
    loss: Loss


@dataclass(frozen=True)
class Objective:
    """A weighted sum of losses; :math:`J = α J_{content} + β J_{style} + …`."""

    terms: tuple[Term, ...]

    def __rmul__(self, weight: float) -> Objective:
        """Weight every term."""
        return Objective(tuple(Term(float(weight) * term.weight, term.loss) for term in self.terms))

    def __add__(self, other: Loss | Objective) -> Objective:
        """Add a loss with weight 1, or all terms of another objective."""
        added = other if isinstance(other, Objective) else 1.0 * other
        return Objective(self.terms + added.terms)

    def __iter__(self) -> Iterator[Term]:
        """Iterate over the terms."""
        return iter(self.terms)

    @property
    def layers(self) -> frozenset[str]:
        """The union of the layers that the losses need."""
        return frozenset().union(*(term.loss.layers for term in self.terms))

    def __call__(self, features: Features) -> tuple[Tensor, dict[str, Tensor]]:
        """Evaluate every loss on the same features.

        Returns:
            The weighted sum (a scalar that can be differentiated), and the weighted value of each term by name, detached; terms
            of one name are added up.
        """
        total = torch.zeros((), device=next(iter(features.values())).device)
        values: dict[str, Tensor] = {}
        for term in self.terms:
            value = term.weight * term.loss(features)
            total = total + value
            values[term.loss.name] = values.get(term.loss.name, torch.zeros_like(total)) + value.detach()
        return total, values


@dataclass(frozen=True)
class ContentLoss(Loss):
    """Compare features with those of the content: ``Σ_l w_l Σ (F_l - P_l)²``.

    Args:
        target: the content's features by layer, (1, channels, height, width) each.
        weights: what the sum of squares of each layer is multiplied by: a layer's share times the normalization.
        heads: maps into the target's channels, applied to the picture's features (the target has them already).

    Source:
        Gatys et al. 2016, equation 1, for the weight 1/2.
    """

    name: ClassVar[str] = "content"
    target: Features
    weights: Mapping[str, float]
    heads: Heads = field(default_factory=dict)

    @property
    def layers(self) -> frozenset[str]:
        """The content layers."""
        return frozenset(self.target)

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted squared differences."""
        return sum_over(
            self.weights[layer] * precise(mapped(features[layer], self.heads.get(layer)) - target).square().sum()
            for layer, target in self.target.items()
        )


@dataclass(frozen=True)
class ScaledContentLoss(Loss):
    """Compare features so that the gradient has the same size however far away the target is: ``Σ(F - P)² / Σ|F - P|``.

    Source:
        crowsonkb/style-transfer-pytorch (MIT), which uses it with the weight 0.015.
    """

    name: ClassVar[str] = "content"
    target: Features
    weights: Mapping[str, float]
    heads: Heads = field(default_factory=dict)

    @property
    def layers(self) -> frozenset[str]:
        """The content layers."""
        return frozenset(self.target)

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted, scaled differences."""
        differences = (
            (self.weights[layer], precise(mapped(features[layer], self.heads.get(layer)) - target))
            for layer, target in self.target.items()
        )
        return sum_over(weight * _ScaledSquares.apply(d) for weight, d in differences)  # type: ignore[no-untyped-call]


class _ScaledSquares(torch.autograd.Function):
    """``Σd² / Σ|d|``, and its gradient ``2 d / Σ|d| - sgn(d) Σd² / (Σ|d|)²`` with one array beside d instead of eight."""

    @staticmethod
    def forward(context: Any, differences: Tensor) -> Tensor:
        squares, size = differences.square().sum(), torch.linalg.vector_norm(differences, 1) + 1e-8
        context.save_for_backward(differences, squares, size)
        found: Tensor = squares / size
        return found

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        differences, squares, size = context.saved_tensors
        slope = torch.sign(differences).mul_(-gradient * squares / size.square())
        found: Tensor = slope.addcmul_(differences, 2 * gradient / size)
        return found


@dataclass(frozen=True)
class StyleLoss(Loss):
    """Compare Gram matrices, means and deviations with those of a style.

    ``Σ_l g_l Σ(G_l - A_l)² + m_l Σ(μ_l - μ̂_l)² + d_l Σ(σ_l - σ̂_l)²``, with G the Gram matrix averaged over positions, μ and σ
    the mean and standard deviation of each channel. A layer that is absent from one of the three weightings is not measured
    there.

    Args:
        target: the style's moments by layer (of several styles: their blend).
        gram: weights of the Gram matrices by layer, normalization included.
        mean: weights of the means.
        deviation: weights of the deviations.
        heads: maps into the target's channels.
        shift: added to the features before the Gram matrix is taken (Novak and Nikulin 2016: -1).

    Source:
        Gatys et al. 2016, equations 3-5, for ``g_l = w_l / (4 N_l²)``; Huang and Belongie 2017 for means and deviations.
    """

    name: ClassVar[str] = "style"
    target: Mapping[str, Moments]
    gram: Mapping[str, float] = field(default_factory=dict)
    mean: Mapping[str, float] = field(default_factory=dict)
    deviation: Mapping[str, float] = field(default_factory=dict)
    heads: Heads = field(default_factory=dict)
    shift: float = 0.0

    @property
    def layers(self) -> frozenset[str]:
        """The style layers."""
        return frozenset(self.target)

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted squared differences of the statistics."""
        return sum_over(self.difference(layer, moments(features[layer])) for layer in self.target)

    def difference(self, layer: str, found: Moments) -> Tensor:
        """Compare the moments found at one layer, in the encoder's channels, with the style's."""
        target = self.target[layer].shifted(self.shift)
        measured = carried(found, self.heads.get(layer)).shifted(self.shift)
        total = torch.zeros((), device=found.mean.device)
        if layer in self.gram:
            total = total + self.gram[layer] * (measured.gram - target.gram).square().sum()
        if layer in self.mean:
            total = total + self.mean[layer] * (measured.mean - target.mean).square().sum()
        if layer in self.deviation:
            total = total + self.deviation[layer] * (measured.deviation - target.deviation).square().sum()
        return total


@dataclass(frozen=True)
class WassersteinLoss(Loss):
    """Move the Gaussian of the features to that of the style: the squared 2-Wasserstein distance.

    ``Σ_l w_l (|μ - μ̂|² + tr(Σ + Σ̂ - 2 (Σ̂^½ Σ Σ̂^½)^½))``

    With a head, ``Σ = A S Aᵀ``, all is computed in the encoder's channels, see :class:`Transport`.

    Args:
        target: the style's moments by layer.
        weights: by layer, normalization included.
        heads: maps into the target's channels.
        ridge: added to the variances of both, so that the root has a gradient where features do not vary.

    Attributes:
        transports: by layer, what is computed once from the target when the loss is made.

    Source:
        Dowson and Landau 1982; as a style loss in crowsonkb/style-transfer-pytorch (MIT).
    """

    name: ClassVar[str] = "style"
    target: Mapping[str, Moments]
    weights: Mapping[str, float]
    heads: Heads = field(default_factory=dict)
    ridge: float = 1e-4
    transports: Mapping[str, Transport] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Prepare the distances to the target."""
        made = {layer: Transport.to(target, self.heads.get(layer), self.ridge) for layer, target in self.target.items()}
        object.__setattr__(self, "transports", made)

    @property
    def layers(self) -> frozenset[str]:
        """The style layers."""
        return frozenset(self.target)

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted distances."""
        return sum_over(self.difference(layer, moments(features[layer])) for layer in self.target)

    def difference(self, layer: str, found: Moments) -> Tensor:
        """Return the weighted distance of the moments found at one layer, in the encoder's channels."""
        head = self.heads.get(layer)
        mean = found.mean if head is None else found.mean @ head.matrix.T + head.bias
        distance = (mean - self.target[layer].mean).square().sum() + self.transports[layer].trace(found.covariance)
        return self.weights[layer] * distance


@dataclass(frozen=True)
class Transport:
    """What the covariances contribute to the squared 2-Wasserstein distance to one Gaussian.

    That is ``tr(Σ + Σ̂ - 2 (R Σ R)^½)`` with R = Σ̂^½, and ``Σ = A S Aᵀ + ε I`` with a head A. With Q, an orthonormal basis of
    what R A spans noticeably, the root is that of ``(Qᵀ R A) S (Qᵀ R A)ᵀ + ε Qᵀ R² Q``, whose size k is no larger than the
    number of the encoder's channels and of directions in which the style varies. What lies across Q has almost no root, and
    is left out.

    Attributes:
        factor: ``Qᵀ R A``, (1, k, channels of the encoder).
        ridge: ``ε Qᵀ R² Q``, (1, k, k).
        lengths: ``Aᵀ A``, with which the trace of ``A S Aᵀ`` is the sum of their product; None: no head.
        constant: what does not depend on S.
    """

    factor: Tensor
    ridge: Tensor
    lengths: Tensor | None
    constant: Tensor

    @classmethod
    def to(cls, target: Moments, head: Affine | None, ridge: float) -> Transport:
        """Prepare the distance to the moments of a style."""
        wanted = target.covariance + ridge * torch.eye(target.covariance.shape[1], device=target.covariance.device)
        root = sqrtm(wanted)
        factor = root if head is None else root @ head.matrix
        values, vectors = eigh(factor @ factor.transpose(1, 2))
        basis = vectors[..., values[0] > _SMALLEST_DIRECTION**2 * values.max()]
        turned = basis.transpose(1, 2) @ root
        constant = torch.diagonal(wanted, dim1=1, dim2=2).sum() + ridge * wanted.shape[1]
        lengths = None if head is None else head.matrix.T @ head.matrix
        return cls(basis.transpose(1, 2) @ factor, ridge * turned @ turned.transpose(1, 2), lengths, constant)

    def trace(self, covariance: Tensor) -> Tensor:
        """Return the term for a covariance in the encoder's channels."""
        cross = root_trace(self.factor @ covariance @ self.factor.transpose(1, 2) + self.ridge)
        length = covariance.diagonal(dim1=1, dim2=2).sum() if self.lengths is None else (covariance * self.lengths).sum()
        return length + self.constant - 2 * cross


@dataclass(frozen=True)
class GuidedStyleLoss(Loss):
    """Compare each region of the picture with a style of its own: ``Σ_r λ_r E_r``, every E_r measured under its guide.

    Args:
        parts: the style loss of each region.
        shares: λ_r, what each region counts: its area times its strength, so that a position is drawn to its style as strongly
            as where there are no regions.
        guides: by layer, one for each region; None where the region is too small to be measured at that layer.

    Source:
        Gatys et al. 2017, Controlling Perceptual Factors in Neural Style Transfer, equation 7; that λ_r goes with the area is
        our own.
    """

    name: ClassVar[str] = "style"
    parts: tuple[StyleLoss | WassersteinLoss, ...]
    shares: tuple[float, ...]
    guides: Mapping[str, tuple[Guide | None, ...]]

    @property
    def layers(self) -> frozenset[str]:
        """The style layers."""
        return frozenset(self.guides)

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted differences of all regions."""
        return sum_over(self._at(layer, features[layer]) for layer in self.guides)

    def _at(self, layer: str, features: FeatureMap) -> Tensor:
        seen = [(region, guide) for region, guide in enumerate(self.guides[layer]) if guide is not None]
        total = torch.zeros((), device=features.device)
        if not seen:
            return total
        found = guided_moments(features, [guide for _, guide in seen])
        for (region, _), measured in zip(seen, found, strict=True):
            total = total + self.shares[region] * self.parts[region].difference(layer, measured)
        return total


@dataclass(frozen=True)
class WithinLoss(Loss):
    """Measure another style loss on a region of the picture alone.

    Args:
        loss: what is measured.
        places: by layer, (height, width) of the box around the region: from which position of the layer, row by row, each
            feature vector is taken; see :func:`impasto.masks.guides.places_inside`.
    """

    name: ClassVar[str] = "style"
    loss: Loss
    places: Mapping[str, Tensor]

    @property
    def layers(self) -> frozenset[str]:
        """The layers of the loss that is measured."""
        return self.loss.layers

    def __call__(self, features: Features) -> Tensor:
        """Measure the region."""
        return self.loss({layer: taken(features[layer], self.places[layer]) for layer in self.loss.layers})


def taken(features: FeatureMap, places: Tensor) -> FeatureMap:
    """Lay the feature vectors of some positions out as a map: (1, channels, height, width) of the places."""
    rows = features.flatten(2)[..., places.flatten()]
    return rows.reshape(*features.shape[:2], *places.shape)


def sum_over(values: Iterator[Tensor]) -> Tensor:
    """Add up scalars (``sum`` would start from the integer 0 and lose the type)."""
    return torch.stack(list(values)).sum()


def mapped(features: FeatureMap, head: Affine | None) -> FeatureMap:
    """Map features into the target's channels, where there is a head."""
    return features if head is None else head.features(features)


def measure(features: FeatureMap, head: Affine | None) -> Moments:
    """Measure the moments of features, in the target's channels where there is a head."""
    return carried(moments(features), head)


def carried(measured: Moments, head: Affine | None) -> Moments:
    """Carry moments into the target's channels, where there is a head."""
    return measured if head is None else head.moments(measured)
