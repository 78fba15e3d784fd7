"""Train the instant network: any style in one pass.

Every step paints a batch of photos, each in another style, and descends what the painter descends: the distance of the moments
and covariances from the style's, and of the features from the photo's, under a loss network. Beside it

- a photo in its own style must come back as it was (identity);
- a photo moved by a few pixels, with a little noise, must give the same picture, moved (stability, for video);
- what is flat in the photo stays calm.

Styles are kept as statistics in a pool that is renewed as training goes on: paintings, textures and photos at several scales,
recoloured, and blends of two, so that the network meets far more manners than there are pictures.

Source: Johnson et al. 2016, Ghiasi et al. 2017; the relative losses are the painter's.
"""

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.color import color_moments, monge_kantorovich, recolored
from impasto.encoders.vgg import Vgg
from impasto.networks.instant import STYLE_LAYERS, InstantNetwork
from impasto.picture_losses import flatness
from impasto.stats import Moments, moments
from impasto.tensors import Features, Image
from impasto.training.agreement import CONTENT_LAYER, relative_error
from impasto.training.crops import Corpus

_MOST_SHIFT_PX = 8


@dataclass(frozen=True)
class InstantWeights:
    """What each part of the objective weighs."""

    content: float = 0.1
    gram: float = 0.2
    identity: float = 2.0
    stability: float = 4.0
    calm: float = 2.0


@dataclass(frozen=True)
class PooledStyle:
    """A style of the pool, or a batch of them.

    Attributes:
        read: moments under the slim encoder, for the reader.
        target: what the loss network makes of it.
        colors: moments of its colours.
    """

    read: Mapping[str, Moments]
    target: "Mapping[str, Statistics]"
    colors: Moments


@dataclass(frozen=True)
class Statistics:
    """What is compared at a layer of the loss network.

    Attributes:
        own: moments in the channels of the loss network.
        mean: (batch, channels) in the channels of the full VGG-19.
        variance: likewise.
    """

    own: Moments
    mean: Tensor
    variance: Tensor

    @property
    def spread(self) -> Tensor:
        """Mean and deviation as one row for each picture: (batch, 2 channels)."""
        return torch.cat([self.mean, self.variance.clamp_min(1e-6).sqrt()], dim=1)


@dataclass(frozen=True)
class InstantStep:
    """What one training step left: its number, the learning rate, the losses by name, the seconds."""

    number: int
    learning_rate: float
    losses: Mapping[str, float]
    seconds: float


