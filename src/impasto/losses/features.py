"""The :class:`Loss` base class, weighted sums of losses, and losses on feature statistics.

A loss is a frozen dataclass: a target, weights by layer, and ``__call__(features) -> scalar``. It has no buffers, hooks or
setters; for a new target, create a new loss. The normalization constants of published methods become weights by layer, which
:mod:`impasto.losses.normalization` computes once from the target. So one class covers all papers that use the same difference.

Build an objective with ``weight * loss`` and ``+``::

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
"""The key of the picture itself among the features."""

_SMALLEST_DIRECTION = 1e-3
"""Minimum singular value of R A in :class:`Transport`, relative to the largest. Dropping smaller singular values changes the
result less than rounding does."""

Heads = Mapping[str, Affine | None]
"""Affine map from each layer's channels to the target's channels; None or absent means identity."""


class Loss(ABC):
    """Base class of losses. A loss has a name and a set of layers that it needs, and supports weighting and addition.

    Raises:
        KeyError: when it is called, if the features of one of :attr:`layers` are missing.

    Example:
        >>> import torch
        >>> class Darkness(Loss):
        ...     name = "darkness"
        ...
        ...     def __call__(self, features):
        ...         return 1 - features[PIXELS].mean()
        >>> total, values = (2 * Darkness())({PIXELS: torch.ones(1, 3, 8, 8) / 4})
        >>> total.item(), sorted(Darkness().layers)
        (1.5, ['pixels'])
    """

    name: ClassVar[str]

    @property
    def layers(self) -> frozenset[str]:
        """The layers whose features the loss needs: those of ``target`` if it is a mapping by layer, else :data:`PIXELS`."""
        target = getattr(self, "target", None)
        return frozenset(target if isinstance(target, Mapping) else (PIXELS,))

    @abstractmethod
    def __call__(self, features: Features) -> Tensor:
        """Compare the features of a picture with the target; return an unweighted scalar."""

    def __rmul__(self, weight: float) -> Objective:
        """Multiply the loss by a weight."""
        return Objective((Term(float(weight), self),))

    def __add__(self, other: Loss | Objective) -> Objective:
        """Add another loss; both get weight 1."""
        return 1.0 * self + other


@dataclass(frozen=True)
class Term:
    """A loss and its weight in an objective.

    Attributes:
        weight: any number; negative weights push the picture away from the target.
        loss: the unweighted loss.

    Example:
        >>> from impasto.losses.picture import Smoothness
        >>> [term.weight for term in 2.0 * Smoothness() + Smoothness("l1")]
        [2.0, 1.0]
    """

    weight: float
    loss: Loss


@dataclass(frozen=True)
class Objective:
    """A weighted sum of losses: ``J = α J_content + β J_style + ...``.

    Attributes:
        terms: the losses with their weights.

    Raises:
        KeyError: when it is called, if the features of a layer are missing.

    Example:
        >>> from impasto.losses.picture import Gamut, Smoothness
        >>> objective = 2.0 * Gamut() + 0.5 * Smoothness()
        >>> total, values = objective({PIXELS: torch.full((1, 3, 4, 4), 2.0)})
        >>> total.item(), values["gamut"].item(), sorted(objective.layers)
        (2.0, 2.0, ['pixels'])
    """

    terms: tuple[Term, ...]

    def __rmul__(self, weight: float) -> Objective:
        """Multiply the weight of every term."""
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
            The weighted sum (a differentiable scalar), and the detached weighted value of each term by name; terms with the
            same name are added.
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
    """Squared difference between the features of picture and content: ``Σ_l w_l Σ (F_l - P_l)²``.

    Args:
        target: the content's features by layer, (1, channels, height, width) each.
        weights: weight of each layer, normalization included.
        heads: affine maps to the target's channels, applied to the picture's features (the target is already mapped).

    Raises:
        KeyError: when it is called, if the features of a layer are missing.

    Example:
        >>> loss = ContentLoss({"relu4_2": torch.zeros(1, 8, 4, 4)}, weights={"relu4_2": 0.5})
        >>> loss({"relu4_2": torch.ones(1, 8, 4, 4)}).item()
        64.0

    Source:
        Gatys et al. 2016, equation 1, which uses the weight 1/2.
    """

    name: ClassVar[str] = "content"
    target: Features
    weights: Mapping[str, float]
    heads: Heads = field(default_factory=dict)

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted squared differences."""
        return sum_over(
            self.weights[layer] * precise(mapped(features[layer], self.heads.get(layer)) - target).square().sum()
            for layer, target in self.target.items()
        )


