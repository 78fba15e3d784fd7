"""Style losses that need style pictures: distributions of features, patches, and chained layers.

Each function makes the loss for one value of ``--statistics`` from the features of the style pictures. All losses are
normalized by the style's own features. Several styles form a mixture: their feature vectors are pooled, and each style
contributes in proportion to its weight.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.encoders import Vgg
from impasto.errors import OptionError
from impasto.features.distributions import columns_at, leading, patches, picked, scattered, through, unit
from impasto.features.statistics import Affine, blend
from impasto.images import Picture
from impasto.losses.chained import ChainedGramLoss, chained_gram, links, shifted
from impasto.losses.distributions import HistogramLoss, RelaxedEmdLoss, SelfSimilarityLoss, SlicedLoss
from impasto.losses.features import Heads, Loss, Objective, StyleLoss, mapped, measure
from impasto.losses.neighbors import PatchLoss
from impasto.losses.normalization import gram_weight, squares
from impasto.options import PaintOptions
from impasto.recipes.masking import NO_MASKS, Masking
from impasto.recipes.presets import check_recipe
from impasto.recipes.starts import Style
from impasto.tensors import Features

_DRAWN = ("sliced", "relaxed-emd")
"""Statistics that sample at random at each step, so that the objective is stochastic."""

_MOST_ROWS = 8192
_MOST_COLUMNS = 1024
_MOST_PATCHES = 4096
_SEARCHED = 64
_KNOTS = 256
_HISTOGRAM_LAYERS = ("relu1_1", "relu4_1")
_PATCH_BLOCKS = "34"
_SELF_SIMILARITY = 15.0
"""Factor that gives the self-similarity loss about the same effect as the content loss at the same weight; tuned by eye."""


@dataclass(frozen=True)
class StyleFeatures:
    """The features of the style pictures at one size, with their weights.

    Attributes:
        styles: features by layer, for each style.
        shares: the share of each style in the mixture; the shares are above 0 and sum to 1.
        layer_shares: the share of each layer in the loss.
        encoder: the encoder of the features.
        seed: seed for random sampling.
        shift: added to the features before Gram matrices are computed.
    """

    styles: Sequence[Features]
    shares: Sequence[float]
    layer_shares: Mapping[str, float]
    encoder: Vgg
    seed: int
    shift: float = 0.0

    def generator(self) -> torch.Generator:
        """Return a new generator with the seed."""
        return torch.Generator().manual_seed(self.seed)

    def heads(self) -> dict[str, Affine | None]:
        """Return the encoder's heads, each reduced to the fewest channels that preserve lengths and angles."""
        return {layer: compact_head(self.encoder, layer) for layer in self.layer_shares}

    def rows(self, layer: str, most: int) -> Tensor:
        """Return at most ``most`` feature vectors of one layer, evenly subsampled; each style contributes its share."""
        maps = [features[layer] for features in self.styles]
        counts = in_shares([each.shape[-2] * each.shape[-1] for each in maps], self.shares, most)
        random = self.generator()
        places = [scattered((m.shape[-2], m.shape[-1]), n, random) for m, n in zip(maps, counts, strict=True)]
        return torch.cat([picked(each, where) for each, where in zip(maps, places, strict=True)])


def in_shares(available: Sequence[int], shares: Sequence[float], most: int) -> list[int]:
    """Return the number of items to use from each source, for given shares; ``available`` and ``most`` limit the total.

    Example:
        >>> in_shares([100, 100], [0.75, 0.25], most=1000)
        [100, 33]
    """
    total = min(most, *(count / share for count, share in zip(available, shares, strict=True)))
    return [max(1, round(total * share)) for share in shares]


def compact_head(encoder: Vgg, layer: str) -> Affine | None:
    """Return a layer's head, reduced to the fewest channels that preserve lengths and angles; None if there is no head."""
    head = encoder.head(layer)
    return None if head is None else head.compact()