class InstantTraining:
    """The state of a training: network, optimizer, average, random state; saved and resumed whole, but for the pool of styles.

    Args:
        network: what is trained.
        slim: the encoder whose moments the reader reads.
        judge: the loss network: slim itself, or the full VGG-19.
        corpus: training pictures by kind.
        total_steps: over how many steps the learning rate falls to zero (half a cosine).
        learning_rate: Adam's, at its highest.
        edge_px: side of the crops.
        batch: photos in a step.
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
        batch: int = 6,
        pool: int = 1500,
        seed: int = 0,
        weights: InstantWeights = InstantWeights(),
    ) -> None:
        self.network, self.slim, self.judge, self.corpus = network, slim, judge, corpus
        self.total_steps, self.learning_rate = total_steps, learning_rate
        self.edge_px, self.batch, self.pool_size, self.weights = edge_px, batch, pool, weights
        self.random = np.random.default_rng(seed)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, betas=(0.9, 0.99))
        self.averaged = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.pool: list[PooledStyle] = []
        self.number = 0
        self.device = slim.mean.device

    def autocast(self) -> torch.autocast:
        """bfloat16 arithmetic where it is safe; the weights themselves stay float32."""
        return torch.autocast(self.device.type, torch.bfloat16)

    def steps(self) -> Iterator[InstantStep]:
        """Train, a step at a time, until the steps asked for are done; stop iterating to stop."""
        if self.number == 0:
            self._calibrate()
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
        """Write what a resumed run needs, atomically; the pool of styles is measured anew."""
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

    # ------------------------------------------------------------------------------------------------ styles

    def _calibrate(self) -> None:
        """Measure how the reader's numbers are spread over styles, so that it sees them centred and of one size."""
        while len(self.pool) < min(200, self.pool_size):
            self.pool.append(self._new_style())
        rows = torch.cat([self.network.reader.measure(style.read) for style in self.pool])
        self.network.reader.centre.copy_(rows.mean(0))
        self.network.reader.spread.copy_(rows.std(0).clamp_min(0.05))

    @torch.no_grad()
    def _new_style(self) -> PooledStyle:
        """Measure a style: a picture at a random scale, perhaps recoloured."""
        kind = self.random.choice(["painting", "texture", "photo"], p=[0.62, 0.13, 0.25])
        pictures = self.corpus[kind]
        picture = pictures[self.random.integers(len(pictures))][None].float().to(self.device) / 255
        picture = _random_view(picture, self.random, 0.6)
        longest = float(np.exp(self.random.uniform(math.log(200), math.log(600))))
        if kind != "painting":
            longest = min(longest, 1.2 * max(picture.shape[-2:]))
        picture = _resized(picture, longest)
        if self.random.random() < 0.4:
            picture = _recolored_at_random(picture, self.random)
        picture = picture.contiguous(memory_format=torch.channels_last)
        with self.autocast():
            read = _measured(self.slim(picture, STYLE_LAYERS))
            features = None if self.judge is self.slim else self.judge(picture, STYLE_LAYERS)
            found = read if features is None else _measured(features)
        return PooledStyle(read, self._statistics(found), color_moments(picture))

    def _draw_styles(self) -> PooledStyle:
        """Draw a batch of styles, three in ten of them blends of two."""
        wanted = len(self.pool) < self.pool_size
        if wanted or self.number % 5 == 0:
            fresh = self._new_style()
            if wanted:
                self.pool.append(fresh)
            else:
                self.pool[self.random.integers(len(self.pool))] = fresh
        drawn = []
        for _ in range(self.batch):
            style = self.pool[self.random.integers(len(self.pool))]
            if self.random.random() < 0.3:
                other = self.pool[self.random.integers(len(self.pool))]
                style = _blended(style, other, float(self.random.uniform(0.2, 0.8)))
            drawn.append(style)
        return _batched(drawn)

    # ------------------------------------------------------------------------------------------------ steps

    def _draw_photos(self) -> Image:
        """Cut a batch of photos, with room to be moved in."""
        edge = self.edge_px + _MOST_SHIFT_PX
        return torch.cat([_photo(self.corpus, edge, self.random) for _ in range(self.batch)]).to(self.device)

    def _paint(self, photo: Image, colors: Moments, modulation: Tensor) -> Image:
        recoloured = recolored(photo, monge_kantorovich(color_moments(photo), colors))
        with self.autocast():
            image: Image = self.network(recoloured.contiguous(memory_format=torch.channels_last), modulation)
        return image.float()

    def _step(self) -> dict[str, float]:
        styles, wide = self._draw_styles(), self._draw_photos()
        edge = self.edge_px
        photo = wide[..., :edge, :edge].contiguous(memory_format=torch.channels_last)
        reader = self.network.reader
        modulation = reader(reader.code(styles.read))
        image = self._paint(photo, styles.colors, modulation)
        shown = image + (image.clamp(0, 1) - image).detach()  # what is outside the gamut is cut, but still learns
        with torch.no_grad(), self.autocast():
            target = self.judge(photo, (*STYLE_LAYERS, CONTENT_LAYER))
        with self.autocast():
            found = self.judge(shown, (*STYLE_LAYERS, CONTENT_LAYER))
        losses = {
            "content": relative_error(self._in_full(CONTENT_LAYER, found), self._in_full(CONTENT_LAYER, target)).mean(),
            **self._style_losses(found, styles.target),
            "gamut": (image - image.clamp(0, 1)).square().mean(),
            "calm": _calm(shown, photo),
            "stability": self._instability(wide, image, styles, modulation),
            "identity": self._identity(photo, target),
        }
        weights = self.weights
        total = (
            weights.content * losses["content"]
            + losses["moments"]
            + weights.gram * losses["gram"]
            + weights.calm * losses["calm"]
            + weights.stability * losses["stability"]
            + weights.identity * losses["identity"]
            + losses["gamut"]
        )
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self._average()
        return {name: float(value.detach()) for name, value in losses.items()}

    def _in_full(self, layer: str, features: Features) -> Tensor:
        head = self.judge.head(layer)
        return head.features(features[layer]) if head else features[layer]

    def _statistics(self, measured: Mapping[str, Moments]) -> dict[str, Statistics]:
        """Carry moments into the channels of the full VGG-19; of the covariance only the diagonal, which is far cheaper."""
        found = {}
        for layer, m in measured.items():
            head = self.judge.head(layer)
            mean, variance = m.mean, torch.diagonal(m.covariance, dim1=1, dim2=2)
            if head:
                matrix = head.matrix.to(m.covariance.dtype)
                mean = mean @ head.matrix.T + head.bias
                variance = ((matrix @ m.covariance) * matrix).sum(-1, dtype=torch.float32)
            found[layer] = Statistics(m, mean, variance.float())
        return found

    def _style_losses(self, features: Features, wanted: Mapping[str, Statistics]) -> dict[str, Tensor]:
        """Compare moments and Gram matrices, each relative, averaged over the layers and the batch."""
        found = self._statistics({layer: moments(features[layer]) for layer in STYLE_LAYERS})
        first = [relative_error(found[layer].spread, wanted[layer].spread).mean() for layer in STYLE_LAYERS]
        second = [relative_error(found[layer].own.gram, wanted[layer].own.gram).mean() for layer in STYLE_LAYERS]
        return {"moments": torch.stack(first).mean(), "gram": torch.stack(second).mean()}

    def _instability(self, wide: Image, image: Image, styles: PooledStyle, modulation: Tensor) -> Tensor:
        """Paint one of the photos again, moved and noisy, and compare where both show the same."""
        down, right = (int(x) for x in self.random.integers(0, _MOST_SHIFT_PX + 1, 2))
        edge = self.edge_px
        moved = wide[:1, :, down : down + edge, right : right + edge]
        moved = moved + float(self.random.uniform(0, 0.03)) * torch.randn(moved.shape, device=self.device)
        again = self._paint(moved, _first(styles.colors), modulation[:1])
        before, after = image[:1, :, down:, right:], again[:, :, : edge - down, : edge - right]
        return (before - after)[..., 8:-8, 8:-8].square().mean()

    def _identity(self, photo: Image, features: Features) -> Tensor:
        """Paint one of the photos in its own manner, which it already has."""
        if self.judge is not self.slim:
            with torch.no_grad(), self.autocast():
                features = self.slim(photo[-1:], STYLE_LAYERS)
        own = {layer: moments(features[layer][-1:]) for layer in STYLE_LAYERS}
        reader = self.network.reader
        with self.autocast():
            image = self.network(photo[-1:], reader(reader.code(own)))
        return (image.float() - photo[-1:]).square().mean()

    def _average(self) -> None:
        decay = min(0.998, 1 - 1 / (self.number + 2))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.averaged[name].lerp_(value, 1 - decay)


