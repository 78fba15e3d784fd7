"""Neural neighbors: replace the features of each part of the photo by those of the most similar part of the style.

Source: Kolkin, Kucera, Paris, Sýkora, Shechtman and Shakhnarovich 2022, Neural Neighbor Style Transfer (arXiv:2203.13215), the
optimization-based variant. Departures from the paper, each chosen by visual comparison:

- Matches of neighboring positions are made coherent (Ashikhmin 2001); flat areas of the photo get whole patches of the style.
- Colors are compared too, after both pictures are given the same mean and covariance. So an area of one color is painted in one
  color.
- Each size starts from the instant decoder's reconstruction of the matches at that size, so few steps are enough.
- Fewer layers are compared at fine sizes.
- If the style would have to be enlarged, a large picture is first painted like one of 512 pixels. The larger sizes continue its
  strokes instead of following the photo, and keep its colors.
- At the last size the shallow layers are also matched with their own nearest neighbors, which preserves the style's colors
  and edges.
- Patterns that repeat in the cells of the grid of hypercolumns are removed from the decoder's pictures, and prevented by
  small shifts of the picture from step to step.
- Chroma has half the resolution of lightness.
- The contrast of a style's colors is raised if the photo has much more.
- With several styles, each part of the picture uses the style that is most similar to it.

``recipes/nnst.py`` is closer to the paper.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.color.local import color_shift
from impasto.color.transfer import color_moments, monge_kantorovich, raised_contrast, recolored, whitening
from impasto.features.distributions import centered, rows_of, through, unit
from impasto.features.neighbors import GRID_STRIDE, Keys, Matches, grid_size, pooled_columns, tile_columns, with_colors
from impasto.features.statistics import Affine, Moments, joined_moments
from impasto.images import Picture, fitted_size, resize
from impasto.losses.features import Heads, Objective
from impasto.losses.neighbors import MatchLoss, Neighborhood, NeighborLoss, PaletteLoss
from impasto.losses.picture import flatness
from impasto.losses.tiled import halo_of
from impasto.masks.ground import colors_within, painted_area
from impasto.networks.decoder_files import load_decoder, shipped_decoder
from impasto.networks.style_swap import SWAP_LAYERS, TILE, Decoder, blocks_of, decoded, remove_grid
from impasto.optim.engine import Size, Step
from impasto.optim.parametrization import enlarged_strips, to_laplacian
from impasto.optim.shifts import ShiftedEncoder
from impasto.optim.tiled import TilePlan
from impasto.options import PaintOptions
from impasto.recipes.checks import slim_encoder
from impasto.recipes.context import PaintingContext, encode
from impasto.recipes.gatys import painted
from impasto.recipes.neighbor_layers import (
    COARSE_LAYERS,
    PALETTE_LAYERS,
    color_at,
    layers_at,
    patches_where_flat,
    uniformity_at,
)
from impasto.recipes.neighbor_tiles import (
    FLAT_REDUCTION,
    LARGEST_STYLE_PX,
    Search,
    finest_details,
    share_of_photo,
    style_blocks,
    style_columns,
)
from impasto.recipes.objectives import picture_terms
from impasto.recipes.starts import at_least, style_edge_px, without_margin
from impasto.recipes.statistics import compact_head, joining_heads
from impasto.runtime.memory import return_freed_memory
from impasto.runtime.resampling import antialiased_part
from impasto.runtime.tiling import Span, Tile
from impasto.tensors import FeatureMap, Features, Image, Mask

_MOST_PALETTE = 1024
_MOST_KEYS_OF_DRAFT = 4096
"""With quality draft, styles with more positions than this are first searched on a sparse grid."""
_PALETTE_WEIGHT = 0.2
_FEWEST_POSITIONS, _MOST_POSITIONS, _PIXELS_PER_POSITION = 4096, 16384, 128
"""Minimum and maximum number of positions that the palette loss draws at each step. Between these limits, it draws one position
per ``_PIXELS_PER_POSITION`` pixels. For larger pictures, the weight of the loss is reduced.
"""
_ENLARGED = 1.6
"""If a style is enlarged by more than this factor, the learning rate is reduced."""
_MEASURED_ROWS, _MEASURED_PIXELS, _MIXED_ROWS = 1024, 2**21, 128
"""Colors are measured in strips of at most ``_MEASURED_ROWS`` rows and ``_MEASURED_PIXELS`` pixels, and changed in place in
strips of ``_MIXED_ROWS`` rows."""
_BLENDED_BELOW = 0.2
"""Below this strength the result is blended with the photo, so that strength 0 returns the photo."""
_EVENLY = 0.6
"""Exponent that maps the strength to the mixing weight of features; it makes equal steps of the strength look equally large."""


def paint_steps(context: PaintingContext) -> Iterator[Step]:
    """Paint coarse to fine: at each size, match the photo with the styles and optimize towards the matches."""
    painting, encode = _Painting(context), partial(context.arithmetic.encode, context.encoder)
    methods = painting.objective_at, painting.finish, painting.enlarged, painting.rate_at
    if context.options.optimizer == "lbfgs":
        yield from painted(context, *methods, encode)
        return
    shifted = ShiftedEncoder(encode, GRID_STRIDE, context.generator())
    for step in painted(context, *methods, shifted):
        shifted.shift()
        yield step


class _Painting:
    """State of a painting that is kept from one size to the next.

    Attributes:
        painted: mask of the part of each style picture to use; None: the whole picture.
        palettes: the colors of each style.
        targets: the colors to paint in: those of each style, but with more contrast if the photo has much more.
        matches: the matches of the current size; None before the first size.
        base: the finished picture of ``context.base``, whose colors larger sizes keep; None before larger sizes are painted.
    """

    def __init__(self, context: PaintingContext) -> None:
        self.context = context
        self.styles = context.pictures
        regions = context.region_masks.style_masks or (None,) * len(self.styles)
        self.painted = [
            painted_area(style.image) if region is None else region for style, region in zip(self.styles, regions, strict=True)
        ]
        pictures = [style.image.to(context.content) for style in self.styles]
        self.palettes = [colors_within(picture, part) for picture, part in zip(pictures, self.painted, strict=True)]
        del pictures
        self.palette_of_photo = moments_in_strips(context.content)
        self.targets = [raised_contrast(each, self.palette_of_photo) for each in self.palettes]
        self.heads = joining_heads(context.encoder, COARSE_LAYERS)
        self.matches: Matches | None = None
        self.base: Image | None = None
        self.decoder: Decoder | None = None
        if context.encoder.sha256 == slim_encoder().sha256:
            self.decoder = load_decoder(shipped_decoder()).to(context.content.device)
        self.blocks: list[Tensor] = []

    def objective_at(self, size: Size, picture: Image) -> Objective:
        """Match the photo with the styles and build the objective for one size."""
        context = self.context
        places = [each for each, _ in context.sizes].index(size)
        is_first = places == 0 and context.first_scale == 0 and not context.is_painted
        is_last = places == len(context.sizes) - 1 or size == context.base
        self._keep_base(size, picture)
        if self._tiles_at(size):
            return self._objective_in_tiles(size, None if is_first else picture, is_last=is_last)
        layers, searched = layers_at(self._edge_px(size))
        wanted = tuple(dict.fromkeys((*layers, *searched, *SWAP_LAYERS, *(PALETTE_LAYERS if is_last else ()))))
        photo, grid = resize(context.content, size), grid_size(size)
        pictures, deviation = [self._resized(style, size) for style in self.styles], color_at(self._edge_px(size))
        styles = [encode(context, each, wanted) for each in pictures]
        before, share = None if is_first else picture, self._photo_share(size)
        columns = self._columns(encode(context, mixture(photo, before, context.options, share), searched), grid)
        colors = photo
        if before is not None and share < 1:
            colors = torch.lerp(recolored(resize(before, size), self._to_photo(before)), photo, share)
        columns = with_colors(columns, colors, whitening(self.palette_of_photo, deviation))
        keys = [
            with_colors(self._columns({layer: each[layer] for layer in searched}), style, whitening(palette, deviation))
            for each, style, palette in zip(styles, pictures, self.palettes, strict=True)
        ]
        has_blocks = places > 0 and self.decoder is not None
        self.blocks = [blocks_of(_whole_positions(each)) for each in styles] if has_blocks else []
        self.matches = self._keys(keys).match(
            columns,
            shares=self._shares(grid),
            coherence=context.options.coherence,
            patches=patches_where_flat(flatness(photo), grid, uniformity=uniformity_at(self._edge_px(size))),
        )
        objective = 1.0 * self._neighbor_loss(photo, styles, layers, grid)
        if is_last:
            objective += self._palette_loss(
                [{k: rows_of(v) for k, v in each.items() if k in PALETTE_LAYERS} for each in styles], size
            )
        return objective + picture_terms(context, size)

    def _objective_in_tiles(self, size: Size, picture: Image | None, *, is_last: bool) -> Objective:
        """Build the objective like :meth:`objective_at`, without features of whole pictures."""
        context = self.context
        layers, searched = layers_at(self._edge_px(size))
        return_freed_memory()
        photo, (high, broad) = resize(context.content, size), grid_size(size)
        heads = {layer: self.heads[layer] for layer in layers}, {layer: self.heads[layer] for layer in searched}
        most = dict.fromkeys(PALETTE_LAYERS if is_last else (), self._most_palette)
        deviation = color_at(self._edge_px(size))
        styles = [
            style_columns(context, self._resized(style, size), (heads[1], heads[0]), whitening(palette, deviation), most)
            for style, palette in zip(self.styles, self.palettes, strict=True)
        ]
        keys, palettes = self._keys([each.searched for each in styles]), [each.palette for each in styles]
        compared = [each.compared for each in styles]
        del styles
        colors = whitening(self.palette_of_photo, deviation)
        share = 1.0 if picture is None else self._photo_share(size)
        to_photo = self._to_photo(picture) if picture is not None and share < 1 else None
        shares = self._shares((high, broad))
        self.matches = Search(context, keys, heads[1], photo, picture, colors, shares, share, to_photo).matches()
        self.blocks = []
        rows = torch.cat([each[0].flatten(1).T for each in compared])
        del keys, compared
        strength = self._strength((high, broad))

        def mixed(target: FeatureMap, tile: Tile) -> FeatureMap:
            around = tile.with_halo(halo_of(heads[0], context.encoder.layers))
            own = tile_columns(encode(context, around.around(photo), tuple(heads[0])), heads[0], around)
            assert strength is not None
            share = strength if strength.shape[-1] == 1 else tile.part(strength, GRID_STRIDE)
            return torch.lerp(own.float(), target.float(), share)

        objective = 1.0 * MatchLoss(rows, self.matches.position, heads[0], None if strength is None else mixed)
        if is_last:
            objective += self._palette_loss(palettes, size)
        return objective + picture_terms(context, size)

    def _keys(self, columns: Sequence[FeatureMap]) -> Keys:
        most = _MOST_KEYS_OF_DRAFT if self.context.options.quality == "draft" else None
        return Keys.of(columns, [self._allowed(index, each) for index, each in enumerate(columns)], most=most)

    def _tiles_at(self, size: Size) -> TilePlan | None:
        """Return the plan of the tiles; None if a size is painted whole."""
        tiles = self.context.tiles
        return tiles if tiles and tiles.at(size) else None

    def _edge_px(self, size: Size) -> int:
        """Return the longer side of a size without its margin."""
        return max(self.context.shown_size(size))

    def finish(self, image: Image) -> Image:
        """Apply the colors of the styles in place, according to the strength; at low strengths, also blend with the photo."""
        strength, size = self.context.options.strength, (image.shape[-2], image.shape[-1])
        colors = Recoloring.to(image, self.targets, self._regions_of_styles())
        photo = resize(without_margin(self.context.content, self.context.margin), size) if strength < _BLENDED_BELOW else None
        for rows in strips(size[0], _MIXED_ROWS):
            part = image[..., rows, :]
            colored = colors(part, rows)
            colored = colored if strength >= 1 else torch.lerp(part, colored, strength**_EVENLY)
            if photo is not None:
                colored = torch.lerp(photo[..., rows, :], colored, strength / _BLENDED_BELOW)
            part.copy_(colored)
        if self.base is not None and max(size) > max(self.base.shape[-2:]):
            shift = color_shift(resize(image, (self.base.shape[-2], self.base.shape[-1])), self.base)
            for top, strip in enlarged_strips(shift, size):
                image[..., top : top + strip.shape[-2], :].add_(strip).clamp_(0, 1)
        return image

    def _keep_base(self, size: Size, picture: Image) -> None:
        """Before the first size above ``context.base`` is painted, keep the picture of that size.

        Args:
            size: the size to paint.
            picture: the current picture, of any size. If the painting is resumed at a larger size, it is reduced and kept.
        """
        context, base = self.context, self.context.base
        if base is None or self.base is not None or max(size) <= max(base):
            return
        shown = without_margin(picture, context.margin_at((picture.shape[-2], picture.shape[-1])))
        is_resumed = context.is_resumed and size == context.sizes[0][0]
        self.base = resize(shown, context.shown_size(base)) if is_resumed else self.finish(shown.clone())

    def enlarged(self, picture: Image, size: Size) -> Image:
        """Return the initial picture of the next size: the decoded matches blended with the resized picture.

        The strength determines the blend. Below full strength, some of the photo's finest details are added.
        """
        strength, share, kept = min(1.0, self.context.options.strength), self._strength(size), self.context.region_masks.kept
        found = self._decoded(size)
        if self._tiles_at(size):
            return self._mixed_in_strips(picture, found, size)
        if found is None or share is not None:
            larger = resize(picture, size)
            if strength < 1:
                details = to_laplacian(resize(self.context.content, size), levels=2)[0]
                larger = (larger + (1 - strength) * details).clamp(0, 1)
            if found is None:
                return larger
            found = found if share is None else torch.lerp(larger, found, share)
        return found if kept is None else torch.lerp(found, resize(self.context.content, size), resize(kept, size))

    def _mixed_in_strips(self, picture: Image, found: Image | None, size: Size) -> Image:
        """Mix like :meth:`enlarged`, in place and strip by strip."""
        photo, share, kept = resize(self.context.content, size), self._strength(size), self.context.region_masks.kept
        lacking = max(0.0, 1 - self.context.options.strength)
        if found is None:
            found, share = picture.new_zeros(1, 3, *size), photo.new_zeros(1, 1, 1, 1)
        kept = None if kept is None else resize(kept, size)
        for rows in strips(size[0], _MIXED_ROWS):
            part = found[..., rows, :]
            if share is not None:
                across = Span(0, 0, size[1], size[1])
                tile = Tile(Span(rows.start, rows.start, rows.stop, rows.stop), across, size)
                larger = antialiased_part(picture, size, ((rows.start, rows.stop), (0, size[1])), "bicubic").clamp(0, 1)
                larger = (larger + lacking * finest_details(photo, tile)).clamp(0, 1) if lacking else larger
                part.copy_(torch.lerp(larger, part, share if share.shape[-1] == 1 else share[..., rows, :]))
            if kept is not None:
                part.lerp_(photo[..., rows, :], kept[..., rows, :])
        return found

    def _decoded(self, size: Size) -> Image | None:
        """Decode the matches of a size in the colors of the styles; return None if the encoder has no decoder."""
        if self.decoder is None or self.matches is None:
            return None
        tiles = self._tiles_at(size)
        if tiles:
            return_freed_memory()
            self.blocks = [style_blocks(self.context, self._resized(style, size)) for style in self.styles]
            return_freed_memory()
        if not self.blocks:
            return None
        rows, self.blocks = self.blocks[0] if len(self.blocks) == 1 else torch.cat(self.blocks), []
        bf16 = self.context.arithmetic.precision == "bf16"
        tile = min(TILE, tiles.tile_px // GRID_STRIDE) if tiles else TILE
        with torch.no_grad(), torch.autocast(rows.device.type, torch.bfloat16, enabled=bf16):
            found = decoded(self.decoder, rows, self.matches.position, tile)
        del rows
        remove_grid(found)
        down, across = size[0] - found.shape[-2], size[1] - found.shape[-1]
        found = F.pad(found, (0, across, 0, down), mode="replicate") if down or across else found
        colors = Recoloring.to(found, self.targets, self._regions_of_styles())
        for strip in strips(found.shape[-2], _MIXED_ROWS):
            found[..., strip, :] = colors(found[..., strip, :], strip)
        return found

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

    @property
    def _most_palette(self) -> int:
        """Maximum number of feature vectors of each style in the palette loss, for each layer."""
        return max(64, _MOST_PALETTE // len(self.styles))

    def _palette_loss(self, styles: Sequence[Mapping[str, Tensor]], size: Size) -> Objective:
        """Make the weighted palette loss, given feature vectors of each style by layer.

        If a picture has more than ``_PIXELS_PER_POSITION`` pixels for each position, the weight is reduced. Otherwise, the
        gradient at each position would be so large that Adam would paint a speck there.
        """
        assert self.matches is not None
        heads: Heads = {layer: compact_head(self.context.encoder, layer) for layer in PALETTE_LAYERS}
        target = {}
        for layer in PALETTE_LAYERS:
            rows = [through(_evenly(each[layer], self._most_palette), heads[layer]) for each in styles]
            owner = [torch.full((len(each),), index, device=each.device) for index, each in enumerate(rows)]
            target[layer] = Neighborhood(unit(centered(torch.cat(rows))), torch.cat(owner))
        pixels = math.prod(size)
        positions = min(_MOST_POSITIONS, max(_FEWEST_POSITIONS, pixels // _PIXELS_PER_POSITION))
        style = self.matches.style if len(styles) > 1 else None
        loss = PaletteLoss(target, heads, self.context.generator(), style, positions)
        weight = _PALETTE_WEIGHT * min(1.0, _PIXELS_PER_POSITION * positions / pixels)
        return weight * min(1.0, self.context.options.strength) * loss

    # ------------------------------------------------------------------------------------------------ features

    def _columns(self, features: Features, grid: Size | None = None) -> FeatureMap:
        height, width = next(iter(features.values())).shape[-2:]
        finest = min(features, key=lambda layer: int(layer[4]))
        if grid is None:
            height, width = features[finest].shape[-2:]
            pixels = 2 ** (int(finest[4]) - 1)
            grid = grid_size((height * pixels, width * pixels))
        return pooled_columns(features, {layer: self.heads[layer] for layer in features}, grid)

    def rate_at(self, size: Size) -> float:
        """Return the factor of the learning rate at a size: smaller if the style is greatly enlarged.

        An enlarged style has no fine detail to paint, and Adam would add noise, because its steps do not become smaller when
        the gradient does.
        """
        enlarged = min(self._style_px(style, size) / max(style.size) for style in self.styles)
        return min(1.0, (_ENLARGED / enlarged) ** 4)

    def _photo_share(self, size: Size) -> float:
        """Return the factor of the photo's share in the picture to match: less than 1 at sizes that continue a smaller one."""
        base = self.context.base
        return 1.0 if base is None else min(1.0, max(base) / max(size))

    def _to_photo(self, picture: Image) -> Affine:
        """Return the map from the colors of the current picture to those of the photo."""
        return monge_kantorovich(moments_in_strips(picture), self.palette_of_photo)

    def _style_px(self, style: Picture, size: Size) -> int:
        """Return the longer side of a style picture for a size of the painting."""
        edge_px = max(16, style_edge_px(style.size, self._edge_px(size), self.context.options.style_scale))
        return min(LARGEST_STYLE_PX, edge_px) if self._tiles_at(size) else edge_px

    def _resized(self, style: Picture, size: Size) -> Image:
        """Resize a style picture for a size of the painting."""
        return at_least(resize(style.image.to(self.context.content), fitted_size(style.size, self._style_px(style, size))), 16)

    # ------------------------------------------------------------------------------------------------ regions

    def _allowed(self, index: int, columns: FeatureMap) -> Tensor | None:
        """Return the positions of a style picture that may be matched; None: all."""
        mask = self.painted[index]
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


