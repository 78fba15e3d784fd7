"""Losses as values, and their weighted sum.

A loss is frozen: its target, its weights by layer, and ``__call__(features) -> scalar``. It holds no buffers, hooks or
setters; a new target is a new loss. What a published method divides by is a weight by layer, computed once from the target
(see :mod:`impasto.normalization`), so that one class serves every paper that measures the same difference.

An objective is made with ``weight * loss`` and ``+`` alone::

    objective = 5 * ContentLoss(...) + 100 * StyleLoss(...) + 1e-3 * Smoothness("l2")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.options import SmoothnessForm
from impasto.stats import Affine, Moments, moments, precise, sqrtm
from impasto.tensors import FeatureMap, Features, Image

PIXELS = "pixels"
"""The name under which the picture itself stands among the features."""

Heads = Mapping[str, Affine | None]
"""The map of each layer into the channels in which a target speaks; None or absent: none is needed."""


class Loss:
    """What every loss can do: name itself, say which layers it needs, and be weighted and added."""

    name: ClassVar[str]

    @property
    def layers(self) -> frozenset[str]:
        """The layers whose features it needs; :data:`PIXELS` stands for the picture."""
        raise NotImplementedError

    def __call__(self, features: Features) -> Tensor:
        """Compare the features of a picture with the target: a scalar, not yet weighted."""
        raise NotImplementedError

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
        return sum_over(weight * d.square().sum() / (d.abs().sum() + 1e-8) for weight, d in differences)


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
        return sum_over(self._difference(layer, features[layer]) for layer in self.target)

    def _difference(self, layer: str, features: FeatureMap) -> Tensor:
        target = self.target[layer].shifted(self.shift)
        measured = measure(features, self.heads.get(layer)).shifted(self.shift)
        total = torch.zeros((), device=features.device)
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

    ``Σ_l w_l (|μ - μ̂|² + tr(Σ + Σ̂ - 2 (Σ̂^½ Σ Σ̂^½)^½))``, the root by Newton and Schulz.

    Args:
        target: the style's moments by layer.
        weights: by layer, normalization included.
        heads: maps into the target's channels.
        ridge: added to the variances of both, so that the root has a gradient where features do not vary.

    Source:
        Dowson and Landau 1982; as a style loss in crowsonkb/style-transfer-pytorch (MIT).
    """

    name: ClassVar[str] = "style"
    target: Mapping[str, Moments]
    weights: Mapping[str, float]
    heads: Heads = field(default_factory=dict)
    ridge: float = 1e-4

    @property
    def layers(self) -> frozenset[str]:
        """The style layers."""
        return frozenset(self.target)

    def __call__(self, features: Features) -> Tensor:
        """Sum the weighted distances."""
        return sum_over(self.weights[layer] * self._distance(layer, features[layer]) for layer in self.target)

    def _distance(self, layer: str, features: FeatureMap) -> Tensor:
        target, measured = self.target[layer], measure(features, self.heads.get(layer))
        ridge = self.ridge * torch.eye(target.mean.shape[1], device=features.device)
        wanted, found = target.covariance + ridge, measured.covariance + ridge
        root = sqrtm(wanted)
        cross = sqrtm(root @ found @ root)
        trace = torch.diagonal(wanted + found - 2 * cross, dim1=1, dim2=2).sum()
        return (measured.mean - target.mean).square().sum() + trace


@dataclass(frozen=True)
class Smoothness(Loss):
    """Total variation of the picture, in one of the forms that published programs use.

    Args:
        form: ``"l1"`` and ``"l2"``, absolute or squared steps to the right and down, averaged over positions and summed over
            colours; ``"sum-l1"`` and ``"sum-l2"``, summed over positions too; ``"inetwork"``, the sum of ``(dx² + dy²)^1.25``;
            ``"nine-point"``, see :func:`nine_point`.
        scale: the range of pixel values in the published program: 1, or 255.
    """

    name: ClassVar[str] = "smoothness"
    form: SmoothnessForm = "l2"
    scale: float = 1.0

    @property
    def layers(self) -> frozenset[str]:
        """The picture itself."""
        return frozenset((PIXELS,))

    def __call__(self, features: Features) -> Tensor:
        """Measure the variation in the form that was asked for."""
        return total_variation(features[PIXELS] * self.scale, self.form)


