"""Add noise to the flat parts of a photo, so that a network paints strokes there.

A feed-forward network turns differences between pixels into strokes. A clear sky has none, so the network leaves it flat or
fills it with a regular weave.
"""

import torch
import torch.nn.functional as F

from impasto.tensors import Image, Mask

_STRONGEST = 0.1
"""Standard deviation of the noise at an amount of 1."""
_FLAT = 0.03
"""A part is flat if the local standard deviation of its gray values (means over the colors) is below this."""
_WINDOW_PX = 17
_OCTAVES = ((8, 0.82), (16, 0.41), (4, 0.41))
"""Sizes of the grain in pixels, and their weights."""


def with_noise(photo: Image, amount: float, seed: int = 0) -> Image:
    """Add noise to the flat parts of photos.

    Args:
        photo: (batch, 3, height, width) in [0, 1].
        amount: 0 (the same photo) to 1.
        seed: seed of the noise. The same seed and size give the same noise.

    Returns:
        The photos with noise, in [0, 1]. Parts with texture are unchanged.
    """
    if not amount:
        return photo
    strength = _STRONGEST * amount * flat_parts(photo)
    noise = _noise(photo.shape[-2], photo.shape[-1], seed).to(photo)
    shrunk = (photo - 0.5) * (1 - 2 * strength) + 0.5  # leave room for the noise in white and black parts
    return (shrunk + strength * noise).clamp_(0, 1)


def flat_parts(photo: Image) -> Mask:
    """Return how flat the surroundings of each pixel are, (batch, 1, height, width) in [0, 1].

    This is absolute, unlike :func:`impasto.losses.picture.flatness`: a photo without any texture is flat everywhere.
    """
    gray = photo.mean(1, keepdim=True)
    variance = _local_mean((gray - _local_mean(gray)).square())
    return torch.exp(-variance / _FLAT**2)


def _local_mean(values: Mask) -> Mask:
    """Average over a window; at the borders, over the part of the window that is inside."""
    return F.avg_pool2d(values, _WINDOW_PX, 1, _WINDOW_PX // 2, count_include_pad=False)


def _noise(height: int, width: int, seed: int) -> Mask:
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, 1, height, width)
    for grain, weight in _OCTAVES:
        coarse = torch.randn(1, 1, -(-height // grain) + 2, -(-width // grain) + 2, generator=generator)
        total += (
            weight
            * F.interpolate(coarse, scale_factor=grain, mode="bicubic")[..., grain : grain + height, grain : grain + width]
        )
    return total
