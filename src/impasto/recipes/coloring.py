"""Color control before and after painting, shared by all recipes.

``match-style`` acts before painting: it gives the style pictures the photo's palette, or converts photo and styles to gray.
The other modes act on the painted picture: they combine its lightness with the photo's colors, or give it the photo's or the
style's palette.

Source: Gatys, Bethge, Hertzmann and Shechtman 2016, Preserving Color in Neural Artistic Style Transfer (arXiv:1606.05897).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from impasto.color.transfer import (
    STEEPEST,
    Palette,
    blended_palette,
    gray,
    is_gray,
    palette_of,
    palette_of_moments,
    recoloring,
    with_colors_of,
    with_light_like,
)
from impasto.errors import OptionError
from impasto.images import Picture, proofed, resize
from impasto.options import ColorMethod, InstantOptions, PaintOptions
from impasto.recipes.masking import ReadMask, Spec, read_mask
from impasto.recipes.starts import Style
from impasto.styles.named import NamedStyle
from impasto.tensors import Image, Mask
from impasto.weights.files import sha256_of

ColorOptions = PaintOptions | InstantOptions
"""Options with ``color``, ``color_method``, ``color_space``, ``color_amount``, ``color_mask`` and ``color_proof``."""

_ROWS = 256
"""A picture is recolored in strips of this height, which keeps temporary tensors small."""


@dataclass(frozen=True)
class Coloring:
    """Color control for a painted picture.

    Attributes:
        options: color mode, method, space and amount.
        photo: the photo whose colors are kept, (1, 3, height, width), or None.
        target: the target palette, or None.
        mask: mask of the area where colors are changed, (1, 1, height, width); None: everywhere.
    """

    options: ColorOptions
    photo: Image | None = None
    target: Palette | None = None
    mask: Mask | None = None

    def over(self, image: Image) -> Image:
        """Recolor a painted picture in place.

        Args:
            image: (1, 3, height, width) in [0, 1], at any size; overwritten.

        Returns:
            The same tensor.
        """
        size = (image.shape[-2], image.shape[-1])
        photo = None if self.photo is None else resize(self.photo, size).to(image)
        mask = None if self.mask is None else resize(self.mask, size).to(image)
        method = "histogram" if self.options.color == "histogram" else self.options.color_method
        space = self.options.color_space
        recolored = recoloring(image, self.target, method, space, steepest=STEEPEST) if self.target else None
        for top in range(0, size[0], _ROWS):
            rows = slice(top, top + _ROWS)
            part = image[..., rows, :]
            if self.options.color == "match-style":  # in a painting of gray pictures, any color is noise
                part.copy_(gray(part, space))
            if recolored:
                found = recolored(part)
            else:
                assert photo is not None
                found = with_colors_of(photo[..., rows, :], part, space)
            share = torch.full_like(part, self.options.color_amount) * (1 if mask is None else mask[..., rows, :])
            part.copy_(torch.lerp(part, found, share))
        return image


def coloring_of(
    photo: Picture, styles: Sequence[Style], options: ColorOptions, device: torch.device | None = None
) -> Coloring | None:
    """Return the color control for the painted picture; None if its colors are not changed.

    Raises:
        ImageFileError, OptionError: the mask cannot be read.
    """
    mask = color_mask(photo, options).mask.to(device) if options.color_mask else None
    if options.color == "keep" or method_of(photo, options) == "luminance":
        return Coloring(options, photo=photo.image.to(device), mask=mask)
    if options.color == "histogram":
        return Coloring(options, target=_on(device, palette_of(photo.image, options.color_space)), mask=mask)
    if options.color == "palette":
        weights = options.style_weights or (1.0,) * len(styles)
        target = blended_palette([_palette_of_style(style, options) for style in styles], weights)
        return Coloring(options, target=_on(device, target), mask=mask)
    return None


def in_proof(photo: Picture, styles: Sequence[Style], options: ColorOptions) -> tuple[Picture, tuple[Style, ...]]:
    """Convert photo and style pictures to the gamut of the proof profile, before any other step.

    Raises:
        ImageFileError: the profile cannot be used.
    """
    if not options.color_proof:
        return photo, tuple(styles)
    seen = [replace(each, image=proofed(each.image, options.color_proof)) for each in styles if isinstance(each, Picture)]
    return replace(photo, image=proofed(photo.image, options.color_proof)), tuple(seen)  # check_colors: all are pictures


def prepared(photo: Picture, styles: Sequence[Style], options: ColorOptions) -> tuple[Picture, tuple[Style, ...]]:
    """Return photo and styles with the colors used for painting; only ``match-style`` changes them."""
    method = method_of(photo, options)
    if method is None:
        return photo, tuple(styles)
    space, amount = options.color_space, options.color_amount
    pictures = [style for style in styles if isinstance(style, Picture)]  # check_colors guarantees that all are pictures
    if method == "luminance":
        matched = [with_light_like(style.image, photo.image, space) for style in pictures]
        photo = replace(photo, image=_in_strips(photo.image, partial(gray, space=space)))
    else:
        target = palette_of(photo.image, space)
        matched = [_in_strips(style.image, recoloring(style.image, target, method, space)) for style in pictures]
        matched = [torch.lerp(style.image, found, amount) for style, found in zip(pictures, matched, strict=True)]
    return photo, tuple(replace(style, image=found) for style, found in zip(pictures, matched, strict=True))


def method_of(photo: Picture, options: ColorOptions) -> ColorMethod | None:
    """Return the method for ``match-style`` (for a gray photo, always luminance); None for other modes."""
    if options.color != "match-style":
        return None
    return "luminance" if is_gray(photo.image) else options.color_method


def needs_pictures(options: ColorOptions) -> bool:
    """Return whether color control needs the pixels of the style pictures, not just their statistics."""
    mode, method = options.color, options.color_method
    return bool(options.color_proof) or mode == "match-style" or (mode == "palette" and method == "histogram")


def check_colors(styles: Sequence[Style], options: ColorOptions) -> None:
    """Raise unless the color options are compatible with each other and with the styles.

    Raises:
        OptionError: the color options are not compatible; the message names compatible values.
    """
    mode, method = options.color, options.color_method
    if mode == "style" and (options.color_mask or options.color_amount != 1):
        flag = "--color-mask" if options.color_mask else "--color-amount"
        raise OptionError(f"{flag} has no effect with --color style; choose another color mode, such as --color keep")
    if mode == "palette" and method == "luminance":
        raise OptionError("--color-method luminance needs --color match-style; for --color palette choose another method")
    if mode == "match-style" and method != "luminance" and options.color_mask:
        raise OptionError(
            "--color-mask applies to the painting, but --color match-style changes the style pictures; "
            "choose --color keep, histogram or palette, or --color-method luminance"
        )
    for style in styles:
        if isinstance(style, NamedStyle) and options.color_proof:
            raise OptionError(f"--color-proof needs a style picture, but {style.name!r} is a named style; give a picture")
        if isinstance(style, NamedStyle) and needs_pictures(options):
            other = "--color keep" if mode == "match-style" else "--color-method monge-kantorovich"
            flags = f"--color {mode}" + (" --color-method histogram" if mode == "palette" else "")
            raise OptionError(
                f"{flags} needs a style picture, but {style.name!r} is a named style; give a picture, or use {other}"
            )


# ---------------------------------------------------------------------------------------------------- masks


def color_mask(photo: Picture, options: ColorOptions) -> ReadMask:
    """Read the color mask at the size of the photo.

    Raises:
        ImageFileError, OptionError: see :func:`impasto.recipes.masking.read_mask`.
    """
    return read_mask(options.color_mask, photo, "--color-mask")


def color_notes(photo: Picture, options: ColorOptions) -> Iterator[str]:
    """Yield notes if the color mask was resized or converted to grayscale, or if it is all black."""
    if not options.color_mask:
        return
    mask = color_mask(photo, options)
    yield from (f"{mask.name}: {note}" for note in mask.notes)
    if float(mask.mask.max()) == 0:
        yield f"{mask.name}: the mask is entirely black, so --color {options.color} has no effect"


def color_record(options: ColorOptions) -> dict[str, dict[str, str]]:
    """Return the record entry of the color mask: its name and the SHA-256 of its file (empty for a computed mask)."""
    if not options.color_mask:
        return {}
    spec = Spec.of(options.color_mask)
    sha256 = ""
    if spec.path:
        with suppress(OSError):
            sha256 = sha256_of(Path(spec.path))
    return {"color_mask": {"name": spec.text(Path(spec.word).name) if spec.path else spec.text(), "sha256": sha256}}


# ---------------------------------------------------------------------------------------------------- parts


def _palette_of_style(style: Style, options: ColorOptions) -> Palette:
    if isinstance(style, NamedStyle):
        return palette_of_moments(style.colors)
    return palette_of(style.image, options.color_space)


def _on(device: torch.device | None, palette: Palette) -> Palette:
    moments, levels = palette.moments, palette.levels
    moved = replace(moments, mean=moments.mean.to(device), covariance=moments.covariance.to(device))
    return replace(palette, moments=moved, levels=None if levels is None else levels.to(device))


def _in_strips(image: Image, change: Callable[[Image], Image]) -> Image:
    found = torch.empty_like(image)
    for top in range(0, image.shape[-2], _ROWS):
        found[..., top : top + _ROWS, :] = change(image[..., top : top + _ROWS, :])
    return found
