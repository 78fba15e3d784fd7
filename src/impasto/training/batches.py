"""What the training of the instant network compares, a batch at a time: crops of photos and of styles, and their statistics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from impasto.networks.instant import STYLE_LAYERS
from impasto.stats import Moments
from impasto.tensors import FeatureMap, Image


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
class StyleCrop:
    """A batch of style pictures, and what does not change about them while the network learns.

    Attributes:
        picture: (batch, 3, edge_px, edge_px).
        read: their moments under the slim encoder, for the reader.
        target: what the loss network makes of them, by layer.
        colors: moments of their colours.
    """

    picture: Image
    read: Mapping[str, Moments]
    target: Mapping[str, Statistics]
    colors: Moments


@dataclass(frozen=True)
class PhotoCrop:
    """A batch of photos, with room to be moved in, and the features of their corner that shall be kept."""

    wide: Image
    content: FeatureMap


@dataclass(frozen=True)
class Styles:
    """A batch of styles.

    Attributes:
        modulation: what the network made of them, (batch, modulations); with a gradient.
        target: what the loss network made of them, by layer.
        colors: moments of their colours.
    """

    modulation: Tensor
    target: Mapping[str, Statistics]
    colors: Moments


def joined(crops: Sequence[StyleCrop]) -> StyleCrop:
    """Make one batch of several."""

    def together(of: Sequence[Moments]) -> Moments:
        return Moments(torch.cat([m.mean for m in of]), torch.cat([m.covariance for m in of]))

    def statistics(of: Sequence[Statistics]) -> Statistics:
        return Statistics(together([s.own for s in of]), torch.cat([s.mean for s in of]), torch.cat([s.variance for s in of]))

    return StyleCrop(
        torch.cat([crop.picture for crop in crops]).contiguous(memory_format=torch.channels_last),
        {layer: together([crop.read[layer] for crop in crops]) for layer in STYLE_LAYERS},
        {layer: statistics([crop.target[layer] for crop in crops]) for layer in STYLE_LAYERS},
        together([crop.colors for crop in crops]),
    )


def blended_with_the_last(styles: Styles, share: float) -> Styles:
    """Blend each style of a batch with the one before it, the first with the last; share 0 leaves them as they are."""

    def blended(x: Tensor) -> Tensor:
        return torch.lerp(x, x.roll(1, 0), share)

    def between(m: Moments) -> Moments:
        return Moments(blended(m.mean), blended(m.covariance))

    target = {
        layer: Statistics(between(each.own), blended(each.mean), blended(each.variance))
        for layer, each in styles.target.items()
    }
    return Styles(blended(styles.modulation), target, between(styles.colors))
