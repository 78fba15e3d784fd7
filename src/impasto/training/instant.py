"""Train the instant network: any style in one pass.

Every step paints a batch of photos, each in another style, and descends what the painter descends: the distance of the moments
and Gram matrices from the style's, and of the features from the photo's, under a loss network. Beside it

- what is flat in the photo stays calm;
- in every fourth step, a photo in its own style must come back as it was (identity), and a photo moved by a few pixels, with a
  little noise, must give the same picture, moved (stability, for video).

Styles are crops of paintings, textures and photos at several scales, some of them recoloured, and in a quarter of the steps
blends of two, so that the network meets far more manners than there are pictures.

Source: Johnson et al. 2016, Ghiasi et al. 2017; the relative losses are the painter's.
"""

import copy
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from impasto.arithmetic import has_fast_bf16
from impasto.color import color_moments, monge_kantorovich, recolored
from impasto.encoders.vgg import Vgg
from impasto.networks.instant import STYLE_LAYERS, InstantNetwork
from impasto.picture_losses import flatness
from impasto.stats import Moments, moments
from impasto.tensors import FeatureMap, Features, Image
from impasto.training.agreement import CONTENT_LAYER, HeldOut, relative_error
from impasto.training.batches import PhotoCrop, Statistics, StyleCrop, Styles, blended_with_the_last, joined
from impasto.training.crops import Corpus
from impasto.training.drawing import Reused, photo_crop, style_crop

__all__ = ["InstantStep", "InstantTraining", "InstantWeights"]

_LAYERS = (*STYLE_LAYERS, CONTENT_LAYER)
_MOST_SHIFT_PX = 8
_STEPS_BETWEEN_CHECKS = 4
"""Identity and stability cost as much as the rest of a step, and need no more than this."""
_SMOOTH = 1e-4
"""Added to a relative error before its root is taken, so that the gradient stays finite where nothing is left to do."""
_EXPLOSION, _FIRST_STEPS = 15.0, 400
"""A gradient ten times as long as usual, and the steps in which long ones are usual."""
_FRESH_SECONDS = 90.0
_CALIBRATION_BATCHES = 60
_CALIBRATION_BATCH = 4


