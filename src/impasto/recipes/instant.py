"""The instant recipe: any style in one pass.

The style is measured once, as a :class:`Manner`; the photo takes its palette by a closed form and its strokes by the network::

    picture = network(palette(photo), manner)

Source: see :mod:`impasto.networks.instant`.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.arithmetic import Arithmetic, available_memory, choose_arithmetic
from impasto.color import color_moments, monge_kantorovich, recolored
from impasto.encoders import Vgg, load_encoder
from impasto.engine import Step
from impasto.errors import OptionError, ResourceError, ShapeError, StyleFileError, nearest_name
from impasto.guides import feathered, shared, softened
from impasto.images import Picture, Source, fitted_size, resize
from impasto.networks.compiled import Compiled, openvino_is_there
from impasto.networks.instant import MULTIPLE_PX, STYLE_LAYERS, InstantNetwork
from impasto.networks.instant_files import load_instant, shipped_instant
from impasto.options import InstantOptions, Run
from impasto.pastiche import Pastiche, recorded
from impasto.recipes import gatys
from impasto.recipes.coloring import Coloring, check_colors, color_record, coloring_of, prepared
from impasto.recipes.masking import EVERYWHERE, NO_MASKS, Masking, MaskSource, MaskSources, asked_masks, read_masking
from impasto.recipes.painting import StyleSource, read_content, read_styles
from impasto.recipes.presets import paint_options
from impasto.recipes.regions import at_size
from impasto.recipes.starts import SMALLEST_SIDE, Resumption, Style, at_least
from impasto.stats import Affine, Moments, blend, moments
from impasto.styles import NamedStyle
from impasto.tensors import Image, Mask
from impasto.tiling import painted_in_tiles, spread_parts

LARGEST_WHOLE_PX = 2_100_000
"""Pictures of more pixels are painted in tiles."""
TILE_PX, HALO_PX = 1024, 128
_LARGEST_STYLE_PX = 1024
_BROADEST = 1.5
"""The network knows strokes up to half again as broad; for broader ones a smaller picture is painted."""
_PART_PX, _PARTS = 256, 24
_REFINED_SIZES = 2
_FEWEST_PX = 8
_COMPILED_SIZES = 2
"""Kept ready: one lying, one standing. Each holds the memory of its size."""
_FIXED_BYTES, _BYTES_OF_A_PAINTED_PIXEL, _BYTES_OF_A_PIXEL = 150 * 2**20, 240, 20
"""Of memory: at any size, for each pixel that is painted at once, and for each of the picture; see docs/benchmarks.md."""
_BYTES_OF_A_KEPT_PIXEL = 12
"""Of the photo, which is kept beside the painting where --color wants its colours afterwards."""


@dataclass(frozen=True)
class Manner:
    """A style, measured: what the network needs of it, and its palette.

    Attributes:
        modulation: (1, modulations), see :meth:`impasto.networks.instant.InstantNetwork.measure`.
        colors: mean (1, 3) and covariance (1, 3, 3) of its colours.
    """

    modulation: Tensor
    colors: Moments


class InstantPainter:
    """The network with all that stands ready around it; make one, and paint any number of photos.

    Args:
        run: device and precision.
        engine: see :class:`impasto.options.InstantOptions`.

    Raises:
        OptionError: the device or the engine is not there.

    Example:
        >>> import impasto, skimage.data
        >>> painter = impasto.InstantPainter()
        >>> manner = painter.manner(impasto.read(skimage.data.coffee()), edge_px=128)
        >>> painter.paint(impasto.read(skimage.data.astronaut()).image[..., :128, :128], manner).shape
        torch.Size([1, 3, 128, 128])
    """

    def __init__(self, run: Run | None = None, engine: str = "auto") -> None:
        if engine == "openvino" and not openvino_is_there():
            raise OptionError("--engine openvino is not installed; pip install 'impasto[fast]', or use --engine torch")
        self.run = run or Run()
        self.slim: Vgg = load_encoder("vgg19-slim")
        self.arithmetic: Arithmetic = choose_arithmetic(self.run, self.slim)
        self.device = self.arithmetic.device
        self.network: InstantNetwork = load_instant(shipped_instant()).to(self.device)
        self.engine = engine
        self._compiled: dict[tuple[int, int], Compiled | None] = {}

    # ------------------------------------------------------------------------------------------------ styles

    @torch.no_grad()
    def manner(self, style: Style, *, edge_px: float) -> Manner:
        """Measure a style with a longer side of edge_px.

        Raises:
            StyleFileError: a named style that was measured for another network.
        """
        if isinstance(style, NamedStyle):
            return self._named(style, edge_px)
        edge = min(max(edge_px, SMALLEST_SIDE), _LARGEST_STYLE_PX)
        return self.manner_of(resize(style.image, fitted_size(style.size, round(edge))))

    @torch.no_grad()
    def manner_of(self, picture: Image) -> Manner:
        """Measure a picture of a style, (1, 3, height, width), as large as it is."""
        picture = in_eights(at_least(picture.to(self.device), SMALLEST_SIDE))
        return Manner(self.network.corrected(*self.measured(picture)), color_moments(picture))

    @torch.no_grad()
    def measured(self, picture: Image) -> tuple[Tensor, dict[str, Moments]]:
        """Measure a picture (its sides multiples of 8) with the network's own eyes and with those of the slim encoder."""
        features = self.arithmetic.encode(self.slim, picture, frozenset(STYLE_LAYERS))
        read = {layer: moments(features[layer]) for layer in STYLE_LAYERS}
        with self._autocast():
            own = self.network.own(picture.contiguous(memory_format=torch.channels_last))
        return own.float(), read

    def _named(self, style: NamedStyle, edge_px: float) -> Manner:
        own = style.instant_at(edge_px)
        if own is None or style.facts["instant_sha256"] != self.network.sha256:
            raise StyleFileError(
                f"style {style.name!r} was measured for another instant network; measure it again (impasto styles add)"
            )
        read = {layer: _moved(m, self.device) for layer, m in style.at(edge_px, STYLE_LAYERS).items()}
        return Manner(self.network.corrected(own.to(self.device), read), _moved(style.colours, self.device))

    # ------------------------------------------------------------------------------------------------ photos

    @torch.no_grad()
    def paint(self, photo: Image, manner: Manner, *, strength: float = 1.0) -> Image:
        """Paint a photo at its own size.

        Args:
            photo: (1, 3, height, width) in [0, 1]; both sides at least 32.
            manner: what to paint it in.
            strength: 0 to 1.5.

        Returns:
            (1, 3, height, width), in [0, 1], on the photo's device.
        """
        if strength == 0:
            return photo
        manner, colors = self._prepared(photo, manner, strength)
        network = self._network(photo)

        def paint(part: Image) -> Image:
            return _finished(part, network(recolored(part, colors), manner.modulation), strength)

        if photo.shape[-2] * photo.shape[-1] <= LARGEST_WHOLE_PX:
            return paint(photo.to(self.device)).to(photo.device)
        found = photo.clone()
        for _ in self.painted(found, manner, colors, strength=strength):
            pass
        return found

    @torch.no_grad()
    def paint_over(self, photo: Image, manner: Manner, *, strength: float = 1.0) -> Iterator[int]:
        """Paint a large photo in tiles, in its own memory; yield the rows that are done."""
        if strength == 0:
            return
        manner, colors = self._prepared(photo, manner, strength)
        yield from self.painted(photo, manner, colors, strength=strength)

    def painted(self, photo: Image, manner: Manner, colors: Affine, *, strength: float) -> Iterator[int]:
        """Paint in tiles with a palette that is settled; see :meth:`paint_over`."""
        size = (photo.shape[-2], photo.shape[-1])
        part = min(_PART_PX, min(size) // MULTIPLE_PX * MULTIPLE_PX)
        chosen = [photo[..., rows, columns] for rows, columns in spread_parts(size, part, _PARTS)]
        parts = torch.cat(chosen).to(self.device).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), self._autocast():
            survey = self.network.survey(recolored(parts, _repeated(colors, len(parts))), manner.modulation).float()

        def paint(tile: Image) -> Image:
            tile = tile.to(self.device)
            ready = in_eights(recolored(tile, colors)).contiguous(memory_format=torch.channels_last)
            with torch.no_grad(), self._autocast():
                found = self.network.forward_surveyed(ready, survey).float()
            return _finished(tile, found[..., : tile.shape[-2], : tile.shape[-1]], strength).to(photo.device)

        yield from painted_in_tiles(photo, paint, TILE_PX, HALO_PX)

    def _prepared(self, photo: Image, manner: Manner, strength: float) -> tuple[Manner, Affine]:
        """Find the palette for a photo, and go part of the way from its own manner to the style's."""
        small = photo if max(photo.shape[-2:]) <= 512 else resize(photo, fitted_size(tuple(photo.shape[-2:]), 512))  # type: ignore[arg-type]
        small = small.to(self.device)
        colors = _part_of_the_way(monge_kantorovich(color_moments(small), manner.colors), strength)
        if strength == 1:
            return manner, colors
        own, read = self.measured(in_eights(at_least(small, SMALLEST_SIDE)))
        start = self.network.corrected(own, read)
        return replace(manner, modulation=torch.lerp(start, manner.modulation, strength)), colors

    def _network(self, photo: Image) -> Callable[[Image, Tensor], Image]:
        size = (photo.shape[-2], photo.shape[-1])
        compiled = self._compiled_for(size)
        if compiled is not None:
            return lambda image, modulation: compiled(in_eights(image), modulation)[..., : size[0], : size[1]]

        def paint(image: Image, modulation: Tensor) -> Image:
            with self._autocast():
                ready = in_eights(image).contiguous(memory_format=torch.channels_last)
                found: Image = self.network(ready, modulation).float()
            return found[..., : size[0], : size[1]]

        return paint

    def _compiled_for(self, size: tuple[int, int]) -> Compiled | None:
        """Return the network compiled for a size, where that is asked for, or worth it: from the second picture on."""
        if self.engine == "torch" or self.device.type != "cpu" or not openvino_is_there():
            return None
        if size not in self._compiled and self.engine == "auto":
            self._compiled[size] = None
            return None
        if self._compiled.get(size) is None:
            ready = [each for each, compiled in self._compiled.items() if compiled]
            for longest_ago in ready[: 1 - _COMPILED_SIZES]:
                del self._compiled[longest_ago]
            sides = tuple(-(-side // MULTIPLE_PX) * MULTIPLE_PX for side in size)
            self._compiled[size] = Compiled(self.network, (sides[0], sides[1]), self.arithmetic.precision)
        return self._compiled[size]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.arithmetic.precision == "bf16")


@lru_cache(maxsize=1)
def _painter(run: Run, engine: str) -> InstantPainter:
    return InstantPainter(run, engine)


def instant(
    content: Source | Picture,
    style: StyleSource | Sequence[StyleSource],
    *,
    masks: Sequence[MaskSource] = (),
    run: Run | None = None,
    **options: Any,
) -> Pastiche:
    """Paint a photo in any style in one pass.

    Args:
        content: the photo: a path, bytes, a Pillow image, a NumPy array or a tensor.
        style: a picture in any of those forms, the name of a style, or several of them.
        masks: one for each style, white where it paints. Empty: the styles are blended everywhere.
        run: device and precision.
        options: any field of :class:`impasto.InstantOptions`, and the masks by the names that they have in
            :func:`impasto.paint`: ``style_masks`` (the same as ``masks``), ``style_regions``, ``content_mask``, ``protect``.

    Returns:
        The result; see :class:`impasto.Pastiche`.

    Raises:
        ImpastoError: whatever cannot be painted, in one sentence.

    Example:
        >>> import impasto, skimage.data
        >>> impasto.instant(skimage.data.astronaut(), skimage.data.coffee(), size=128).image.shape
        torch.Size([1, 3, 128, 128])
    """
    asked, others = asked_masks({"style_masks": list(masks) or None} | options)
    photo, styles, chosen = read_content(content), read_styles(style), instant_options(**others)
    if photo is content:  # it is the caller's, who wants to keep it as it is
        photo = replace(photo, image=photo.image.clone())
    check(photo, styles, (), chosen)
    masking = read_masking(asked, photo, styles)
    pastiche = painted_pastiche(_painter(run or Run(), chosen.engine), photo, styles, masking, chosen)
    if chosen.refine or chosen.refine_seconds:
        easel = refining_easel(pastiche.image, photo, styles, chosen, run or Run(), masking)
        last = deque(gatys.paint_on(easel), maxlen=1).pop()
        pastiche = with_refinement(pastiche, last)
    return pastiche


def refining_easel(
    image: Image, photo: Picture, styles: Sequence[Style], options: InstantOptions, run: Run, masking: Masking = NO_MASKS
) -> gatys.Easel:
    """Put an instant picture on the painter's easel, for the last two sizes, under the same masks."""
    chosen = paint_options(
        size=max(image.shape[-2:]),
        seconds=options.refine_seconds,
        style_weights=options.style_weights,
        feather=options.feather,
        **{each.name: getattr(options, each.name) for each in fields(options) if each.name.startswith("color")},
    )
    easel = gatys.set_up(photo, styles, chosen, run, masking)
    scale = max(0, len(easel.sizes) - _REFINED_SIZES)
    return gatys.resumed(easel, Resumption(image, scale, done=0))


def with_refinement(pastiche: Pastiche, last: Step) -> Pastiche:
    """Put the painter's last step in the place of an instant picture."""
    return replace(pastiche, image=last.image.cpu(), record=pastiche.record | {"refined": refinement(last)})


def refinement(last: Step) -> dict[str, Any]:
    """Describe in the record how far the painter went on."""
    losses = {name: round(value, 6) for name, value in last.losses.items()}
    return {"steps": last.number, "seconds": round(last.seconds, 2), "losses": losses}


def instant_options(**options: Any) -> InstantOptions:
    """Make the options of the instant recipe.

    Raises:
        OptionError: a name that is unknown or a value that is not allowed.
    """
    names = [each.name for each in fields(InstantOptions)]
    for name in options:
        if name not in names:
            raise OptionError(f"{name!r} is not an option of instant{nearest_name(name, names)}")
    return InstantOptions(**options)


def painted_pastiche(
    painter: InstantPainter,
    photo: Picture,
    styles: Sequence[Style],
    masks: Masking | Sequence[Picture],
    options: InstantOptions,
) -> Pastiche:
    """Paint with a painter that stands ready; a large photo, which goes through in tiles, is painted over in its own memory."""
    masking = as_masking(masks, photo, styles)
    size = planned_size(photo, options)
    working = _working_size(size, options)
    check_memory(working, painter.device, is_colored=options.color != "style")
    small, parts = replace(photo, image=resize(photo.image, size)), style_parts(styles, masking)
    toned, seen = prepared(small, parts, options)
    edge_px = max(working) * min(options.stroke, _BROADEST)
    manners = [painter.manner(style, edge_px=edge_px) for style in seen]
    if masking.style_masks:
        colorings = [coloring_of(small, [style], replace(options, style_weights=())) for style in parts]
        image = _in_regions(painter, (small.image, toned.image), list(zip(manners, colorings, strict=True)), masking, options)
    else:
        coloring, manner = coloring_of(small, parts, options), blended(manners, options.style_weights)
        if masking.content_mask or masking.protect:
            image = _in_regions(painter, (small.image, toned.image), [(manner, coloring)], masking, options)
        else:
            is_kept = coloring is not None and coloring.photo is toned.image
            is_refined = bool(options.refine or options.refine_seconds) and toned.image is photo.image  # it goes on from there
            image = toned.image.clone() if is_kept or is_refined else toned.image
            image = _paint(painter, image, manner, coloring, options)
    alpha = None if photo.alpha is None else resize(photo.alpha, size)
    record = recorded("instant", photo, styles, painter.run) | {
        "network": {"name": "instant", "sha256": painter.network.sha256},
        "options": asdict(options),
    }
    return Pastiche(image.cpu(), alpha, photo.metadata, record | masking.record | color_record(options))


def as_masking(masks: Masking | Sequence[Picture], photo: Picture, styles: Sequence[Style]) -> Masking:
    """Return masks that were read as they are, and read those that are pictures: one for each style.

    Raises:
        OptionError: a wrong count, or a mask under which nothing would be painted.
    """
    return masks if isinstance(masks, Masking) else read_masking(MaskSources(style_masks=tuple(masks)), photo, styles)


def blended(manners: Sequence[Manner], weights: Sequence[float]) -> Manner:
    """Blend manners into one, by weights that need not sum to one; no weights: equal ones."""
    if len(manners) == 1:
        return manners[0]
    weights = weights or [1.0] * len(manners)
    shares = [weight / sum(weights) for weight in weights]
    modulation = torch.stack([share * each.modulation for share, each in zip(shares, manners, strict=True)]).sum(0)
    return Manner(modulation, blend([each.colors for each in manners], list(weights)))


def planned_size(photo: Picture, options: InstantOptions) -> tuple[int, int]:
    """Return (height, width) of the result: the photo's, or smaller."""
    longest = max(photo.size)
    return photo.size if options.size == 0 or longest <= options.size else fitted_size(photo.size, options.size)


def _working_size(size: tuple[int, int], options: InstantOptions) -> tuple[int, int]:
    """Return (height, width) of what is painted: the result's, or smaller for broad strokes."""
    broad = max(1.0, options.stroke / _BROADEST)
    working = fitted_size(size, max(SMALLEST_SIDE, round(max(size) / broad)))
    return working if min(working) >= SMALLEST_SIDE else size


# ---------------------------------------------------------------------------------------------------- checks


def check(photo: Picture, styles: Sequence[Style], masks: Masking | Sequence[Picture], options: InstantOptions) -> None:
    """Raise unless there is something to paint.

    Raises:
        ShapeError: a picture too small.
        OptionError: a wrong number of styles, weights or masks.
    """
    if not styles:
        raise OptionError("no style was given; give a picture or a named style (see impasto styles list)")
    if options.style_weights and len(options.style_weights) != len(styles):
        raise OptionError(
            f"--style-weights has {len(options.style_weights)} values for {len(styles)} styles; give one for each style"
        )
    for picture in (photo, *(style for style in styles if isinstance(style, Picture))):
        if min(picture.size) < 8:
            raise ShapeError(
                f"{picture.name!r} has {picture.size[1]}x{picture.size[0]} pixels, too few to see anything; "
                "both sides must be at least 8"
            )
    check_colors(styles, options)
    as_masking(masks, photo, styles)
    size = planned_size(photo, options)
    if min(size) < SMALLEST_SIDE:
        raise ShapeError(
            f"content {photo.name!r} would be {size[1]}x{size[0]} pixels; both sides must be at least {SMALLEST_SIDE}: "
            "use a larger --size, enlarge it, or crop it"
        )


def predicted_memory(size: tuple[int, int], *, is_colored: bool = False) -> int:
    """Predict the bytes that painting at a size takes at its peak, beyond the program itself."""
    pixels, bytes_each = size[0] * size[1], _BYTES_OF_A_PIXEL + _BYTES_OF_A_KEPT_PIXEL * is_colored
    return _FIXED_BYTES + _BYTES_OF_A_PAINTED_PIXEL * min(pixels, LARGEST_WHOLE_PX) + bytes_each * pixels


def check_memory(size: tuple[int, int], device: torch.device, *, is_colored: bool = False) -> None:
    """Raise unless the prediction fits into the memory that is free.

    Raises:
        ResourceError: it does not; the sentence says what would.
    """
    free, wanted = available_memory(device), predicted_memory(size, is_colored=is_colored)
    if free is not None and wanted > free:
        fits = int(max(size) * (_pixels_that_fit(free, is_colored=is_colored) / (size[0] * size[1])) ** 0.5)
        raise ResourceError(
            f"painting {size[1]}x{size[0]} pixels takes about {wanted / 2**30:.1f} GiB and {free / 2**30:.1f} are free; "
            f"use --size {max(SMALLEST_SIDE, fits // 100 * 100)}, or close other programs"
        )


def _pixels_that_fit(free: int, *, is_colored: bool) -> float:
    """Turn :func:`predicted_memory` around."""
    left, bytes_each = max(0, free - _FIXED_BYTES), _BYTES_OF_A_PIXEL + _BYTES_OF_A_KEPT_PIXEL * is_colored
    tiled = (left - LARGEST_WHOLE_PX * _BYTES_OF_A_PAINTED_PIXEL) / bytes_each
    return max(min(left / (_BYTES_OF_A_PAINTED_PIXEL + bytes_each), LARGEST_WHOLE_PX), tiled)


# ---------------------------------------------------------------------------------------------------- parts


def _paint(painter: InstantPainter, image: Image, manner: Manner, coloring: Coloring | None, options: InstantOptions) -> Image:
    """Paint a picture, smaller for broad strokes; a large one is painted over in its own memory."""
    if options.strength == 0:
        return image
    size = (image.shape[-2], image.shape[-1])
    image = resize(image, _working_size(size, options))
    if image.shape[-2] * image.shape[-1] <= LARGEST_WHOLE_PX:
        image = painter.paint(image, manner, strength=options.strength)
    else:
        for _ in painter.paint_over(image, manner, strength=options.strength):
            pass
    image = resize(image, size)
    return coloring.over(image) if coloring else image


def style_parts(styles: Sequence[Style], masking: Masking) -> list[Style]:
    """Return what is looked at of each style: the picture, or the smallest upright part of it that holds its mask."""
    return [_part(style, masking.style_mask(index)) for index, style in enumerate(styles)]


def _part(style: Style, mask: Mask | None) -> Style:
    """Cut a style picture to its mask: the network measures pictures, not positions, so a region becomes the box around it."""
    if mask is None or not isinstance(style, Picture):
        return style
    inside = mask[0, 0] > 0.5 * mask.max()
    rows, columns = inside.any(1).nonzero()[:, 0], inside.any(0).nonzero()[:, 0]
    height, width = style.size
    top, left = (min(int(first[0]), max(0, side - _FEWEST_PX)) for first, side in ((rows, height), (columns, width)))
    bottom, right = max(int(rows[-1]) + 1, top + _FEWEST_PX), max(int(columns[-1]) + 1, left + _FEWEST_PX)
    return replace(style, image=style.image[..., top:bottom, left:right])


def _in_regions(
    painter: InstantPainter,
    photo: tuple[Image, Image],
    painting: Sequence[tuple[Manner, Coloring | None]],
    masking: Masking,
    options: InstantOptions,
) -> Image:
    """Paint once in every style and put the parts together, with soft seams; what no mask covers stays the photo.

    Args:
        painter: the network.
        photo: as it is, and as it is painted from.
        painting: for each mask of a style, or for the whole picture.
        masking: the masks.
        options: how to paint.
    """
    image, toned = photo
    size = (image.shape[-2], image.shape[-1])
    feather_px = round(options.feather * max(size))
    masks, _ = shared([softened(resize(each.mask, size), feather_px) for each in masking.style_masks or (EVERYWHERE,)])
    if masking.content_mask:
        masks = [mask * softened(resize(masking.content_mask.mask, size), feather_px) for mask in masks]
    for each in masking.protect:
        masks = [mask * (1 - feathered(at_size(each.mask, size), feather_px)) for mask in masks]
    result = image * (1 - torch.stack(masks).sum(0)).clamp_min(0)
    for (manner, coloring), mask in zip(painting, masks, strict=True):
        result += mask * _paint(painter, toned.clone(), manner, coloring, options)
    return result


def in_eights(image: Image) -> Image:
    """Extend a picture to the right and below, until both sides are multiples of eight."""
    height, width = image.shape[-2:]
    down, right = -height % MULTIPLE_PX, -width % MULTIPLE_PX
    return F.pad(image, (0, right, 0, down), mode="replicate") if down or right else image


def _finished(photo: Image, painted: Image, strength: float) -> Image:
    """Return what is shown: the network's picture, and of weak strengths part of the photo."""
    if strength < 1:
        painted = torch.lerp(photo, painted, 1 - (1 - strength) ** 3)
    return painted.clamp(0, 1)


def _part_of_the_way(colors: Affine, strength: float) -> Affine:
    share = min(strength, 1.0)
    identity = torch.eye(3, device=colors.matrix.device).expand_as(colors.matrix)
    return Affine(torch.lerp(identity, colors.matrix, share), colors.bias * share)


def _repeated(colors: Affine, count: int) -> Affine:
    return Affine(colors.matrix.expand(count, -1, -1), colors.bias.expand(count, -1))


def _moved(measured: Moments, device: torch.device) -> Moments:
    return Moments(measured.mean.to(device), measured.covariance.to(device))