def check_statistics(styles: Sequence[Style], options: PaintOptions, masking: Masking = NO_MASKS) -> None:
    """Raise unless the styles, their masks and the optimizer are compatible with the statistics and the recipe.

    Raises:
        OptionError: a named style, a style mask, a weight of 0 or less, or L-BFGS is given but not supported.
    """
    check_recipe(options)
    if options.recipe != "gatys":
        check_are_pictures(styles, f"--recipe {options.recipe}")
    if options.recipe in ("nnst", "strotss"):
        check_unmasked(masking, f"--recipe {options.recipe}")
    if options.statistics not in PICTURE_STATISTICS:
        return
    check_are_pictures(styles, f"--statistics {options.statistics}")
    if options.style_weights and min(options.style_weights) <= 0:
        raise OptionError(
            f"--style-weights {list(options.style_weights)} must all be above 0 with --statistics {options.statistics}; "
            "for negative weights use --statistics gram-moments"
        )
    if options.optimizer == "lbfgs" and options.statistics in _DRAWN:
        raise OptionError(
            f"--statistics {options.statistics} samples at random at each step, which --optimizer lbfgs does not support; "
            "use --optimizer adam"
        )


def check_are_pictures(styles: Sequence[Style], what: str) -> None:
    """Raise OptionError unless all styles are pictures; the message says that ``what`` needs pictures."""
    for style in styles:
        if not isinstance(style, Picture):
            raise OptionError(f"{what} needs a style picture, but {style.name!r} is a named style; give a picture file")


def check_unmasked(masking: Masking, what: str) -> None:
    """Raise OptionError if there are style masks or regions, because ``what`` does not support them; allow ``--protect``."""
    if masking.style_masks or masking.style_regions:
        raise OptionError(f"{what} cannot be combined with style masks; omit --style-mask and --style-region")


def picture_style_loss(style_features: StyleFeatures, options: PaintOptions) -> Loss | Objective:
    """Make the style loss selected by ``--statistics``."""
    return PICTURE_STATISTICS[options.statistics](style_features)


# ---------------------------------------------------------------------------------------------------- a function for each name


def sliced(style_features: StyleFeatures) -> Loss:
    """Sliced Wasserstein distance, normalized by the mean square of the style's features."""
    heads = style_features.heads()
    target = {layer: through(style_features.rows(layer, _MOST_ROWS), heads[layer]) for layer in heads}
    weights = {layer: style_features.layer_shares[layer] * rows.numel() / squares(rows) for layer, rows in target.items()}
    return SlicedLoss(target, weights, heads, style_features.generator())


def histogram(style_features: StyleFeatures) -> Objective:
    """Gram matrices at all style layers, plus histograms at relu1_1 and relu4_1 as in the paper.

    If neither of these two is a style layer, histograms are used at all style layers.
    """
    heads = {layer: style_features.encoder.head(layer) for layer in style_features.layer_shares}
    measured = [{layer: measure(features[layer], heads[layer]) for layer in heads} for features in style_features.styles]
    moments = {layer: blend([each[layer] for each in measured], style_features.shares) for layer in heads}
    gram = {
        layer: share * gram_weight("relative", moments[layer], 1, 1) for layer, share in style_features.layer_shares.items()
    }
    layers = [layer for layer in _HISTOGRAM_LAYERS if layer in heads] or list(heads)
    rows = {layer: style_features.rows(layer, 8 * _MOST_ROWS) for layer in layers}
    target = {layer: knots(each) for layer, each in rows.items()}
    weights = {layer: len(each) / squares(each) / len(layers) for layer, each in rows.items()}
    return StyleLoss(moments, gram, heads=heads) + HistogramLoss(target, weights)


def knots(rows: Tensor, count: int = _KNOTS) -> Tensor:
    """Return evenly spaced quantiles from 0 to 1 of every channel: (channels, count)."""
    return F.interpolate(rows.T.sort(dim=1).values[None], size=count, mode="linear", align_corners=True)[0]


def relaxed_emd_of_columns(style_features: StyleFeatures) -> Loss:
    """Relaxed optimal transport of hypercolumns.

    Layers are scaled according to their shares, so that the hypercolumns have a root mean square of 1.
    """
    heads = {layer: head or identity(style_features.encoder, layer) for layer, head in style_features.heads().items()}
    channels = sum(len(head.bias) for head in heads.values())
    for layer, head in heads.items():
        rows = through(style_features.rows(layer, _MOST_ROWS), head)
        scale = (style_features.layer_shares[layer] * channels * len(rows) / squares(rows)) ** 0.5
        heads[layer] = Affine(head.matrix * scale, head.bias * scale)
    return RelaxedEmdLoss(
        style_columns(style_features.styles, style_features.shares, heads, style_features.generator()),
        heads,
        style_features.generator(),
    )


