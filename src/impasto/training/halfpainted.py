"""Pictures half painted by the student itself. Such pictures occur during painting but not in ordinary training data."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from impasto.encoders.vgg import Vgg
from impasto.features.statistics import moments
from impasto.tensors import Image
from impasto.training.agreement import CONTENT_LAYER, MAIN_LAYERS, STYLE_LAYERS, painting_loss
from impasto.training.crops import Corpus, random_crop


@dataclass
class HalfPainted:
    """A pool of pictures at different stages between photo (or noise) and painting, painted with the current student."""

    image: Image
    before: Image
    content: Image
    style: Image
    age: Tensor

    @classmethod
    def start(cls, count: int, corpus: Corpus, edge_px: int, random: np.random.Generator) -> "HalfPainted":
        """Create a pool of ``count`` pictures."""
        empty = torch.zeros(count, 3, edge_px, edge_px)
        painted = cls(empty, empty.clone(), empty.clone(), empty.clone(), torch.zeros(count, dtype=torch.long))
        for index in range(count):
            painted.renew(index, corpus, random)
        return painted

    def renew(self, index: int, corpus: Corpus, random: np.random.Generator) -> None:
        """Replace an entry of the pool by a new one, which starts from the photo, from noise, or from a mixture of both."""
        edge_px = self.image.shape[-1]
        self.content[index] = random_crop(corpus["photo"], edge_px, random)[0]
        self.style[index] = random_crop(corpus["painting"], edge_px, random)[0]
        noise = torch.from_numpy(random.uniform(0, 1, (3, edge_px, edge_px)).astype(np.float32))
        share = (0.0, 0.0, 0.1, 0.5, 1.0)[random.integers(5)]
        self.image[index] = torch.lerp(self.content[index], noise, share)
        self.before[index] = self.image[index]
        self.age[index] = 0

    def advance(self, indices: Tensor, student: Vgg, teacher: Vgg, autocast: Callable[[], torch.autocast]) -> None:
        """Continue to paint some of the pictures with a few Adam steps."""
        device = student.mean.device
        with torch.no_grad(), autocast():
            content = teacher(self.content[indices].to(device), [CONTENT_LAYER])[CONTENT_LAYER]
            features = teacher(self.style[indices].to(device), STYLE_LAYERS)
            style = {layer: moments(features[layer]) for layer in STYLE_LAYERS}
        image = self.image[indices].to(device).contiguous(memory_format=torch.channels_last).requires_grad_()
        self.before[indices] = image.detach().cpu()
        optimizer = torch.optim.Adam([image], lr=0.03, betas=(0.8, 0.95))
        for _ in range(6):
            with autocast():
                loss = painting_loss(student, student(image, MAIN_LAYERS), content, style).sum()
            (image.grad,) = torch.autograd.grad(loss, image)
            optimizer.step()
            with torch.no_grad():
                image.clamp_(0, 1)
        self.image[indices] = image.detach().cpu()
        self.age[indices] += 1
