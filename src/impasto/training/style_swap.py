"""Train the decoder of the instant painter. This decoder makes a picture from style features that replace those of a photo.

Every step samples photos and styles, replaces the photos' features with the nearest features of the styles, and decodes the
result to a picture. The features of this picture should match the features that were decoded. The means and standard
deviations of the picture's features should match those of the style. One picture of each batch is decoded from its own features
and should be reproduced.

Source: Chen and Schmidt 2016, section 3.2, for the inverse network; the statistics are those of Huang and Belongie 2017.
"""

import copy
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from impasto.encoders.precision import has_fast_bf16
from impasto.encoders.vgg import Vgg
from impasto.features.neighbors import Keys
from impasto.networks.style_swap import COHERENCE, SEARCH_LAYERS, SWAP_LAYERS, Decoder, blocks_of, search_columns, swapped
from impasto.runtime.atomic import replacing
from impasto.runtime.devices import seconds_now
from impasto.runtime.torch_state import in_known_state
from impasto.tensors import FeatureMap, Features, Image
from impasto.training.agreement import HeldOut, relative_error
from impasto.training.checkpoints import Parts, copy_of_state, read_checkpoint, update_average, write_checkpoint
from impasto.training.crops import Corpus
from impasto.training.drawing import photo_crop, style_crop

__all__ = ["SwapStep", "SwapTraining", "SwapWeights"]

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
_WARM_UP = 200
_LONGEST = 5.0
_FRESH_SECONDS = 90.0
_CALIBRATION = 60
_DIRECTIONS = 64
_SMOOTH = 1e-4
"""Added to a relative error before its square root is taken, so that the gradient stays finite near zero."""


