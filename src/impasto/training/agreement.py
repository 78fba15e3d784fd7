"""Agreement of a slim network with its teacher: features, statistics, and painting gradients."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.encoders.vgg import Vgg
from impasto.features.statistics import Moments, moments
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Features, Image
from impasto.training.crops import Corpus, random_crop

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
CONTENT_LAYER = "relu4_2"
MAIN_LAYERS = (*STYLE_LAYERS, CONTENT_LAYER)


def relative_error(answer: Tensor, target: Tensor) -> Tensor:
    """Compute ``|answer - target|² / |target|²`` for each picture of a batch: (batch,)."""
    difference = (answer.float() - target.float()).flatten(1).square().sum(1)
    return difference / target.float().flatten(1).square().sum(1).clamp_min(1e-8)


def moments_error(answer: Moments, target: Moments) -> Tensor:
    """Sum the relative errors of the Gram matrix, the mean and the deviation for each picture: (batch,)."""
    return (
        relative_error(answer.gram, target.gram)
        + relative_error(answer.mean, target.mean)
        + relative_error(answer.deviation, target.deviation)
    )


def painting_loss(network: Vgg, features: Features, content: Tensor, style: Mapping[str, Moments]) -> Tensor:
    """Evaluate the painting objective on one network's features: relative style errors plus the content error, (batch,)."""
    total = torch.zeros(len(content), device=content.device)
    for layer, target in style.items():
        measured = moments(features[layer])
        head = network.head(layer)
        total = total + moments_error(head.moments(measured) if head else measured, target) / len(style)
    head = network.head(CONTENT_LAYER)
    answer = head.features(features[CONTENT_LAYER]) if head else features[CONTENT_LAYER]
    return total + 0.7 * relative_error(answer, content)


@in_known_state
def gradient_agreement(student: Vgg, teacher: Vgg, image: Image, content: Image, style: Image) -> Tensor:
    """Compare two networks by the gradients of the painting objective with respect to the pixels.

    Args:
        student: the student network.
        teacher: the teacher network.
        image: (batch, 3, height, width), the pictures being painted.
        content: content pictures, the same shape.
        style: style pictures, the same shape.

    Returns:
        (batch,) cosines; 1 means that both networks give the same gradient direction.
    """
    with torch.no_grad():
        content_target = teacher(content, [CONTENT_LAYER])[CONTENT_LAYER]
        features = teacher(style, STYLE_LAYERS)
        target = {layer: moments(features[layer]) for layer in STYLE_LAYERS}
    gradients = []
    for network in (student, teacher):
        pixels = image.clone().requires_grad_()
        loss = painting_loss(network, network(pixels, MAIN_LAYERS), content_target, target).sum()
        (gradient,) = torch.autograd.grad(loss, pixels)
        gradients.append(gradient.flatten(1))
    ours, theirs = gradients
    return F.cosine_similarity(ours, theirs)


@dataclass(frozen=True)
class HeldOut:
    """Held-out pictures that no training step uses; each attribute is (12, 3, edge_px, edge_px).

    Attributes:
        content: photos.
        style: paintings.
        image: photos, blends of photo and painting, and noisy photos, a third each.
    """

    content: Image
    style: Image
    image: Image

    @classmethod
    def draw(cls, corpus: Corpus, edge_px: int, seed: int) -> "HeldOut":
        """Sample crops of held-out pictures."""
        random = np.random.default_rng(seed)
        content = torch.cat([random_crop(corpus["photo"], edge_px, random) for _ in range(12)])
        style = torch.cat([random_crop(corpus["painting"], edge_px, random) for _ in range(12)])
        noise = torch.from_numpy(random.standard_normal(content[8:].shape, dtype=np.float32))
        blend = torch.lerp(content[4:8], style[4:8], 0.3)
        return cls(content, style, torch.cat([content[:4], blend, (content[8:] + 0.15 * noise).clamp(0, 1)]))

    def to(self, device: torch.device) -> "HeldOut":
        """Move all pictures to a device."""
        return HeldOut(self.content.to(device), self.style.to(device), self.image.to(device))


@in_known_state
def figures(student: Vgg, teacher: Vgg, held: HeldOut) -> dict[str, float]:
    """Measure the agreement of two networks on held-out pictures.

    Args:
        student: a network with a head for each of its layers.
        teacher: a network of full width.
        held: held-out pictures, on the device of the networks.

    Returns:
        By name: for each layer, the relative error of its features (``"LAYER"``); for each style layer, the relative error of
        its statistics (``"LAYER moments"``); and the cosines of the gradients for photos, for blends of photo and painting, and
        for noisy photos (``"gradient photo"``, ``"gradient blend"`` and ``"gradient noise"``).
    """
    layers = (*MAIN_LAYERS, "relu3_4", "relu5_4")
    found: dict[str, float] = {}
    pictures = torch.cat([held.content, held.style, held.image])
    with torch.no_grad():
        answers, targets = student(pictures, layers), teacher(pictures, layers)
        for layer in layers:
            head = student.head(layer)
            assert head is not None
            found[layer] = relative_error(head.features(answers[layer]), targets[layer]).mean().item()
            if layer in STYLE_LAYERS:
                statistics = head.moments(moments(answers[layer]))
                found[f"{layer} moments"] = moments_error(statistics, moments(targets[layer])).mean().item()
    cosines = gradient_agreement(student, teacher, held.image, held.content, held.style).view(3, 4).mean(1).tolist()
    found |= {f"gradient {kind}": cosine for kind, cosine in zip(("photo", "blend", "noise"), cosines, strict=True)}
    return {name: round(value, 4) for name, value in found.items()}