def _photo(corpus: Corpus, edge_px: int, random: np.random.Generator) -> Image:
    """Cut a square of a photo, mostly a large part of it: (1, 3, edge_px, edge_px)."""
    pictures = corpus["photo"] if random.random() < 0.92 else corpus["painting"]
    picture = pictures[random.integers(len(pictures))]
    shorter = min(picture.shape[1:])
    side = int(min(shorter, max(edge_px / 1.4, shorter * float(np.exp(random.uniform(math.log(0.45), 0))))))
    top, left = (int(random.integers(length - side + 1)) for length in picture.shape[1:])
    crop = picture[None, :, top : top + side, left : left + side].float() / 255
    crop = F.interpolate(crop, size=(edge_px, edge_px), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    crop = crop.flip(-1) if random.random() < 0.5 else crop
    if random.random() < 0.15:
        crop = _recolored_at_random(crop, random)
    return crop


def _random_view(picture: Image, random: np.random.Generator, least: float) -> Image:
    height, width = (int(length * random.uniform(least, 1)) for length in picture.shape[-2:])
    top, left = int(random.integers(picture.shape[-2] - height + 1)), int(random.integers(picture.shape[-1] - width + 1))
    view = picture[..., top : top + height, left : left + width]
    return view.flip(-1) if random.random() < 0.5 else view


def _resized(picture: Image, longest: float) -> Image:
    factor = longest / max(picture.shape[-2:])
    size = [max(32, round(length * factor)) for length in picture.shape[-2:]]
    return F.interpolate(picture, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)


def _recolored_at_random(picture: Image, random: np.random.Generator) -> Image:
    """Mix the colours a little, change contrast and light."""
    matrix = np.eye(3) * random.uniform(0.6, 1.3) + random.normal(0, 0.12, (3, 3))
    mixed = torch.einsum("ij,bjhw->bihw", torch.from_numpy(matrix.astype(np.float32)).to(picture.device), picture - 0.5)
    shift = torch.from_numpy(random.normal(0.5, 0.1, (1, 3, 1, 1)).astype(np.float32)).to(picture.device)
    return (mixed + shift).clamp(0, 1)


def _calm(image: Image, photo: Image) -> Tensor:
    """Average the squared steps of the picture where the photo is flat."""
    flat = torch.cat([flatness(one[None]) for one in photo])[:, 0, :-1, :-1]
    right = (image[..., :-1, 1:] - image[..., :-1, :-1]).square().sum(1)
    down = (image[..., 1:, :-1] - image[..., :-1, :-1]).square().sum(1)
    return (flat.pow(4) * (right + down)).mean()


def _measured(features: Features) -> dict[str, Moments]:
    """Measure the moments; covariances are kept in bfloat16, for there will be many."""
    found = {layer: moments(features[layer]) for layer in STYLE_LAYERS}
    return {layer: Moments(m.mean, m.covariance.bfloat16()) for layer, m in found.items()}


def _batched(styles: list[PooledStyle]) -> PooledStyle:
    def stacked(parts: list[Moments]) -> Moments:
        return Moments(torch.cat([m.mean for m in parts]), torch.cat([m.covariance for m in parts]).float())

    read = {layer: stacked([style.read[layer] for style in styles]) for layer in STYLE_LAYERS}
    target = {}
    for layer in STYLE_LAYERS:
        parts = [style.target[layer] for style in styles]
        mean, variance = torch.cat([part.mean for part in parts]), torch.cat([part.variance for part in parts])
        target[layer] = Statistics(stacked([part.own for part in parts]), mean, variance)
    return PooledStyle(read, target, stacked([style.colors for style in styles]))


def _first(measured: Moments) -> Moments:
    return Moments(measured.mean[:1], measured.covariance[:1])


def _blended(a: PooledStyle, b: PooledStyle, share: float) -> PooledStyle:
    def between(x: Moments, y: Moments) -> Moments:
        return Moments(torch.lerp(x.mean, y.mean, share), torch.lerp(x.covariance, y.covariance, share))

    target = {}
    for layer in STYLE_LAYERS:
        x, y = a.target[layer], b.target[layer]
        mean, variance = torch.lerp(x.mean, y.mean, share), torch.lerp(x.variance, y.variance, share)
        target[layer] = Statistics(between(x.own, y.own), mean, variance)
    return PooledStyle({k: between(a.read[k], b.read[k]) for k in STYLE_LAYERS}, target, between(a.colors, b.colors))