def joining_heads(encoder: Vgg, layers: Iterable[str]) -> dict[str, Affine]:
    """Return the head of each layer, divided by the number of channels of that layer, as in the NNST paper."""
    heads = {}
    for layer in layers:
        full = encoder.head(layer) or identity(encoder, layer)
        head, channels = full.compact(), len(full.bias)
        heads[layer] = Affine(head.matrix / channels, head.bias / channels)
    return heads


def style_columns(
    styles: Sequence[Features], shares: Sequence[float], heads: Heads, generator: torch.Generator, most: int = _MOST_COLUMNS
) -> Tensor:
    """Sample hypercolumns of several styles according to their shares: (m, channels of all layers)."""
    drawn = []
    for features, share in zip(styles, shares, strict=True):
        maps = [features[layer] for layer in heads]
        widest = max(maps, key=lambda each: each.shape[-1])
        places = scattered((widest.shape[-2], widest.shape[-1]), max(1, round(most * share)), generator)
        drawn.append(columns_at(maps, places, list(heads.values())))
    return torch.cat(drawn)


def identity(encoder: Vgg, layer: str) -> Affine:
    """Return the identity map on a layer's channels."""
    channels, device = encoder.widths[encoder.layers.index(layer) // 2], encoder.mean.device
    return Affine(torch.eye(channels, device=device), torch.zeros(channels, device=device))


def nearest_patches(style_features: StyleFeatures) -> Loss:
    """Nearest patches at the style layers of blocks 3 and 4, as in the paper; if there are none, at all style layers."""
    layers = [layer for layer in style_features.layer_shares if layer[4] in _PATCH_BLOCKS] or list(style_features.layer_shares)
    heads = {layer: compact_head(style_features.encoder, layer) for layer in layers}
    target, searched = {}, {}
    for layer in layers:
        cut = [patches(mapped(features[layer], heads[layer])) for features in style_features.styles]
        counts, random = (
            in_shares([len(each) for each in cut], style_features.shares, _MOST_PATCHES),
            style_features.generator(),
        )
        target[layer] = torch.cat(
            [each[torch.randperm(len(each), generator=random)[:count]] for each, count in zip(cut, counts, strict=True)]
        )
        searched[layer] = leading(unit(target[layer]), _SEARCHED, random)
    weights = {layer: len(rows) / squares(rows) / len(layers) for layer, rows in target.items()}
    return PatchLoss(target, searched, weights, heads)


def chained(style_features: StyleFeatures) -> Loss:
    """Gram matrices between each style layer and the next, shifted by ``--activation-shift``."""
    layers = tuple(style_features.layer_shares)
    if len(layers) < 2:
        raise OptionError(f"--statistics chained needs two or more --style-layers, but only {layers[0]} is given; add another")
    heads = {
        layer: shifted(style_features.encoder.head(layer) or identity(style_features.encoder, layer), style_features.shift)
        for layer in layers
    }
    target = {}
    for link in links(layers):
        grams = [
            share * chained_gram(features, link, heads)
            for features, share in zip(style_features.styles, style_features.shares, strict=True)
        ]
        target[link] = torch.stack(grams).sum(0)
    weights = {link: 1 / max(squares(gram), 1e-12) / len(target) for link, gram in target.items()}
    return ChainedGramLoss(target, weights, heads)


PICTURE_STATISTICS: dict[str, Callable[[StyleFeatures], Loss | Objective]] = {
    "sliced": sliced,
    "histogram": histogram,
    "relaxed-emd": relaxed_emd_of_columns,
    "patches": nearest_patches,
    "chained": chained,
}


def self_similarity_loss(features: Features, encoder: Vgg) -> Loss:
    """Make the content loss of ``--content-comparison self-similarity``."""
    heads = {layer: compact_head(encoder, layer) for layer in features}
    weights = dict.fromkeys(features, _SELF_SIMILARITY / len(features))
    return SelfSimilarityLoss(features, weights, heads)