def mixture(photo: Image, picture: Image | None, options: PaintOptions, photo_share: float = 1.0) -> Image:
    """Return the picture to match at a size: a mix of the photo and the current picture, with the photo's finest details.

    The photo has a smaller share in flat areas, where strokes from the previous size would otherwise fade.

    Args:
        photo: the photo at this size.
        picture: the current picture, of any size; None: return the photo.
        options: how to paint.
        photo_share: factor of the photo's share and of its finest details.
    """
    if picture is None:
        return photo
    share = photo_share * share_of_photo(options) * (1 - FLAT_REDUCTION * flatness(photo))
    detailed = resize(picture, (photo.shape[-2], photo.shape[-1])) + photo_share * to_laplacian(photo, levels=2)[0]
    return torch.lerp(detailed, photo, share)


def _whole_positions(features: Features) -> dict[str, FeatureMap]:
    """Crop the decoder's input layers to the area that relu3_1 covers; with odd sizes, shallow layers cover slightly more."""
    height, width = features["relu3_1"].shape[-2:]
    sides = {layer: 2 ** (3 - int(layer[4])) for layer in SWAP_LAYERS}
    return {layer: features[layer][..., : side * height, : side * width] for layer, side in sides.items()}


@dataclass(frozen=True)
class Recoloring:
    """Maps the colors of a picture, or of each of its regions, so that they have the mean and covariance of a palette.

    Attributes:
        maps: the color map of each region.
        masks: masks of where each style was used, (1, 1, height, width); they sum to 1. Empty: only one style.
    """

    maps: tuple[Affine, ...]
    masks: tuple[Mask, ...] = ()

    @staticmethod
    def to(image: Image, palettes: Sequence[Moments], regions: Sequence[Mask] | None) -> "Recoloring":
        """Make the color maps for a picture, given each style's palette and region (a mask of any size)."""
        if regions is None:
            return Recoloring((monge_kantorovich(moments_in_strips(image), palettes[0]),))
        sized = [F.interpolate(each, size=image.shape[-2:], mode="bilinear", align_corners=False) for each in regions]
        pairs = [(mask, palette) for mask, palette in zip(sized, palettes, strict=True) if float(mask.sum()) >= 1]
        maps = tuple(monge_kantorovich(moments_in_strips(image, mask), palette) for mask, palette in pairs)
        return Recoloring(maps, tuple(mask for mask, _ in pairs))

    def __call__(self, part: Image, rows: slice) -> Image:
        """Return some rows of the picture in their new colors, in [0, 1]."""
        if not self.masks:
            return recolored(part, self.maps[0]).clamp(0, 1)
        total = torch.zeros_like(part)
        for mask, colors in zip(self.masks, self.maps, strict=True):
            total += mask[..., rows, :] * recolored(part, colors)
        return total.clamp(0, 1)


def strips(height: int, rows: int) -> list[slice]:
    """Divide the rows of a picture into strips."""
    return [slice(top, min(top + rows, height)) for top in range(0, height, rows)]


def moments_in_strips(image: Image, mask: Mask | None = None) -> Moments:
    """Measure the mean and covariance of the colors of a picture, or under a soft mask (1, 1, height, width)."""
    (height, width), total = image.shape[-2:], image[0, 0].numel() if mask is None else mask.sum()
    highest = max(1, min(_MEASURED_ROWS, _MEASURED_PIXELS // width))
    if height <= highest:
        return color_moments(image, mask)
    parts = []
    for rows in strips(height, highest):
        part = image[..., rows, :]
        measured = color_moments(part, None if mask is None else mask[..., rows, :].clamp_min(1e-12))
        share = part[0, 0].numel() if mask is None else float(mask[..., rows, :].sum())
        parts.append((share / float(total), measured))
    return joined_moments(parts)


def _evenly(rows: Tensor, most: int) -> Tensor:
    """Select at most ``most`` evenly spaced rows."""
    return rows[:: -(-len(rows) // most)]
