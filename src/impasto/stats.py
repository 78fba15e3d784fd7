"""Pure feature statistics: what a style is, once positions are forgotten.

Every reduction is a mean over positions, so that a statistic (and any loss on it) survives a change of picture size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from impasto.errors import OptionError
from impasto.tensors import FeatureMap, Gram


def gram_matrix(features: FeatureMap) -> Gram:
    """Correlate the channels of a feature map, averaged over positions.

    With F the (channels, positions) matrix of one picture's features: ``G = F Fᵀ / positions``.

    Args:
        features: (batch, channels, height, width).

    Returns:
        (batch, channels, channels), symmetric, positive semi-definite, in the type of the features.

    Example:
        >>> import torch
        >>> gram_matrix(torch.full((1, 2, 3, 3), 2.0))[0].tolist()
        [[4.0, 4.0], [4.0, 4.0]]

    Source:
        Gatys et al. 2016, equation 3, divided by the number of positions.
    """
    F = features.flatten(2)
    return F @ F.transpose(1, 2) / F.shape[-1]


@dataclass(frozen=True)
class Moments:
    """The first two moments of the features of one layer: the Gaussian that a style leaves there.

    Attributes:
        mean: (batch, channels).
        covariance: (batch, channels, channels), over positions, not Bessel-corrected.
    """

    mean: Tensor
    covariance: Tensor

    @property
    def gram(self) -> Gram:
        """The Gram matrix of the same features, (batch, channels, channels): covariance plus the mean's own."""
        return self.covariance + self.mean[:, :, None] * self.mean[:, None, :]

    @property
    def deviation(self) -> Tensor:
        """The standard deviation of each channel, (batch, channels)."""
        variance = torch.diagonal(self.covariance, dim1=1, dim2=2)
        return variance.clamp_min(1e-6).sqrt()

    def shifted(self, shift: float) -> "Moments":
        """Return the moments of the features plus a constant: the mean moves, the covariance stays."""
        return self if shift == 0 else Moments(self.mean + shift, self.covariance)

    def possible(self) -> "Moments":
        """Return the nearest moments that some features can have: what a blend made negative of the variances is dropped."""
        values, vectors = torch.linalg.eigh(self.covariance)
        return Moments(self.mean, (vectors * values.clamp_min(0)[:, None, :]) @ vectors.transpose(1, 2))


def moments(features: FeatureMap) -> Moments:
    """Measure the mean and the covariance of the channels of a feature map over its positions.

    Args:
        features: (batch, channels, height, width), any floating type.

    Returns:
        Moments with mean (batch, channels) and covariance (batch, channels, channels), at least float32. Of bfloat16 features
        the covariance is summed in float32 and rounded to bfloat16 once, which is what the processor does fast; it is centred
        first, so that the rounding is relative to the spread and not to the mean.

    Example:
        >>> import torch
        >>> m = moments(torch.tensor([[[[0.0, 2.0]]]]))
        >>> m.mean.item(), m.covariance.item()
        (1.0, 1.0)
    """
    mean, covariance = _Centred.apply(features.flatten(2).transpose(1, 2))  # type: ignore[no-untyped-call]
    return Moments(mean, covariance)


class _Centred(torch.autograd.Function):
    """Mean and covariance of rows (batch, positions, channels), and their gradient in one product instead of three.

    With X the centred rows and M positions: ``∂/∂x = X (Ḡ + Ḡᵀ) / M + ḡ / M``, where Ḡ and ḡ are the gradients with respect to
    covariance and mean; what the centring adds to it sums to zero.
    """

    @staticmethod
    def forward(context: Any, rows: Tensor) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(rows.dtype, torch.float32)
        rough = rows.sum(1, keepdim=True) / rows.shape[1]
        centred = rows - rough
        left = centred.sum(1).to(wide) / rows.shape[1]  # what rounding left of the mean
        context.save_for_backward(centred)
        products = torch.stack([each.T @ each for each in centred]).to(wide) / rows.shape[1]  # bmm would copy the rows
        return rough[:, 0].to(wide) + left, products - left[:, :, None] * left[:, None, :]

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        (centred,) = context.saved_tensors
        of_mean, of_covariance = (gradient / centred.shape[1] for gradient in gradients)
        product = (of_covariance + of_covariance.transpose(1, 2)).to(centred.dtype)
        return torch.baddbmm(of_mean[:, None].to(centred.dtype), centred, product)