@dataclass(frozen=True)
class EdgeAwareSmoothness(Loss):
    """Keep calm what is calm in the photo: squared steps between pixels, weighted by how flat the photo is there.

    A loss network fills a clear sky with grain as readily as a meadow; this takes it out of the sky and leaves the meadow
    alone.

    Args:
        flatness: (1, 1, height, width) in [0, 1]; 1 where the photo is flat, see :func:`flatness`.
    """

    name: ClassVar[str] = "calm"
    flatness: Tensor

    @property
    def layers(self) -> frozenset[str]:
        """The picture itself."""
        return frozenset((PIXELS,))

    def __call__(self, features: Features) -> Tensor:
        """Average the weighted squared steps over positions, summed over colours."""
        image = features[PIXELS]
        right = precise(image[..., :-1, 1:] - image[..., :-1, :-1]).square().sum(1)
        down = precise(image[..., 1:, :-1] - image[..., :-1, :-1]).square().sum(1)
        return (self.flatness[:, 0, :-1, :-1] * (right + down)).mean()


@dataclass(frozen=True)
class StructureLoss(Loss):
    """Keep the photo recognisable: one minus the structural similarity of the two luminances, seen small.

    Where a face sits and how light falls on it is decided at a coarse size; strokes live at the fine ones, which this loss does
    not see.

    Args:
        target: the content, (1, 3, height, width), at the size that is painted.
        edge_px: the longer side at which the two are compared.

    Source:
        Wang et al. 2004 for SSIM (Gaussian window of σ = 1.5); its use here is our own.
    """

    name: ClassVar[str] = "structure"
    target: Image
    edge_px: int = 128

    @property
    def layers(self) -> frozenset[str]:
        """The picture itself."""
        return frozenset((PIXELS,))

    def __call__(self, features: Features) -> Tensor:
        """Compare the two luminances at the small size."""
        return 1 - structural_similarity(seen_small(features[PIXELS], self.edge_px), seen_small(self.target, self.edge_px))


@dataclass(frozen=True)
class Gamut(Loss):
    """Keep colours displayable: the mean square of what lies outside [0, 1]."""

    name: ClassVar[str] = "gamut"

    @property
    def layers(self) -> frozenset[str]:
        """The picture itself."""
        return frozenset((PIXELS,))

    def __call__(self, features: Features) -> Tensor:
        """Average the squared excess."""
        image = features[PIXELS]
        return (image - image.clamp(0, 1)).square().mean()


def sum_over(values: Iterator[Tensor]) -> Tensor:
    """Add up scalars (``sum`` would start from the integer 0 and lose the type)."""
    return torch.stack(list(values)).sum()


def mapped(features: FeatureMap, head: Affine | None) -> FeatureMap:
    """Map features into the target's channels, where there is a head."""
    return features if head is None else head.features(features)


def measure(features: FeatureMap, head: Affine | None) -> Moments:
    """Measure the moments of features, in the target's channels where there is a head."""
    measured = moments(features)
    return measured if head is None else head.moments(measured)


def total_variation(image: Image, form: SmoothnessForm) -> Tensor:
    """Measure how much a picture varies from pixel to pixel; see :class:`Smoothness` for the forms."""
    image = precise(image)
    if form == "nine-point":
        return nine_point(image)
    if form == "sum-l1":  # TensorFlow's tf.image.total_variation: every pair of neighbours, also along the last row and column
        return image.diff(dim=-1).abs().sum() + image.diff(dim=-2).abs().sum()
    right = image[..., :-1, 1:] - image[..., :-1, :-1]
    down = image[..., 1:, :-1] - image[..., :-1, :-1]
    if form == "inetwork":
        return (right.square() + down.square()).pow(1.25).sum()
    if form == "sum-l2":
        return (right.square() + down.square()).sum()
    positions = max(1, right.shape[0] * right.shape[2] * right.shape[3])
    steps = right.abs() + down.abs() if form == "l1" else right.square() + down.square()
    return steps.sum() / positions


