"""Train a brush: a small network that paints any photo in one style.

Every step paints crops of photos and compares the encoder's features of the result with two kinds of targets: those of one
photo, and the means and Gram matrices of the style's features. The targets of a photo come from a teacher: the instant painter
paints the same crop, and the targets are the features and the blurred colors of this painting.

Without a teacher, or after the part of the training with the teacher, each position of a crop gets the features of the most
similar position of the style, its nearest neighbor. At first, only the photo's features determine the neighbors. Later, they
are averaged with the features of the network's own result. Instead of blurred colors, the third loss then compares the
blurred lightness of the photo and of the result. Without this loss, dark flat parts of a photo can become light.

Source: Johnson et al. 2016 (arXiv:1603.08155) for the network and the style targets; Li and Wand 2016 (arXiv:1604.04382) for
targets that are the nearest neighbors of the network's own result; Chen and Schmidt 2016 (arXiv:1612.04337) for replacing the
features of a photo with those of the style; Zheng et al. 2016 (arXiv:1604.04326) for the stability term.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.encoders.precision import has_fast_bf16
from impasto.encoders.vgg import Vgg
from impasto.features.distributions import leading, most_similar
from impasto.networks.johnson import Johnson
from impasto.networks.style_swap import SEARCH_LAYERS, SWAP_LAYERS, blocks_of, grid_share, search_columns, swapped
from impasto.runtime.devices import seconds_now
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import FeatureMap, Features, Image
from impasto.training.agreement import relative_error
from impasto.training.checkpoints import Parts, copy_of_state, read_checkpoint, update_average, write_checkpoint
from impasto.training.distributed import agreed, average_gradients, is_main, rank
from impasto.training.drawing import square_crop
from impasto.training.style_swap import centered
from impasto.training.teacher import PaintedPhotos, Teacher

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
_DIRECTIONS = 32
_KEYS = 4096
"""Number of style positions that a step searches. Every step draws new positions at random."""
_WARM_UP = 50
_LONGEST = 5.0
_SMOOTH = 1e-4
"""Added to a relative error before its square root is taken, so that the gradient stays finite near zero."""
_DECAY, _DECAY_AT_START = 0.998, 4
_NOISE = 0.03
_BLUR_PX = 16
_COLOR_PX = 8
"""The colors of a result and of the teacher's painting are compared as averages over squares of this side."""
_FLAT = 0.05
_LEAST_PART = 0.5
"""Smallest possible side of a crop, relative to the shorter side of the photo."""
_DIVERGED = 4.0
"""The training has diverged if the objective is more than this many times its running mean."""
_MEMORY = 0.98
_SNAPSHOT_STEPS = 50
_SAVED = ("averaged", "number", "seconds", "slowdown")