@dataclass(frozen=True)
class InstantWeights:
    """What each part of the objective weighs, beside the moments of the style and the gamut, which weigh 1."""

    content: float = 0.1
    """The photo's features."""

    gram: float = 0.05
    """The Gram matrices of the style."""

    identity: float = 4.0
    """A photo in its own style comes back as it was; measured in every fourth step."""

    stability: float = 6.0
    """A photo that is moved and noisy gives the same picture, moved; measured in every fourth step."""

    calm: float = 1.5
    """What is flat in the photo stays calm."""

    def objective(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Sum the losses that there are, each times its weight."""
        return torch.stack([getattr(self, name, 1.0) * loss for name, loss in losses.items()]).sum()


@dataclass(frozen=True)
class InstantStep:
    """What one training step left: its number, the learning rate, the losses by name, the seconds."""

    number: int
    learning_rate: float
    losses: Mapping[str, float]
    seconds: float


class InstantTraining:
    """The state of a training: network, optimizer, average, random state; saved and resumed whole.

    Args:
        network: what is trained.
        slim: the encoder whose moments the reader reads.
        judge: the loss network: slim itself, or the full VGG-19.
        corpus: training pictures by kind.
        total_steps: over how many steps the learning rate falls to zero (half a cosine).
        learning_rate: Adam's, at its highest.
        edge_px: side of the photos' crops, a multiple of 8.
        style_edge_px: side of the styles' crops, a multiple of 8.
        batch: photos in a step.
        uses: how often a crop of a photo or of a style is used, each time with another of the other kind. What the loss network
            makes of a crop is computed once. With more than 1, a resumed run starts with other crops than one that went on.
        seed: of everything random here.
        weights: of the parts of the objective.
    """

    def __init__(  # noqa: PLR0913  (what it is trained on, and its numbers)
        self,
        network: InstantNetwork,
        slim: Vgg,
        judge: Vgg,
        corpus: Corpus,
        *,
        total_steps: int,
        learning_rate: float = 1e-3,
        edge_px: int = 128,
        style_edge_px: int = 128,
        batch: int = 4,
        uses: int = 1,
        seed: int = 0,
        weights: InstantWeights | None = None,
    ) -> None:
        self.network, self.slim, self.judge, self.corpus = network, slim, judge, corpus
        self.total_steps, self.learning_rate = total_steps, learning_rate
        self.edge_px, self.style_edge_px, self.batch = edge_px, style_edge_px, batch
        self.weights = weights or InstantWeights()
        self.random = np.random.default_rng(seed)
        self._photos = Reused(self._draw_photo, uses, self.random)
        self._style_crops = Reused(lambda: self._looked_at(self._draw_styles(1)), uses, self.random)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        self.averaged = self._copied()
        self.number = 0
        self.device = slim.mean.device

    def autocast(self) -> torch.autocast:
        """bfloat16 arithmetic in the network, where the processor has it; the weights themselves stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=has_fast_bf16(self.device))

    def steps(self) -> Iterator[InstantStep]:
        """Train, a step at a time, until the steps asked for are done; stop iterating to stop."""
        if self.number == 0:
            self._calibrate()
            self.averaged = self._copied()
        while self.number < self.total_steps:
            began = time.perf_counter()
            rate = self.learning_rate * min(1.0, (self.number + 1) / 200)
            rate *= 0.5 + 0.5 * math.cos(math.pi * self.number / self.total_steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            losses = self._step()
            self.number += 1
            yield InstantStep(self.number, rate, losses, time.perf_counter() - began)

    def save(self, path: Path) -> None:
        """Write everything that a resumed run needs, atomically."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged,
            "optimizer": self.optimizer.state_dict(),
            "random": json.dumps(self.random.bit_generator.state),
            "number": self.number,
        }
        partial = path.with_name(path.name + ".part")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from where :meth:`save` left off."""
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.averaged = state["averaged"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.random.bit_generator.state = json.loads(state["random"])
        self.number = state["number"]

    def _copied(self) -> dict[str, Tensor]:
        return {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def share(self, mine: Path, other: Path) -> None:
        """Leave the parameters for a run beside this one, and go half the way to those that it left.

        Where there are two processors and no GPU, two runs on one each, of different seeds, that do so every few steps learn
        faster than one run on both: neither waits for the other.

        Args:
            mine: written, in one step.
            other: what the other run writes; where it is not there, or more than 90 seconds old, this run goes on alone.

        Source:
            Local SGD, Stich 2019 (arXiv:1805.09767), here without waiting.
        """
        partial = mine.with_name(mine.name + ".part")
        torch.save(self.network.state_dict(), partial)
        partial.replace(mine)
        if not other.exists() or time.time() - other.stat().st_mtime > _FRESH_SECONDS:
            return
        theirs = torch.load(other, map_location=self.device, weights_only=True)
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                value.lerp_(theirs[name], 0.5)

    def averaged_network(self) -> InstantNetwork:
        """Make a network of the running average of the parameters: what is kept in the end."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(self.averaged)
        return network.eval().requires_grad_(False)

    @torch.no_grad()
    def held_out_losses(self, held: HeldOut) -> dict[str, float]:
        """Measure the averaged network on pictures that were held out: each photo in the manner of a painting."""
        network = self.averaged_network()
        photo, picture = (each.contiguous(memory_format=torch.channels_last) for each in (held.content, held.style))
        styles = self._styles(network, self._looked_at(picture))
        content = self.judge(photo, (CONTENT_LAYER,))[CONTENT_LAYER]
        losses = self._painter_losses(self._painted(network, photo, styles).clamp(0, 1), content, styles)
        losses["identity"] = self._identity(network, photo)
        return {name: round(float(value), 5) for name, value in losses.items()}

    # ------------------------------------------------------------------------------------------------ styles

    @torch.no_grad()
    def _calibrate(self) -> None:
        """Measure how the reader's numbers are spread over styles, so that it sees them centred and of one size."""
        reader = self.network.reader
        if bool((reader.spread != 1).any()):  # a network that was trained before keeps what its reader is used to
            return
        rows = []
        for _ in range(_CALIBRATION_BATCHES):
            features = self.slim(self._draw_styles(_CALIBRATION_BATCH), STYLE_LAYERS)
            rows.append(reader.measure({layer: moments(found) for layer, found in features.items()}))
        reader.centre.copy_(torch.cat(rows).mean(0))
        reader.spread.copy_(torch.cat(rows).std(0).clamp_min(0.05))

    def _draw_styles(self, count: int) -> Image:
        pictures = [style_crop(self.corpus, self.style_edge_px, self.random) for _ in range(count)]
        return torch.cat(pictures).to(self.device).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def _looked_at(self, picture: Image) -> StyleCrop:
        """Measure pictures as styles, with the encoders."""
        features = self.slim(picture, STYLE_LAYERS)
        read = {layer: moments(found) for layer, found in features.items()}
        target = self._statistics(features if self.judge is self.slim else self.judge(picture, STYLE_LAYERS))
        return StyleCrop(picture, read, target, color_moments(picture))

    def _styles(self, network: InstantNetwork, crop: StyleCrop) -> Styles:
        """Measure pictures as styles, with the network itself."""
        with self.autocast():
            modulation = network.measure(crop.picture, crop.read)
        return Styles(modulation.float(), crop.target, crop.colors)

    def _statistics(self, features: Features) -> dict[str, Statistics]:
        """Carry moments into the channels of the full VGG-19; of the covariance only the diagonal, which is far cheaper."""
        found = {}
        for layer in STYLE_LAYERS:
            m, head = moments(features[layer]), self.judge.head(layer)
            mean, variance = m.mean, torch.diagonal(m.covariance, dim1=1, dim2=2)
            if head:
                mean = mean @ head.matrix.T + head.bias
                variance = ((head.matrix @ m.covariance) * head.matrix).sum(-1)
            found[layer] = Statistics(m, mean, variance)
        return found

    # ------------------------------------------------------------------------------------------------ steps

    @torch.no_grad()
    def _draw_photo(self) -> PhotoCrop:
        """Cut a photo, with room to be moved in."""
        wide = photo_crop(self.corpus, self.edge_px + _MOST_SHIFT_PX, self.random).to(self.device)
        return PhotoCrop(wide, self.judge(self._corner(wide), (CONTENT_LAYER,))[CONTENT_LAYER])

    def _corner(self, wide: Image) -> Image:
        return wide[..., : self.edge_px, : self.edge_px].contiguous(memory_format=torch.channels_last)

    def _step(self) -> dict[str, float]:
        style_crops = [self._style_crops.draw() for _ in range(self.batch)]
        photo_crops = [self._photos.draw() for _ in range(self.batch)]
        wide, content = (torch.cat([getattr(each, name) for each in photo_crops]) for name in ("wide", "content"))
        photo = self._corner(wide)
        styles = self._styles(self.network, joined(style_crops))
        if self.random.random() < 0.25:
            styles = blended_with_the_last(styles, float(self.random.uniform(0.2, 0.8)))
        image = self._painted(self.network, photo, styles)
        shown = image + (image.clamp(0, 1) - image).detach()  # what is outside the gamut is cut, but still learns
        losses = self._painter_losses(shown, content, styles) | {
            "gamut": (image - image.clamp(0, 1)).square().mean(),
            "calm": _calm(shown, photo),
        }
        if self.number % _STEPS_BETWEEN_CHECKS == 0:
            losses["stability"] = self._instability(wide, image, styles)
            losses["identity"] = self._identity(self.network, photo[-1:])
        self._descend(self.weights.objective(losses))
        return {name: float(value.detach()) for name, value in losses.items()}

    def _descend(self, objective: Tensor) -> None:
        """Take a step; where the gradient explodes, go back to the average instead, which lies where it did not."""
        self.optimizer.zero_grad(set_to_none=True)
        objective.backward()
        length = float(torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0))
        if math.isfinite(length) and (length < _EXPLOSION or self.number < _FIRST_STEPS):
            self.optimizer.step()
        elif self.number >= _FIRST_STEPS:
            self.network.load_state_dict(self.averaged)
        decay = min(0.998, 1 - 1 / (self.number + 3))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.averaged[name].lerp_(value, 1 - decay)

    def _painted(self, network: InstantNetwork, photo: Image, styles: Styles) -> Image:
        """Paint photos in the colours and the manner of styles: (batch, 3, height, width), float32; it may leave [0, 1]."""
        recoloured = recolored(photo, monge_kantorovich(color_moments(photo), styles.colors))
        with self.autocast():
            image: Image = network(recoloured.contiguous(memory_format=torch.channels_last), styles.modulation)
        return image.float()

    def _painter_losses(self, image: Image, content: FeatureMap, styles: Styles) -> dict[str, Tensor]:
        """Compare what the painter compares: features with the photo's, moments and Gram matrices with the style's.

        Errors of moments and Gram matrices are relative; the root is taken for each picture, so that one hard style does
        not outweigh the others. It is taken of the mean over layers: the root of each layer's error would favour the shallow
        layers, whose errors are small already.
        """
        features = self.judge(image.contiguous(memory_format=torch.channels_last), _LAYERS)
        found, wanted = self._statistics(features), styles.target
        first = [relative_error(found[layer].spread, wanted[layer].spread) for layer in STYLE_LAYERS]
        second = [relative_error(found[layer].own.gram, wanted[layer].own.gram) for layer in STYLE_LAYERS]
        return {
            "content": relative_error(self._in_full(features[CONTENT_LAYER]), self._in_full(content)).mean(),
            "moments": (torch.stack(first).mean(0) + _SMOOTH).sqrt().mean(),
            "gram": (torch.stack(second).mean(0) + _SMOOTH).sqrt().mean(),
        }

    def _in_full(self, features: FeatureMap) -> FeatureMap:
        """Carry features of the content layer into the channels of the full VGG-19."""
        head = self.judge.head(CONTENT_LAYER)
        return features if head is None else head.features(features)

    def _instability(self, wide: Image, image: Image, styles: Styles) -> Tensor:
        """Paint one of the photos again, moved and noisy, and compare where both show the same."""
        down, right = (int(x) for x in self.random.integers(0, _MOST_SHIFT_PX + 1, 2))
        edge = self.edge_px
        moved = wide[:1, :, down : down + edge, right : right + edge]
        amount = float(self.random.uniform(0, 0.03))
        noise = torch.from_numpy(self.random.standard_normal(moved.shape, dtype=np.float32))
        moved = moved + amount * noise.to(self.device)
        colors = Moments(styles.colors.mean[:1], styles.colors.covariance[:1])
        again = self._painted(self.network, moved, Styles(styles.modulation[:1], {}, colors))
        before, after = image[:1, :, down:, right:], again[:, :, : edge - down, : edge - right]
        return (before - after)[..., 8:-8, 8:-8].square().mean()

    def _identity(self, network: InstantNetwork, photo: Image) -> Tensor:
        """Paint photos in their own manner, which they already have."""
        photo = photo.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            found = self.slim(photo, STYLE_LAYERS)
            own = {layer: moments(found[layer]) for layer in STYLE_LAYERS}
        with self.autocast():
            image: Image = network(photo, network.measure(photo, own).float())
        return (image.float() - photo).square().mean()


# ---------------------------------------------------------------------------------------------------- pictures


def _calm(image: Image, photo: Image) -> Tensor:
    """Average the squared steps of the picture where the photo is flat."""
    flat = torch.cat([flatness(one[None]) for one in photo])[:, 0, :-1, :-1]
    right = (image[..., :-1, 1:] - image[..., :-1, :-1]).square().sum(1)
    down = (image[..., 1:, :-1] - image[..., :-1, :-1]).square().sum(1)
    return (flat.pow(4) * (right + down)).mean()
