"""Frames as images, and images as frames."""

import numpy as np
import torch

from impasto.tensors import Image
from impasto.video.clips import Pixels
from impasto.video.flow import Array


def as_image(pixels: Pixels | Array) -> Image:
    """Convert a frame to an image, (1, 3, height, width) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255


def as_array(image: Image) -> Array:
    """Convert an image to the layout of frames, (height, width, 3)."""
    return np.ascontiguousarray(image[0].permute(1, 2, 0).cpu().numpy())
