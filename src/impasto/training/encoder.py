"""Distill a slim encoder from the full VGG-19, for use as the feature extractor of style losses.

The slim network need not recognize objects. Instead, minimizing a style loss on its features should produce the same painting
as with the teacher. The slim network, called the student, is fitted in two stages:

1. In closed form, layer by layer. The student keeps the teacher channels that best predict the others (pivoted QR of the
   activations' covariance). The student's filters are the least-squares fit to the teacher's activations, given the student's
   narrower input.
2. With Adam. The affine heads map the student's features to the teacher's channels. The loss is the relative error of the
   mapped features, of their Gram matrices and moments, and of their *change* along a step of painting. The change is a
   directional derivative: two networks whose features change alike have similar gradients with respect to the pixels.
   Training pictures are photos, paintings, textures, noise, and pictures half painted by the student itself. Half-painted
   pictures occur whenever a picture is painted, and an optimizer would exploit the student's errors on them. The result is
   the running average of the parameters.

Source: in the spirit of Wang et al. 2020 (arXiv:2003.08436, collaborative distillation) and He et al. 2017 (arXiv:1707.06168,
channel pruning by least squares); the half-painted pool and the change term are our own.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from impasto.encoders.vgg import CONVOLUTIONS, Vgg, pool
from impasto.features.statistics import moments
from impasto.runtime.devices import seconds_now
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import Features, Image
from impasto.training.agreement import MAIN_LAYERS, STYLE_LAYERS, moments_error, relative_error
from impasto.training.checkpoints import Parts, copy_of_state, read_checkpoint, update_average, write_checkpoint
from impasto.training.crops import Corpus, random_picture
from impasto.training.halfpainted import HalfPainted

__all__ = ["Distillation", "DistillationStep", "initialize_from_teacher", "most_telling_channels"]

OTHER_LAYERS = tuple(f"relu{name}" for name in CONVOLUTIONS if f"relu{name}" not in MAIN_LAYERS)

# ---------------------------------------------------------------------------------------------------- closed form


@in_known_state
@torch.no_grad()
def initialize_from_teacher(student: Vgg, teacher: Vgg, pictures: Image, *, ridge: float = 1e-3, keep: int = 0) -> None:
    """Set the student's filters and heads to the least-squares fit to the teacher's activations on the given pictures.

    Args:
        student: a :class:`Vgg` with heads; changed in place.
        teacher: a :class:`Vgg` of full width, on the same device.
        pictures: (n, 3, height, width), in [0, 1]; a few hundred crops.
        ridge: strength of regularization towards the teacher's own filters, relative to the mean power of the input.
        keep: number of initial convolutions that are already trained and stay unchanged.
    """
    student.mean.copy_(teacher.mean)
    student.std.copy_(teacher.std)
    batches = pictures.split(8)
    normalized = [(batch - teacher.mean[:, None, None]) / teacher.std[:, None, None] for batch in batches]
    inputs, references = list(normalized), list(normalized)
    chosen_before: Tensor | None = torch.arange(3)
    for name in CONVOLUTIONS:
        if name.endswith("_1") and name != "1_1":
            inputs = [pool(x, student.pooling) for x in inputs]
            references = [pool(x, teacher.pooling) for x in references]
        targets = [teacher._convolve(name, x) for x in references]
        references = [F.relu(x) for x in targets]
        convolution = convolution_of(student, name)
        if CONVOLUTIONS.index(name) < keep:
            inputs = [F.relu(student._convolve(name, x)) for x in inputs]
            chosen_before = None
            continue
        chosen = most_telling_channels(references, convolution.out_channels)
        prior = convolution_of(teacher, name)
        # There is no prior after trained layers, because their channels have no counterpart in the teacher.
        weight = torch.zeros_like(convolution.weight)
        if chosen_before is not None:
            weight = prior.weight[chosen][:, chosen_before]
        weight, bias = _fit_convolution(inputs, [y[:, chosen] for y in targets], weight, bias_of(prior)[chosen], ridge)
        convolution.weight.copy_(weight)
        bias_of(convolution).copy_(bias)
        answers = [student._convolve(name, x) for x in inputs]
        inputs = [F.relu(x) for x in answers]
        for layer, given, wanted in ((f"conv{name}", answers, targets), (f"relu{name}", inputs, references)):
            if layer in student.heads:
                set_head(student, layer, given, wanted)
        chosen_before = chosen


def convolution_of(network: Vgg, name: str) -> nn.Conv2d:
    """Return one of a network's convolutions."""
    found = network.convolutions[name]
    assert isinstance(found, nn.Conv2d)
    return found