@dataclass(frozen=True)
class BrushWeights:
    """The weights of the terms of the objective."""

    neighbor: float = 1.0
    """Features of the teacher's painting, or of the nearest neighbors."""

    style: float = 2.0
    """Means and Gram matrices of the style."""

    tone: float = 2.0
    """Blurred colors of the teacher's painting, or the photo's blurred lightness, adjusted to the style's mean and contrast."""

    content: float = 0.0
    """Features of the photo at relu4_1."""

    smoothness: float = 0.0
    """Total variation."""

    stability: float = 0.0
    """Difference between the painting of a photo and the painting of the same photo with noise."""

    gamut: float = 5.0
    """Penalty for colors that cannot be displayed."""

    grid: float = 3.0
    """Share of the finest detail that repeats every 4 pixels, the stride of the network; the other losses hardly see it."""

    def objective(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Sum the weighted losses."""
        return torch.stack([getattr(self, name) * loss for name, loss in losses.items()]).sum()


@dataclass(frozen=True)
class BrushStep:
    """The result of one training step.

    Attributes:
        number: the number of this step, starting at 1.
        learning_rate: the learning rate.
        losses: the unweighted losses, by name.
        seconds: seconds of training so far, including earlier sessions.
        has_diverged: whether the training diverged and went back to an earlier state.
    """

    number: int
    learning_rate: float
    losses: Mapping[str, float]
    seconds: float
    has_diverged: bool = False


class StyleTargets:
    """The statistics of style pictures, and their features: one row per position, among which neighbors are searched.

    Args:
        pictures: style pictures at training scale, (1, 3, height, width); height and width are multiples of 8.
        encoder: the encoder.
        spread: divisor of the features of each search layer; see :attr:`impasto.networks.style_swap.Decoder.spread`.
    """

    def __init__(self, pictures: Sequence[Image], encoder: Vgg, spread: Tensor) -> None:
        self.spread = spread
        found = [encoder(each.contiguous(memory_format=torch.channels_last), STYLE_LAYERS) for each in pictures]
        channels = [found[0][layer].shape[1] for layer in SWAP_LAYERS]
        self.channels = (channels[0], channels[1], channels[2])
        self.rows = torch.cat([blocks_of(each) for each in found])
        columns = torch.cat([search_columns(each, spread).float()[0].flatten(1).T for each in found])
        self._mean = columns.mean(0)
        self._basis = leading(columns - self._mean, _DIRECTIONS, torch.Generator().manual_seed(0))
        self._keys = F.normalize((columns - self._mean) @ self._basis, dim=1).to(_dtype(columns.device))
        self.tone = torch.std_mean(torch.cat([_lightness(each).flatten() for each in pictures]))
        self.statistics = {layer: _mean_of([gram_and_mean(each[layer]) for each in found]) for layer in STYLE_LAYERS}

    def neighbors(self, queries: FeatureMap, random: np.random.Generator) -> list[FeatureMap]:
        """Return the features of the nearest neighbors at each of :data:`impasto.networks.style_swap.SWAP_LAYERS`.

        Args:
            queries: centered hypercolumns, (batch, channels, height, width).
            random: generator that draws the style positions to search.
        """
        batch, channels, height, width = queries.shape
        drawn = torch.from_numpy(random.permutation(len(self._keys))[:_KEYS]).to(queries.device)
        rows = queries.permute(0, 2, 3, 1).reshape(-1, channels) @ self._basis
        position = drawn[most_similar(rows, self._keys[drawn])].reshape(batch, height, width)
        pictures = [swapped(self.rows, each, self.channels) for each in position]
        return [torch.cat(layers) for layers in zip(*pictures, strict=True)]


class BrushTraining:
    """The state of a training run; checkpoints contain all of it.

    Args:
        network: the network to train.
        encoder: the encoder that compares pictures.
        targets: the style.
        photos: training photos, each (3, height, width), uint8.
        seconds: training time, over which the learning rate decays. If it is 0, ``total_steps`` is used instead.
        total_steps: number of steps, if ``seconds`` is 0.
        learning_rate: peak learning rate of Adam.
        edge_px: side of the crops, a multiple of 8.
        batch: number of crops per step.
        seed: seed of all random numbers.
        weights: weights of the terms of the objective.
        teacher: function that paints photos in the style; the network learns from these paintings.
        teacher_share: part of the training with the teacher, 0 to 1. Later, the targets are nearest neighbors.
    """

    @in_known_state
    def __init__(  # noqa: PLR0913  (four inputs and the hyperparameters)
        self,
        network: Johnson,
        encoder: Vgg,
        targets: StyleTargets,
        photos: Sequence[Tensor],
        *,
        seconds: float = 0.0,
        total_steps: int = 0,
        learning_rate: float = 2e-3,
        edge_px: int = 256,
        batch: int = 2,
        seed: int = 0,
        weights: BrushWeights | None = None,
        teacher: Teacher | None = None,
        teacher_share: float = 1.0,
    ) -> None:
        self.network, self.encoder, self.targets, self.photos = network, encoder, targets, list(photos)
        self.total_seconds, self.total_steps, self.learning_rate = seconds, total_steps, learning_rate
        self.edge_px, self.batch = edge_px, batch
        self.weights = weights or BrushWeights()
        self.random = np.random.default_rng([seed, rank()])
        self.teacher_share = teacher_share
        self._pairs = PaintedPhotos(self.photos, teacher, edge_px, _LEAST_PART, (seed, rank())) if teacher else None
        self.optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        self.averaged = copy_of_state(network)
        self._parts: Parts = {"network": network, "optimizer": self.optimizer}
        self.number, self.seconds, self.slowdown = 0, 0.0, 1.0
        self.device = encoder.mean.device
        self._expected = 0.0
        self._snapshot: dict[str, Any] = {}

    @property
    def progress(self) -> float:
        """The finished fraction of the training, from 0 to 1."""
        return self.seconds / self.total_seconds if self.total_seconds else self.number / self.total_steps

    @in_known_state
    def steps(self) -> Iterator[BrushStep]:
        """Train until the time or the number of steps is used up, and yield each step. To stop early, stop iterating."""
        began, left = seconds_now() - self.seconds, 1.0
        try:
            while (left := agreed(1 - self.progress)) > 0:
                yield self._next_step(began)
        finally:
            if left > 0 and is_main():  # the consumer stopped early: tell the other processes
                agreed(0.0)

    def _next_step(self, began: float) -> BrushStep:
        rate = self.learning_rate * self.slowdown * min(1.0, (self.number + 1) / _WARM_UP)
        rate *= 0.01 + 0.495 * (1 + math.cos(math.pi * min(1.0, self.progress)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self._step()
        self.number += 1
        self.seconds = seconds_now() - began
        return BrushStep(self.number, rate, losses, self.seconds, self._went_back(losses))

    @in_known_state
    def save(self, path: Path, **more: str) -> None:
        """Atomically write a checkpoint with the complete training state and the values in ``more``."""
        values = {name: getattr(self, name) for name in _SAVED}
        write_checkpoint(path, self._parts, self.random, **values, **more)

    @in_known_state
    def resume(self, path: Path) -> dict[str, Any]:
        """Restore a checkpoint written by :meth:`save`, and return the values that were given as ``more``."""
        values = read_checkpoint(path, self._parts, self.random, self.device)
        for name in _SAVED:
            setattr(self, name, values.pop(name))
        return values

    @in_known_state
    def averaged_network(self) -> Johnson:
        """Return the final result: a network whose parameters are the running averages."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.averaged)
        return network.eval().requires_grad_(False)

    # ------------------------------------------------------------------------------------------------ steps

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=has_fast_bf16(self.device))

    def _step(self) -> dict[str, float]:
        if self._pairs and self.progress < self.teacher_share:
            photos, paintings = self._pairs.draw(self.batch, self.number, self.random)
            losses = self._losses(photos.to(self.device), paintings.to(self.device))
        else:
            crops = [square_crop(self.photos, self.edge_px, _LEAST_PART, self.random) for _ in range(self.batch)]
            losses = self._losses(torch.cat(crops).to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        self.weights.objective(losses).backward()
        average_gradients(self.network)
        length = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LONGEST))
        if math.isfinite(length):
            self.optimizer.step()
        update_average(self.averaged, self.network, min(_DECAY, 1 - 1 / (self.number / _DECAY_AT_START + 3)))
        return {name: float(value.detach()) for name, value in losses.items()}

    def _losses(self, photos: Image, paintings: Image | None = None) -> dict[str, Tensor]:
        with self._autocast():
            image = self.network(photos).float()
            shown = image + (image.clamp(0, 1) - image).detach()  # clamp to the gamut, but keep the gradient
            found = self.encoder(shown.contiguous(memory_format=torch.channels_last), STYLE_LAYERS)
        seen = self._encoded(photos if paintings is None else paintings)
        losses = {"gamut": (image - image.clamp(0, 1)).square().mean(), "grid": grid_share(image)}
        if self.weights.neighbor:
            wanted = self._wanted(seen, found, is_taught=paintings is not None)
            errors = [relative_error(found[layer], each).mean() for layer, each in zip(SWAP_LAYERS, wanted, strict=True)]
            losses["neighbor"] = 0.3 * errors[0] + errors[1] + errors[2]
        if self.weights.style:
            losses["style"] = self._style_loss(found)
        if self.weights.tone:
            difference = (
                _blurred(image) - self._tones(photos) if paintings is None else F.avg_pool2d(image - paintings, _COLOR_PX)
            )
            losses["tone"] = difference.abs().mean()
        if self.weights.content:
            photo = seen if paintings is None else self._encoded(photos)
            directions = [F.normalize(centered(each["relu4_1"]), dim=1) for each in (found, photo)]
            losses["content"] = 1 - (directions[0] * directions[1]).sum(1).mean()
        if self.weights.smoothness:
            losses["smoothness"] = image.diff(dim=2).abs().mean() + image.diff(dim=3).abs().mean()
        if self.weights.stability:
            losses["stability"] = self._stability(photos[:1], image[:1])
        return losses

    @torch.no_grad()
    def _encoded(self, pictures: Image) -> Features:
        with self._autocast():
            found: Features = self.encoder(
                pictures.contiguous(memory_format=torch.channels_last), (*SWAP_LAYERS, *SEARCH_LAYERS)
            )
        return found

    def _wanted(self, seen: Features, found: Features, *, is_taught: bool) -> list[FeatureMap]:
        """Return the features to reach: ``seen`` (the teacher's) if ``is_taught``, otherwise those of the nearest neighbors."""
        if is_taught:
            return [seen[layer] for layer in SWAP_LAYERS]
        return self.targets.neighbors(self._queries(seen, found), self.random)

    @torch.no_grad()
    def _queries(self, photo: Features, painted: Features) -> FeatureMap:
        """Return the hypercolumns of the photo. Later in the training, they are averaged with those of the result."""
        own = 0.5 * min(1.0, max(0.0, (self.progress - 0.3) / 0.3))
        queries = centered(search_columns(photo, self.targets.spread))
        if not own:
            return queries
        result = centered(search_columns({layer: painted[layer].detach() for layer in SEARCH_LAYERS}, self.targets.spread))
        return (1 - own) * F.normalize(queries, dim=1) + own * F.normalize(result, dim=1)

    def _tones(self, photos: Image) -> FeatureMap:
        """Return the blurred lightness of the photos, with the mean and standard deviation of the style's lightness."""
        tones = _lightness(photos)
        deviation, mean = torch.std_mean(tones, (2, 3), keepdim=True)
        wanted, center = self.targets.tone
        return F.avg_pool2d((tones - mean) * (wanted / deviation.clamp_min(_FLAT)) + center, _BLUR_PX)

    def _style_loss(self, found: Features) -> Tensor:
        total = torch.zeros((), device=self.device)
        for layer, wanted in self.targets.statistics.items():
            for answer, target in zip(gram_and_mean(found[layer]), wanted, strict=True):
                total = total + relative_error(answer, target.expand_as(answer)).add(_SMOOTH).sqrt().mean()
        return total / len(STYLE_LAYERS)

    def _stability(self, photo: Image, image: Image) -> Tensor:
        noise = torch.from_numpy(self.random.normal(0, _NOISE, photo.shape).astype(np.float32)).to(self.device)
        with self._autocast():
            again: Image = self.network(photo + noise)
        return (again.float() - image).abs().mean()

    # ------------------------------------------------------------------------------------------------ divergence

    def _went_back(self, losses: Mapping[str, float]) -> bool:
        """If the training has diverged, go back to the last good state and halve the learning rate. Return whether it did."""
        value = agreed(sum(getattr(self.weights, name) * loss for name, loss in losses.items()))
        if math.isfinite(value) and (self.number < 2 * _WARM_UP or not self._expected or value < _DIVERGED * self._expected):
            self._expected = value if not self._expected else _MEMORY * self._expected + (1 - _MEMORY) * value
            if self.number % _SNAPSHOT_STEPS == 0:
                self._snapshot = {name: copy.deepcopy(part.state_dict()) for name, part in self._parts.items()}
                self._snapshot["averaged"] = {name: each.clone() for name, each in self.averaged.items()}
            return False
        self.slowdown /= 2
        for name, part in self._parts.items():
            if name in self._snapshot:
                part.load_state_dict(copy.deepcopy(self._snapshot[name]))
        if self._snapshot:
            self.averaged = {name: each.clone() for name, each in self._snapshot["averaged"].items()}
        return True


def gram_and_mean(features: FeatureMap) -> tuple[Tensor, Tensor]:
    """Return the Gram matrix of centered features, (batch, channels, channels), and their mean, (batch, channels)."""
    features = features.float()
    mean = features.mean((2, 3), keepdim=True)
    rows = (features - mean).flatten(2)
    gram: Tensor = rows @ rows.transpose(1, 2) / rows.shape[-1]
    return gram, mean[..., 0, 0]


def _lightness(image: Image) -> FeatureMap:
    red, green, blue = image.split(1, 1)
    lightness: Tensor = 0.299 * red + 0.587 * green + 0.114 * blue
    return lightness


def _blurred(image: Image) -> FeatureMap:
    return F.avg_pool2d(_lightness(image), _BLUR_PX)


def _mean_of(statistics: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    gram, mean = (torch.stack(each).mean(0) for each in zip(*statistics, strict=True))
    return gram, mean


def _dtype(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if has_fast_bf16(device) else torch.float32
