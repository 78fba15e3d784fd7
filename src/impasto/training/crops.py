"""Training pictures: crops of a corpus. Some are blended, noisy or recolored to resemble pictures that occur in painting."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.tensors import Image

Corpus = Mapping[str, list[Tensor]]
"""Pictures by kind ("photo", "painting", "texture"): each (3, height, width), uint8."""


def random_crop(pictures: list[Tensor], edge_px: int, random: np.random.Generator) -> Image:
    """Crop a square from a random picture at a random scale: (1, 3, edge_px, edge_px), in [0, 1]."""
    picture = pictures[random.integers(len(pictures))]
    shorter = min(picture.shape[1:])
    side = min(shorter, round(edge_px * float(np.exp(random.uniform(-0.6, 0.7)))))
    top = random.integers(picture.shape[1] - side + 1)
    left = random.integers(picture.shape[2] - side + 1)
    crop = picture[None, :, top : top + side, left : left + side].float() / 255
    if side != edge_px:
        crop = F.interpolate(crop, size=(edge_px, edge_px), mode="bicubic", antialias=side > edge_px, align_corners=False)
    if random.random() < 0.5:
        crop = crop.flip(-1)
    return crop.clamp(0, 1)


def random_picture(corpus: Corpus, edge_px: int, random: np.random.Generator) -> Image:
    """Sample a training picture: usually a photo or a painting, sometimes a texture. Some are blended, noisy or recolored."""
    kind = ("photo", "photo", "painting", "texture")[random.integers(4)]
    picture = random_crop(corpus[kind], edge_px, random)
    fate = random.random()
    if fate < 0.15:
        other = random_crop(corpus["painting"], edge_px, random)
        picture = torch.lerp(picture, other, float(random.uniform(0.2, 0.8)))
    elif fate < 0.35:
        coarse = int(2 ** random.integers(0, 4))
        noise = torch.from_numpy(random.standard_normal((1, 3, edge_px // coarse, edge_px // coarse), dtype=np.float32))
        noise = F.interpolate(noise, size=(edge_px, edge_px), mode="bilinear", align_corners=False)
        picture = picture + float(random.uniform(0.02, 0.25)) * noise
    elif fate < 0.5:
        shift = torch.from_numpy(random.uniform(-0.2, 0.2, (1, 3, 1, 1)).astype(np.float32))
        picture = (picture - 0.5) * float(random.uniform(0.6, 1.4)) + 0.5 + shift
    return picture.clamp(0, 1)
