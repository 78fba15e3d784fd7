"""Neural neighbors: replace the features of each part of the photo by those of the most similar part of the style.

Source: Kolkin, Kucera, Paris, Sýkora, Shechtman and Shakhnarovich 2022, Neural Neighbor Style Transfer (arXiv:2203.13215), the
optimization-based variant. Departures from the paper, each chosen by visual comparison:

- Matches of neighboring positions are made coherent (Ashikhmin 2001); flat areas of the photo get whole patches of the style.
- Each size starts from the instant decoder's reconstruction of the matches at that size, so few steps are enough.
- Fewer layers are compared at fine sizes.
- At the last size the shallow layers are also matched with their own nearest neighbors, which preserves the style's colors
  and edges.
- Chroma has half the resolution of lightness.
- With several styles, each part of the picture uses the style that is most similar to it.

``recipes/nnst.py`` is closer to the paper.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.color.transfer import color_moments, monge_kantorovich, recolored
from impasto.features.distributions import centered, rows_of, through, unit
from impasto.features.neighbors import Keys, Matches, grid_size, pooled_columns
from impasto.features.statistics import Moments
from impasto.images import Picture, fitted_size, resize
from impasto.losses.features import Heads, Objective
from impasto.losses.neighbors import Neighborhood, NeighborLoss, PaletteLoss
from impasto.losses.picture import flatness
from impasto.networks.decoder_files import load_decoder, shipped_decoder
from impasto.networks.style_swap import SWAP_LAYERS, Decoder, blocks_of, decoded
from impasto.optim.engine import Size, Step
from impasto.optim.parametrization import to_laplacian
from impasto.options import PaintOptions
from impasto.recipes.checks import slim_encoder
from impasto.recipes.context import PaintingContext, encode
from impasto.recipes.gatys import painted
from impasto.recipes.neighbor_layers import COARSE_LAYERS, PALETTE_LAYERS, layers_at, patches_where_flat
from impasto.recipes.objectives import picture_terms
from impasto.recipes.starts import at_least, without_margin
from impasto.recipes.statistics import compact_head, joining_heads
from impasto.tensors import FeatureMap, Features, Image, Mask

_MOST_PALETTE = 1024
_MOST_KEYS_OF_DRAFT = 4096
"""With quality draft, styles with more positions than this are first searched on a sparse grid."""
_PALETTE_WEIGHT = 0.2
_FLAT_REDUCTION = 0.5
"""Reduction of the photo's share in flat areas."""
_BLENDED_BELOW = 0.2
"""Below this strength the result is blended with the photo, so that strength 0 returns the photo."""
_EVENLY = 0.6
"""Exponent that maps the strength to the mixing weight of features; it makes equal steps of the strength look equally large."""


def paint_steps(context: PaintingContext) -> Iterator[Step]:
    """Paint coarse to fine: at each size, match the photo with the styles and optimize towards the matches."""
    painting = _Painting(context)
    yield from painted(context, painting.objective_at, painting.finish, painting.enlarged)