@dataclass(frozen=True)
class ScaledContentLoss(Loss):
    """Content loss whose gradient has the same magnitude at any distance from the target: ``Σ(F - P)² / Σ|F - P|``.

    Source:
        crowsonkb/style-transfer-pytorch (MIT), with weight 0.015.
    """

    name: ClassVar[str] = "content"
    target: Features
    weights: Mapping[str, float]
    heads: Heads = field(default_factory=dict)

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted scaled differences."""
        differences = (
            (self.weights[layer], precise(mapped(features[layer], self.heads.get(layer)) - target))
            for layer, target in self.target.items()
        )
        return sum_over(weight * _ScaledSquares.apply(d) for weight, d in differences)  # type: ignore[no-untyped-call]


class _ScaledSquares(torch.autograd.Function):
    """``Σd² / Σ|d|`` with gradient ``2 d / Σ|d| - sgn(d) Σd² / (Σ|d|)²``.

    This implementation stores one array besides d; autograd would store eight.
    """

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
    """Squared differences between the Gram matrices, means and standard deviations of picture and style.

    ``Σ_l g_l Σ(G_l - A_l)² + m_l Σ(μ_l - μ̂_l)² + d_l Σ(σ_l - σ̂_l)²``, where G is the Gram matrix averaged over positions, and
    μ and σ are the mean and standard deviation of each channel. Each term has its own weights: a layer that is absent
    from ``gram``, ``mean`` or ``deviation`` is omitted from this term.

    Args:
        target: the style's moments by layer (for several styles, their blend).
        gram: weights of the Gram matrices by layer, normalization included.
        mean: weights of the means by layer.
        deviation: weights of the standard deviations by layer.
        heads: affine maps to the target's channels.
        shift: number added to the features before the Gram matrix is computed (Novak and Nikulin 2016: -1).

    Raises:
        KeyError: when it is called, if the features of a layer are missing.

    Example:
        >>> target = {"relu1_1": moments(torch.zeros(1, 2, 4, 4))}
        >>> loss = StyleLoss(target, gram={"relu1_1": 0.25})
        >>> loss({"relu1_1": torch.ones(1, 2, 4, 4)}).item()  # four entries of the Gram matrix differ by 1
        1.0

    Source:
        Gatys et al. 2016, equations 3-5, with ``g_l = w_l / (4 N_l²)``; Huang and Belongie 2017 for means and deviations.
    """

    name: ClassVar[str] = "style"
    target: Mapping[str, Moments]
    gram: Mapping[str, float] = field(default_factory=dict)
    mean: Mapping[str, float] = field(default_factory=dict)
    deviation: Mapping[str, float] = field(default_factory=dict)
    heads: Heads = field(default_factory=dict)
    shift: float = 0.0

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted squared differences of the statistics."""
        return sum_over(self.difference(layer, moments(features[layer])) for layer in self.target)

    def difference(self, layer: str, found: Moments) -> Tensor:
        """Compare the measured moments of one layer, in the encoder's channels, with those of the style."""
        target = self.target[layer].shifted(self.shift)
        measured = mapped_moments(found, self.heads.get(layer)).shifted(self.shift)
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
    """Squared 2-Wasserstein distance between Gaussians fitted to the features and to the style.

    ``Σ_l w_l (|μ - μ̂|² + tr(Σ + Σ̂ - 2 (Σ̂^½ Σ Σ̂^½)^½))``

    With a head A, ``Σ = A S Aᵀ``, where S is the covariance in the encoder's channels. The distance is computed directly from
    S, see :class:`Transport`.

    Args:
        target: the style's moments by layer.
        weights: weight of each layer, normalization included.
        heads: affine maps to the target's channels.
        ridge: added to the variances of both Gaussians, so the square root has a gradient even where features are constant.

    Attributes:
        transports: for each layer, the quantities computed once from the target at construction.

    Raises:
        KeyError: when it is called, if the features of a layer are missing.

    Example:
        >>> loss = WassersteinLoss({"relu1_1": moments(torch.zeros(1, 2, 4, 4))}, weights={"relu1_1": 1.0})
        >>> round(loss({"relu1_1": torch.full((1, 2, 4, 4), 3.0)}).item(), 3)  # the means differ by 3 in two channels
        18.0

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
        """Precompute the parts of the distances that depend only on the target."""
        made = {layer: Transport.to(target, self.heads.get(layer), self.ridge) for layer, target in self.target.items()}
        object.__setattr__(self, "transports", made)

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted distances."""
        return sum_over(self.difference(layer, moments(features[layer])) for layer in self.target)

    def difference(self, layer: str, found: Moments) -> Tensor:
        """Return the weighted distance for the measured moments of one layer, in the encoder's channels."""
        head = self.heads.get(layer)
        mean = found.mean if head is None else found.mean @ head.matrix.T + head.bias
        distance = (mean - self.target[layer].mean).square().sum() + self.transports[layer].trace(found.covariance)
        return self.weights[layer] * distance


