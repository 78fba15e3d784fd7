"""Regions of a painting: the layout of the user's masks, and the style loss of each region."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from impasto.encoders import Vgg
from impasto.errors import OptionError
from impasto.features.statistics import Guide
from impasto.images import resize
from impasto.losses.features import GuidedStyleLoss, StyleLoss, WassersteinLoss
from impasto.masks.guides import feathered, grown, guides_at, shared, softened
from impasto.optim.engine import Size
from impasto.options import PaintOptions
from impasto.recipes.masking import Masking
from impasto.recipes.starts import with_margin
from impasto.tensors import Image, Mask

KEPT_WEIGHT = 100.0
"""Weight of the loss that preserves the photo in the kept area; this makes adjacent painted areas fit the photo."""
_EMPTY = 0.02


@dataclass(frozen=True)
class RegionMasks:
    """Masks at the size of the painting.

    Attributes:
        masks: the mask of each region, (1, 1, height, width), at the final size with margin; empty: no regions.
        weights: the style weights of each region.
        strengths: the style strength of each region.
        kept: mask of the area where the photo is kept; None: the photo is kept nowhere.
        style_masks: mask of the measured part of each style picture, at the size of that picture; None: the whole picture.
    """

    masks: tuple[Mask, ...] = ()
    weights: tuple[tuple[float, ...], ...] = ()
    strengths: tuple[float, ...] = ()
    kept: Mask | None = None
    style_masks: tuple[Mask | None, ...] = ()

    def to(self, device: torch.device) -> "RegionMasks":
        """Move the region masks and the kept mask to a device."""
        kept = None if self.kept is None else self.kept.to(device)
        return RegionMasks(tuple(mask.to(device) for mask in self.masks), self.weights, self.strengths, kept, self.style_masks)


NO_LAYOUT = RegionMasks()


def lay_out(masking: Masking, size: Size, margin: int, options: PaintOptions, count: int) -> RegionMasks:
    """Lay out masks for a painting: divide overlaps among the regions, and remove the kept area from all regions.

    Where no style mask applies, ``options.uncovered`` selects whether the photo is kept or the first style is used. In INetwork
    and neural-style-tf, no style affects these areas, so the photo hardly changes there.

    Args:
        masking: the masks.
        size: (height, width) of the result.
        margin: width of the margin in pixels.
        options: how to paint.
        count: number of styles.

    Raises:
        OptionError: the masks leave nothing to paint, or the strengths do not match the styles.
    """
    check_strengths(masking, options, count)
    styles = tuple(masking.style_mask(index) for index in range(count))
    limit = None if masking.content_mask is None else resize(masking.content_mask.mask, size)
    masks, _ = shared([resize(each.mask, size) for each in masking.style_masks]) if masking.style_masks else ([], 0.0)
    weights = [tuple(float(style == region) for style in range(count)) for region in range(len(masks))]
    strengths = list(region_strengths(options, len(masks)))
    feather_px = round(options.feather * max(size))
    if masks and options.uncovered == "first-style":
        masks[0] = masks[0] + (1 - torch.stack(masks).sum(0)).clamp_min(0)
    if limit is not None:
        masks = [mask * limit for mask in masks] if masks else [limit]
    if not masks and not masking.protect:
        return RegionMasks(style_masks=styles)
    if not weights:
        weights, strengths = [options.style_weights or (1.0,) * count], [1.0]
    kept = _kept(
        [mask for mask, strength in zip(masks, strengths, strict=True) if strength] if masks else None,
        masking,
        size,
        feather_px,
    )
    masks = [mask * (1 - kept) for mask in masks] if masks else [1 - kept]
    if float(kept.min()) > 1 - _EMPTY:
        raise OptionError("nothing would be painted: the masks leave no area for a style; reduce the protected area")
    there = [region for region, mask in enumerate(masks) if float(mask.max()) >= _EMPTY and strengths[region]]
    return RegionMasks(
        tuple(with_margin(masks[region], margin) for region in there),
        tuple(weights[region] for region in there),
        tuple(strengths[region] for region in there),
        with_margin(kept, margin) if float(kept.max()) > 0 else None,
        styles,
    )


def _kept(painted: list[Mask] | None, masking: Masking, size: Size, feather_px: int) -> Mask:
    """Return the mask of the areas where the photo is kept: uncovered and protected areas, with soft edges."""
    kept = torch.zeros(1, 1, *size)
    if painted is not None:
        covered = torch.stack(painted).sum(0) if painted else torch.zeros(1, 1, *size)
        kept = softened((1 - covered).clamp(0, 1), feather_px)
    for each in masking.protect:
        kept = torch.maximum(kept, feathered(at_size(each.mask, size), feather_px))
    return kept.masked_fill(kept < _EMPTY, 0.0).masked_fill(kept > 1 - _EMPTY, 1.0)


def at_size(protected: Mask, size: Size) -> Mask:
    """Resize a protected area, and then grow it by one pixel on all sides, because resampling can erode it."""
    return protected if tuple(protected.shape[-2:]) == tuple(size) else grown(resize(protected, size), 1)


def region_strengths(options: PaintOptions, count: int) -> tuple[float, ...]:
    """Return the strength of each region: the given strength, times the region's style weight, divided by the mean weight."""
    given = options.region_strengths or (1.0,) * count
    weights = options.style_weights or (1.0,) * count
    mean = sum(weights) / max(1, len(weights)) or 1.0
    return tuple(strength * weight / mean for strength, weight in zip(given, weights, strict=False))[:count]