class _Painting:
    """State of a painting that is kept from one size to the next.

    Attributes:
        matches: the matches of the current size; None before the first size.
    """

    def __init__(self, context: PaintingContext) -> None:
        self.context = context
        self.styles = context.pictures
        self.palettes = [color_moments(style.image.to(context.content)) for style in self.styles]
        self.heads = joining_heads(context.encoder, COARSE_LAYERS)
        self.left = len(context.sizes)
        self.matches: Matches | None = None
        self.decoder: Decoder | None = None
        if context.encoder.sha256 == slim_encoder().sha256:
            self.decoder = load_decoder(shipped_decoder()).to(context.content.device)
        self.blocks: list[Tensor] = []

    def objective_at(self, size: Size, picture: Image) -> Objective:
        """Match the photo with the styles and build the objective for one size."""
        context = self.context
        begins = self.left == len(context.sizes)
        is_first = begins and context.first_scale == 0 and not context.is_painted
        self.left -= 1
        edge_px = max(size) / (1 + 2 * context.options.margin)
        layers, searched = layers_at(edge_px)
        wanted = tuple(dict.fromkeys((*layers, *searched, *SWAP_LAYERS, *(() if self.left else PALETTE_LAYERS))))
        photo, grid = resize(context.content, size), grid_size(size)
        styles = [self._style_features(style, edge_px, wanted) for style in self.styles]
        columns = self._columns(encode(context, mixture(photo, None if is_first else picture, context.options), searched), grid)
        keys = [self._columns({layer: each[layer] for layer in searched}) for each in styles]
        self.blocks = [] if begins or self.decoder is None else [blocks_of(_whole_positions(each)) for each in styles]
        allowed = [self._allowed(index, each) for index, each in enumerate(keys)]
        most = _MOST_KEYS_OF_DRAFT if context.options.quality == "draft" else None
        self.matches = Keys.of(keys, allowed, most=most).match(
            columns,
            shares=self._shares(grid),
            coherence=context.options.coherence,
            patches=patches_where_flat(flatness(photo), grid),
        )
        objective = 1.0 * self._neighbor_loss(photo, styles, layers, grid)
        if not self.left:
            objective += _PALETTE_WEIGHT * min(1.0, context.options.strength) * self._palette_loss(styles)
        return objective + picture_terms(context, size)

    def finish(self, image: Image) -> Image:
        """Apply the colors of the styles according to the strength; at low strengths, also blend the result with the photo."""
        strength = self.context.options.strength
        if self.context.keeps_colors:
            return image
        colored = in_colors(image, self.palettes, self._regions_of_styles())
        if strength >= 1:
            return colored
        faint = torch.lerp(image, colored, strength**_EVENLY)
        if strength >= _BLENDED_BELOW:
            return faint
        photo = without_margin(self.context.content, self.context.margin)
        return torch.lerp(resize(photo, (image.shape[-2], image.shape[-1])), faint, strength / _BLENDED_BELOW)

    def enlarged(self, picture: Image, size: Size) -> Image:
        """Return the initial picture of the next size: the decoded matches blended with the resized picture.

        The strength determines the blend. Below full strength, some of the photo's finest details are added.
        """
        larger, strength = resize(picture, size), min(1.0, self.context.options.strength)
        if strength < 1:
            details = to_laplacian(resize(self.context.content, size), levels=2)[0]
            larger = (larger + (1 - strength) * details).clamp(0, 1)
        found = self._decoded(size)
        if found is None:
            return larger
        share = self._strength(size)
        found = found if share is None else torch.lerp(larger, found, share)
        kept = self.context.region_masks.kept
        return found if kept is None else torch.lerp(found, resize(self.context.content, size), resize(kept, size))

    def _decoded(self, size: Size) -> Image | None:
        """Decode the matches of a size in the colors of the styles; return None if the encoder has no decoder."""
        if self.decoder is None or not self.blocks or self.matches is None:
            return None
        rows, self.blocks = torch.cat(self.blocks), []
        bf16 = self.context.arithmetic.precision == "bf16"
        with torch.no_grad(), torch.autocast(rows.device.type, torch.bfloat16, enabled=bf16):
            found = decoded(self.decoder, rows, self.matches.position)
        down, across = size[0] - found.shape[-2], size[1] - found.shape[-1]
        found = F.pad(found, (0, across, 0, down), mode="replicate") if down or across else found
        return in_colors(found, self.palettes, self._regions_of_styles())

    # ------------------------------------------------------------------------------------------------ losses

    def _neighbor_loss(self, photo: Image, styles: Sequence[Features], layers: tuple[str, ...], grid: Size) -> NeighborLoss:
        """Make the loss with the matches' features as target; where the strength is below 1, mix in the photo's features."""
        assert self.matches is not None
        heads = {layer: self.heads[layer] for layer in layers}
        rows = torch.cat([rows_of(self._columns({layer: each[layer] for layer in layers})) for each in styles])
        target = rows[self.matches.position.flatten()].T.reshape(1, -1, *grid)
        strength = self._strength(grid)
        if strength is not None:
            own = self._columns(encode(self.context, photo, layers), grid).float()
            target = torch.lerp(own, target, strength)
        target = target / target.square().sum(1, keepdim=True).clamp_min(1e-12).sqrt()
        precision = next(iter(styles[0].values())).dtype
        return NeighborLoss(target.to(precision).contiguous(memory_format=torch.channels_last), heads)

    def _palette_loss(self, styles: Sequence[Features]) -> PaletteLoss:
        assert self.matches is not None
        heads: Heads = {layer: compact_head(self.context.encoder, layer) for layer in PALETTE_LAYERS}
        most = max(64, _MOST_PALETTE // len(styles))
        target = {}
        for layer in PALETTE_LAYERS:
            rows = [through(_evenly(rows_of(each[layer]), most), heads[layer]) for each in styles]
            owner = [torch.full((len(each),), index, device=each.device) for index, each in enumerate(rows)]
            target[layer] = Neighborhood(unit(centered(torch.cat(rows))), torch.cat(owner))
        return PaletteLoss(target, heads, self.context.generator(), self.matches.style if len(styles) > 1 else None)

    # ------------------------------------------------------------------------------------------------ features

    def _columns(self, features: Features, grid: Size | None = None) -> FeatureMap:
        height, width = next(iter(features.values())).shape[-2:]
        finest = min(features, key=lambda layer: int(layer[4]))
        if grid is None:
            height, width = features[finest].shape[-2:]
            pixels = 2 ** (int(finest[4]) - 1)
            grid = grid_size((height * pixels, width * pixels))
        return pooled_columns(features, {layer: self.heads[layer] for layer in features}, grid)

    def _style_features(self, style: Picture, edge_px: float, layers: tuple[str, ...]) -> Features:
        wanted = fitted_size(style.size, max(16, round(edge_px * self.context.options.style_scale)))
        return encode(self.context, at_least(resize(style.image.to(self.context.content), wanted), 16), layers)

    # ------------------------------------------------------------------------------------------------ regions

    def _allowed(self, index: int, columns: FeatureMap) -> Tensor | None:
        """Return the positions of a style picture that may be matched; None: all, because there is no mask."""
        masks = self.context.region_masks.style_masks
        mask = masks[index] if masks else None
        return None if mask is None else resize(mask, (columns.shape[-2], columns.shape[-1]))[0, 0] > 0.5

    def _shares(self, grid: Size) -> Tensor | None:
        """Return the share of each style at each position; None if there is only one style."""
        region_masks, count = self.context.region_masks, len(self.styles)
        if count == 1:
            return None
        weights = torch.tensor(region_masks.weights or [self.context.options.style_weights or (1.0,) * count])
        weights = (weights / weights.sum(1, keepdim=True)).to(self.context.content)
        if not region_masks.masks:
            return weights[0][:, None, None].expand(count, *grid)
        masks = torch.cat([resize(mask, grid) for mask in region_masks.masks])[:, 0]
        shares = torch.einsum("rs,rhw->shw", weights, masks)
        return shares / shares.sum(0).clamp_min(1e-6)

    def _strength(self, grid: Size) -> Tensor | None:
        """Return the strength at each position, at most 1; None if it is 1 everywhere."""
        region_masks, strength = self.context.region_masks, self.context.options.strength
        if strength >= 1 and all(each >= 1 for each in region_masks.strengths):
            return None
        if not region_masks.strengths:
            return self.context.content.new_full((1, 1, 1, 1), strength**_EVENLY)
        by_region = sum(
            each * resize(mask, grid) for each, mask in zip(region_masks.strengths, region_masks.masks, strict=True)
        )
        assert isinstance(by_region, Tensor)
        return (strength * by_region).clamp(0, 1) ** _EVENLY

    def _regions_of_styles(self) -> list[Mask] | None:
        """Return soft masks of where each style was used, on the grid of hypercolumns; None if there is only one style."""
        if self.matches is None or len(self.styles) == 1:
            return None
        used = F.one_hot(self.matches.style, len(self.styles)).permute(2, 0, 1)[:, None].float()
        soft = F.avg_pool2d(used, 5, stride=1, padding=2, count_include_pad=False)
        return list(soft.split(1))


def mixture(photo: Image, picture: Image | None, options: PaintOptions) -> Image:
    """Return the picture to match at a size: a mix of the photo and the current picture, with the photo's finest details.

    The photo has a smaller share in flat areas, where strokes from the previous size would otherwise fade.
    """
    if picture is None:
        return photo
    share = options.content_weight * min(1.0, 2 - options.strength) * (1 - _FLAT_REDUCTION * flatness(photo))
    detailed = resize(picture, (photo.shape[-2], photo.shape[-1])) + to_laplacian(photo, levels=2)[0]
    return torch.lerp(detailed, photo, share)


def _whole_positions(features: Features) -> dict[str, FeatureMap]:
    """Crop the layers to decode to the area that relu3_1 covers; with odd sizes, shallow layers cover slightly more."""
    height, width = features["relu3_1"].shape[-2:]
    sides = {layer: 2 ** (3 - int(layer[4])) for layer in SWAP_LAYERS}
    return {layer: features[layer][..., : side * height, : side * width] for layer, side in sides.items()}


def in_colors(image: Image, palettes: Sequence[Moments], regions: Sequence[Mask] | None) -> Image:
    """Map the colors of a picture, or of each of its regions, so that they have the mean and covariance of a palette.

    Args:
        image: (1, 3, height, width).
        palettes: color moments of each style.
        regions: masks of where each style was used, (1, 1, height, width) at any size; they sum to 1. None: only one style.
    """
    if regions is None:
        return recolored(image, monge_kantorovich(color_moments(image), palettes[0])).clamp(0, 1)
    total = torch.zeros_like(image)
    for palette, region in zip(palettes, regions, strict=True):
        mask = F.interpolate(region, size=image.shape[-2:], mode="bilinear", align_corners=False)
        if float(mask.sum()) < 1:
            continue
        total += mask * recolored(image, monge_kantorovich(masked_moments(image, mask), palette))
    return total.clamp(0, 1)


def masked_moments(image: Image, mask: Mask) -> Moments:
    """Measure the mean and covariance of the colors under a soft mask (1, 1, height, width)."""
    weights = (mask / mask.sum()).flatten()
    colors = image.flatten(2)[0]
    mean = colors @ weights
    apart = colors - mean[:, None]
    return Moments(mean[None], ((apart * weights) @ apart.T)[None])


def _evenly(rows: Tensor, most: int) -> Tensor:
    """Select at most ``most`` evenly spaced rows."""
    return rows[:: -(-len(rows) // most)]