def bias_of(layer: nn.Conv2d | nn.Linear) -> Tensor:
    """Return the bias of a layer; all layers of these networks have one."""
    assert layer.bias is not None
    return layer.bias


def most_telling_channels(activations: list[Tensor], count: int) -> Tensor:
    """Select the channels that best predict the others: pivoted QR of the square root of the covariance.

    Args:
        activations: batches of (n, channels, height, width).
        count: number of channels to select.

    Returns:
        (count,) indices, ascending.
    """
    flat = torch.cat([a.transpose(0, 1).flatten(1)[:, ::7] for a in activations], dim=1)
    flat = flat - flat.mean(1, keepdim=True)
    covariance = (flat @ flat.T / flat.shape[1]).cpu().double().numpy()  # MPS has no float64
    values, vectors = np.linalg.eigh(covariance)
    root = np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
    order = scipy.linalg.qr(root, mode="r", pivoting=True)[1]
    return torch.from_numpy(np.sort(order[:count])).to(activations[0].device)


def _fit_convolution(
    inputs: list[Tensor], targets: list[Tensor], weight: Tensor, bias: Tensor, ridge: float
) -> tuple[Tensor, Tensor]:
    unknowns = weight[0].numel() + 1
    normal = torch.zeros(unknowns, unknowns, dtype=torch.float64)  # on the CPU: MPS has no float64
    right = torch.zeros(unknowns, len(weight), dtype=torch.float64)
    prior = torch.cat([weight.flatten(1), bias[:, None]], dim=1).T
    count = 0
    for x, y in zip(inputs, targets, strict=True):
        columns = F.unfold(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3).transpose(0, 1).flatten(1)
        answers = y.transpose(0, 1).flatten(1)
        stride = max(1, columns.shape[1] // 4096)
        columns, answers = columns[:, ::stride], answers[:, ::stride]
        columns = torch.cat([columns, torch.ones_like(columns[:1])])
        normal += (columns @ columns.T).cpu().double()
        right += (columns @ (answers.T - columns.T @ prior)).cpu().double()
        count += columns.shape[1]
    normal.diagonal().add_(ridge * normal.diagonal().mean())
    solution = (prior.cpu().double() + torch.linalg.solve(normal, right)).float().to(weight.device)
    return solution[:-1].T.reshape(weight.shape), solution[-1]


@torch.no_grad()
def set_head(student: Vgg, layer: str, given: list[Tensor], wanted: list[Tensor]) -> None:
    """Set the head of one layer to the least-squares map from the student's features to the teacher's."""
    x = torch.cat([a.transpose(0, 1).flatten(1)[:, ::3] for a in given], dim=1).cpu().double()
    y = torch.cat([a.transpose(0, 1).flatten(1)[:, ::3] for a in wanted], dim=1).cpu().double()
    x = torch.cat([x, torch.ones_like(x[:1])])
    normal = x @ x.T
    normal.diagonal().add_(1e-5 * normal.diagonal().mean())
    solution = torch.linalg.solve(normal, x @ y.T)
    linear = student.heads[layer]
    assert isinstance(linear, nn.Linear)
    linear.weight.copy_(solution[:-1].T.float())
    linear.bias.copy_(solution[-1].float())


# ---------------------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class DistillationStep:
    """The result of one training step: its number, the learning rate and the errors by name."""

    number: int
    learning_rate: float
    errors: Mapping[str, float]
    seconds: float


class Distillation:
    """The state of a distillation: student, optimizer, half-painted pool and random state; checkpoints contain all of it.

    Args:
        student: a :class:`Vgg` with heads, initialized.
        teacher: the full VGG-19.
        corpus: training pictures by kind.
        total_steps: number of steps over which the learning rate decays to zero, along half a cosine.
        learning_rate: peak learning rate of Adam, relative to the root mean square of each parameter.
        edge_px: side of the crops.
        seed: seed of all random numbers.
    """

    @in_known_state
    def __init__(  # noqa: PLR0913  (three inputs and four numbers)
        self,
        student: Vgg,
        teacher: Vgg,
        corpus: Corpus,
        *,
        total_steps: int,
        learning_rate: float = 5e-3,
        edge_px: int = 112,
        seed: int = 0,
    ) -> None:
        self.student, self.teacher, self.corpus = student, teacher.requires_grad_(False), corpus
        self.total_steps, self.learning_rate, self.edge_px = total_steps, learning_rate, edge_px
        self.random = np.random.default_rng(seed)
        # Filters of deep layers are a hundred times smaller than those of the first layer, so the learning rate of each
        # parameter is proportional to its magnitude.
        groups = [{"params": [p], "size": float(p.detach().square().mean().sqrt())} for p in student.parameters()]
        self.optimizer = torch.optim.Adam(groups, lr=learning_rate, betas=(0.9, 0.98))
        self.painted = HalfPainted.start(24, corpus, edge_px, self.random)
        self.averaged = copy_of_state(student)
        self._parts: Parts = {"student": student, "optimizer": self.optimizer}
        self.number = 0
        self.device = student.mean.device

    def autocast(self) -> torch.autocast:
        """Use bfloat16 autocast where it is safe; the weights stay in float32."""
        return torch.autocast(self.device.type, torch.bfloat16)

    @in_known_state
    def steps(self) -> Iterator[DistillationStep]:
        """Train until ``total_steps``, yielding each step; to stop early, stop iterating."""
        while self.number < self.total_steps:
            began = seconds_now()
            rate = self.learning_rate * min(1.0, (self.number + 1) / 100)
            rate *= 0.5 + 0.5 * math.cos(math.pi * self.number / self.total_steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["size"]
            errors = self._step()
            self.number += 1
            yield DistillationStep(self.number, rate, errors, seconds_now() - began)

    @in_known_state
    def save(self, path: Path) -> None:
        """Write a checkpoint with the complete training state, atomically."""
        values = {"averaged": self.averaged, "painted": vars(self.painted), "number": self.number}
        write_checkpoint(path, self._parts, self.random, **values)

    @in_known_state
    def resume(self, path: Path) -> None:
        """Restore a checkpoint written by :meth:`save`."""
        values = read_checkpoint(path, self._parts, self.random, self.device)
        self.averaged, self.number = values["averaged"], values["number"]
        self.painted = HalfPainted(**{name: value.cpu() for name, value in values["painted"].items()})

    def _step(self) -> dict[str, float]:
        batch, pairs = self._draw()
        others = self.random.choice(len(OTHER_LAYERS), size=3, replace=False)
        layers = (*MAIN_LAYERS, *(OTHER_LAYERS[i] for i in others))
        with self.autocast():
            with torch.no_grad():
                targets = self.teacher(batch, layers)
            answers = self.student(batch, layers)
            loss, errors = self._loss(answers, targets, pairs)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        update_average(self.averaged, self.student, min(0.998, 1 - 1 / (self.number + 2)))
        return errors

    def _draw(self) -> tuple[Image, int]:
        """Sample a batch: new pictures, then half-painted pictures before and after a few painting steps."""
        pairs = 3
        if self.number % 3 == 0:
            indices = torch.from_numpy(self.random.choice(len(self.painted.age), size=pairs, replace=False))
            for index in indices.tolist():
                if self.random.random() < 0.08 + 0.02 * float(self.painted.age[index]):
                    self.painted.renew(index, self.corpus, self.random)
            self.painted.advance(indices, self.student, self.teacher, self.autocast)
        chosen = torch.from_numpy(self.random.choice(len(self.painted.age), size=pairs, replace=False))
        fresh = [random_picture(self.corpus, self.edge_px, self.random) for _ in range(3)]
        batch = torch.cat([*fresh, self.painted.before[chosen], self.painted.image[chosen]])
        return batch.to(self.device).contiguous(memory_format=torch.channels_last), pairs

    def _loss(self, answers: Features, targets: Features, pairs: int) -> tuple[Tensor, dict[str, float]]:
        total: Tensor = torch.zeros((), device=self.device)
        errors: dict[str, float] = {}
        for layer in answers:
            head = self.student.head(layer)
            assert head is not None
            mapped, target = head.features(answers[layer]), targets[layer]
            share = 1.0 if layer in MAIN_LAYERS else 0.3
            error = relative_error(mapped, target).mean()
            change = relative_error(
                mapped[-pairs:].float() - mapped[-2 * pairs : -pairs].float(),
                target[-pairs:].float() - target[-2 * pairs : -pairs].float(),
            ).mean()
            total = total + share * (error.clamp_min(1e-6).sqrt() + 0.7 * change.clamp_min(1e-6).sqrt())
            errors[layer], errors[f"{layer} change"] = error.item(), change.item()
            if layer in STYLE_LAYERS:
                style = moments_error(head.moments(moments(answers[layer])), moments(target)).mean()
                total = total + 0.7 * style.clamp_min(1e-6).sqrt()
                errors[f"{layer} moments"] = style.item()
        return total, errors