@dataclass(frozen=True)
class Transport:
    """The covariance term of the squared 2-Wasserstein distance to a fixed Gaussian.

    The term is ``tr(Σ + Σ̂ - 2 (R Σ R)^½)`` with R = Σ̂^½ and ``Σ = A S Aᵀ + ε I``, where A is the head and S the covariance in
    the encoder's channels. Let Q be an orthonormal basis of the numerically significant range of R A. Then it suffices to
    compute the root of a smaller matrix, ``(Qᵀ R A) S (Qᵀ R A)ᵀ + ε Qᵀ R² Q``. Its size k is at most the number of encoder
    channels, and at most the number of directions in which the style varies. The part of the root that is orthogonal to Q is
    negligible and is dropped.

    Attributes:
        factor: ``Qᵀ R A``, (1, k, channels of the encoder).
        ridge: ``ε Qᵀ R² Q``, (1, k, k).
        lengths: ``Aᵀ A``; the trace of ``A S Aᵀ`` is the sum of ``Aᵀ A ⊙ S``. None without a head.
        constant: the part that does not depend on S.
    """

    factor: Tensor
    ridge: Tensor
    lengths: Tensor | None
    constant: Tensor

    @classmethod
    def to(cls, target: Moments, head: Affine | None, ridge: float) -> Transport:
        """Precompute the parts of the distance that depend only on the moments of the style."""
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
    """Compare each region of the picture with its own style.

    The loss is ``Σ_r λ_r E_r``, where E_r is the style loss of region r, measured under the region's guide.

    Args:
        parts: the style loss of each region.
        shares: λ_r, the weight of each region: its area times its style strength. With strength 1, the gradient at a position
            is the same as without regions.
        guides: by layer, one guide for each region; None if the region is too small to be measured at that layer.

    Source:
        Gatys et al. 2017, Controlling Perceptual Factors in Neural Style Transfer, equation 7; weighting λ_r by area is our
        addition.
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
    """Apply another style loss to one region of the picture only.

    Args:
        loss: the loss to apply.
        places: by layer, an index map (height, width) for the bounding box of the region. Each entry is the row-major index
            of the position whose feature vector is used there; see :func:`impasto.masks.guides.places_inside`.
    """

    name: ClassVar[str] = "style"
    loss: Loss
    places: Mapping[str, Tensor]

    @property
    def layers(self) -> frozenset[str]:
        """The layers of the wrapped loss."""
        return self.loss.layers

    def __call__(self, features: Features) -> Tensor:
        """Evaluate the wrapped loss on the region."""
        return self.loss({layer: gathered(features[layer], self.places[layer]) for layer in self.loss.layers})


def gathered(features: FeatureMap, places: Tensor) -> FeatureMap:
    """Gather the feature vectors at the given positions: (1, channels, height, width), with the size of ``places``."""
    rows = features.flatten(2)[..., places.flatten()]
    return rows.reshape(*features.shape[:2], *places.shape)


def sum_over(values: Iterator[Tensor]) -> Tensor:
    """Add up scalars (``sum`` would start from the integer 0 and lose the type)."""
    return torch.stack(list(values)).sum()


def mapped(features: FeatureMap, head: Affine | None) -> FeatureMap:
    """Map features to the target's channels; without a head, return them unchanged."""
    return features if head is None else head.features(features)


def measure(features: FeatureMap, head: Affine | None) -> Moments:
    """Compute the moments of features; if there is a head, map the moments to the target's channels."""
    return mapped_moments(moments(features), head)


def mapped_moments(measured: Moments, head: Affine | None) -> Moments:
    """Map moments to the target's channels; without a head, return them unchanged."""
    return measured if head is None else head.moments(measured)
