"""Colour as statistics: the palette of one picture carried over to another."""

import torch
from torch import Tensor

from impasto.stats import Affine, Moments, moments
from impasto.tensors import Image

_FAINT = 1e-4
"""Variance, in squared units of [0, 1], below which a direction of colour counts as noise: 2.5 steps of 255."""


def monge_kantorovich(source: Moments, target: Moments) -> Affine:
    """Find the linear map of colours that gives a picture another's palette and moves colours the least.

    With Σs and Σt the covariances: ``A = Σs^-½ (Σs^½ Σt Σs^½)^½ Σs^-½``, and ``b = μt - A μs``. Directions in which the source
    hardly varies are not blown up.

    Args:
        source: mean (batch, 3) and covariance (batch, 3, 3) of the picture's colours.
        target: the same of the palette.

    Returns:
        One map for each picture: matrix (batch, 3, 3), bias (batch, 3).

    Source:
        Pitié and Kokaram 2007, equation 3.
    """
    faint = _FAINT * torch.eye(3, dtype=torch.float64, device=source.mean.device)
    s, t = source.covariance.double() + faint, target.covariance.double() + faint
    root, inverse = _powers(s)
    middle, _ = _powers(root @ t @ root)
    matrix = inverse @ middle @ inverse
    bias = target.mean.double() - (matrix @ source.mean.double()[:, :, None])[:, :, 0]
    return Affine(matrix.to(source.mean.dtype), bias.to(source.mean.dtype))


def recolored(image: Image, colors: Affine) -> Image:
    """Apply a map of colours to each picture of a batch; the result may leave [0, 1]."""
    return torch.einsum("bij,bjhw->bihw", colors.matrix, image) + colors.bias[:, :, None, None]


def color_moments(image: Image) -> Moments:
    """Measure mean and covariance of a picture's colours."""
    return moments(image)


def _powers(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return the square root of symmetric positive matrices, and its inverse."""
    values, vectors = torch.linalg.eigh(matrix)
    roots = values.clamp_min(1e-12).sqrt()
    return (vectors * roots[:, None]) @ vectors.mT, (vectors / roots[:, None]) @ vectors.mT