def precise(values: Tensor) -> Tensor:
    """Widen bfloat16 and halves to float32, in which losses are summed; wider types stay as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


@dataclass(frozen=True)
class Affine:
    """A linear map from the channels of one layer to another set of channels: ``y = matrix x + bias``.

    A slim encoder carries one for each layer, learned so that its features, or the statistics of them, speak in the channels
    of the network it was distilled from.

    Attributes:
        matrix: (channels out, channels in).
        bias: (channels out,).
    """

    matrix: Tensor
    bias: Tensor

    def features(self, features: FeatureMap) -> FeatureMap:
        """Map a feature map (batch, channels in, height, width) to (batch, channels out, height, width)."""
        matrix, bias = self.matrix.to(features.dtype), self.bias.to(features.dtype)
        return torch.nn.functional.conv2d(features, matrix[:, :, None, None], bias)

    def moments(self, measured: Moments) -> Moments:
        """Map the moments of features to the moments that the mapped features would have.

        Exact, and far cheaper than mapping the features first: ``μ' = A μ + b`` and ``Σ' = A Σ Aᵀ``.
        """
        return Moments(measured.mean @ self.matrix.T + self.bias, self.matrix @ measured.covariance @ self.matrix.T)


def sqrtm(matrix: Tensor, iterations: int = 12) -> Tensor:
    """Take the square root of symmetric positive matrices, (batch, n, n), by the coupled Newton-Schulz iteration.

    Only products of matrices: fast on any device and differentiable. Twelve iterations give four digits of every eigenvalue
    above a thousandth of the largest; the roots of smaller ones come out too small, which the trace hardly feels.

    Example:
        >>> import torch
        >>> [round(x, 3) for x in sqrtm(torch.diag(torch.tensor([4.0, 9.0]))[None])[0].diagonal().tolist()]
        [2.0, 3.0]

    Source:
        Higham 2008, Functions of Matrices, equation 6.35.
    """
    size = matrix.norm(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    identity = torch.eye(matrix.shape[1], device=matrix.device, dtype=matrix.dtype).expand_as(matrix)
    Y, Z = matrix / size, identity
    for _ in range(iterations):
        T = (3 * identity - Z @ Y) / 2
        Y, Z = Y @ T, T @ Z
    root: Tensor = Y * size.sqrt()
    return root


def blend(styles: Sequence[Moments], weights: Sequence[float]) -> Moments:
    """Blend the moments of several styles into those of one, by weights that need not sum to one and may be negative.

    Means and covariances are averaged, each with the weights divided by their sum: a manner between the styles. Averaging Gram
    matrices, as published programs do, would take what sets the styles' means apart for variety within the style.

    Raises:
        OptionError: if the counts differ or the weights sum to zero or less.
    """
    total = sum(weights)
    if len(styles) != len(weights):
        raise OptionError(f"{len(weights)} style weights were given for {len(styles)} styles; give one weight for each style")
    if total <= 0:
        raise OptionError(f"style weights {list(weights)} sum to {total:g}; their sum must be above 0: enlarge a positive one")
    shares = [weight / total for weight in weights]
    mean = torch.stack([share * style.mean for share, style in zip(shares, styles, strict=True)]).sum(0)
    covariance = torch.stack([share * style.covariance for share, style in zip(shares, styles, strict=True)]).sum(0)
    return Moments(mean, covariance)