def nine_point(image: Image) -> Tensor:
    """Average the squared steps to all neighbours: ``2/3 (dx² + dy²) + 1/6 (d↘² + d↙²)``, each a mean over pixels and colours.

    The weights are those of the nine-point stencil of the Laplacian, whose blur is the same in every direction.

    Source:
        crowsonkb/style-transfer-pytorch (MIT), over replicated borders.
    """
    around = F.pad(image, (1, 1, 1, 1), mode="replicate")
    centre = around[..., 1:-1, 1:-1]
    right, down = around[..., 1:-1, 2:] - centre, around[..., 2:, 1:-1] - centre
    diagonal = around[..., 1:, 1:] - around[..., :-1, :-1]
    antidiagonal = around[..., 1:, :-1] - around[..., :-1, 1:]
    straight = right.square().mean() + down.square().mean()
    slanted = diagonal.square().mean() + antidiagonal.square().mean()
    return straight * 2 / 3 + slanted / 6


def flatness(image: Image, window_px: int = 9) -> Tensor:
    """Say where a picture is flat: 1 where its luminance does not vary, a half where it varies a fifth as much as on average.

    Args:
        image: (1, 3, height, width) in [0, 1].
        window_px: side of the neighbourhood, odd.

    Returns:
        (1, 1, height, width) in [0, 1].
    """
    luminance = luminance_of(image).float()
    right = F.pad(luminance[..., :, 1:] - luminance[..., :, :-1], (0, 1, 0, 0), mode="replicate").square()
    down = F.pad(luminance[..., 1:, :] - luminance[..., :-1, :], (0, 0, 0, 1), mode="replicate").square()
    reach = window_px // 2
    activity = F.avg_pool2d(F.pad(right + down, (reach,) * 4, mode="replicate"), window_px, stride=1)
    return 1 / (1 + activity / (0.2 * activity.mean()).clamp_min(1e-6))


def luminance_of(image: Image) -> Tensor:
    """Return the luminance (Rec. 601) of a picture: (batch, 1, height, width)."""
    return (image * image.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]).sum(1, keepdim=True)


def seen_small(image: Image, edge_px: int) -> Tensor:
    """Shrink a picture's luminance to a longer side of edge_px (never enlarge it): (batch, 1, height, width)."""
    luminance = luminance_of(image)
    factor = edge_px / max(image.shape[-2:])
    if factor >= 1:
        return luminance
    size = [max(1, round(side * factor)) for side in image.shape[-2:]]
    return F.interpolate(luminance, size=size, mode="bilinear", antialias=True, align_corners=False)


def structural_similarity(a: Tensor, b: Tensor, window_px: int = 11) -> Tensor:
    """Measure the mean SSIM of two grey pictures (batch, 1, height, width) in [0, 1]; 1 where they are equal.

    Source:
        Wang et al. 2004, with the window over replicated borders, and shrunk for tiny pictures.
    """
    reach = min(window_px, min(a.shape[-2:]) | 1) // 2
    a, b = precise(a), precise(b)
    positions = torch.arange(-reach, reach + 1, device=a.device, dtype=a.dtype)
    window = torch.exp(-positions.square() / (2 * 1.5**2))
    window = window / window.sum()

    def blur(x: Tensor) -> Tensor:
        x = F.pad(x, (reach, reach, reach, reach), mode="replicate")
        return F.conv2d(F.conv2d(x, window[None, None, :, None]), window[None, None, None, :])

    mean_a, mean_b = blur(a), blur(b)
    variance_a, variance_b = blur(a * a) - mean_a.square(), blur(b * b) - mean_b.square()
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return (likeness / ((mean_a.square() + mean_b.square() + c1) * (variance_a + variance_b + c2))).mean()