def check_strengths(masking: Masking, options: PaintOptions, count: int) -> None:
    """Raise if region strengths are given but do not match the style masks and styles."""
    if not options.region_strengths:
        return
    if not masking.style_masks:
        raise OptionError("--region-strengths needs regions; give a --style-mask for each style, or change --style-weight")
    if len(options.region_strengths) != count:
        raise OptionError(
            f"--region-strengths has {len(options.region_strengths)} values for {count} styles; give one for each style mask"
        )


class Restored:
    """Restores the photo in the kept area of a picture. The resized photo and mask are cached for the next step.

    Args:
        photo: the photo with margin, at the final size.
        kept: the kept mask with margin; None: nothing is restored.
        margin: width of the margin in pixels.
    """

    def __init__(self, photo: Image, kept: Mask | None, margin: int) -> None:
        inner = slice(margin, -margin if margin else None)
        self.photo, self.kept = photo[..., inner, inner], None if kept is None else kept[..., inner, inner]
        self.ready: tuple[Image, Mask] | None = None

    def __call__(self, image: Image) -> Image:
        """Restore the photo in the picture, in place; where the mask is 1, the result is exactly the photo."""
        if self.kept is None:
            return image
        size = (image.shape[-2], image.shape[-1])
        if self.ready is None or self.ready[0].shape[-2:] != image.shape[-2:]:
            kept = resize(self.kept, size)
            self.ready = (
                resize(self.photo, size),
                kept.masked_fill(kept > 1 - 1e-3, 1.0),
            )  # undo rounding errors of the resampling
        photo, kept = self.ready
        return image.lerp_(photo.to(image), kept.to(image))


def guided_style_loss(
    parts: Sequence[StyleLoss | WassersteinLoss], region_masks: RegionMasks, size: Size, encoder: Vgg, options: PaintOptions
) -> GuidedStyleLoss:
    """Combine the style losses of all regions at one size.

    Args:
        parts: the style loss of each region.
        region_masks: the regions.
        size: (height, width) to paint, with margin.
        encoder: the encoder, for its layers and widths.
        options: how to paint.
    """
    masks = [resize(mask, size) for mask in region_masks.masks]
    guides = {}
    for layer in options.style_layers:
        channels = encoder.widths[list(encoder.convolutions).index(layer[4:])]
        shrunk = guides_at(masks, layer, encoder.layers, options.mask_shrinking)
        guides[layer] = tuple(Guide.of(each, channels, encoder.precision) for each in shrunk)
    shares = tuple(strength * float(mask.mean()) for strength, mask in zip(region_masks.strengths, masks, strict=True))
    return GuidedStyleLoss(tuple(parts), shares, guides)
