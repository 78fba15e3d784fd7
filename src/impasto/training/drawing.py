"""Training data for the decoder of the instant painter: crops of photos and styles."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.tensors import Image
from impasto.training.crops import Corpus

_TRIES = 20
_LEAST_DEVIATION = 0.03
"""Minimum color variation of a style crop; more uniform crops are rejected."""


def photo_crop(corpus: Corpus, edge_px: int, random: np.random.Generator) -> Image:
    """Crop a square, usually a large one, from a photo or sometimes a painting: (1, 3, edge_px, edge_px)."""
    kind = "photo" if random.random() < 0.92 else "painting"
    crop = square_crop(corpus[kind], edge_px, 0.5, random)
    return _recolored_at_random(crop, random) if random.random() < 0.15 else crop


def style_crop(corpus: Corpus, edge_px: int, random: np.random.Generator) -> Image:
    """Crop a square that is not too uniform from a painting, a texture or a photo: (1, 3, edge_px, edge_px)."""
    for _ in range(_TRIES):
        kind = random.choice(["painting", "texture", "photo"], p=[0.72, 0.1, 0.18])
        crop = square_crop(corpus[kind], edge_px, 0.35, random)
        if random.random() < 0.3:
            crop = _recolored_at_random(crop, random)
        if crop.std((2, 3)).mean() > _LEAST_DEVIATION:
            break
    return crop


def square_crop(pictures: list[Tensor], edge_px: int, least: float, random: np.random.Generator) -> Image:
    """Crop a square from a random picture. The square's side is at least ``least`` times the picture's shorter side."""
    picture = pictures[random.integers(len(pictures))]
    shorter = min(picture.shape[1:])
    side = int(min(shorter, max(edge_px / 1.6, shorter * math.exp(random.uniform(math.log(least), 0)))))
    top, left = (int(random.integers(length - side + 1)) for length in picture.shape[1:])
    crop = picture[None, :, top : top + side, left : left + side].float() / 255
    crop = F.interpolate(crop, size=(edge_px, edge_px), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    return crop.flip(-1) if random.random() < 0.5 else crop


def _recolored_at_random(picture: Image, random: np.random.Generator) -> Image:
    """Mix the color channels slightly; change contrast and brightness."""
    matrix = np.eye(3) * random.uniform(0.6, 1.3) + random.normal(0, 0.12, (3, 3))
    mixed = torch.einsum("ij,bjhw->bihw", torch.from_numpy(matrix.astype(np.float32)), picture - 0.5)
    shift = torch.from_numpy(random.normal(0.5, 0.1, (1, 3, 1, 1)).astype(np.float32))
    return (mixed + shift).clamp(0, 1)
