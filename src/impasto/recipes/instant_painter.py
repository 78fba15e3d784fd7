"""The instant network with all that stands ready around it: it measures styles, and paints photos of any size.

The style is measured once, as a :class:`Manner`; the photo takes its palette by a closed form and its strokes by the network::

    picture = network(palette(photo), manner)

Source: see :mod:`impasto.networks.instant`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from impasto.arithmetic import Arithmetic, choose_arithmetic
from impasto.color import color_moments, monge_kantorovich, recolored
from impasto.encoders import Vgg, load_encoder
from impasto.errors import OptionError, StyleFileError
from impasto.images import fitted_size, resize
from impasto.networks.compiled import Compiled, openvino_is_there
from impasto.networks.instant import MULTIPLE_PX, STYLE_LAYERS, InstantNetwork
from impasto.networks.instant_files import load_instant, shipped_instant
from impasto.options import Run
from impasto.recipes.starts import SMALLEST_SIDE, Style, at_least
from impasto.stats import Affine, Moments, blend, moments
from impasto.styles import NamedStyle
from impasto.tensors import Image
from impasto.tiling import painted_in_tiles, spread_parts

LARGEST_WHOLE_PX = 2_100_000
"""Pictures of more pixels are painted in tiles."""
TILE_PX, HALO_PX = 1024, 128
_LARGEST_STYLE_PX = 1024
_PART_PX, _PARTS = 256, 24
_COMPILED_SIZES = 2
"""Kept ready: one lying, one standing. Each holds the memory of its size."""


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
            return _finished(part, network(part, colors, manner.modulation), strength)

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

    def paint_in_place(self, image: Image, manner: Manner, *, strength: float = 1.0) -> Image:
        """Paint as :meth:`paint` does, a large picture in tiles and in its own memory."""
        if image.shape[-2] * image.shape[-1] <= LARGEST_WHOLE_PX:
            return self.paint(image, manner, strength=strength)
        for _ in self.paint_over(image, manner, strength=strength):
            pass
        return image

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

    def _network(self, photo: Image) -> Callable[[Image, Affine, Tensor], Image]:
        size = (photo.shape[-2], photo.shape[-1])
        compiled = self._compiled_for(size)
        if compiled is not None:
            return lambda image, colors, modulation: compiled(in_eights(image), colors, modulation)[..., : size[0], : size[1]]

        def paint(image: Image, colors: Affine, modulation: Tensor) -> Image:
            with self._autocast():
                ready = in_eights(image).contiguous(memory_format=torch.channels_last)
                found = self.network.recolored(ready, colors, modulation).float()
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


def blended(manners: Sequence[Manner], weights: Sequence[float]) -> Manner:
    """Blend manners into one, by weights that need not sum to one; no weights: equal ones."""
    if len(manners) == 1:
        return manners[0]
    weights = weights or [1.0] * len(manners)
    shares = [weight / sum(weights) for weight in weights]
    modulation = torch.stack([share * each.modulation for share, each in zip(shares, manners, strict=True)]).sum(0)
    return Manner(modulation, blend([each.colors for each in manners], list(weights)))


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