@dataclass(frozen=True)
class SwapWeights:
    """The weights of the terms of the objective."""

    fine: float = 0.3
    """Features of relu1_1."""

    middle: float = 1.0
    """Features of relu2_1."""

    coarse: float = 1.0
    """Features of relu3_1."""

    style: float = 0.5
    """Means and standard deviations of the style's features."""

    identity: float = 5.0
    """Reconstruction of a picture from its own features."""

    gamut: float = 5.0
    """Penalty for colors that cannot be displayed."""

    def objective(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Sum the weighted losses."""
        return torch.stack([getattr(self, name) * loss for name, loss in losses.items()]).sum()


@dataclass(frozen=True)
class SwapStep:
    """The result of one training step: its number, the learning rate, the losses by name, the elapsed seconds."""

    number: int
    learning_rate: float
    losses: Mapping[str, float]
    seconds: float


class SwapTraining:
    """The state of a training run: decoder, optimizer, average, random state; checkpoints contain all of it.

    Args:
        network: the decoder to train.
        encoder: the encoder whose features the decoder decodes.
        corpus: training pictures by kind.
        total_steps: number of steps over which the learning rate decays to a hundredth, along half a cosine.
        learning_rate: peak learning rate of Adam.
        edge_px: side of the crops, a multiple of 8.
        batch: number of pictures per step.
        seed: seed of all random numbers.
        weights: weights of the terms of the objective.
    """

    @in_known_state
    def __init__(  # noqa: PLR0913  (three inputs and the hyperparameters)
        self,
        network: Decoder,
        encoder: Vgg,
        corpus: Corpus,
        *,
        total_steps: int,
        learning_rate: float = 1e-3,
        edge_px: int = 160,
        batch: int = 3,
        seed: int = 0,
        weights: SwapWeights | None = None,
    ) -> None:
        self.network, self.encoder, self.corpus = network, encoder, corpus
        self.total_steps, self.learning_rate = total_steps, learning_rate
        self.edge_px, self.batch = edge_px, batch
        self.weights = weights or SwapWeights()
        self.random = np.random.default_rng(seed)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        self.averaged = copy_of_state(network)
        self._parts: Parts = {"network": network, "optimizer": self.optimizer}
        self.number = 0
        self.device = encoder.mean.device

    @in_known_state
    def steps(self) -> Iterator[SwapStep]:
        """Train until ``total_steps``, and yield each step. To stop early, stop iterating."""
        if self.number == 0:
            self._calibrate()
            self.averaged = copy_of_state(self.network)
        while self.number < self.total_steps:
            began = seconds_now()
            rate = self.learning_rate * min(1.0, (self.number + 1) / _WARM_UP)
            rate *= 0.01 + 0.495 * (1 + math.cos(math.pi * self.number / self.total_steps))
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            losses = self._step()
            self.number += 1
            yield SwapStep(self.number, rate, losses, seconds_now() - began)

    @in_known_state
    def save(self, path: Path) -> None:
        """Write a checkpoint with the complete training state, atomically."""
        write_checkpoint(path, self._parts, self.random, averaged=self.averaged, number=self.number)

    @in_known_state
    def resume(self, path: Path) -> None:
        """Restore a checkpoint written by :meth:`save`."""
        values = read_checkpoint(path, self._parts, self.random, self.device)
        self.averaged, self.number = values["averaged"], values["number"]

    @in_known_state
    def share(self, mine: Path, other: Path) -> None:
        """Exchange parameters with a parallel run: write this run's parameters, then average them with those of the other run.

        On a machine with two processors and no GPU, two single-threaded runs with different seeds, which exchange parameters
        every few steps, learn faster than one run that uses both processors, because no processor waits for the other.

        Args:
            mine: file to write, atomically.
            other: file written by the other run; if it is missing or more than 90 seconds old, nothing is averaged.

        Source:
            Local SGD, Stich 2019 (arXiv:1805.09767), here asynchronous.
        """
        with replacing(mine) as partial:
            torch.save(self.network.state_dict(), partial)
        if not other.exists() or time.time() - other.stat().st_mtime > _FRESH_SECONDS:
            return
        theirs = torch.load(other, map_location=self.device, weights_only=True)
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                value.lerp_(theirs[name], 0.5)

    @in_known_state
    def averaged_network(self) -> Decoder:
        """Return the final result: a network whose parameters are the running averages."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.averaged)
        return network.eval().requires_grad_(False)

    @in_known_state
    @torch.no_grad()
    def held_out_losses(self, held: HeldOut) -> dict[str, float]:
        """Evaluate the averaged decoder on held-out pictures; each photo is decoded with the features of a painting."""
        photo, picture = (each.contiguous(memory_format=torch.channels_last) for each in (held.content, held.style))
        losses = self._losses(self.averaged_network(), photo, picture, itself=0)
        return {name: round(float(value), 5) for name, value in losses.items()}

    # ------------------------------------------------------------------------------------------------ steps

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=has_fast_bf16(self.device))

    @torch.no_grad()
    def _calibrate(self) -> None:
        """Measure the scale of the encoder's features; a decoder that was trained before keeps its scale."""
        found = [self.encoder(self._styles(1), (*SWAP_LAYERS, *SEARCH_LAYERS)) for _ in range(_CALIBRATION)]
        if bool((self.network.scale == 1).all()):
            for index, layer in enumerate(SWAP_LAYERS):
                squares = [each[layer].float().square().mean() for each in found]
                self.network.scale[index] = torch.stack(squares).mean().sqrt()
        for index, layer in enumerate(SEARCH_LAYERS):
            lengths = [centered(each[layer]).square().sum(1).mean().sqrt() for each in found]
            self.network.spread[index] = torch.stack(lengths).mean()

    def _styles(self, count: int) -> Image:
        pictures = [style_crop(self.corpus, self.edge_px, self.random) for _ in range(count)]
        return torch.cat(pictures).to(self.device).contiguous(memory_format=torch.channels_last)

    def _step(self) -> dict[str, float]:
        photos = torch.cat([photo_crop(self.corpus, self.edge_px, self.random) for _ in range(self.batch)])
        photos = photos.to(self.device).contiguous(memory_format=torch.channels_last)
        losses = self._losses(self.network, photos, self._styles(self.batch), itself=self.number % self.batch)
        self.optimizer.zero_grad(set_to_none=True)
        self.weights.objective(losses).backward()
        length = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), _LONGEST))
        if math.isfinite(length):
            self.optimizer.step()
        update_average(self.averaged, self.network, min(0.998, 1 - 1 / (self.number + 3)))
        return {name: float(value.detach()) for name, value in losses.items()}

    def _losses(self, network: Decoder, photos: Image, styles: Image, *, itself: int) -> dict[str, Tensor]:
        """Decode photos with the features of styles, and one style with its own features; compute all losses."""
        with torch.no_grad(), self._autocast():
            seen, target = self.encoder(photos, SEARCH_LAYERS), self.encoder(styles, STYLE_LAYERS)
            pairs = [self._swapped(_only(seen, each), _only(target, each)) for each in range(len(photos))]
            own = _only(target, itself)
            asked = [torch.cat([pair[index] for pair in pairs] + [own[layer]]) for index, layer in enumerate(SWAP_LAYERS)]
            asked = [each.contiguous(memory_format=torch.channels_last) for each in asked]
        with self._autocast():
            image = network(*asked).float()
            shown = image + (image.clamp(0, 1) - image).detach()  # clamp to the gamut, but keep the gradient
            found = self.encoder(shown.contiguous(memory_format=torch.channels_last), STYLE_LAYERS)
        errors = [relative_error(found[layer], want).mean() for layer, want in zip(SWAP_LAYERS, asked, strict=True)]
        wanted = {layer: torch.cat([target[layer], target[layer][itself : itself + 1]]) for layer in STYLE_LAYERS}
        moments = [relative_error(_moments(found[layer]), _moments(wanted[layer])) for layer in STYLE_LAYERS]
        return {
            **dict(zip(("fine", "middle", "coarse"), errors, strict=True)),
            "style": torch.stack([each.add(_SMOOTH).sqrt().mean() for each in moments]).sum(),
            "identity": (image[-1] - styles[itself]).abs().mean(),
            "gamut": (image - image.clamp(0, 1)).square().mean(),
        }

    def _swapped(self, photo: Features, style: Features) -> list[FeatureMap]:
        with torch.autocast(self.device.type, enabled=False):
            columns, keys = (search_columns(each, self.network.spread) for each in (photo, style))
            position = Keys.of([keys], directions=_DIRECTIONS).match(columns, coherence=COHERENCE).position
            return swapped(blocks_of(style), position, self.network.channels)


def _only(features: Features, index: int) -> dict[str, Tensor]:
    return {layer: each[index : index + 1] for layer, each in features.items()}


def _moments(features: FeatureMap) -> Tensor:
    """Return the mean and standard deviation of each channel as one row: (batch, 2 channels)."""
    variance, mean = torch.var_mean(features.float(), (2, 3), correction=0)
    return torch.cat([mean, variance.clamp_min(1e-6).sqrt()], 1)


def centered(features: FeatureMap) -> FeatureMap:
    """Subtract the mean of each channel over the positions of each picture; the result is float32."""
    return features.float() - features.float().mean((2, 3), keepdim=True)
